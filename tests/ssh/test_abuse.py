"""Clients that want the door's memory or time: each is bounded, and the others feel nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from .clients import HOST, DoorProcess, Person, until
from .raw import (
    CLOSE,
    DATA,
    HUGE,
    OPEN_FAILED,
    OPENED,
    String,
    UInt32,
    raw,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GROWTH = 8 << 20
SLOWEST = 1.0


_OTHERS = """\
login() {
    begin=${EPOCHREALTIME/./}
    "${@:2}" < /dev/null
    echo $1 $? $((${EPOCHREALTIME/./} - begin))
}
for _ in $(seq 1000); do
    login door ssh -F "$1" desk true
    login beside ssh -F "$2" inner true
    if [ -e "$0" ] && [ $((count += 1)) -ge 3 ]; then exit; fi
done
"""
"""Logins one after the other, through the door and past it, until the file is there, and three
more; each with its status and its microseconds.
"""


class Watch:
    """A door under attack: its memory, and somebody else's logins."""

    def __init__(self, door: DoorProcess, attacker: Person, canary: Person) -> None:
        self.door = door
        self.attacker = attacker
        self.canary = canary
        self.peak = 0

    def warm(self) -> None:
        """Let every part of the door have run, so that what grows later grew by the attack."""
        data = bytes(4 << 20)
        for person in (self.canary, self.attacker):
            for _ in range(3):
                assert person.ssh("cat", stdin=data).out == data
        assert self.canary.ssh("desk big 1000000").status == 3

    @contextlib.asynccontextmanager
    async def attack(self, growth: int = GROWTH) -> AsyncIterator[None]:
        """Watch while the block runs: others' logins one after the other, and the memory."""
        before = self.peak = self.door.memory()
        over = self.canary.folder / "over"
        others = subprocess.Popen(
            ["bash", "-c", _OTHERS, str(over), str(self.canary.config), self.canary.beside()[2]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.canary.env,
        )
        watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            async with asyncio.timeout(60):
                yield
        finally:
            self.peak = max(self.peak, self.door.memory())
            watching.cancel()
            over.touch()
            told, _ = await asyncio.to_thread(others.communicate, timeout=60)
        self._judge(told)
        grown = self.peak - before
        assert grown <= growth, f"the door grew by {grown / 2**20:.1f} MiB"

    def _judge(self, told: str) -> None:
        """Nobody else waited for a second, unless logins past the door are slow as well."""
        slowest = {"door": 0.0, "beside": 0.0}
        for line in told.splitlines():
            way, status, took = line.split()
            assert status == "0", f"somebody else could not log in: {told}"
            slowest[way] = max(slowest[way], int(took) / 1e6)
        assert slowest["door"] <= max(SLOWEST, 2 * slowest["beside"]), f"logins took {slowest}"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.peak = max(self.peak, self.door.memory())


@pytest.fixture
def watch(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> Callable[..., Watch]:
    def make(**limits: float) -> Watch:
        door = own_door(**limits)
        watch = Watch(door, new_person(door), new_person(door))
        watch.warm()
        return watch

    return make


async def test_huge_window_that_nobody_reads(watch: Callable[..., Watch]) -> None:
    """A client that promises to read 2 GiB and reads nothing stops the desktop, not the door."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session("cat /dev/zero", window=HUGE)
        assert far
        await client.until(lambda: client.received > 1 << 20, "the desktop pours")
        client.transport.pause_reading()
        await asyncio.sleep(2)


async def test_big_answer_that_nobody_reads(watch: Callable[..., Watch]) -> None:
    """The door's own answers wait in no more than the gateway's text and one write buffer."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack(growth=GROWTH + (3 * 3_000_000)):
        client.transport.pause_reading()
        client.open(0, window=HUGE)
        client.request(1 << 30, b"exec", String("desk big 3000000"))
        assert await client.drained()
        await asyncio.sleep(1)
        client.transport.resume_reading()
        await client.until(lambda: client.received == 3_000_000, "the answer arrives")


async def test_flood_into_a_command_that_does_not_read(watch: Callable[..., Watch]) -> None:
    """120 MB over the window into a command that reads nothing are not kept."""
    watched = watch()
    sent, block = 0, String(bytes(32000))
    async with raw(watched.attacker, rekey_bytes=1 << 40) as client, watched.attack():
        far = await client.session("echo up; exec sleep 60")
        await client.until(lambda: client.received == 3, "the command runs")
        while sent < 120_000_000 and not client.closed.is_set():
            for _ in range(20):
                client.send(DATA, UInt32(far), block)
            sent += 640_000
            assert await client.drained(20), f"stuck after {sent}"
        assert sent >= 120_000_000 or client.closed.is_set()
        assert sent > 2_000_000


async def test_honest_flood_into_a_server_that_does_not_read(watch: Callable[..., Watch]) -> None:
    """A client that keeps to its window waits; the door holds one window at most."""
    watched = watch()
    process = watched.attacker.start("exec sleep 60")
    assert process.stdin is not None
    loop = asyncio.get_running_loop()
    stdin = process.stdin.fileno()
    os.set_blocking(stdin, False)
    async with watched.attack():
        wrote, until_time = 0, time.monotonic() + 2
        while time.monotonic() < until_time:
            with contextlib.suppress(BlockingIOError):
                wrote += os.write(stdin, bytes(1 << 20))
            await asyncio.sleep(0.001)
        assert wrote > 1 << 20
        assert loop.is_running()


@pytest.mark.parametrize("size", [0, 1])
async def test_tiny_packet_size(watch: Callable[..., Watch], size: int) -> None:
    """A client that takes no packet, or one byte a packet, costs no more than others."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        for number, command in enumerate(("desk big 1000000", "head -c 20000 /dev/zero")):
            client.open(number, window=HUGE, packet=size)
            if size:
                client.request((1 << 30) + number, b"exec", String(command))
        if size:
            await client.until(lambda: client.counts.get(CLOSE, 0) == 2, "both end")
            assert client.received >= 20_000
        else:
            await asyncio.sleep(1)
            assert OPENED not in client.counts


async def test_twenty_thousand_sessions(watch: Callable[..., Watch]) -> None:
    """Sessions beyond the bound are refused, and a client that goes on is cut."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        for number in range(20_000):
            client.open(number)
            if number % 200 == 0 and not await client.drained():
                break
        assert await client.cut()
        assert client.counts[OPENED] <= 64
        assert number >= 1000, "the attack did not take place"
        assert client.counts[OPEN_FAILED] > 0


async def test_twenty_thousand_unknown_channels(watch: Callable[..., Watch]) -> None:
    """Opens of a kind that is not offered are refused, and a client that goes on is cut."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        for number in range(20_000):
            client.open(number, b"nothing@example.org")
            if number % 200 == 0 and not await client.drained():
                break
        assert await client.cut()
        assert number >= 1000, "the attack did not take place"
        assert OPENED not in client.counts
        # How many answers arrived says little: the cut throws away what was not read.
        assert client.counts[OPEN_FAILED] > 0


async def test_sessions_opened_and_closed_without_end(watch: Callable[..., Watch]) -> None:
    """Undecided sessions that come and go leave nothing behind."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        for number in range(3000):
            client.open(number)
            client.send(97, UInt32((1 << 30) + number))
            if number % 50 == 0:
                await client.drained()
                await asyncio.sleep(0)
        await client.until(lambda: client.counts.get(97, 0) == 3000, "all are closed", 20)
    assert watched.attacker.calls("route")[3:] == [], "the warm-up's alone"


async def test_requests_whose_replies_nobody_reads(watch: Callable[..., Watch]) -> None:
    """100,000 requests on a running command, their replies never read."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session("echo up; exec sleep 60")
        await client.until(lambda: client.received == 3, "the command runs")
        client.transport.pause_reading()
        sent = 0
        while sent < 100_000 and not client.closed.is_set():
            for _ in range(200):
                client.request(far, b"what@example.org")
            sent += 200
            if not await client.drained(3):
                break
            await asyncio.sleep(0)
        assert sent > 5000


async def test_global_requests_whose_replies_nobody_reads(watch: Callable[..., Watch]) -> None:
    """100,000 global requests, their replies never read."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        client.transport.pause_reading()
        sent = 0
        while sent < 100_000 and not client.closed.is_set():
            for _ in range(200):
                client.send(80, String(b"keepalive@openssh.com"), b"\1")
            sent += 200
            if not await client.drained(3):
                break
            await asyncio.sleep(0)
        assert sent > 5000


@pytest.mark.parametrize("attackers", [1, 4])
@pytest.mark.parametrize("kind", [2, 4, 8])
async def test_transport_messages_without_end(
    watch: Callable[..., Watch], kind: int, attackers: int
) -> None:
    """Small messages that are of no channel, known and unknown, cost nobody else the door."""
    watched = watch()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw(watched.attacker)) for _ in range(attackers)]
        floods = [client.sealed(bytes((kind,)) + b"\0" * 9, 60_000) for client in clients]
        async with watched.attack():
            for client, flood in zip(clients, floods, strict=True):
                client.transport.pause_reading()
                client.transport.write(flood)
            await asyncio.sleep(4)


