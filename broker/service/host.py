"""This host's bridge and what it has to lease out."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from broker.core.errors import Conflict, EngineUnavailable
from broker.core.pools import Pool, Pools
from broker.core.spec import bridge_name, network_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.config import NetworkConfig, PoolsConfig
    from broker.core.interfaces import Engine
    from broker.core.model import InstanceId

#: One bridge takes 1023 ports; a /22 has 1024 addresses.
_PREFIX = 22

#: The first addresses are the network's and the gateway's; the last sixteen are the corner in
#: which the engine puts what asks for no address of its own.
_FIRST, _COUNT = 4, 1000


class Host:
    """Makes the bridge when it is first needed, and knows the pools from then on."""

    #: The one host of a state on SQLite.
    name = "local"

    def __init__(
        self,
        instance: InstanceId,
        engine: Engine,
        network: NetworkConfig,
        pools: PoolsConfig,
        *,
        routed: Callable[[str], Iterable[ipaddress.IPv4Network]],
    ) -> None:
        self.instance = instance
        self._engine = engine
        self._network = network
        self._pools = pools
        self._routed = routed
        self._known: tuple[ipaddress.IPv4Network, Pools] | None = None

    async def pools(self) -> Pools:
        """Raises `EngineUnavailable`, also when no subnet of the configured network is free."""
        return (await self._look())[1]

    @property
    def known(self) -> Pools | None:
        """As `pools`, without asking anybody: None before that was asked for."""
        return None if self._known is None else self._known[1]

    async def subnet(self) -> ipaddress.IPv4Network:
        """The bridge's. Raises `EngineUnavailable`, as `pools`."""
        return (await self._look())[0]

    def forget(self) -> None:
        """Look at the bridge again before the next start: somebody may have pruned it."""
        self._known = None

    async def _look(self) -> tuple[ipaddress.IPv4Network, Pools]:
        if self._known is None:
            subnet = await self._bridge()
            first = int(subnet.network_address) + _FIRST
            pools = Pools(
                ports=self._pools.ports,
                displays=self._pools.displays,
                uids=self._pools.uids,
                addresses=Pool(first, first + _COUNT - 1),
            )
            self._known = subnet, pools
        return self._known

    async def _bridge(self) -> ipaddress.IPv4Network:
        """The one that is there, whatever the host routes by now, else a new one."""
        name, bridge = network_name(self.instance), bridge_name(self.instance)
        try:
            there = await self._engine.network(name)
        except Conflict as error:
            raise EngineUnavailable(str(error)) from error
        if there is not None:
            return ipaddress.IPv4Network(there)
        routed = list(self._routed(bridge))
        for subnet in ipaddress.IPv4Network(self._network.pool).subnets(new_prefix=_PREFIX):
            if any(subnet.overlaps(network) for network in routed):
                continue
            try:
                found = await self._engine.ensure_network(name, bridge=bridge, subnet=str(subnet))
            except Conflict:
                continue
            return ipaddress.IPv4Network(found)
        raise EngineUnavailable(
            f"network.pool {self._network.pool} has no /{_PREFIX} that the host does not route already"
        )
