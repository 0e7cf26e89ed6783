"""Tokens: made, shown once, taken back; and who it is that shows one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.core import words
from broker.core.blocks import Blocks, Circle, Rule
from broker.core.digest import hashed
from broker.core.errors import AccessDenied, BadRequest, Blocked, Conflict, Unauthenticated
from broker.core.model import Actor, shown
from broker.core.tokens import Caller, Reach, Scope, is_secret, new_secret
from broker.service.blocks import network_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import User, UserId
    from broker.core.tokens import Token

log = structlog.get_logger()

#: Tokens of one user, and characters of a token's name.
MOST, NAME_LENGTH = 100, 64

#: Seconds that one counts when nobody says.
VALID = 90 * 86_400.0

#: Wrong ones of one address before it has to wait, and for how long. A secret cannot be guessed:
#: this keeps the database and the log from who tries all the same.
GUESSES = Rule(after=10, first=10.0, longest=900.0)

#: Seconds between two notes that one token was used.
_NOTED_EVERY = timedelta(seconds=60)

#: Secrets, by their hashes, that were right lately: their callers never wait for what others of
#: the same address guess.
_RIGHT = 1024

#: Looks at the database at a time for secrets that were not right lately.
_AT_ONCE = 4


class Tokens:
    """Every change is one audited transaction."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._guesses = Blocks(GUESSES)
        self._right: OrderedDict[str, None] = OrderedDict()
        self._looks = asyncio.Semaphore(_AT_ONCE)

    # ------------------------------------------------------------------------------------- made

    async def make(
        self,
        user: User,
        *,
        name: str,
        scopes: Collection[Scope],
        reach: Reach,
        valid: str | None,
        maker: Caller,
    ) -> tuple[Token, str]:
        """The token and its secret, which is told here alone. Raises `BadRequest`, `AccessDenied`
        for more than the maker may, `Conflict` for more than the user may.
        """
        if not name.strip() or not name.isprintable() or len(name) > NAME_LENGTH:
            raise BadRequest(
                public=f"name: allowed are 1 to {NAME_LENGTH} characters that can be printed."
            )
        if not scopes:
            raise BadRequest(public="scopes: at least one is wanted.")
        _check_maker(maker, scopes, reach)
        if not user.admin and (reach is Reach.ALL or Scope.ADMIN in scopes):
            raise Conflict(
                public=f"{user.name} is no administrator: allowed is reach 'own', without the"
                " scope 'admin'."
            )
        seconds = _seconds(valid)
        now = self._clock.now()
        expires_at = None if seconds is None else now + timedelta(seconds=seconds)
        most = maker.token.expires_at if maker.token else None
        if most is not None and (expires_at is None or expires_at > most):
            raise AccessDenied(
                public=f"valid: a token made by a token ends with it at the latest, {most:%F %R} UTC."
            )
        secret = new_secret()
        made = await self._store.add_token(
            user.id,
            token_hash=hashed(secret),
            name=name,
            scopes=scopes,
            reach=reach,
            expires_at=expires_at,
            most=MOST,
            actor=maker.actor,
        )
        return made, secret

    async def all(self, user_id: UserId | None = None) -> Sequence[Token]:
        """Newest first."""
        return await self._store.tokens(user_id)

    async def revoke(self, token_id: str, *, actor: Actor | str) -> None:
        """Raises `NotFound`."""
        await self._store.revoke_token(token_id, actor=actor)

    # ------------------------------------------------------------------------------------ shown

    async def caller(self, secret: str, address: str) -> Caller:
        """Who shows it. Raises `Unauthenticated`, and `Blocked` for an address that guessed too
        often.
        """
        key = hashed(secret)
        circle = Circle("token", network_of(address))
        if key in self._right:
            found = await self._store.token_of(key)
        else:
            async with self._looks:
                self._check(circle)
                found = await self._store.token_of(key) if is_secret(secret) else None
        if found is None:
            self._right.pop(key, None)
            self._failed(circle, address)
            raise Unauthenticated(f"a token from {address} that does not count")
        self._remember(key)
        token, user = found
        await self._note(token, address)
        return _caller(token, user, address)

    async def stands(self, caller: Caller) -> bool:
        """Whether the caller would be let in with the same rights now."""
        if caller.token is None or caller.user_id is None:
            return True
        token = await self._store.token(caller.token.id)
        user = await self._store.user_by_id(caller.user_id)
        if token is None or user is None or not user.enabled:
            return False
        if token.expires_at is not None and token.expires_at <= self._clock.now():
            return False
        now = _caller(token, user, None)
        return (now.reach, now.scopes) == (caller.reach, caller.scopes)

    def _check(self, circle: Circle) -> None:
        left = self._guesses.left(circle, self._clock.monotonic())
        if left > 0:
            raise Blocked(
                f"tokens were guessed from {circle.place}",
                public="Too many wrong tokens came from your address.",
                retry_after=left,
            )

    def _failed(self, circle: Circle, address: str) -> None:
        block = self._guesses.failed(circle, self._clock.monotonic())
        if block is not None:
            log.warning("tokens are guessed", address=address, failures=block.failures)

    def _remember(self, key: str) -> None:
        self._right[key] = None
        self._right.move_to_end(key)
        if len(self._right) > _RIGHT:
            self._right.popitem(last=False)

    async def _note(self, token: Token, address: str) -> None:
        now = self._clock.now()
        if token.last_used_at is None or now - token.last_used_at >= _NOTED_EVERY:
            await self._store.note_token_use(token.id, address=address)


def _caller(token: Token, user: User, address: str | None) -> Caller:
    """With what the token says and the user may."""
    return Caller(
        actor=Actor(f"user:{user.name}", f"token {token.id}", address),
        scopes=token.scopes if user.admin else token.scopes - {Scope.ADMIN},
        reach=token.reach if user.admin else Reach.OWN,
        user_id=user.id,
        token=token,
    )


def _check_maker(maker: Caller, scopes: Collection[Scope], reach: Reach) -> None:
    more = sorted(set(scopes) - maker.scopes)
    if more:
        raise AccessDenied(public=f"You cannot give the scope {shown(more[0])}: you lack it.")
    if reach is Reach.ALL and maker.reach is not Reach.ALL:
        raise AccessDenied(public="You cannot give the reach 'all': you have 'own'.")


def _seconds(valid: str | None) -> float | None:
    if valid is None:
        return VALID
    try:
        return words.period(valid)
    except ValueError as error:
        raise BadRequest(public=f"valid: found {shown(valid)}; {error}.") from None
