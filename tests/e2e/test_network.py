"""What a desktop reaches, tried from inside one: its host by no name at all."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from broker.system import net
from tests.e2e.desk import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

#: Tries everything at once, for as many seconds as it is told, and prints which names were greeted.
TRY = """
import json, socket, sys, threading
greeted = []
def attempt(name, host, port):
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, proto) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(address)
                if sock.recv(16).startswith(b"canary"):
                    greeted.append(name)
    except OSError:
        pass
threads = [threading.Thread(target=attempt, args=target) for target in TARGETS]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(sorted(greeted)))
"""


def nft(*words):
    return subprocess.run(
        ["nft", *words], env={**os.environ, "PATH": PATH}, capture_output=True, text=True
    )


@pytest.fixture(scope="session")
def rights():
    if shutil.which("nft", path=PATH) is None or nft("list", "tables").returncode:
        pytest.skip("nobody here may change the host's network rules")


class Canary:
    """Listens on every address of the host, and remembers who came."""

    def __init__(self):
        self.callers = []
        self._listener = socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
        )
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._greet)
        self._thread.start()

    def _greet(self):
        while True:
            connection, caller = self._listener.accept()
            with connection:
                if caller[0].endswith("127.0.0.1") and self._closing:
                    return
                self.callers.append(caller[0])
                connection.sendall(b"canary")

    _closing = False

    def close(self):
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def canary():
    made = Canary()
    yield made
    made.close()


@pytest.fixture
def published(docker, desktop_image):
    """The port of a container that is published on every address of the host."""
    serve = (
        "import socket\n"
        "listener = socket.create_server(('0.0.0.0', 8000))\n"
        "while True: listener.accept()[0].sendall(b'canary')"
    )
    command = ["--entrypoint", "/usr/bin/python3", desktop_image, "-c", serve]
    name = docker("run", "-d", "--label", "desk.test=1", "-p", "0.0.0.0::8000", *command).strip()
    try:
        yield int(docker("port", name, "8000").split()[0].rpartition(":")[2])
    finally:
        docker("rm", "-f", "-v", name)


def own_address():
    """By which this host reaches the world: bridges come and go with other tests."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # nothing is sent
        return sock.getsockname()[0]


def spellings(gateway, port, published):
    """Ways to name this host from inside a desktop, with the port to try."""
    uplink = own_address()
    number, parts = int(ipaddress.IPv4Address(gateway)), gateway.split(".")
    other = next(str(a) for a in net.own_addresses() if str(a).startswith("172."))
    names = {
        "127.0.0.1": "127.0.0.1",
        "localhost": "localhost",
        "0.0.0.0": "0.0.0.0",
        "short loopback": "127.1",
        "decimal loopback": "2130706433",
        "::1": "::1",
        "mapped loopback": "::ffff:127.0.0.1",
        "gateway": gateway,
        "decimal gateway": str(number),
        "hexadecimal gateway": hex(number),
        "octal gateway": ".".join(f"0{int(part):o}" for part in parts),
        "short gateway": f"{parts[0]}.{number & 0xFFFFFF}",
        "mapped gateway": f"::ffff:{gateway}",
        "uplink": uplink,
        "another bridge's gateway": other,
    }
    return [
        *((name, address, port) for name, address in names.items()),
        ("published, by the gateway", gateway, published),
        ("published, by the uplink", uplink, published),
    ]


#: Those by which a desktop reaches its host when nothing forbids it.
ROADS = {
    "gateway",
    "decimal gateway",
    "hexadecimal gateway",
    "octal gateway",
    "short gateway",
    "uplink",
    "another bridge's gateway",
    "published, by the gateway",
    "published, by the uplink",
}


def script(targets, *, patience):
    return f"TARGETS = {json.dumps(targets)}\nPATIENCE = {patience}\n{TRY}"


def greeted(desk, person, targets):
    tried = script(targets, patience=2)
    return set(json.loads(desk.ok(person, "python3 -", stdin=tried.encode())))


def greeted_by_engine(desk, targets):
    """Without the broker, which lets nobody in while it is held."""
    (container, *_) = desk.containers().values()
    done = container.exec_run(["python3", "-c", script(targets, patience=10)])
    assert done.exit_code == 0, done.output
    return set(json.loads(done.output))


