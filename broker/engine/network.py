"""The instance's bridge: one network without traffic between its containers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from broker.core.errors import Conflict
from broker.core.spec import LABEL_INSTANCE
from broker.engine.executor import said, text_of
from broker.engine.facts import is_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

    from broker.engine.facts import Json
    from broker.engine.transport import Link

_TAKEN = ("overlap", "same bridge name", "already exists")
_CORNER = 28


class Networks:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, instance: str, link: Link) -> None:
        self._instance = instance
        self._link = link
        self._making = threading.Lock()

    def ensure(self, name: str, *, bridge: str, subnet: IPv4Network) -> str:
        # While the engine makes a network, the subnet is in use and the network not to be seen.
        with self._making:
            found = self._find(name)
            if found is None:
                found = self._create(name, bridge, subnet)
        return self._subnet(name, found)

    def subnet(self, name: str) -> str | None:
        found = self._find(name)
        return None if found is None else self._subnet(name, found)

    def _subnet(self, name: str, found: Json) -> str:
        if not is_of(self._instance, found):
            raise Conflict(f"the engine's network {name!r} belongs to somebody else")
        return str(found["IPAM"]["Config"][0]["Subnet"])

    def remove(self, name: str) -> None:
        found = self._find(name)
        if found is None or not is_of(self._instance, found):
            return
        try:
            self._link.client.remove_network(found["Id"])
        except NotFound:
            return
        except APIError as error:
            if "active endpoints" in text_of(error):
                raise Conflict(f"network {name!r} is in use") from error
            raise

    def _find(self, name: str) -> Json | None:
        try:
            return whole(self._link.client.inspect_network(name))
        except NotFound:
            return None

    def _create(self, name: str, bridge: str, subnet: IPv4Network) -> Json:
        try:
            self._link.client.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels={LABEL_INSTANCE: self._instance},
                options=bridge_options(bridge, uplink_mtu()),
                ipam=IPAMConfig(pool_configs=[pool(subnet)]),
            )
        except APIError as error:
            if any(word in text_of(error) for word in _TAKEN):
                raise Conflict(f"network {name!r} on {subnet}: {said(error)}") from error
            raise
        return whole(self._link.client.inspect_network(name))


def bridge_options(bridge: str, mtu: int | None) -> dict[str, str]:
    options = {
        "com.docker.network.bridge.name": bridge,
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
    }
    if mtu is not None and mtu < 1500:
        options["com.docker.network.driver.mtu"] = str(mtu)
    return options


def pool(subnet: IPv4Network) -> IPAMPool:
    """The subnet, with the engine's own choice of addresses kept in its last corner: a container
    without a lease must not get an address that is leased out.
    """
    corner = list(subnet.subnets(new_prefix=max(subnet.prefixlen, _CORNER)))[-1]
    return IPAMPool(subnet=str(subnet), gateway=str(subnet[1]), iprange=str(corner))


def uplink_mtu(
    routes: Path = Path("/proc/self/net/route"), devices: Path = Path("/sys/class/net")
) -> int | None:
    """The MTU of the interface that the default route leaves by: a larger one inside loses big
    packets on their way out. None when there is none.
    """
    try:
        device = _default_device(routes.read_text(encoding="ascii").splitlines())
        return None if device is None else int((devices / device / "mtu").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _default_device(routes: Iterable[str]) -> str | None:
    for line in routes:
        match line.split():
            case [device, "00000000", _gateway, _flags, _, _, _, "00000000", *_]:
                return device
    return None
