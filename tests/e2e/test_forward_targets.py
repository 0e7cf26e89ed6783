"""However a client spells the broker's own addresses, its forwards stay inside its desktop."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading

import pytest

from tests.e2e.desk import HOST, until
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

INSIDE, OUTSIDE = b"inside\n", b"outside\n"

#: Seconds: what is open answers within milliseconds.
PATIENCE = 5

#: Those that name the desktop itself when they are meant in there, which proves that they got there.
ITSELF = (
    "127.0.0.1",
    "localhost",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",  # noqa: S104 - a target, not a listener
    "127.255.255.254",
)

#: Those that the desktop may not have at all.
MAYBE = ("::1", "::ffff:127.0.0.1", "::", "ip6-localhost")

_SERVICE = (
    "python3 -u -c 'import socket as s;"
    'l=s.create_server(("",{port}));print("up",flush=True)\n'
    'while 1:\n c,_=l.accept();c.sendall(b"inside\\n");c.close()\''
)


class Canary:
    """Listens on every address of the host, and counts who gets through."""

    def __init__(self) -> None:
        self.port = free_port()
        self.accepted: list[str] = []
        self._listeners = [socket.create_server(("0.0.0.0", self.port))]  # noqa: S104 - as said
        with contextlib.suppress(OSError):
            self._listeners.append(socket.create_server(("::", self.port), family=socket.AF_INET6))
        self._threads = [
            threading.Thread(target=self._serve, args=(listener,), daemon=True)
            for listener in self._listeners
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, address = listener.accept()
                with peer:
                    self.accepted.append(address[0])
                    peer.sendall(OUTSIDE)

    def close(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture(scope="module")
def canary():
    made = Canary()
    yield made
    made.close()


@pytest.fixture(scope="module")
def ada(desk, canary):
    """Somebody whose desktop has a service at the very port of the canary."""
    person = desk.person("ada")
    service = subprocess.Popen(
        [*desk.ssh_command(person), _SERVICE.replace("{port}", str(canary.port))],
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert service.stdout.readline() == b"up\n"
    yield person
    service.terminate()
    service.wait(10)
    service.stdin.close()
    service.stdout.close()


def own_addresses() -> list[str]:
    """The host's, by which its neighbours and its containers could reach it, and its name."""
    told = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True)
    return [*told.stdout.split(), socket.gethostname()]


def targets() -> list[str]:
    return list(dict.fromkeys([*ITSELF, *MAYBE, *own_addresses()]))


def heard(far: socket.socket) -> bytes:
    """What it says; nothing when it falls silent, as at an address that rules keep closed."""
    far.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionError, TimeoutError):
        return far.recv(100)
    return b""


def by_socks(port: int, target: str, target_port: int) -> bytes:
    """By its name, as it is written: nothing is resolved on this side."""
    with socket.create_connection((HOST, port), timeout=20) as far:
        name = target.encode()
        far.sendall(b"\5\1\0")
        assert far.recv(2) == b"\5\0"
        far.sendall(b"\5\1\0\3" + bytes((len(name),)) + name + target_port.to_bytes(2, "big"))
        far.settimeout(PATIENCE)
        with contextlib.suppress(TimeoutError):
            return heard(far) if far.recv(10)[1:2] == b"\0" else b""
        return b""


def judge(found: dict[str, bytes], canary: Canary) -> None:
    """Nobody reached the host, and everybody reached what is theirs."""
    assert canary.accepted == []
    assert OUTSIDE not in found.values()
    assert len(found) >= 12
    missed = [target for target in ITSELF if found[target] != INSIDE]
    assert not missed, f"the attack did not take place for {missed}"


def test_the_canary_sings(canary):
    """Who is on the host does reach it."""
    with socket.create_connection((HOST, canary.port), timeout=5) as far:
        assert heard(far) == OUTSIDE
    canary.accepted.clear()


def test_local_and_dynamic_forwards_stay_inside(desk, ada, canary):
    """-L and -D, each spelling as the client wrote it."""
    socks = free_port()
    local = {target: free_port() for target in targets()}
    options = ["-N", "-D", str(socks)]
    for target, port in local.items():
        options += ["-L", f"{port}:[{target}]:{canary.port}"]
    process = subprocess.Popen(
        desk.ssh_command(ada, *options), env=desk.env, stdin=subprocess.DEVNULL
    )

    def answer(port: int) -> bytes:
        with socket.create_connection((HOST, port), timeout=20) as far:
            return heard(far)

    def listens(port: int) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=5).close()
            return True
        return False

    try:
        until(lambda: listens(socks), what="the forwards")
        judge({target: answer(port) for target, port in local.items()}, canary)
        judge({target: by_socks(socks, target, canary.port) for target in local}, canary)
    finally:
        # OpenSSH can sleep over a signal that comes while it closes a channel.
        process.kill()
        process.wait(10)


def test_standard_input_and_output_stay_inside(desk, ada, canary):
    """-W, each spelling as the client wrote it."""
    found = {}
    for target in targets():
        process = subprocess.Popen(
            desk.ssh_command(ada, "-W", f"[{target}]:{canary.port}"),
            env=desk.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            found[target], _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            found[target], _ = process.communicate()
    judge(found, canary)
