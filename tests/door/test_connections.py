"""What a desktop's sshd can take of a door: its turn, and no more of the memory than is awaited."""

from __future__ import annotations

import asyncio

from broker.door import connections
from broker.door.connections import Fair, Way


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.said = []

    def pause_reading(self):
        self.said.append("pause")

    def resume_reading(self):
        self.said.append("resume")

    def is_closing(self):
        return False


class Behind(asyncio.Protocol):
    """Takes as long as it is told for what it receives."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds
        self.got = b""

    def data_received(self, data):
        self.got += data
        self.clock.now += self.seconds


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


def fair(monkeypatch, seconds):
    clock = Clock()
    monkeypatch.setattr(connections, "time", clock)
    made, transport = Fair(Behind(clock, seconds)), Transport()
    made.connection_made(transport)
    return made, transport


def receive(line, data):
    while data:
        view = memoryview(line.get_buffer(-1))
        count = min(len(view), len(data))
        view[:count] = data[:count]
        line.buffer_updated(count)
        data = data[count:]


async def test_whoever_is_dear_waits_as_long_as_they_took(monkeypatch):
    line, transport = fair(monkeypatch, 0.02)
    since = asyncio.get_running_loop().time()
    receive(line, b"dear")
    assert transport.said == ["pause"]
    while transport.said == ["pause"]:
        await asyncio.sleep(0.001)
    assert transport.said == ["pause", "resume"]
    assert asyncio.get_running_loop().time() - since >= 0.02


async def test_whoever_is_cheap_goes_on(monkeypatch):
    """A little at a time, whatever came."""
    line, transport = fair(monkeypatch, 0.004)
    receive(line, bytes(100_000))
    assert line._behind.got == bytes(100_000)
    assert len(line.get_buffer(1 << 20)) == 32 * 1024
    assert transport.said == []


async def test_nobody_is_resumed_who_is_gone(monkeypatch):
    line, transport = fair(monkeypatch, 0.01)
    receive(line, b"dear")
    line.connection_lost(None)
    await asyncio.sleep(0.03)
    assert transport.said == ["pause"]


async def test_what_is_not_taken_is_waited_for(monkeypatch):
    """Whatever the sshd said that it would take; and no longer than it is there."""
    line, _ = fair(monkeypatch, 0.0)
    way = Way(None, line)
    await way.drained()
    for end in (line.resume_writing, lambda: line.connection_lost(None)):
        line.pause_writing()
        waiting = asyncio.get_running_loop().create_task(way.drained())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        end()
        async with asyncio.timeout(1):
            await waiting
