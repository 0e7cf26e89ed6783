"""A host with a bridge, two desktops on it and a world around it: each a network of its own, and
the real kernel between them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.contract.filters import Netns

if TYPE_CHECKING:
    from collections.abc import Iterable

BRIDGE = "desk0123456789a"
GATEWAY = "10.213.0.1"
ADA, BEN = "10.213.0.4", "10.213.0.5"
RESOLVER = "10.255.255.53"
HOST = {
    "gateway": GATEWAY,
    "another bridge's gateway": "172.30.0.1",
    "uplink": "192.0.2.2",
}
WORLD = {
    "private": "10.66.0.10",
    "carrier": "100.64.9.9",
    "link-local": "169.254.77.10",
    "neighbour": "192.0.2.1",
    "internet": "198.51.100.10",
    "resolver": RESOLVER,
}
PORT, DNS = 8000, 53

SERVE = """
import socket, sys, threading
def echo(connection):
    try:
        while data := connection.recv(64):
            connection.sendall(data)
    except OSError:
        pass
def greet(listener):
    while True:
        threading.Thread(target=echo, args=listener.accept()[:1]).start()
for port in map(int, sys.argv[1:]):
    try:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError:
        listener = socket.create_server(("0.0.0.0", port))
    threading.Thread(target=greet, args=(listener,)).start()
print("serving", flush=True)
"""

_TRY = """
import json, socket, sys, threading
reached = []
def attempt(name, address, port):
    try:
        socket.create_connection((address, port), timeout=float(sys.argv[1])).close()
        reached.append(name)
    except OSError:
        pass
threads = [threading.Thread(target=attempt, args=target) for target in json.load(sys.stdin)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(reached))
"""


_HOLD = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
for patience in sys.stdin:
    connection.settimeout(float(patience))
    try:
        connection.sendall(b"?")
        print(connection.recv(64) == b"?", flush=True)
    except OSError:
        print(False, flush=True)
"""


class Held:
    """A connection that stays open."""

    def __init__(self, network: Netns, address: str) -> None:
        self._process = subprocess.Popen(
            [*network.entering, sys.executable, "-c", _HOLD, address, str(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answers(self, patience: float = 10) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{patience}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() == "True\n"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Wired:
    def __init__(self) -> None:
        self.host, self.ada, self.ben, self.world = (Netns() for _ in range(4))
        self._serving: list[subprocess.Popen[str]] = []
        self._held: list[Held] = []
        for network in self._networks:
            network.run("ip", "link", "set", "lo", "up")
        self._bridge()
        self._uplink()
        for network in self._networks:
            self._serve(network)

    @property
    def _networks(self) -> tuple[Netns, ...]:
        return self.host, self.ada, self.ben, self.world

    def _bridge(self) -> None:
        ip = self.host.run
        for name, address in ((BRIDGE, f"{GATEWAY}/22"), ("br9", "172.30.0.1/24")):
            ip("ip", "link", "add", name, "type", "bridge")
            ip("ip", "addr", "add", address, "dev", name)
            ip("ip", "link", "set", name, "up")
        for number, (tenant, address) in enumerate(((self.ada, ADA), (self.ben, BEN))):
            self._link(f"vethdesk{number}", tenant, "eth0")
            ip("ip", "link", "set", f"vethdesk{number}", "master", BRIDGE)
            tenant.run("ip", "addr", "add", f"{address}/22", "dev", "eth0")
            tenant.run("ip", "link", "set", "eth0", "up")
            tenant.run("ip", "route", "add", "default", "via", GATEWAY)

    def _uplink(self) -> None:
        self._link("uplink", self.world, "eth0")
        self.host.run("ip", "addr", "add", "192.0.2.2/24", "dev", "uplink")
        self.world.run("ip", "link", "set", "eth0", "up")
        for address in WORLD.values():
            self.world.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.world.run("ip", "route", "add", "10.213.0.0/22", "via", "192.0.2.2")
        self.host.run("ip", "route", "add", "default", "via", "192.0.2.1")
        self.host.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def _link(self, name: str, to: Netns, there: str) -> None:
        self.host.run(
            "ip", "link", "add", name, "type", "veth", "peer", "name", there, "netns", str(to.pid)
        )
        self.host.run("ip", "link", "set", name, "up")

    def _serve(self, network: Netns) -> None:
        process = subprocess.Popen(
            [*network.entering, sys.executable, "-c", SERVE, str(PORT), str(DNS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._serving.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"

    def reached(
        self, network: Netns, targets: dict[str, str], *, port: int = PORT, patience: float = 10
    ) -> set[str]:
        """Which of the named addresses answer from there. A short `patience` is for what must
        answer nothing: too short, it could only fail to notice.
        """
        asked = [(name, address, port) for name, address in targets.items()]
        told = network.run(sys.executable, "-c", _TRY, str(patience), text=json.dumps(asked))
        return set(json.loads(told))

    def hold(self, network: Netns, address: str) -> Held:
        held = Held(network, address)
        self._held.append(held)
        return held

    def show_bridge(self, how: str) -> None:
        """Whether the kernel shows IP's rules what crosses a bridge; fails where it cannot."""
        name = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        self.host.run("sh", "-c", f"[ -e {name} ] || [ {how} = 0 ] && echo {how} >{name}")

    def counted(self, tables: Iterable[str] = ("desk_0123456789abcdef",)) -> dict[str, int]:
        """Packets by counter of the rules."""
        found: dict[str, int] = {}
        for table in tables:
            told = self.host.run("nft", "-j", "list", "counters", "table", "inet", table)
            for item in json.loads(told)["nftables"]:
                if "counter" in item:
                    found[item["counter"]["name"]] = item["counter"]["packets"]
        return found

    def close(self) -> None:
        for held in self._held:
            held.close()
        for process in self._serving:
            process.kill()
            process.communicate()
        for network in self._networks:
            network.close()
