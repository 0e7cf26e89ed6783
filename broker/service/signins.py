"""Browsers that somebody signed in with: made, recognised, ended when what proved them is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.digest import hashed
from broker.core.errors import AccessDenied, NotFound, Unauthenticated
from broker.core.gateway import Allowance, Identity
from broker.core.issued import Issued
from broker.core.signins import Proven, is_secret, new_secret
from broker.core.tokens import ALL_SCOPES, Caller, Reach, Scope, csrf_of
from broker.service.credentials import WAYS
from broker.service.identities import BROWSER, CODE, OIDC, actor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor, User, UserId
    from broker.core.policy import Way
    from broker.core.signins import SignIn
    from broker.service.codes import OneTimeCodes
    from broker.service.connections import Connections
    from broker.service.credentials import Credentials
    from broker.service.policies import Policies

#: Browsers that one user is signed in with at a time.
MOST = 32

#: Seconds between two looks for those that are too old.
LOOK_EVERY = 30.0

#: Looks at the database at a time for secrets, whoever shows them: most are of nobody when many
#: come at once.
_AT_ONCE = 16

#: How long ago one was used is known to so much.
_NOTED_EVERY = timedelta(seconds=60)

_OVER = "You are signed out: sign in again."

NO_BROWSER = "You may not use your desktops in a browser here: your administrator decides that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A sign-in that counts, and whose it is."""

    sign_in: SignIn
    user: User
    address: str
    """Where the browser is now."""
    allowed: tuple[Allowance, ...]
    enrol: bool

    @property
    def identity(self) -> Identity:
        return Identity(
            user_id=self.user.id,
            user=self.user.name,
            desktop=None,
            credential=f"{BROWSER}{self.sign_in.id}",
            method="browser",
            address=self.address,
            allowed=self.allowed,
            enrol=self.enrol,
        )


