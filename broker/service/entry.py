"""How people sign in with a browser: by password and code, as over SSH, or by a link of theirs."""

from __future__ import annotations

import ipaddress
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from broker.core.blocks import Blocks, Circle, Rule
from broker.core.errors import Blocked, Unauthenticated
from broker.core.gateway import Identity, Login
from broker.service.blocks import network_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.gateway import CodeWanted
    from broker.core.interfaces import Clock
    from broker.core.signins import SignIn
    from broker.service.gateway import LocalGateway
    from broker.service.links import Links
    from broker.service.oidc import SingleSignOn
    from broker.service.signins import SignIns

log = structlog.get_logger()

#: Wrong tries of one address, whatever names they are at, before it has to wait, and for how long:
#: each account has a rule of its own besides.
GUESSES = Rule(after=20, first=10.0, longest=900.0)

WRONG = "That did not work: the name, the password, the code or the link is wrong or too old."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """Somebody who has signed in."""

    user: str
    sign_in: SignIn
    secret: str = field(repr=False)
    """For the browser's cookie alone."""


class Entry:
    """The same proofs as at the front door, by the same code: it knows no other way in."""

    def __init__(
        self,
        *,
        gateway: LocalGateway,
        sign_ins: SignIns,
        links: Links,
        sso: SingleSignOn,
        exempt: Sequence[str],
        clock: Clock,
    ) -> None:
        """`exempt` are networks whose addresses never wait, as a proxy's that is not told of."""
        self._gateway = gateway
        self._sign_ins = sign_ins
        self._links = links
        self._sso = sso
        self._exempt = [ipaddress.ip_network(text) for text in exempt]
        self._guesses = Blocks(GUESSES)
        self._clock = clock

    async def by_password(
        self, name: str, password: str, *, address: str, browser: str
    ) -> Entered | CodeWanted:
        """Raises `Unauthenticated` for all that is wrong, `AccessDenied` for whoever may not use a
        browser, and what `Gateway.check_password` raises.
        """
        with self._attempt(address):
            found = await self._gateway.check_password(Login(name, None), password, address)
            return await self._enter(found, browser)

    async def by_code(
        self, ticket: str, code: str, *, address: str, browser: str
    ) -> Entered | CodeWanted:
        """Behind a password that wants it. Raises the same."""
        with self._attempt(address):
            return await self._enter(await self._gateway.check_code(ticket, code, address), browser)

    async def by_link(self, token: str, *, address: str, browser: str) -> Entered:
        """By what `desk web` gave. Raises the same."""
        with self._attempt(address):
            identity = await self._links.take(token, address)
            if identity is None:
                raise Unauthenticated(f"a link from {address} that does not count", public=WRONG)
            return await self._make(identity, browser)

    async def by_provider(
        self, cookie: str, *, state: str, code: str, issuer: str | None, address: str, browser: str
    ) -> Entered:
        """By what came back from a provider of sign-ins. Raises as `SingleSignOn.finish` does."""
        with self._attempt(address):
            identity = await self._sso.finish(
                cookie, state=state, code=code, issuer=issuer, address=address
            )
            return await self._make(identity, browser)

    async def _enter(
        self, found: Identity | CodeWanted | None, browser: str
    ) -> Entered | CodeWanted:
        if found is None:
            raise Unauthenticated("a wrong password or code", public=WRONG)
        if not isinstance(found, Identity):
            return found
        entered = await self._make(found, browser)
        await self._gateway.proven(found)
        return entered

    async def _make(self, identity: Identity, browser: str) -> Entered:
        sign_in, secret = await self._sign_ins.make(identity, browser=browser)
        self._guesses.succeeded(_circle(identity.address))
        log.info("signed in", user=identity.user, address=identity.address, sign_in=sign_in.id)
        return Entered(user=identity.user, sign_in=sign_in, secret=secret)

    @contextmanager
    def _attempt(self, address: str) -> Iterator[None]:
        """One try from there. Raises `Blocked` where too many were wrong."""
        circle = _circle(address)
        left = self._guesses.left(circle, self._clock.monotonic())
        if left > 0:
            raise Blocked(
                f"sign-ins were guessed from {circle.place}",
                public="Too many wrong sign-ins came from your address.",
                retry_after=left,
            )
        try:
            yield
        except Unauthenticated:
            if not self._spared(circle.place):
                block = self._guesses.failed(circle, self._clock.monotonic())
                if block is not None:
                    log.warning("sign-ins are guessed", address=address, failures=block.failures)
            raise

    def _spared(self, place: str | None) -> bool:
        if place is None:
            return True
        client = ipaddress.ip_network(place).network_address
        return any(client in network for network in self._exempt)


def _circle(address: str) -> Circle:
    return Circle("sign-in", network_of(address))
