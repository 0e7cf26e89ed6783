"""From what the file says of the sources to the sources themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.config.sources import LdapSource, WebhookSource
from broker.core.errors import ConfigError
from broker.sources.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.config.sources import SourceConfig
    from broker.core.interfaces import Clock
    from broker.core.outside import PasswordSource


def build(configs: Iterable[SourceConfig], clock: Clock) -> tuple[PasswordSource, ...]:
    """Make each source, in their order. Asks none of them anything. Raises `ConfigError` when a
    file that one names cannot be used, or a library is not installed.
    """
    return tuple(_KINDS[type(config)](config, clock) for config in configs)


def _ldap(config: LdapSource, clock: Clock) -> PasswordSource:
    try:
        from broker.sources.ldap import Directory
    except ImportError as error:
        raise ConfigError(
            f"python-ldap cannot be loaded: {error}",
            public=f"login.sources: '{config.name}' is of the kind ldap, and the library for that"
            " is missing; install it with: pip install 'desk-broker[ldap]'.",
        ) from error
    return Directory(config, clock)


def _webhook(config: WebhookSource, _clock: Clock) -> PasswordSource:
    return Webhook(config)


_KINDS: dict[type[SourceConfig], Callable[..., PasswordSource]] = {
    LdapSource: _ldap,
    WebhookSource: _webhook,
}