@contextmanager
def held(desk):
    """The broker, in the middle of whatever it does."""
    (broker,) = desk.children("deskd broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker, signal.SIGCONT)


def gateway_of(desk):
    (container, *_) = desk.containers().values()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return network["Gateway"]


def test_no_spelling_of_the_hosts_addresses_reaches_the_host(rights, new_desk, canary, published):
    """Each that is a road is one while the rules are gone, and none again two seconds later."""
    desk = new_desk()
    desk.start()
    assert json.loads(desk.http("/readyz")[1])["checks"]["network"] == "ok"
    ada = desk.person("ada")
    desk.ok(ada, "true")
    targets = spellings(gateway_of(desk), canary.port, published)
    assert greeted(desk, ada, targets) == set()
    assert canary.callers == []

    there = lambda: nft("list", "table", "inet", desk.rules).returncode == 0  # noqa: E731
    with held(desk):
        desk.remove_rules()
        assert greeted_by_engine(desk, targets) >= ROADS
        assert canary.callers
        assert not there()
    until(there, within=2, what="the rules' return")
    until(lambda: desk.events("the network's rules were put back"), what="the line in the log")
    canary.callers.clear()
    assert greeted(desk, ada, targets) == set()
    assert canary.callers == []


def test_desktops_do_not_reach_each_other_and_the_host_reaches_both(rights, new_desk):
    """By their addresses and by the published ports, which is how the door and the broker come."""
    desk = new_desk()
    desk.start()
    for name in ("ada", "ben"):
        desk.ok(desk.person(name), "true")
    leases = desk.listing("leases")
    ports = [int(lease["value"]) for lease in leases if lease["kind"] == "port"]
    addresses = [lease["value"] for lease in leases if lease["kind"] == "address"]
    assert (len(ports), len(addresses)) == (2, 2)
    gateway = gateway_of(desk)
    for host, port in [(a, 2222) for a in addresses] + [("127.0.0.1", port) for port in ports]:
        with socket.create_connection((host, port), timeout=10) as connection:
            assert connection.recv(8) == b"SSH-2.0-"
    mine = desk.ok(desk.person("ada"), "hostname -I").split()
    (theirs,) = set(addresses) - set(mine)
    targets = [("ben", theirs, 2222), *(("port", gateway, port) for port in ports)]
    probe = "import socket, sys\nfor _, host, port in TARGETS:\n"
    probe += "    try: socket.create_connection((host, port), timeout=2); print(host, port)\n"
    probe += "    except OSError: pass\n"
    script = f"TARGETS = {targets!r}\n{probe}"
    assert desk.ok(desk.person("ada"), "python3 -", stdin=script.encode()) == ""


def test_an_address_is_granted_for_as_long_as_its_desktop_lives(rights, new_desk):
    """Where the rules are required, too."""
    desk = new_desk(network={"required": True})
    desk.start()
    ada = desk.person("ada")
    granted = lambda: nft("list", "set", "inet", desk.rules, "net_internet").stdout  # noqa: E731
    assert "elements" not in granted()
    address = desk.ok(ada, "hostname -I").split()[0]
    assert f"elements = {{ {address} }}" in granted()
    desk.stop()
    assert f"elements = {{ {address} }}" in granted()
    desk.start()
    desk.ok(ada, "desk stop")
    assert "elements" not in granted()


def test_with_the_policy_none_not_even_a_name_server_is_reached(rights, new_desk):
    desk = new_desk(template={"network": "none"})
    desk.start()
    script = "import socket\nsocket.create_connection(('1.1.1.1', 53), timeout=20)"
    done = desk.ssh(desk.person("ada"), "python3 -", stdin=script.encode())
    assert done.returncode == 1
    assert b"Error" in done.stderr
    counters = json.loads(nft("-j", "list", "counters", "table", "inet", desk.rules).stdout)
    packets = {
        item["counter"]["name"]: item["counter"]["packets"]
        for item in counters["nftables"]
        if "counter" in item
    }
    assert packets["to_elsewhere"] > 0


def test_without_the_rights_the_log_and_readyz_say_so_and_desktops_run(new_desk):
    """Once in the log; ready all the same."""
    if shutil.which("setpriv", path=PATH) is None:
        pytest.skip("setpriv is not installed")
    desk = new_desk()
    desk.before = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    desk.start()
    status, body = desk.http("/readyz")
    told = json.loads(body)
    assert (status, told["ready"], told["warnings"]) == (200, True, ["network"])
    assert told["checks"]["network"].startswith("Desktops can reach this host")
    desk.ok(desk.person("ada"), "true")
    assert len(desk.events("the desktops' network is not as it should be")) == 1


def test_where_the_rules_are_required_desk_does_not_start_without_the_rights(new_desk):
    """And says why, and what to do."""
    if shutil.which("setpriv", path=PATH) is None:
        pytest.skip("setpriv is not installed")
    desk = new_desk(network={"required": True})
    desk.before = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    desk.start(ready=False)
    assert desk.process.wait(60) != 0
    assert "network.required is true, and the rules are not in place" in desk.log.read_text()
