"""The rules of the desktops' network: put in place before anything is served, guarded from then on,
looked at in every pass of reconcile, and told of each desktop before it starts and before it ends.

Where they cannot be put in place at all, either nothing is served, or desktops run without them and
everybody is told: that is configured. Where they could, none starts without them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import structlog

from broker.core.disturbances import Disturbances
from broker.core.errors import FirewallFailed
from broker.core.firewall import Grant, Rules, difference, table_name
from broker.core.model import SessionState
from broker.core.spec import bridge_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from broker.core.firewall import Restored
    from broker.core.interfaces import Clock, GuardedPackets, PacketFilter, Store
    from broker.core.model import Session, SessionId
    from broker.core.netpolicy import NetworkPolicy
    from broker.service.canary import Canary
    from broker.service.host import Host
    from broker.telemetry import Metrics

log = structlog.get_logger()

#: Sessions whose address reaches what the policy allows.
_GRANTED_IN = frozenset({SessionState.STARTING, SessionState.READY, SessionState.FROZEN})


class Firewall:
    """Every look at the records is made while nobody grants or revokes, so that none undoes what
    somebody did meanwhile.
    """

    def __init__(
        self,
        *,
        store: Store,
        host: Host,
        packets: GuardedPackets,
        canary: Canary,
        policy: NetworkPolicy,
        pool: str,
        required: bool,
        resolvers: tuple[str, ...],
        neighbours: Callable[[str], Iterable[IPv4Network]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`required` says that no desktop starts where the rules never were in place as a whole."""
        self._store = store
        self._host = host
        self._packets = packets
        self._canary = canary
        self._open: str | None = None
        """What was found open though the rules are in place."""
        self._policy = policy
        self._pool = IPv4Network(pool)
        self._resolvers = tuple(map(IPv4Address, resolvers))
        self._required = required
        self._neighbours = neighbours
        self._clock = clock
        self._metrics = metrics
        self._disturbances = Disturbances()
        self._by: str | None = None
        self._lock = asyncio.Lock()
        self._addresses: dict[SessionId, IPv4Address] = {}
        self._in_place: Rules | None = None
        """What was put last, without grants; from then on no desktop starts without it."""
        self._mark = ""
        self._gap = "ok"
        """What is told while it stands."""
        self._told = "nobody has looked at the network's rules yet"
        self._warning = False

    # ------------------------------------------------------------------------------ what is told

    def check(self) -> str:
        """`ok`, or one sentence."""
        if self._open is not None and self._told == self._gap:
            return self._open
        now = self._clock.monotonic()
        if self._told == "ok" and self._disturbances.fight(now):
            times = self._disturbances.lately(now)
            by = f"by {self._by}" if self._by else "nobody knows by whom"
            return (
                f"The network's rules are taken away again and again, {times} times within the"
                f" last minute, {by}; they are put back each time."
            )
        return self._told

    @property
    def serving(self) -> bool:
        """Whether desktops start all the same; what `check` tells is a warning then."""
        if self._open is not None and self._told == self._gap:
            return False
        return self._warning or self._told == "ok"

    def demand(self) -> None:
        """Raises `FirewallFailed` where the rules are required and not in place as a whole."""
        found = self.check()
        if self._required and found != "ok":
            raise FirewallFailed(
                public=f"network.required is true, and the rules are not in place. {found}"
                " Mend that, or set network.required to false to run without them."
            )

    async def missing(self, kernel: PacketFilter) -> str | None:
        """What of the rules is not in place just now; None: all are. The `kernel` is asked where
        nothing was put yet, and tells no more than whether there are any. Raises `FirewallFailed`.
        """
        async with self._lock:
            if self._in_place is None:
                there = await kernel.standing(self._host.instance)
                return "the table is not there" if there is None else None
            standing = await self._packets.standing(self._host.instance)
            return difference(standing, self._mark, self._grants())

    # ------------------------------------------------------------------------------ what is done

    async def keep(self) -> None:
        """Put the rules in place, or back. A failure is logged and told by `check`. Raises
        `EngineUnavailable`, as `Host` does.
        """
        await self._keep(self._look)

    async def _keep(self, step: Callable[[Rules], Awaitable[None]]) -> None:
        async with self._lock:
            rules = await self._rules()
            self._addresses = dict(await self._store.addresses(self._host.name, _GRANTED_IN))
            try:
                await step(rules)
            except FirewallFailed as error:
                self._failed(error)

    async def admit(self, session: Session) -> None:
        """Let a session's address reach what the policy allows, before its container starts.
        Idempotent. Raises `FirewallFailed` when there are no rules that would hold it.
        """
        if session.address is None:
            return
        async with self._lock:
            self._addresses[session.id] = IPv4Address(session.address)
            if self._in_place is None:
                if self._required:
                    raise FirewallFailed(self._told)
                return
            if self._open is not None:
                raise FirewallFailed(self._open)
            rules = await self._rules()
            try:
                await self._admit(rules, self._grant(IPv4Address(session.address)))
            except FirewallFailed as error:
                self._failed(error)
                raise

    async def withdraw(self, session_id: SessionId) -> None:
        """Before its container goes, or its address: it reaches nothing any more. Idempotent. What
        fails is logged, and is made good by the next look.
        """
        async with self._lock:
            address = self._addresses.pop(session_id, None)
            if address is None or address in self._addresses.values():
                return
            grant = self._grant(address)
            if self._in_place is None or grant is None:
                return
            try:
                await self._packets.revoke(self._host.instance, grant)
            except FirewallFailed as error:
                log.warning("address not withdrawn yet", session=session_id, reason=str(error))

    async def probe(self) -> None:
        """Try from inside whether what the rules close is closed; as long as it is not, no desktop
        starts. Where they are not in place there is nothing to try. Raises `EngineUnavailable`.
        """
        if self._in_place is None:
            return
        found = await self._canary.look()
        if found is not None:  # somebody may have taken them away just then
            await self.keep()
            found = await self._canary.look()
        if found is not None and self._open is None:
            log.error("the network's rules do not hold", reason=found)
        self._open = found

    async def guard(self, beat: Callable[[], None]) -> None:
        """Have the rules put back within two seconds, whoever takes them away, with a `beat` now
        and then. Raises `FirewallFailed` when that is not possible just now.
        """

        async def told(restored: Restored | None) -> None:
            beat()
            if restored is not None:
                self._metrics.firewall_restored.inc()
                self._disturbances.add(self._clock.monotonic())
                self._by = restored.by
                if self._told != self._gap:
                    await self.keep()

        if self._in_place is not None:
            # Whoever guards may have begun anew: what stands is not what it was given.
            await self._keep(self._put)
        await self._packets.guard(told)

    # -------------------------------------------------------------------------------------- rest

    async def _rules(self) -> Rules:
        """As they should be now, without grants."""
        bridge = bridge_name(self._host.instance)
        return Rules(
            instance=self._host.instance,
            bridges=(bridge,),
            subnets=(await self._host.subnet(),),
            pool=self._pool,
            neighbours=tuple(self._neighbours(bridge)),
            resolvers=self._resolvers,
            policies=frozenset({self._policy}),
        )

    async def _look(self, rules: Rules) -> None:
        if self._in_place is None:
            await self._put(rules)
            log.info("the network's rules are in place", table=table_name(self._host.instance))
        elif self._in_place != rules:
            await self._put(rules)
            log.info("the network's rules follow the host's networks")
        else:
            standing = await self._packets.standing(self._host.instance)
            reason = difference(standing, self._mark, self._grants())
            if reason is not None:
                await self._put_back(rules, reason)
            self._tell(self._gap, warning=True)

    async def _admit(self, rules: Rules, grant: Grant | None) -> None:
        if rules != self._in_place:
            await self._put(rules)
        elif grant is not None:
            try:
                await self._packets.grant(self._host.instance, grant)
            except FirewallFailed as error:
                await self._put_back(rules, str(error))
        else:
            await self._look(rules)

    async def _put_back(self, rules: Rules, reason: str) -> None:
        await self._put(rules)
        log.warning("the network's rules were put back", reason=reason)

    async def _put(self, rules: Rules) -> None:
        gap = await self._packets.put(replace(rules, grants=self._grants()))
        standing = await self._packets.standing(self._host.instance)
        if standing is None:
            raise FirewallFailed("what was put in place cannot be read back")
        self._in_place, self._mark = rules, standing.mark
        self._gap = "ok" if gap is None else f"{gap[:1].upper()}{gap[1:]}."
        self._tell(self._gap, warning=True)

    def _grants(self) -> frozenset[Grant]:
        granted = map(self._grant, self._addresses.values())
        return frozenset(grant for grant in granted if grant is not None)

    def _grant(self, address: IPv4Address) -> Grant | None:
        """None where the policy gives nothing."""
        group = self._policy.group
        return None if group is None else Grant(address, group)

    def _failed(self, error: FirewallFailed) -> None:
        if self._in_place is None:
            self._tell(
                f"Desktops can reach this host and all that it reaches: {error}.", warning=True
            )
        else:
            self._tell(f"The network's rules are not in place: {error}.", warning=False)

    def _tell(self, sentence: str, *, warning: bool) -> None:
        """Once, as long as it stays so."""
        if sentence not in {"ok", self._told}:
            log.warning("the desktops' network is not as it should be", reason=sentence)
        self._told, self._warning = sentence, warning
