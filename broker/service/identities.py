"""What an identity is in the words of the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.issued import Issued
from broker.core.model import Actor

if TYPE_CHECKING:
    from broker.core.gateway import Identity

#: How the credential of a password begins; the rest is the password's id, or `@SOURCE` where an
#: outside source checks it.
PASSWORD = "password:"  # noqa: S105 - a word, not one of them

#: How the credential of a browser begins in which somebody signed in; the rest is the sign-in's id.
BROWSER = "web:"

#: How the credential of somebody begins for whom a provider vouched; the rest is its name.
OIDC = "oidc:"

#: What stands behind a method where a code was given too.
CODE = "+code"


def outside(source: str) -> str:
    """The credential of passwords that the source checks."""
    return f"{PASSWORD}@{source}"


def key_of(identity: Identity) -> str | None:
    """The fingerprint of the key that proved it."""
    plain = identity.method.removesuffix(CODE) == "key"
    return identity.credential if plain else None


def actor_of(identity: Identity) -> Actor:
    """Who asks, how they proved it, and from where."""
    return Actor(
        f"user:{identity.user}", proof(identity.credential, identity.method), identity.address
    )


def proof(credential: str, method: str) -> str:
    """`key SHA256:…`, `certificate …` or `password`, with `+code`; `browser ID`; `oidc NAME`."""
    if credential.startswith(OIDC):
        return f"oidc {credential.removeprefix(OIDC)}"
    if credential.startswith(BROWSER):
        return f"browser {credential.removeprefix(BROWSER)}"
    code = CODE if method.endswith(CODE) else ""
    if credential.startswith(PASSWORD):
        return f"password{code}"
    issued = Issued.parse(credential)
    return f"key {credential}{code}" if issued is None else f"{issued.proof}{code}"
