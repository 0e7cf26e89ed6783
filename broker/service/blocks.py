"""Makes accounts wait after wrong passwords and codes. Keys are never held up."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.core.blocks import Block, Blocks, Circle, Rule
from broker.core.errors import Blocked, NotFound
from broker.core.model import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor
    from broker.service.flights import Spawn

log = structlog.get_logger()

#: Since how long ago a login makes its address one where the account is at home.
AT_HOME = timedelta(days=30)

#: Accounts whose homes are remembered, and homes of each.
_ACCOUNTS, _HOMES = 10_000, 16

#: Of an IPv6 address: a host chooses the rest.
_IPV6_BITS = 64


@dataclass(slots=True)
class Attempt:
    """One try under way; without a word of how it ended it counts for nothing."""

    _blocks: LoginBlocks
    _circle: Circle

    def wrong(self, *, exists: bool) -> None:
        """The password or code was. The audit tells of accounts that exist: other names can be
        anything, somebody's password too.
        """
        self._blocks.failed(self._circle, exists=exists)

    def right(self) -> None:
        self._blocks.succeeded(self._circle)


class LoginBlocks:
    """Tries of strangers, of an account's own addresses and of exempt networks count apart, so that
    nobody can lock a person out from elsewhere. All of it is in memory.
    """

    def __init__(
        self, *, rule: Rule, exempt: Sequence[str], store: Store, clock: Clock, spawn: Spawn
    ) -> None:
        self._blocks = Blocks(rule)
        self._exempt = [ipaddress.ip_network(text) for text in exempt]
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._homes: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        """By account, and when each was last used, in monotonic time. Nothing but a login adds to
        it, so that strangers can have none forgotten.
        """
        self._learning = asyncio.Lock()
        self._learnt = False
        self._turns: defaultdict[Circle, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[Circle, int] = defaultdict(int)

    def replace(self, rule: Rule, exempt: Sequence[str]) -> None:
        """Judge by these from the next try on; who waits already waits as long as was said."""
        self._blocks.replace(rule)
        self._exempt = [ipaddress.ip_network(text) for text in exempt]

    @asynccontextmanager
    async def attempt(
        self, account: str, address: str, *, apart: str | None = None
    ) -> AsyncIterator[Attempt]:
        """One try at a time of those that count together: of many at once, as many would be wrong
        before the first of them counted. `apart` makes a place of its own for whoever has shown
        something that strangers have not. Raises `Blocked`.
        """
        circle = Circle(account, apart or await self._place(account, address))
        self._check(circle)
        self._waiting[circle] += 1
        try:
            async with self._turns[circle]:
                self._check(circle)
                yield Attempt(self, circle)
        finally:
            self._waiting[circle] -= 1
            if not self._waiting[circle]:
                del self._waiting[circle], self._turns[circle]

    def _check(self, circle: Circle) -> None:
        left = self._blocks.left(circle, self._clock.monotonic())
        if left > 0:
            raise Blocked(f"the account {shown(circle.account)} is blocked", retry_after=left)

    def failed(self, circle: Circle, *, exists: bool) -> None:
        block = self._blocks.failed(circle, self._clock.monotonic())
        if block is not None and exists:
            log.warning(
                "account blocked",
                account=circle.account,
                place=circle.place,
                failures=block.failures,
                seconds=block.left,
            )
            self._spawn(self._note(block), name="audit of a block")

    async def _note(self, block: Block) -> None:
        await self._store.note(
            actor="broker",
            action="login.block",
            subject=block.circle.account,
            detail={
                "place": block.circle.place,
                "failures": block.failures,
                "seconds": round(block.left),
            },
        )

    def succeeded(self, circle: Circle) -> None:
        self._blocks.succeeded(circle)

    # ------------------------------------------------------------------------------------- homes

    def at_home(self, account: str, address: str) -> None:
        """Somebody proved to be that account from there."""
        self._remember(account, address, self._clock.monotonic())

    def _remember(self, account: str, address: str, at: float) -> None:
        place = network_of(address)
        if place is None:
            return
        homes = self._homes.setdefault(account, OrderedDict())
        homes[place] = max(at, homes.pop(place, at))
        if len(homes) > _HOMES:
            homes.popitem(last=False)
        self._homes.move_to_end(account)
        if len(self._homes) > _ACCOUNTS:
            self._homes.popitem(last=False)

    async def _place(self, account: str, address: str) -> str | None:
        await self._learn()
        place = network_of(address)
        if place is None:
            return None
        client = ipaddress.ip_address(address)
        for network in self._exempt:
            if client in network:
                return str(network)
        homes = self._homes.get(account)
        used = None if homes is None else homes.get(place)
        fresh = used is not None and self._clock.monotonic() - used < AT_HOME.total_seconds()
        return place if fresh else None

    async def _learn(self) -> None:
        """What the audit knows, of all accounts at once: to look for one when it is tried would
        take longer for those that exist.
        """
        async with self._learning:
            if self._learnt:
                return
            now, monotonic = self._clock.now(), self._clock.monotonic()
            known = await self._store.homes(since=now - AT_HOME, limit=_ACCOUNTS * _HOMES)
            for account, address, at in reversed(known):
                self._remember(account, address, monotonic - (now - at).total_seconds())
            self._learnt = True

    # ------------------------------------------------------------------------------------- admin

    def standing(self) -> list[Block]:
        """Those that wait now, the longest wait first."""
        return self._blocks.standing(self._clock.monotonic())

    async def lift(self, account: str, *, actor: Actor | str) -> None:
        """Let the account be tried again at once. Raises `NotFound` when it does not wait."""
        if not any(block.circle.account == account for block in self.standing()):
            raise NotFound(public=f"No login of {shown(account)} is blocked.")
        await self._store.note(actor=actor, action="login.unblock", subject=account, detail={})
        self._blocks.lift(account)


def network_of(address: str) -> str | None:
    """What of an address tells one host from another; None for no address."""
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return None
    if client.version == 4:
        return str(client)
    return str(ipaddress.ip_network((int(client), _IPV6_BITS), strict=False))
