"""Strangers that want places, descriptors or time, and what becomes of them and of others. Nobody's
login is timed here: see `test_abuse_strangers.py` for those.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING

from .clients import DoorProcess, Person, until
from .strangers import GREETING, crowd, greeted, logged, open_ones
from .watch import GROWTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from .watch import Watch


BEFORE_AUTHENTICATION = True


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
    process = watched.attacker.attached()
    assert process.stdin is not None
    door = watched.door.process.pid
    _, hard = resource.prlimit(door, resource.RLIMIT_NOFILE)
    resource.prlimit(door, resource.RLIMIT_NOFILE, (60, hard))
    before = watched.door.memory()
    with crowd(watched.door, 200, GREETING, sources=50):
        until(lambda: logged(watched.door, "front door cannot accept"), 10, "none is left")
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
    assert len(logged(watched.door, "front door cannot accept")) == 1


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
    (penalty,) = logged(door, "source penalised")[:1]
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
    assert logged(door, "source penalised") == []


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
    with greeted(door) as far:
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