async def test_environment_without_end(watch: Callable[..., Watch]) -> None:
    """3,000 environment requests of 30 kB before a command is named."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session()
        sent = 0
        for number in range(3000):
            client.request(
                far, b"env", String(f"LC_{number}"), String(bytes(30_000)), reply=number % 2 == 0
            )
            sent += 1
            if number % 20 == 0 and not await client.drained(5):
                break
        assert sent > 500
        assert await client.drained(5)
        await asyncio.sleep(0.2)


async def test_requests_without_end_before_the_command(watch: Callable[..., Watch]) -> None:
    """Requests that are queued for a desktop are counted: a client that goes on is cut."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session()
        for number in range(20_000):
            client.request(
                far, b"window-change", UInt32(80), UInt32(24), UInt32(0), UInt32(0), reply=False
            )
            if number % 200 == 0 and not await client.drained(5):
                break
        assert await client.cut()


async def test_rekey_storm(watch: Callable[..., Watch]) -> None:
    """A client that does nothing but exchange keys is cut."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        rekeys, deadline = 0, time.monotonic() + 8
        while not client.closed.is_set() and time.monotonic() < deadline:
            client.rekey()
            rekeys += 1
            while not (client.connection._kex_complete or client.closed.is_set()):
                await asyncio.sleep(0.001)
        assert client.closed.is_set(), f"{rekeys} key exchanges, and no end"
        assert 15 <= rekeys <= 25


async def test_key_exchange_that_never_ends(watch: Callable[..., Watch]) -> None:
    """A client that begins a key exchange and falls silent is cut after the stall time."""
    watched = watch(rekey_stall=1.0)
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session("cat /dev/zero", window=HUGE)
        assert far
        await client.until(lambda: client.received > 1 << 20, "the desktop pours")
        client.connection._process_kexinit = None
        client.connection._packet_handlers = {
            kind: handler
            for kind, handler in client.connection._packet_handlers.items()
            if kind != 20
        }
        began = time.monotonic()
        client.rekey()
        assert await client.cut(6)
        assert time.monotonic() - began > 0.5


async def test_requests_during_a_key_exchange(watch: Callable[..., Watch]) -> None:
    """After KEXINIT only the key exchange may come: anything else ends the connection."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        client.rekey()
        client.connection._kex_complete = True
        for _ in range(100):
            client.send(80, String(b"keepalive@openssh.com"), b"\1")
        assert await client.cut(3)


