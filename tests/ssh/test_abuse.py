"""Clients that want the door's memory or time: each is bounded, and the others feel nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from .clients import frozen
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
from .watch import GROWTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from .watch import Watch


async def test_huge_window_that_nobody_reads(watch: Callable[..., Watch]) -> None:
    """A client that promises to read 2 GiB and reads nothing stops the desktop, not the door."""
    watched = watch()
    async with raw(watched.attacker) as client, watched.attack():
        far = await client.session("cat /dev/zero", window=HUGE)
        assert far
        await client.until(lambda: client.received > 1 << 20, "the desktop pours")
        client.transport.pause_reading()
        await asyncio.sleep(2)


async def test_twenty_slow_readers(watch: Callable[..., Watch]) -> None:
    """Each costs its one write buffer, and all of them nobody else's time."""
    watched = watch()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw(watched.attacker)) for _ in range(20)]
        async with watched.attack(growth=40 << 20):
            for client in clients:
                await client.session("cat /dev/zero", window=HUGE)
                await client.until(lambda c=client: c.received > 1 << 20, "the desktop pours")
                client.transport.pause_reading()
            await asyncio.sleep(2)
            before = [client.received for client in clients]
            for client in clients:
                client.transport.resume_reading()
            for client, had in zip(clients, before, strict=True):
                more = had + (3 << 20)
                await client.until(lambda c=client, m=more: c.received > m, "it goes on", 30)
                client.transport.pause_reading()


async def test_client_that_stands_still(watch: Callable[..., Watch]) -> None:
    """Stopped while its desktop pours, it costs a write buffer, and loses nothing."""
    watched = watch()
    process = watched.attacker.start("head -c 60000000 /dev/zero; exit 3")
    assert process.stdout is not None
    heard = len(await asyncio.to_thread(process.stdout.read, 10_000_000))
    async with watched.attack(growth=2 << 20):
        with frozen(process):
            await asyncio.sleep(6)
    heard += len(await asyncio.to_thread(process.stdout.read))
    assert (process.wait(10), heard) == (3, 60_000_000)


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
        noise, question = (
            bytes((kind,)) + b"\0" * 9,
            b"\x50" + String(b"keepalive@openssh.com") + b"\1",
        )
        words = [*[noise] * 2000, question, *[noise] * 58_000]
        floods = [client.sealed(words) for client in clients]
        async with watched.attack():
            for client, flood in zip(clients, floods, strict=True):
                client.transport.pause_reading()
                client.transport.write(flood)
            await asyncio.sleep(4)
            for client in clients:
                client.transport.resume_reading()
                await client.until(lambda c=client: 81 in c.counts, "2,000 were taken", 30)


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
