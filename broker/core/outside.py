"""The contract of outside sources: services that know a person's password though Desk does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

#: Characters of a password that is passed on.
_LONGEST = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A source vouches that the password is this person's."""

    source: str
    name: str
    groups: frozenset[str]
    """Names of Desk's own groups."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A source does not vouch."""

    known: bool
    """It knows the name, so the password is wrong and no other source has a say."""


class PasswordSource(Protocol):
    """One service that checks passwords."""

    @property
    def name(self) -> str:
        """As in the configuration; an account that came from here bears it."""

    @property
    def create(self) -> bool:
        """Whether somebody without an account gets one by proving themselves here."""

    async def check(self, name: str, password: str, *, address: str) -> Found | Refused:
        """Whether the password is that person's; `address` is the client's. An empty password is
        nobody's. Changes nothing at the source. Bounded in time, and raises `SourceUnavailable`
        for every answer that is neither yes nor no. A cancelled caller waits no longer; what was
        asked ends by itself.
        """

    def close(self) -> None:
        """Let go of what it holds; nothing is asked afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who somebody is to a provider."""

    subject: str
    """The provider's lasting word for them, which it gives to nobody else."""
    name: str
    """As it came: it need not be one that anybody can have here."""
    groups: frozenset[str]
    """Names of Desk's own groups."""


class NotBelieved(Exception):
    """What came back with a browser proves nobody. Its text is for the log alone."""


class SignOnProvider(Protocol):
    """Somebody else, whose word counts for who sits before a browser. Both methods are bounded in
    time, and raise `SourceUnavailable` when the provider does not answer as agreed.
    """

    @property
    def name(self) -> str:
        """As in the configuration; an account that came from here bears it."""

    @property
    def create(self) -> bool:
        """Whether somebody without an account gets one."""

    @property
    def adopt(self) -> bool:
        """Whether Desk's own users are whoever bears their names there."""

    async def begin(self, *, state: str, nonce: str, challenge: str) -> str:
        """Where to send a browser, to come back with `state` and a code; `challenge` is the
        verifier's SHA-256, in url-safe base64 without padding.
        """

    async def finish(self, *, code: str, verifier: str, nonce: str, issuer: str | None) -> Claims:
        """Whom the code is of, which came back with the browser that was sent with `nonce`;
        `issuer` is who the answer says gave it. Raises `NotBelieved`.
        """


def can_be_password(text: str) -> bool:
    """Whether it may be passed on at all. The empty one may not: to some services that is a login
    as nobody, which succeeds; and some read only as far as a NUL.
    """
    if not 0 < len(text) <= _LONGEST or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
