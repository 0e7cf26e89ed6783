"""Signing in by somebody else's word: what a browser is sent away with, and who comes back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import (
    AccessDenied,
    BadRequest,
    CapacityExhausted,
    Conflict,
    NotFound,
    SourceUnavailable,
    Unauthenticated,
)
from broker.core.gateway import Allowance, Identity
from broker.core.model import LOCAL, Actor, shown, user_name
from broker.core.outside import NotBelieved
from broker.core.signins import is_secret
from broker.service.identities import OIDC, proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.interfaces import Clock, Store
    from broker.core.model import User
    from broker.core.outside import Claims, SignOnProvider
    from broker.service.groups import Groups
    from broker.service.policies import Policies

log = structlog.get_logger()

#: Seconds that somebody may take to sign in there.
VALID = 600

#: Questions to the provider at a time, for those who leave and those who come back.
AT_ONCE = 32

_FAILED = "Signing in there did not work. Try again."


class SingleSignOn:
    """What is asked of one provider. Nothing is kept for whoever never comes back: a browser's own
    cookie holds a secret, and all that must be known of it again follows from that and from a key
    of this process.
    """

    def __init__(
        self,
        provider: SignOnProvider | None,
        *,
        store: Store,
        groups: Groups,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._provider = provider
        self._store = store
        self._groups = groups
        self._policies = policies
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._here = 0

    @property
    def name(self) -> str | None:
        """The provider's; None where there is none."""
        return None if self._provider is None else self._provider.name

    async def begin(self) -> tuple[str, str]:
        """What the browser's cookie is to hold, and where it is sent. Raises `NotFound` where there
        is no provider, `SourceUnavailable`, `CapacityExhausted`.
        """
        provider = self._known()
        cookie = f"{secrets.token_urlsafe(32)}.{int(self._clock.now().timestamp())}"
        challenge = hashlib.sha256(self._derived("verifier", cookie).encode()).digest()
        async with self._place():
            url = await provider.begin(
                state=self._derived("state", cookie),
                nonce=self._derived("nonce", cookie),
                challenge=base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            )
        return cookie, url

    async def finish(
        self, cookie: str, *, state: str, code: str, issuer: str | None, address: str
    ) -> Identity:
        """Who came back. Raises as `begin` does, `Unauthenticated`, and `AccessDenied` for whom the
        provider vouches and who is nobody here.
        """
        provider = self._known()
        if not self._ours(cookie, state) or not code:
            raise Unauthenticated("no sign-in that began in that browser", public=_FAILED)
        try:
            async with self._place():
                claims = await provider.finish(
                    code=code,
                    verifier=self._derived("verifier", cookie),
                    nonce=self._derived("nonce", cookie),
                    issuer=issuer,
                )
        except NotBelieved as error:
            raise Unauthenticated(f"{provider.name}: {error}", public=_FAILED) from None
        return await self._identity(provider, claims, address)

    def _known(self) -> SignOnProvider:
        if self._provider is None:
            raise NotFound(public="Nobody else is asked here who you are.")
        return self._provider

    # -------------------------------------------------------------------------------- the cookie

    def _derived(self, what: str, cookie: str) -> str:
        """43 characters, fit for an address."""
        digest = hmac.digest(self._key, f"{what}:{cookie}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _ours(self, cookie: str, state: str) -> bool:
        """Whether that browser was sent away with that state, and not too long ago."""
        secret, _, at = cookie.partition(".")
        if not is_secret(secret) or not (at.isascii() and at.isdigit() and len(at) <= 12):
            return False
        wanted = self._derived("state", cookie)
        fits = hmac.compare_digest(wanted.encode(), state.encode(errors="replace"))
        return fits and 0 <= self._clock.now().timestamp() - int(at) < VALID

    # ----------------------------------------------------------------------------------- accounts

    async def _identity(self, provider: SignOnProvider, claims: Claims, address: str) -> Identity:
        credential = f"{OIDC}{provider.name}"
        user = await self._user(provider, claims, address)
        actor = Actor(f"user:{user.name}", proof(credential, "oidc"), address)
        await self._groups.sync(user, claims.groups, source=provider.name, actor=actor)
        allowed = (await self._policies.of(user.id)).policy.allowed
        return Identity(
            user_id=user.id,
            user=user.name,
            desktop=None,
            credential=credential,
            method="oidc",
            address=address,
            allowed=tuple(each for each in Allowance if each in allowed),
        )

    async def _user(self, provider: SignOnProvider, claims: Claims, address: str) -> User:
        """Whom the provider meant the first time, whatever it calls them since; of whom it has not
        spoken yet, the one of that name.
        """
        user = await self._store.user_vouched(provider.name, claims.subject)
        if user is None:
            user = await self._bound(provider, claims, address)
        if not user.enabled or user.source not in {LOCAL, provider.name}:
            raise _nobody(provider, user.name)
        return user

    async def _bound(self, provider: SignOnProvider, claims: Claims, address: str) -> User:
        """One that came from there, or where that is so configured of Desk's own; made when nobody
        has the name. A name alone is no proof: of many providers people choose theirs.
        """
        try:
            name = user_name(claims.name)
        except BadRequest as error:
            told = f"{provider.name} vouches for {shown(claims.name)}"
            raise AccessDenied(told, public=error.public) from None
        user = await self._store.user(name)
        actor = Actor(f"user:{name}", proof(f"{OIDC}{provider.name}", "oidc"), address)
        if user is None and provider.create:
            try:
                user = await self._store.add_user(
                    name, admin=False, source=provider.name, actor=actor
                )
            except Conflict:  # somebody was quicker: themselves, or an admin
                user = await self._store.user(name)
        known = {provider.name, LOCAL} if provider.adopt else {provider.name}
        if user is None or not user.enabled or user.source not in known:
            raise _nobody(provider, name)
        try:
            await self._store.vouch(
                user.id, source=provider.name, subject=claims.subject, actor=actor
            )
        except Conflict as error:
            log.warning("a provider gave a name to somebody else", user=name, source=provider.name)
            raise AccessDenied(str(error), public=error.public) from None
        return user

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._here >= AT_ONCE:
            raise CapacityExhausted(
                "too many are at the provider",
                public="Too many people sign in just now. Try again in a minute.",
            )
        self._here += 1
        try:
            yield
        except SourceUnavailable as error:
            log.warning("the provider of sign-ins is away", problem=str(error))
            raise
        finally:
            self._here -= 1


def _nobody(provider: SignOnProvider, name: str) -> AccessDenied:
    return AccessDenied(
        f"{provider.name} vouches for {name}, who is nobody here",
        public=f"You are {name} there, and have no account of that name here that is enabled: ask"
        " your administrator.",
    )
