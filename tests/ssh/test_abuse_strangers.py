"""Strangers that want the door's memory, time, places or descriptors: each is bounded, and people log
in meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from typing import TYPE_CHECKING

import pytest

from .clients import HOST, DoorProcess, Person, until
from .raw import String, stranger
from .watch import GROWTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .watch import Watch


def lines(door: DoorProcess, event: str) -> list[dict]:
    """What the door logged of that."""
    told = [json.loads(line) for line in door.errors().splitlines() if line.startswith("{")]
    return [line for line in told if line["event"] == event]


@contextlib.contextmanager
def crowd(
    door: DoorProcess, count: int, words: bytes = b"", sources: int = 1
) -> Iterator[list[socket.socket]]:
    """So many connections that say those words, and then nothing."""
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(count):
            source = f"127.1.{number % sources // 200}.{1 + number % sources % 200}"
            far = socket.create_connection((HOST, door.port), 5, source_address=(source, 0))
            stack.enter_context(far)
            with contextlib.suppress(OSError):
                far.sendall(words)
            made.append(far)
        yield made


def open_ones(made: list[socket.socket]) -> list[socket.socket]:
    """Those that the door did not close."""

    def closed(far: socket.socket) -> bool:
        far.setblocking(False)
        try:
            while data := far.recv(65536):
                del data
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    return [far for far in made if not closed(far)]


GREETING = b"SSH-2.0-test\r\n"


def _greeted(door: DoorProcess, source: str = HOST) -> socket.socket:
    far = socket.create_connection((HOST, door.port), 5, source_address=(source, 0))
    far.sendall(GREETING)
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
    (told,) = lines(watched.door, "turned away")
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


async def test_many_of_many_addresses_that_speak_and_stop(watch: Callable[..., Watch]) -> None:
    """They are gone after the login time; until then some who try again get in."""
    watched = watch(login_timeout=6.0, unauthenticated=120, unauthenticated_start=60)
    before = watched.door.memory()
    with crowd(watched.door, 400, GREETING, sources=400) as made:
        until(lambda: len(open_ones(made)) <= 120, 10, "the door bounds them")
        assert len(open_ones(made)) > 60, "the attack did not take place"
        until(lambda: watched.canary.ssh("true").status == 0, 10, "somebody can log in")
        assert watched.door.memory() - before <= GROWTH
        until(lambda: open_ones(made) == [], 15, "all are gone")


def test_a_class_that_comes_at_once(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """Sixty people behind one address, and nobody is dropped."""
    door = own_door()
    person = new_person(door)
    processes = [person.start("desk hello") for _ in range(60)]
    assert [process.wait(60) for process in processes] == [7] * 60


async def test_descriptors_used_up(watch: Callable[..., Watch]) -> None:
    """The door says so once, keeps whom it has, and accepts again once there are some."""
    watched = watch()
    process = watched.attacker.start("echo up; cat")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    door = watched.door.process.pid
    _, hard = resource.prlimit(door, resource.RLIMIT_NOFILE)
    resource.prlimit(door, resource.RLIMIT_NOFILE, (60, hard))
    before = watched.door.memory()
    with crowd(watched.door, 200, GREETING, sources=50):
        until(lambda: lines(watched.door, "front door cannot accept"), 10, "none is left")
        process.stdin.write(b"still\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"still\n"
        await asyncio.sleep(2)
        assert watched.door.memory() - before <= GROWTH
    done = until(
        lambda: next((d for d in [watched.canary.ssh("desk hello")] if d.status == 7), None),
        5,
        "somebody can log in",
    )
    assert done.status == 7
    assert len(watched.door.errors().splitlines()) < 100
    assert len(lines(watched.door, "front door cannot accept")) == 1


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
            with _greeted(watched.door) as far:
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
            client.say(50, *_attempt(method, b"\0", String(b"geheim%d" % tries)))
            tries += 1
            async with asyncio.timeout(5):
                while client.heard.count(51) < tries and not client.ended.is_set():
                    await asyncio.sleep(0.001)
    free = 1 if method == b"none" else 0
    assert tries == 6 + free
    assert client.heard.count(51) == 5 + free
    assert client.heard.count(52) == 0


async def test_every_message_number_before_authentication(watch: Callable[..., Watch]) -> None:
    """None of the 256 gets anything but an end, an answer that it is unknown, or no answer."""
    watched = watch()
    tried = []
    async with watched.attack():
        for kind in range(256):
            async with stranger(watched.door, f"127.2.0.{1 + kind % 64}") as client:
                client.say(kind, bytes(40))
                client.say(50, *_attempt(b"none"))
                await client.cut(0.2 if kind < 80 else 5)
                assert kind < 80 or client.ended.is_set(), f"message {kind} is no end"
                assert not {52, 91, 99} & set(client.heard), f"message {kind} opened something"
                tried.append(kind)
    assert len(tried) == 256
    assert watched.attacker.calls("route")[3:] == [], "the warm-up's alone"


# ------------------------------------------------------------------------------------ penalties


def test_whoever_fails_again_and_again_is_turned_away(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """For a while, and nobody at another address."""
    door = own_door(penalty_exempt=[], penalty_authfail=2.0, penalty_min=6.0)
    person, guest = new_person(door), new_person(door)
    door.do("add", user=guest.name, fingerprints=[])
    wrong = [*guest.argv, "-b", "127.3.0.1", "-l", "nobody", "desk", "desk hello"]
    failures = [guest.start(argv=wrong) for _ in range(6)]
    assert [process.wait(20) for process in failures] == [255] * 6
    (penalty,) = lines(door, "source penalised")[:1]
    assert (penalty["source"], penalty["offence"]) == ("127.3.0.1", "authfail")
    accepted = door.do("stats")["accepted"]
    refused = person.ssh("-v", "-o", "LogLevel=DEBUG", "-b", "127.3.0.1", "desk hello")
    assert refused.status == 255
    assert b"your address failed too often" in refused.err
    assert door.do("stats")["accepted"] == accepted
    assert person.ssh("-b", "127.3.0.2", "desk hello").status == 7
    until(
        lambda: person.ssh("-b", "127.3.0.1", "desk hello").status == 7, 30, "the penalty is over"
    )
    told = [call for call in door.do("calls") if call["call"] == "penalise"]
    assert {call["source"] for call in told} == {"127.3.0.1"}


def test_an_agent_with_ten_keys_shuts_nobody_out(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """Whoever notices after some tries which key to name gets in."""
    door = own_door(penalty_exempt=[])
    person = new_person(door)
    others = new_person(door, keys=10)
    door.do("add", user="nobody-of-these", fingerprints=[])
    offered: list[str] = []
    for number, key in enumerate(others.keys):
        path = person.folder / f"other{number}"
        path.touch(0o600)
        path.write_bytes(key.export_private_key())
        offered += ["-o", f"IdentityFile={path}"]
    tries = ["ssh", *offered, *person.argv[1:], "-l", person.name, "desk", "desk hello"]
    for _ in range(3):
        failed = person.start(argv=tries)
        assert failed.wait(20) == 255
    assert person.ssh("desk hello").status == 7
    assert lines(door, "source penalised") == []


def test_what_another_door_found_is_known_here(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A source that was told is turned away, and nobody else."""
    door = own_door()
    person = new_person(door)
    door.do("penalise", source="127.0.0.1", offence="authfail", seconds=60.0)
    assert person.ssh("desk hello").status == 7, "loopback is exempt"
    door = own_door(penalty_exempt=[])
    person = new_person(door)
    door.do("penalise", source="127.0.0.1", offence="authfail", seconds=60.0)
    assert person.ssh("desk hello").status == 255
    assert person.ssh("-b", "127.0.0.2", "desk hello").status == 7


# ----------------------------------------------------------------------------------------- time


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
