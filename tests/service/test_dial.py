"""How much of what a desktop's sshd sends is listened to."""

from __future__ import annotations

import asyncio

import pytest

from broker.service.dial import PER_MINUTE, PER_SECOND, Meter


class Transport:
    """What the meter does to the connection."""

    def __init__(self):
        self.reading, self.closing = True, False
        self.written = b""

    def is_closing(self):
        return self.closing

    def write(self, data):
        self.written += data

    def get_extra_info(self, name):
        return f"the {name}"

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Behind(asyncio.Protocol):
    """Who gets what passes."""

    def __init__(self):
        self.received = b""
        self.events = []

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def eof_received(self):
        self.events.append("eof")

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost")


class Wire:
    """A meter between the two, and its time."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.timers = []
        self.behind, self.aborted = Behind(), False
        self.meter = Meter(self.behind, self.cut)
        monkeypatch.setattr(self.meter, "_loop", self)
        self.transport = Transport()
        self.meter.connection_made(self.transport)

    def cut(self):
        self.aborted = True

    def time(self):
        return self.now

    def call_later(self, wait, action):
        self.timers.append((self.now + wait, action))
        return self

    def cancel(self):
        self.timers.clear()

    def advance(self, seconds):
        self.now += seconds
        due = [action for at, action in self.timers if at <= self.now]
        self.timers = [(at, action) for at, action in self.timers if at > self.now]
        for action in due:
            action()

    def send(self, count):
        while count > 0 and self.transport.reading and not self.aborted:
            buffer = self.meter.get_buffer(-1)
            part = min(count, len(buffer))
            buffer[:part] = b"x" * part
            self.meter.buffer_updated(part)
            count -= part
        return count


@pytest.fixture
async def wire(monkeypatch):
    """A connection that was just made."""
    return Wire(monkeypatch)


async def test_what_is_modest_passes(wire):
    """All that the broker asks for in a second."""
    assert wire.send(PER_SECOND) == 0
    assert wire.transport.reading
    assert wire.behind.received == b"x" * PER_SECOND


async def test_reading_rests_until_the_second_is_over(wire):
    """What comes too fast waits in the kernel, and its sender with it."""
    wire.advance(0.25)
    left = wire.send(PER_SECOND * 3)
    assert left > PER_SECOND
    assert not wire.transport.reading
    wire.advance(0.99)
    assert not wire.transport.reading
    wire.advance(0.01)
    assert wire.transport.reading
    assert wire.send(1) == 0


async def test_no_piece_is_large(wire):
    """Between two pieces everybody else has a turn."""
    assert len(wire.meter.get_buffer(1 << 20)) <= 8 * 1024


async def test_what_goes_on_is_cut_off(wire):
    """As much as that in a minute is no answer to anything."""
    for _ in range(PER_MINUTE // PER_SECOND + 1):
        wire.send(PER_SECOND + 1)
        wire.advance(1)
    assert wire.aborted
    assert len(wire.behind.received) <= PER_MINUTE


async def test_each_minute_begins_anew(wire):
    """A desktop that talks a little for ever is no offender."""
    for _ in range(3 * PER_MINUTE // PER_SECOND):
        assert wire.send(PER_SECOND) == 0
        wire.advance(20)
    assert not wire.aborted


async def test_everything_else_passes(wire):
    """The end, pressure on writing, and the loss, after which nothing is resumed."""
    wire.meter.eof_received()
    wire.meter.pause_writing()
    wire.meter.resume_writing()
    wire.send(PER_SECOND * 2)
    wire.meter.connection_lost(None)
    assert wire.behind.events == ["made", "eof", "pause", "resume", "lost"]
    assert wire.timers == []


async def test_nothing_is_written_to_a_peer_that_is_gone(wire):
    """asyncio would tell of each packet in the log, and the peer may have asked for many."""
    outlet = wire.behind.transport
    assert outlet.get_extra_info("socket") == "the socket"
    outlet.write(b"hello")
    wire.transport.closing = True
    outlet.write(b"too late")
    assert wire.transport.written == b"hello"
