"""`python -m tests.system.matrix`: what real containers reach under each policy, and after somebody
flushed the host's rules, as JSON. The host is a cell with an engine, tenants and a world of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import docker

from broker.core.firewall import Grant, Rules
from broker.core.model import InstanceId
from broker.core.netpolicy import parse
from broker.core.spec import bridge_name, network_name
from broker.engine.docker import DockerEngine
from broker.system import net, netlink
from broker.system.bait import bait
from broker.system.clock import SystemClock
from broker.system.guard import Guard
from broker.system.nft import Nftables
from tests.chaos import cell
from tests.chaos.__main__ import place
from tests.chaos.engine import PrivateEngine
from tests.contract.engines import Specs, desktop_of, test_image
from tests.contract.filters import PATH, Netns
from tests.system.wired import DNS, PORT, RESOLVER, SERVE, WORLD

ME, OTHER = InstanceId("0123456789abcdef"), InstanceId("fedcba9876543210")
UPLINK = "192.0.2.2"
POLICIES = {
    "none": "none",
    "internet": "internet",
    "full": "full",
    "list": [f"{WORLD['internet']}", "10.66.0.0/24 tcp 8000", "names"],
}

#: Seconds for what must not answer.
_SHORT = 1.0

#: What tries to connect from inside; prints the names of what let it.
_TRY = """
for target in $0; do
  IFS=, read -r name host port <<<"$target"
  (timeout {patience} bash -c ": </dev/tcp/$host/$port" 2>/dev/null && echo "$name") &
