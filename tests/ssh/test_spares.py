"""The inner connection that waits in advance."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from .clients import Person, Relay, end, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from .clients import DoorProcess


class Gate(Relay):
    """A relay that can leave new connections standing: each as the gate was when it came."""

    def __init__(self, target: int) -> None:
        self._now = threading.Event()
        self._all = [self._now]
        self._now.set()
        self.standing = 0
        super().__init__(target)

    def hold(self) -> None:
        """Who comes from now on stands."""
        self._now = threading.Event()
        self._all.append(self._now)

    def pass_on(self) -> None:
        """Who comes from now on passes; who stands, stands."""
        self.hold()
        self._now.set()

    def release(self) -> None:
        """Everybody passes."""
        for event in self._all:
            event.set()

    def serve(self, peer: socket.socket) -> None:
        gate = self._now
        self.standing += not gate.is_set()
        gate.wait(60)
        super().serve(peer)

    def close(self) -> None:
        self.release()
        super().close()


@pytest.fixture
def gate(desk: Person) -> Iterator[Gate]:
    with Gate(desk.inner.port) as relay:
        desk.through(relay)
        yield relay


def test_second_connect_needs_no_handshake_inside(desk: Person, gate: Gate) -> None:
    """With somebody attached, the next client gets the connection that is ready."""
    desk.attached()
    until(lambda: gate.accepted == 2, 10, "a spare is made")
    until(lambda: desk.inner.logins(gate.ports) == 2, 10, "the spare is ready")
    gate.hold()
    done = desk.ssh("echo second", timeout=10)
    assert (done.status, done.out) == (0, b"second\n")
    gate.release()


def test_spare_is_made_anew(desk: Person, gate: Gate) -> None:
    """Each connect takes one and leaves one, and no more."""
    desk.attached()
    for number in range(5):
        until(lambda: gate.accepted == 2 + number, 10, "a spare is made")  # noqa: B023
        assert desk.ssh("true").status == 0
    until(lambda: gate.accepted == 7, 10, "the last spare")
    until(lambda: gate.open == 4, 10, "one client's and one spare, both ends of each")


def test_spare_closes_when_nobody_came(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """After its idle time the spare of an empty session goes."""
    person = new_person(own_door(spare_idle=0.5))
    with Gate(person.inner.port) as gate:
        person.through(gate)
        first = person.attached()
        until(lambda: gate.accepted == 2, 10, "a spare is made")
        end(first)
        until(lambda: gate.open == 0, 10, "everything inside is closed")
        assert person.ssh("echo again").out == b"again\n"
        until(lambda: gate.open == 0, 10, "and again")


def test_spare_stays_while_somebody_is_attached(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """The idle time counts from the last client's end."""
    person = new_person(own_door(spare_idle=0.4))
    with Gate(person.inner.port) as gate:
        person.through(gate)
        first = person.attached()
        until(lambda: gate.accepted == 2, 10, "a spare is made")
        time.sleep(1)
        assert gate.open == 4
        end(first)


def test_dead_spare_is_not_used(desk: Person, gate: Gate) -> None:
    """A spare whose line was cut meanwhile is replaced without a word."""
    first = desk.attached()
    until(lambda: gate.accepted == 2, 10, "a spare is made")
    end(first)
    gate.cut()
    until(lambda: gate.open == 0, 10, "the line is dead")
    done = desk.ssh("echo again; exit 3")
    assert (done.status, done.out, done.err) == (3, b"again\n", b"")


def _with_standing_spare(person: Person, gate: Gate) -> None:
    """Somebody is attached, and the next spare's dial stands."""
    person.attached()
    until(lambda: gate.accepted == 2, 10, "a spare is made")
    until(lambda: person.inner.logins(gate.ports) == 2, 10, "the spare is ready")
    gate.hold()
    assert person.ssh("true", timeout=15).status == 0
    until(lambda: gate.standing == 1, 10, "the next spare dials in vain")


def test_spare_in_the_making_is_waited_for(desk: Person, gate: Gate) -> None:
    """A client that comes while the spare is made gets it, as soon as it is ready."""
    _with_standing_spare(desk, gate)
    waiting = desk.start("echo later")
    until(lambda: len(desk.calls("routed")) == 3, 10, "the client's route is known")
    gate.release()
    out, _ = waiting.communicate(b"", timeout=15)
    assert out == b"later\n"


def test_spare_that_is_never_ready(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A spare whose handshake does not end is given up, and the client gets a line of its own."""
    person = new_person(own_door(handshake_timeout=3.0))
    with Gate(person.inner.port) as gate:
        person.through(gate)
        _with_standing_spare(person, gate)
        gate.pass_on()
        done = person.ssh("echo later", timeout=15)
        assert done.out == b"later\n", done.err


def test_spare_that_takes_long_keeps_nobody_waiting(desk: Person, gate: Gate) -> None:
    """The client gets a connection of its own, and the spare that comes late stays a spare."""
    _with_standing_spare(desk, gate)
    gate.pass_on()
    done = desk.ssh("echo own")
    assert done.out == b"own\n", done.err
    assert 1.5 < done.seconds < 6
    assert gate.accepted == 4
    gate.release()
    assert desk.ssh("echo late").seconds < 1.5
    until(lambda: gate.accepted == 5, 10, "the late spare was taken, and the next is made")


def test_burst_of_clients(desk: Person, gate: Gate) -> None:
    """Eight clients at once are served, by one connection each."""
    running = [desk.start(f"echo {number}; exit {number}") for number in range(8)]
    for number, process in enumerate(running):
        out, _ = process.communicate(b"", timeout=20)
        assert (process.returncode, out) == (number, b"%d\n" % number)
    assert gate.accepted <= 8 + 2


@pytest.mark.parametrize("moment", range(8))
def test_door_closes_while_a_spare_is_made(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person], moment: int
) -> None:
    """At whatever point of the dial the door ends, it ends quietly."""
    door = own_door(spare_delay=0.001 + moment * 0.002)
    person = new_person(door)
    person.attached()
    complaint = door.close()
    assert not complaint, complaint


def test_door_closes_while_a_spare_stands(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A dial that waits for the desktop does not hold the door's end."""
    door = own_door()
    person = new_person(door)
    with Gate(person.inner.port) as gate:
        person.through(gate)
        _with_standing_spare(person, gate)
        complaint = door.close()
    assert not complaint, complaint
