"""What passes the door, packet by packet: names, order, and what is no SSH at all."""

from __future__ import annotations

import asyncio

import pytest

from tests.ports import free_port

from .clients import Person
from .raw import (
    CLOSE,
    DENIED,
    FAILURE,
    GRANTED,
    OPEN_FAILED,
    OPENED,
    SUCCESS,
    Byte,
    Raw,
    String,
    UInt32,
    raw,
)

_PTY = (String("xterm"), UInt32(80), UInt32(24), UInt32(0), UInt32(0), String(b"\0"))


@pytest.mark.parametrize(
    "kind",
    [b"tun@openssh.com", b"x11", b"forwarded-tcpip", b"auth-agent@openssh.com", b"", b"session\0"],
)
async def test_channel_that_is_not_offered(desk: Person, kind: bytes) -> None:
    """Channels beside sessions and forwards are refused at the door."""
    async with raw(desk) as client:
        client.open(5, kind)
        await client.until(lambda: OPEN_FAILED in client.counts, "the refusal")
        assert client.last[OPEN_FAILED][1:5] == UInt32(5)
        assert OPENED not in client.counts
        assert (await client.session()) >= 1 << 30
    assert desk.calls() == []


def _ask(client: Raw, far: int) -> list[int]:
    """Requests of every sort in one go; the replies that they deserve."""
    client.request(far, b"pty-req", *_PTY)
    client.request(far, b"what@example.org", String("x"))
    client.request(far, b"env", String("LC_ONE"), String("1"))
    client.request(far, b"env", String("LD_PRELOAD"), String("x"))
    client.request(far, b"tun-req", reply=False)
    client.request(far, b"exec", String("echo $LC_ONE$LD_PRELOAD; exec sleep 60"))
    return [SUCCESS, FAILURE, SUCCESS, FAILURE, SUCCESS]


async def test_replies_of_a_channel_keep_their_order(desk: Person) -> None:
    """A client that does not wait gets each answer at its place, refusals too."""
    async with raw(desk) as client:
        far = await client.session()
        expected = _ask(client, far)
        await client.until(
            lambda: client.order[1:] == expected, f"{expected} and not {client.order}"
        )
        client.request(far, b"what@example.org")
        client.request(
            far, b"window-change", UInt32(1), UInt32(1), UInt32(0), UInt32(0), reply=False
        )
        client.request(far, b"env", String("LC_TWO"), String("2"))
        await client.until(lambda: len(client.order) >= 8, "the later replies")
        assert client.order[6] == FAILURE


async def test_client_that_waits_gets_replies(desk: Person) -> None:
    """A client that asks one by one is answered each time, before anything has started."""
    async with raw(desk) as client:
        far = await client.session()
        client.request(far, b"pty-req", *_PTY)
        await client.until(lambda: client.order == [OPENED, SUCCESS], "the first reply")
        client.request(far, b"env", String("LC_ONE"), String("1"))
        await client.until(lambda: client.order == [OPENED, SUCCESS, SUCCESS], "the second")
        assert desk.calls() == []
        client.request(far, b"exec", String("exit 3"))
        await client.until(lambda: CLOSE in client.counts, "the end")
        assert client.counts[SUCCESS] == 3, "no reply came twice"


async def test_global_replies_keep_their_order(desk: Person) -> None:
    """The door's own answers and the desktop's come in the order of the questions."""
    async with raw(desk) as client:

        def forward(port: int) -> None:
            client.send(80, String("tcpip-forward"), b"\1", String("127.0.0.1"), UInt32(port))

        def ask(name: str) -> None:
            client.send(80, String(name), b"\1")

        forward(free_port())
        ask("what@example.org")
        forward(1)
        ask("keepalive@openssh.com")
        ask("what@example.org")
        forward(free_port())
        expected = [GRANTED, DENIED, DENIED, GRANTED, DENIED, GRANTED]
        await client.until(lambda: len(client.order) == 6, "six answers")
        if client.order[3] == DENIED:
            expected[3] = DENIED
        assert client.order == expected


async def test_no_more_sessions_is_kept(desk: Person) -> None:
    """A client that gave up further sessions gets none."""
    async with raw(desk) as client:
        client.send(80, String("no-more-sessions@openssh.com"), b"\0")
        client.open(1)
        await client.until(
            lambda: OPEN_FAILED in client.counts or OPENED in client.counts, "an answer"
        )
        assert OPENED not in client.counts


@pytest.mark.parametrize("kind", [5, 6, 30, 50, 52, 60, 79, 83, 101, 127, 128, 192, 255])
async def test_packet_that_belongs_nowhere(desk: Person, kind: int) -> None:
    """Message numbers without a meaning here are answered or end the connection: they go no
    further, and nobody else notices.
    """
    async with raw(desk) as client:
        await client.session("echo up; exec sleep 60")
        await client.until(lambda: client.received == 3, "the command runs")
        client.connection._kex_complete = True
        client.send(kind, String("x" * 50))
        if not await client.cut(0.3):
            client.send(80, String("keepalive@openssh.com"), b"\1")
            await client.until(lambda: client.order[-1] in {GRANTED, DENIED}, "the line lives")
    assert (await asyncio.to_thread(desk.ssh, "echo in")).out == b"in\n"


@pytest.mark.parametrize("kind", [91, 92, 93, 94, 95, 96, 97, 98, 99, 100])
async def test_packet_for_a_channel_that_is_not(desk: Person, kind: int) -> None:
    """A packet for a channel that nobody opened ends the connection."""
    for number in (7, (1 << 30) + 7, 0xFFFFFFFF):
        async with raw(desk) as client:
            await client.session("echo up; exec sleep 60")
            await client.until(lambda: client.received == 3, "the command runs")  # noqa: B023
            client.send(kind, UInt32(number), UInt32(1), UInt32(1), UInt32(32768), Byte(0))
            assert await client.cut(3), number
    assert (await asyncio.to_thread(desk.ssh, "echo in")).out == b"in\n"


@pytest.mark.parametrize("kind", [90, 93, 94, 95, 98])
async def test_packet_that_is_too_short(desk: Person, kind: int) -> None:
    """A packet that ends in its middle ends the connection."""
    async with raw(desk) as client:
        far = await client.session()
        client.send(kind, UInt32(far), b"\0")
        assert await client.cut(3)
    assert (await asyncio.to_thread(desk.ssh, "echo in")).out == b"in\n"


async def test_data_before_a_command(desk: Person) -> None:
    """A session has no window until it is decided: data over it ends the connection."""
    async with raw(desk) as client:
        far = await client.session()
        client.send(94, UInt32(far), String("early"))
        assert await client.cut(3)
    assert desk.calls() == []


async def test_number_in_use(desk: Person) -> None:
    """A client cannot open two channels of one number."""
    async with raw(desk) as client:
        await client.session(number=3)
        client.open(3)
        assert await client.cut(3)
