"""What sources have in common: files that they are told to use, and how much they say."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from broker.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

#: Characters of what a library says of a failure: enough for why a certificate is not believed.
LONGEST = 300

#: Characters of a secret.
_SECRET = 4096


def secret(path: Path, source: str, key: str) -> str:
    """The first line of the file that `key` of `source` names. Raises `ConfigError`."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline(_SECRET).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, source, key, _reason(error)) from error
    if not line or not line.isprintable():
        raise _unusable(path, source, key, "its first line is no secret")
    return line


def context(ca: Path | None, source: str) -> ssl.SSLContext:
    """For TLS with servers whose certificates the authorities in the file signed, or those that the
    host trusts. Raises `ConfigError`.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:  # an OSError, too
        assert ca is not None
        raise _unusable(ca, source, "ca", "it holds no certificate") from None
    except OSError as error:
        assert ca is not None
        raise _unusable(ca, source, "ca", _reason(error)) from error


def _unusable(path: Path, source: str, key: str, why: str) -> ConfigError:
    return ConfigError(public=f"login.sources: '{source}': {key}: {path} cannot be used: {why}.")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else "it is no text"