def _greeted(door: DoorProcess, source: str = HOST) -> socket.socket:
    far = socket.create_connection((HOST, door.port), 5, source_address=(source, 0))
    far.sendall(b"SSH-2.0-test\r\n")
    return far


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x00100000, 40_000])
async def test_oversize_packet_before_authentication(
    watch: Callable[..., Watch], length: int
) -> None:
    """A packet that claims to be large is not waited for."""
    watched = watch()
    async with watched.attack():
        with _greeted(watched.door) as far:
            far.settimeout(5)
            far.sendall(length.to_bytes(4, "big") + bytes(1000))
            far.setblocking(False)
            deadline = time.monotonic() + 5
            while True:
                with contextlib.suppress(BlockingIOError):
                    try:
                        if not far.recv(65536):
                            break
                    except ConnectionError:
                        break
                assert time.monotonic() < deadline, "the door waits for the packet"
                await asyncio.sleep(0.01)


async def test_garbage_before_authentication(watch: Callable[..., Watch]) -> None:
    """What is no SSH is closed at once: HTTP, an endless line, noise."""
    watched = watch()
    async with watched.attack():
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000, bytes(range(256)) * 300):
            far = socket.create_connection((HOST, watched.door.port), 5)
            with far:
                far.setblocking(False)
                with contextlib.suppress(OSError):
                    far.send(words)
                deadline = time.monotonic() + 5
                while True:
                    with contextlib.suppress(BlockingIOError):
                        try:
                            if not far.recv(65536):
                                break
                        except ConnectionError:
                            break
                    assert time.monotonic() < deadline, f"still open after {words[:20]!r}"
                    await asyncio.sleep(0.01)


async def test_idle_connections_of_one_address(watch: Callable[..., Watch]) -> None:
    """300 connections that say nothing leave every other address its places."""
    watched = watch(unauthenticated=100, unauthenticated_per_address=10)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection((HOST, watched.door.port), 5))
        before = watched.door.memory()
        refused = watched.canary.ssh("true")
        assert refused.status == 255, "the attack did not take place"
        for _ in range(3):
            done = watched.canary.ssh("-b", "127.0.0.2", "true")
            assert done.status == 0, done.err
        assert watched.door.memory() - before <= GROWTH
    until(lambda: watched.canary.ssh("true").status == 0, 10, "the address has its places again")


async def test_idle_connections_of_many_addresses(watch: Callable[..., Watch]) -> None:
    """300 idle connections from everywhere are gone after the login time."""
    watched = watch(login_timeout=4.0, unauthenticated=100)
    with contextlib.ExitStack() as stack:
        for number in range(300):
            source = f"127.0.{1 + number // 100}.{1 + number % 100}"
            far = socket.create_connection((HOST, watched.door.port), 5, source_address=(source, 0))
            stack.enter_context(far)
        assert watched.canary.ssh("true").status == 255, "the attack did not take place"
        until(lambda: watched.canary.ssh("true").status == 0, 10, "somebody can log in")


def test_slow_handshake_is_cut(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A byte now and then does not lengthen the login time."""
    door = own_door(login_timeout=1.0)
    new_person(door)
    with _greeted(door) as far:
        far.settimeout(0.1)
        began = time.monotonic()

        def dripped() -> bool:
            try:
                far.sendall(b"\0")
                return not far.recv(65536)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(dripped, 5, "the door cuts")
        assert time.monotonic() - began < 3
