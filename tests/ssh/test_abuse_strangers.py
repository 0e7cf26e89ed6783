"""Strangers that want the door's memory, time or places: each is bounded, and others' logins take no
longer meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from .clients import HOST, until
from .raw import String, UInt32, stranger
from .strangers import GREETING, closes, crowd, greeted, logged, open_ones

if TYPE_CHECKING:
    from collections.abc import Callable

    from .watch import Watch


BEFORE_AUTHENTICATION = True


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x00100000, 40_000])
async def test_oversize_packet_before_authentication(
    watch: Callable[..., Watch], length: int
) -> None:
    """A packet that claims to be large is not waited for."""
    watched = watch()
    async with watched.attack():
        with greeted(watched.door) as far:
            far.settimeout(5)
            far.sendall(length.to_bytes(4, "big") + bytes(1000))
            assert await closes(far), "the door waits for the packet"


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
                assert await closes(far), f"still open after {words[:20]!r}"


# --------------------------------------------------------------------------------------- places


@pytest.mark.parametrize("sources", [1, 1000], ids=["one address", "many addresses"])
async def test_a_thousand_that_only_sit_there(watch: Callable[..., Watch], sources: int) -> None:
    """Real logins take less than a second, whoever they come from."""
    watched = watch()
    with crowd(watched.door, 1000, sources=sources) as made:
        until(lambda: len(open_ones(made)) <= 384, 10, "the door bounds them")
        assert len(open_ones(made)) >= (50 if sources == 1 else 150), "they did not come in"
        address = made[-1].getsockname()[0]
        await asyncio.sleep(0.2)  # by then each that is in has been silent for too long
        async with watched.attack():
            done = [await asyncio.to_thread(watched.attacker.ssh, "-b", address, "true")]
            await asyncio.sleep(1)
        assert [login.status for login in done] == [0], done
        assert open_ones(made), "the attack was over before"
    stats = watched.door.do("stats")
    assert stats["accepted"] < 700, "most of them cost the door something"
    (told,) = logged(watched.door, "turned away")
    assert told["level"] == "warning"


async def test_many_of_one_address_that_speak_and_stop(watch: Callable[..., Watch]) -> None:
    """They have their address's places until the login time is over, and no other's."""
    watched = watch(
        login_timeout=4.0, unauthenticated_per_address_start=10, unauthenticated_per_address=10
    )
    with crowd(watched.door, 300, GREETING) as made:
        until(lambda: len(open_ones(made)) <= 10, 10, "the door bounds them")
        address = made[-1].getsockname()[0]
        refused = watched.attacker.ssh("-b", address, "true")
        assert refused.status == 255, "the attack did not take place"
        async with watched.attack():
            await asyncio.sleep(1)
        until(
            lambda: watched.attacker.ssh("-b", address, "true").status == 0, 10, "places are free"
        )
        assert open_ones(made) == []


# --------------------------------------------------------------------------------------- floods


def _packet(payload: bytes) -> bytes:
    """As it goes before keys are exchanged."""
    padding = 4 + (8 - (5 + len(payload) + 4) % 8) % 8
    plain = bytes((padding,)) + payload + bytes(padding)
    return len(plain).to_bytes(4, "big") + plain


@pytest.mark.parametrize("kind", [2, 3, 4, 8])
async def test_packets_before_the_key_exchange(watch: Callable[..., Watch], kind: int) -> None:
    """A stranger who sends a million is cut at the two hundredth, again and again."""
    watched = watch()
    flood = _packet(bytes((kind,)) + bytes(9)) * 1_000_000
    sent = 0
    async with watched.attack():
        for _ in range(20):
            with greeted(watched.door) as far:
                far.settimeout(5)
                with contextlib.suppress(ConnectionError):
                    for start in range(0, len(flood), 65_536):
                        far.sendall(flood[start : start + 65_536])
                        sent += 65_536
                    pytest.fail("the door took all of it")
            await asyncio.sleep(0)
    assert sent > 20 * 200 * len(_packet(bytes(10))), "the attack did not take place"


@pytest.mark.parametrize(
    ("kind", "body"), [(2, bytes(9)), (4, bytes(9)), (5, String(b"ssh-userauth")), (200, b"")]
)
async def test_packets_before_authentication(
    watch: Callable[..., Watch], kind: int, body: bytes
) -> None:
    """The same once keys are exchanged."""
    watched = watch()
    async with watched.attack():
        for _ in range(5):
            async with stranger(watched.door) as client:
                for number in range(20_000):
                    client.say(kind, body)
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                    if client.ended.is_set():
                        break
                assert await client.cut()
                assert number < 19_999
    assert watched.door.do("stats")["authenticated"] == 0


def _attempt(method: bytes, *more: bytes) -> tuple[bytes, ...]:
    return (String(b"desk"), String(b"ssh-connection"), String(method), *more)


@pytest.mark.parametrize("method", [b"password", b"none", b"keyboard-interactive"])
async def test_guesses_without_end(watch: Callable[..., Watch], method: bytes) -> None:
    """Five hundred on one connection end at the sixth; a first `none` is none."""
    watched = watch()
    async with stranger(watched.door) as client, watched.attack():
        tries = 0
        while tries < 500 and not client.ended.is_set():
            guess = String(b"geheim%d" % tries)
            asked = method == b"keyboard-interactive"
            client.say(50, *_attempt(method, *([String(b"")] * 2 if asked else [b"\0", guess])))
            tries += 1
            async with asyncio.timeout(5):
                while client.heard.count(51) < tries and not client.ended.is_set():
                    if asked and client.heard.count(60) == tries:
                        client.say(61, UInt32(2), String(b"ada"), guess)
                        asked = False
                    await asyncio.sleep(0.001)
    free = 1 if method == b"none" else 0
    assert tries == 6 + free
    assert client.heard.count(51) == 5 + free
    assert client.heard.count(52) == 0


async def test_every_message_number_before_authentication(watch: Callable[..., Watch]) -> None:
    """None of the 256 gets anything but an end, an answer that it is unknown, or no answer."""
    watched = watch()
    tried = []

    async def say(kind: int) -> None:
        async with stranger(watched.door, f"127.2.0.{1 + kind % 64}") as client:
            client.say(kind, bytes(40))
            client.say(50, *_attempt(b"none"))
            await client.cut(0.2 if kind < 80 else 5)
            assert kind < 80 or client.ended.is_set(), f"message {kind} is no end"
            assert not {52, 91, 99} & set(client.heard), f"message {kind} opened something"
            tried.append(kind)

    async with watched.attack():
        for first in range(0, 256, 16):
            await asyncio.gather(*map(say, range(first, first + 16)))
    assert len(tried) == 256
    assert watched.attacker.calls("route")[3:] == [], "the warm-up's alone"