class SignIns:
    """Every change is one audited transaction."""

    def __init__(
        self,
        *,
        store: Store,
        credentials: Credentials,
        policies: Policies,
        codes: OneTimeCodes,
        connections: Connections,
        present: Callable[[], Collection[str]],
        idle: float,
        longest: float,
        clock: Clock,
    ) -> None:
        """`present` tells the names of those who are in a desktop by a browser; `idle` and `longest`
        are seconds.
        """
        self._store = store
        self._credentials = credentials
        self._policies = policies
        self._codes = codes
        self._connections = connections
        self._present = present
        self._idle, self._longest = timedelta(seconds=idle), timedelta(seconds=longest)
        self._clock = clock
        self._looks = asyncio.Semaphore(_AT_ONCE)
        self._held: set[str] = set()
        """Those by which somebody may be in a desktop, by id."""

    # ------------------------------------------------------------------------------------- made

    async def make(self, identity: Identity, *, browser: str) -> tuple[SignIn, str]:
        """Of somebody who has just proven who they are: the sign-in and its secret, which is told
        here alone. Raises `AccessDenied` where they may not use a browser, and `NotFound` when
        their account is gone meanwhile.
        """
        if Allowance.BROWSER not in identity.allowed:
            raise AccessDenied(f"{identity.user} may not use a browser", public=NO_BROWSER)
        user = await self._store.user(identity.user)
        if user is None or user.id != identity.user_id:
            raise NotFound(f"{identity.user} is gone")
        secret = new_secret()
        made, ended = await self._store.add_sign_in(
            user.id,
            secret_hash=hashed(secret),
            proven=await self.proven(identity, user),
            address=identity.address,
            browser=browser,
            most=MOST,
            actor=actor_of(identity),
        )
        self._cut(ended)
        return made, secret

    async def proven(self, identity: Identity, user: User) -> Proven:
        """What is to stand by what proved them."""
        allowed = (await self._policies.of(user.id)).policy.allowed
        return Proven(
            credential=identity.credential,
            method=identity.method,
            denied=tuple(sorted(allowed - set(identity.allowed))),
        )

    async def all(self, user_id: UserId | None = None) -> Sequence[SignIn]:
        """The last used first; none of those that are over."""
        return [each for each in await self._store.sign_ins(user_id) if not self._over(each)]

    # ------------------------------------------------------------------------------------ shown

    async def of(self, secret: str, address: str) -> Signed:
        """Whose the secret is. Raises `Unauthenticated`."""
        if not is_secret(secret):
            raise Unauthenticated(f"a cookie of {address} that can be none", public=_OVER)
        async with self._looks:
            found = await self._store.sign_in_of(hashed(secret))
        signed = None if found is None else await self._judge(*found, address)
        if signed is None:
            raise Unauthenticated(f"a sign-in from {address} that does not count", public=_OVER)
        if self._clock.now() - signed.sign_in.last_used_at >= _NOTED_EVERY:
            await self._store.note_sign_in_use(signed.sign_in.id)
        return signed

    async def caller(self, secret: str, address: str) -> Caller:
        """Who calls the API by it. Raises `Unauthenticated`."""
        signed = await self.of(secret, address)
        user = signed.user
        return Caller(
            actor=actor_of(signed.identity),
            scopes=ALL_SCOPES if user.admin else ALL_SCOPES - {Scope.ADMIN},
            reach=Reach.ALL if user.admin else Reach.OWN,
            user_id=user.id,
            sign_in=signed.sign_in,
            csrf=csrf_of(secret),
            enrol=signed.enrol,
        )

    async def still(self, identity: Identity) -> User | None:
        """The user whom a sign-in's identity proves still, as it was used last."""
        found = await self._store.sign_in(identity.credential.removeprefix(BROWSER))
        if found is None or found[1].id != identity.user_id:
            return None
        signed = await self._judge(*found, identity.address)
        if signed is None:
            return None
        self._held.add(signed.sign_in.id)
        return signed.user

    async def stands(self, caller: Caller) -> bool:
        """Whether the caller would be let in by their sign-in with the same rights now."""
        if caller.sign_in is None or caller.user_id is None:
            return True
        found = await self._store.sign_in(caller.sign_in.id)
        if found is None:
            return False
        signed = await self._judge(*found, caller.actor.origin or "")
        reach = Reach.ALL if found[1].admin else Reach.OWN
        return signed is not None and (signed.enrol, reach) == (caller.enrol, caller.reach)

    def hold(self, signed: Signed) -> None:
        """Somebody goes into a desktop by it."""
        self._held.add(signed.sign_in.id)

    async def enrolled(self, sign_in: SignIn, *, actor: Actor) -> None:
        """Its person has just shown a first code of theirs: their password has a code behind it."""
        if not sign_in.proven.method.endswith(CODE) and sign_in.proven.method in WAYS:
            with suppress(NotFound):  # it was ended meanwhile
                await self._store.prove_sign_in(
                    sign_in.id, f"{sign_in.proven.method}{CODE}", actor=actor
                )

    async def _judge(self, sign_in: SignIn, user: User, address: str) -> Signed | None:
        """None when it does not count any more."""
        proven = sign_in.proven
        holder = await self._credentials.holder(user.name, user.id, proven.credential, address)
        if holder is None or self._over(sign_in):
            return None
        policy = (await self._policies.of(user.id)).policy
        allowed = tuple(each for each in Allowance if each in policy.allowed)
        allowed = proven.allows(allowed)
        enrol = await self._must_enrol(user, proven.method, policy.ways)
        if enrol is None or Allowance.BROWSER not in allowed:
            return None
        return Signed(sign_in=sign_in, user=user, address=address, allowed=allowed, enrol=enrol)

    async def _must_enrol(self, user: User, method: str, ways: Collection[Way]) -> bool | None:
        """Whether the policy of now wants a code set up first; None when it wants another proof."""
        first = method.removesuffix(CODE)
        if first not in WAYS:
            return False
        alone, with_code = WAYS[first]
        if alone in ways or (method.endswith(CODE) and with_code in ways):
            return False
        if with_code not in ways or await self._codes.wanted(user.id):
            return None
        return True

    def _over(self, sign_in: SignIn) -> bool:
        now = self._clock.now()
        aged = now - sign_in.made_at >= self._most(sign_in)
        return aged or now - sign_in.last_used_at >= self._idle

    def _most(self, sign_in: SignIn) -> timedelta:
        """When a certificate ends is not known any more once it has let somebody in."""
        issued = Issued.parse(sign_in.proven.credential) is not None
        return self._idle if issued else self._longest

    # ------------------------------------------------------------------------------------ ended

    async def end(self, sign_in_id: str, *, actor: Actor) -> None:
        """And what was opened by it. Raises `NotFound`."""
        await self._store.end_sign_in(sign_in_id, actor=actor)
        self._cut([sign_in_id])

    async def end_by(self, credential: str) -> None:
        """All that stand by it: it proves nobody any more."""
        self._cut(await self._store.end_sign_ins_by(credential, actor="broker"))

    async def unbind(self, user: User, *, actor: Actor) -> None:
        """No provider means the user any more: the next one whom it calls so is bound anew. Raises
        `NotFound` when none did.
        """
        for source in await self._store.unbind(user.id, actor=actor):
            for each in await self._store.sign_ins(user.id):
                if each.proven.credential == f"{OIDC}{source}":
                    with suppress(NotFound):  # signed out meanwhile
                        await self.end(each.id, actor=actor)

    async def look(self) -> None:
        """Forget those that are over, and end what is open by them. Whoever is in a desktop by one
        uses it.
        """
        now, present = self._clock.now(), self._present()
        users = {user.id for user in await self._store.users() if user.name in present}
        known = await self._store.sign_ins()
        self._held &= {each.id for each in known}
        for each in known:
            if now - each.made_at >= self._most(each):
                with suppress(NotFound):  # signed out meanwhile
                    await self._store.end_sign_in(each.id, actor="broker")
                self._cut([each.id])
            used = each.id in self._held and each.user_id in users
            if used and now - each.last_used_at >= self._idle / 4:
                await self._store.note_sign_in_use(each.id)
        self._cut(
            await self._store.forget_sign_ins(made=now - self._longest, used=now - self._idle)
        )

    def _cut(self, ended: Sequence[str]) -> None:
        for sign_in_id in ended:
            self._held.discard(sign_in_id)
            self._connections.end_credential(f"{BROWSER}{sign_in_id}", _OVER)