done
wait
"""


class Host:
    """The cell as a host with an uplink."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._world = Netns()
        stack.callback(self._world.close)
        pid = str(self._world.pid)
        self.run(
            "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", pid
        )
        self.run("ip", "addr", "add", f"{UPLINK}/24", "dev", "uplink")
        self.run("ip", "link", "set", "uplink", "up")
        for name in ("lo", "eth0"):
            self._world.run("ip", "link", "set", name, "up")
        for address in WORLD.values():
            self._world.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        # A way back without anybody's help: who flushes takes the engine's address translation too.
        self._world.run("ip", "route", "add", "10.213.0.0/16", "via", UPLINK)
        self.run("ip", "route", "add", "default", "via", WORLD["neighbour"])
        self.serve(self._world.entering)
        self.serve([])

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env={**os.environ, "PATH": PATH}, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def serve(self, entering: list[str]) -> None:
        """Take connections on every address of a network."""
        process = subprocess.Popen(
            [*entering, sys.executable, "-c", SERVE, str(PORT), str(DNS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"


class Tenants:
    """Two containers on a bridge and one on another installation's, made as desktops are, and one of
    a stranger's whose port is published for all the world.
    """

    def __init__(self, address: str, scratch: Path) -> None:
        self._address = address
        self._raw = docker.APIClient(address, version="1.41", timeout=60)
        self._image = test_image(address)
        self._engines = {
            instance: DockerEngine(instance, base_url=address) for instance in (ME, OTHER)
        }
        self._specs = {
            ME: Specs(ME, self._image, scratch),
            OTHER: Specs(OTHER, self._image, scratch, (213, 4), count=40),
        }
        self.published = 0

    async def begin(self, host: Host) -> None:
        self.ada, ada = await self._begin(ME)
        self.ben, ben = await self._begin(ME)
        self.eve, eve = await self._begin(OTHER)
        for pid in (ada, ben, eve):
            host.serve(["nsenter", "--target", str(pid), "--net"])
        made = self._raw.create_container_from_config(
            {
                "Image": self._image,
                "Cmd": ["sleep", "3600"],
                "ExposedPorts": {"8000/tcp": {}},
                "HostConfig": {
                    "NetworkMode": network_name(OTHER),
                    "PortBindings": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18000"}]},
                },
            },
            "stranger",
        )
        self._raw.start(made["Id"])

    async def _begin(self, instance: InstanceId):
        engine, spec = self._engines[instance], self._specs[instance].make(pids=256)
        subnet = self._specs[instance].subnet
        await engine.ensure_network(spec.network, bridge=bridge_name(instance), subnet=subnet)
        await engine.ensure_home(
            spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid
        )
        await engine.create(spec)
        await engine.start(spec.name)
        return spec, self._raw.inspect_container(spec.name)["State"]["Pid"]

    def targets(self) -> list[tuple[str, str, int]]:
        gateways = {"gateway": "10.213.0.1", "other gateway": "10.213.4.1", "uplink": UPLINK}
        return [
            ("same bridge", self.ben.address, PORT),
            ("other installation", self.eve.address, PORT),
            *((f"host by {how}", address, PORT) for how, address in gateways.items()),
            *((f"lease by {how}", address, self.ben.port) for how, address in gateways.items()),
            *((f"published by {how}", address, 18000) for how, address in gateways.items()),
            *((name, address, PORT) for name, address in WORLD.items()),
            ("names", RESOLVER, DNS),
        ]

    async def reached(self, patience: float = _SHORT) -> list[str]:
        """By ada's, from inside."""
        return await asyncio.to_thread(self._reached, patience)

    def _reached(self, patience: float) -> list[str]:
        asked = " ".join(f"{n.replace(' ', '_')},{h},{p}" for n, h, p in self.targets())
        script = _TRY.replace("{patience}", str(patience))
        made = self._raw.exec_create(self.ada.name, ["bash", "-c", script, asked])
        told = self._raw.exec_start(made["Id"]).decode().split()
        return sorted(name.replace("_", " ") for name in told)

    async def canary(self) -> bool:
        """Whether the broker's own way of trying finds the host open."""
        async with bait("10.213.0.1") as port:
            targets = [("10.213.0.1", port), (self.ben.address, PORT)]
            found = await self._engines[ME].attempt(
                targets, network=network_name(ME), image=self._image
            )
            return list(found) == targets[:1]

    async def close(self) -> None:
        for engine in self._engines.values():
            await engine.close()
        self._raw.close()


def rules(tenants: Tenants, policy) -> Rules:
    grants = frozenset() if policy.group is None else {Grant(address(tenants), policy.group)}
    return Rules(
        instance=ME,
        bridges=(bridge_name(ME),),
        subnets=(IPv4Network("10.213.0.0/22"),),
        pool=IPv4Network("10.213.0.0/16"),
        neighbours=tuple(net.neighbours(bridge_name(ME))),
        resolvers=(IPv4Address(RESOLVER),),
        policies=frozenset({policy}),
        grants=frozenset(grants),
    )


def address(tenants: Tenants) -> IPv4Address:
    return IPv4Address(tenants.ada.address)


async def measure(tenants: Tenants, host: Host) -> dict[str, object]:
    found: dict[str, object] = {"no rules": await tenants.reached(5.0)}
    found["canary without rules"] = await tenants.canary()
    guard = Guard(Nftables(path=PATH), netlink.Changes, SystemClock())
    told: list[str] = []

    async def hear(restored) -> None:
        if restored is not None:
            told.append(restored.reason)

    async with asyncio.TaskGroup() as group:
        for name, words in POLICIES.items():
            assert await guard.put(rules(tenants, parse(words))) is None
            found[name] = await tenants.reached()
        found["canary"] = await tenants.canary()
        watching = group.create_task(guard.guard(hear))
        await guard.put(rules(tenants, parse("internet")))
        await asyncio.sleep(0.7)
        for name, *flush in (("iptables", "iptables", "-F"), ("nft", "nft", "flush", "ruleset")):
            told.clear()
            host.run(*flush)
            begun = time.monotonic()
            async with asyncio.timeout(10):
                while await guard.standing(ME) is None:
                    await asyncio.sleep(0.01)
            found[f"back after {name}"] = time.monotonic() - begun
            found[f"after {name}"] = await tenants.reached()
            found[f"told after {name}"] = list(told)
            await asyncio.sleep(0.7)
        watching.cancel()
    return found


async def inside(scratch: Path) -> None:
    """Everything that happens in the cell."""
    engine = PrivateEngine(place().parent / "matrix", live_restore=False)
    with ExitStack() as stack:
        host = Host(stack)
        engine.begin()
        stack.callback(engine.end, kill=False)
        engine.wait()
        engine.clear()
        tenants = Tenants(engine.address, scratch)
        try:
            await tenants.begin(host)
            print(json.dumps(await measure(tenants, host)), flush=True)
        finally:
            await tenants.close()
            with closing(engine.client()) as client:
                for container in client.containers.list(all=True):
                    container.remove(force=True, v=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(inside(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory(prefix="desk-matrix-") as scratch:
            command = [sys.executable, "-m", "tests.system.matrix", scratch]
            sys.exit(cell.run(command, place().parent / "matrix"))
