"""A packet filter in memory, for tests: the same contract, and a world around it to meddle in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.core.errors import FirewallFailed
from broker.core.firewall import Standing

if TYPE_CHECKING:
    from broker.core.firewall import Grant, Rules


@dataclass(frozen=True, slots=True)
class _Table:
    rules: Rules
    made: int
    """Which making of it this is: the kernel's numbers tell one from the next as well."""


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
        self._made = 0

    def flush(self) -> None:
        """Somebody on the host empties everything."""
        self.tables.clear()

    def meddle(self, instance: str) -> None:
        """Somebody takes a rule out of the table."""
        self._keep(instance, self.tables[instance].rules)

    def lose(self, instance: str, grant: Grant) -> None:
        """Somebody takes an address out of its set."""
        table = self.tables[instance]
        rules = replace(table.rules, grants=table.rules.grants - {grant})
        self.tables[instance] = replace(table, rules=rules)

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
        self._keep(rules.instance, rules)
        return self.gap

    async def standing(self, instance: str) -> Standing | None:
        self._call("standing")
        table = self.tables.get(instance)
        return None if table is None else Standing(str(table.made), table.rules.grants)

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

    def _keep(self, instance: str, rules: Rules) -> None:
        self._made += 1
        self.tables[instance] = _Table(rules, self._made)
