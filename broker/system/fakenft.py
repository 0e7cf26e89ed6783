"""A packet filter in memory, for tests: the same contract, and a world around it to meddle in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from broker.core.errors import FirewallFailed
from broker.core.firewall import Standing

if TYPE_CHECKING:
    from broker.core.firewall import Grant, Rules


@dataclass(frozen=True, slots=True)
class _Table:
    rules: Rules
    meddled: int = 0
    """How often somebody changed a rule since it was put."""


class FakeChanges:
    """The kernel's word of what happens to the tables of a `FakeFilter`."""

    def __init__(self, packets: FakeFilter) -> None:
        self._packets = packets
        self._happened = asyncio.Event()

    def __enter__(self) -> Self:
        if self._packets.broken is not None:
            raise FirewallFailed(self._packets.broken)
        self._packets.watches.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._packets.watches.discard(self)

    def tell(self) -> None:
        self._happened.set()

    async def of(self, table: str) -> str | None:  # noqa: ARG002 - the real one's signature
        await self._happened.wait()
        self._happened.clear()
        return "nft (1)"


class FakeFilter:
    """What the kernel of one host holds; it outlives whoever put it there."""

    def __init__(self) -> None:
        self.tables: dict[str, _Table] = {}
        self.broken: str | None = None
        """Why nothing can be read or changed just now."""
        self.gap: str | None = None
        """What this host cannot hold, as `put` tells it."""
        self.unseen: set[str] = set()
        """Bridges that are in another network."""
        self.calls: list[str] = []
        self.watches: set[FakeChanges] = set()

    def changes(self) -> FakeChanges:
        return FakeChanges(self)

    def flush(self) -> None:
        """Somebody on the host empties everything."""
        self.tables.clear()
        self._tell()

    def meddle(self, instance: str) -> None:
        """Somebody takes a rule out of the table."""
        table = self.tables[instance]
        self.tables[instance] = replace(table, meddled=table.meddled + 1)
        self._tell()

    def lose(self, instance: str, grant: Grant) -> None:
        """Somebody takes an address out of its set."""
        table = self.tables[instance]
        rules = replace(table.rules, grants=table.rules.grants - {grant})
        self.tables[instance] = replace(table, rules=rules)
        self._tell()

    def granted(self, instance: str) -> set[str]:
        """The addresses that reach anything."""
        return {str(grant.address) for grant in self.tables[instance].rules.grants}

    async def put(self, rules: Rules) -> str | None:
        self._call("put")
        missing = sorted(self.unseen.intersection(rules.bridges))
        if missing:
            raise FirewallFailed(
                f"the bridge {missing[0]} is not in the network that the broker runs in"
            )
        self.tables[rules.instance] = _Table(rules)
        self._tell()
        return self.gap

    async def standing(self, instance: str) -> Standing | None:
        self._call("standing")
        table = self.tables.get(instance)
        if table is None:
            return None
        bare = replace(table.rules, grants=frozenset())
        return Standing(f"{hash(bare)}/{table.meddled}", table.rules.grants)

    async def grant(self, instance: str, grant: Grant) -> None:
        self._call("grant")
        if all(policy.group != grant.group for policy in self._rules(instance).policies):
            raise FirewallFailed(f"the table has no set for {grant.group}")
        self._change(instance, self._rules(instance).grants | {grant})

    async def revoke(self, instance: str, grant: Grant) -> None:
        self._call("revoke")
        self._change(instance, self._rules(instance).grants - {grant})

    async def remove(self, instance: str) -> None:
        self._call("remove")
        self.tables.pop(instance, None)
        self._tell()

    def _call(self, method: str) -> None:
        self.calls.append(method)
        if self.broken is not None:
            raise FirewallFailed(self.broken)

    def _rules(self, instance: str) -> Rules:
        table = self.tables.get(instance)
        if table is None:
            raise FirewallFailed("the table of this installation is not there")
        return table.rules

    def _change(self, instance: str, grants: frozenset[Grant]) -> None:
        table = self.tables[instance]
        self.tables[instance] = replace(table, rules=replace(table.rules, grants=grants))
        self._tell()

    def _tell(self) -> None:
        for watch in self.watches:
            watch.tell()
