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
    """A relay that can leave new connections standing."""

    def __init__(self, target: int) -> None:
        self.passing = threading.Event()
        self.passing.set()
        super().__init__(target)

    def serve(self, peer: socket.socket) -> None:
        self.passing.wait(30)
        super().serve(peer)

    def close(self) -> None:
        self.passing.set()
        super().close()


@pytest.fixture
def gate(desk: Person) -> Iterator[Gate]:
    with Gate(desk.inner.port) as relay:
        desk.through(relay)
        yield relay


def test_second_connect_needs_no_handshake_inside(desk: Person, gate: Gate) -> None:
    """With somebody attached, the next client gets the connection that is ready."""
    first = desk.start("echo up; cat")
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    until(lambda: gate.accepted == 2, 10, "a spare is made")
    until(lambda: desk.inner.logins(gate.ports) == 2, 10, "the spare is ready")
    gate.passing.clear()
    done = desk.ssh("echo second", timeout=10)
    assert (done.status, done.out) == (0, b"second\n")
    gate.passing.set()


def test_spare_is_made_anew(desk: Person, gate: Gate) -> None:
    """Each connect takes one and leaves one, and no more."""
    first = desk.start("echo up; cat")
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
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
        first = person.start("echo up; cat")
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"
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
        first = person.start("echo up; cat")
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"
        until(lambda: gate.accepted == 2, 10, "a spare is made")
        time.sleep(1)
        assert gate.open == 4
        end(first)


def test_dead_spare_is_not_used(desk: Person, gate: Gate) -> None:
    """A spare whose line was cut meanwhile is replaced without a word."""
    first = desk.start("echo up; cat")
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    until(lambda: gate.accepted == 2, 10, "a spare is made")
    end(first)
    gate.cut()
    until(lambda: gate.open == 0, 10, "the line is dead")
    done = desk.ssh("echo again; exit 3")
    assert (done.status, done.out, done.err) == (3, b"again\n", b"")


def test_frozen_spare_does_not_hold_a_client_for_ever(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A spare that never finishes its handshake is given up like any dial."""
    person = new_person(own_door(handshake_timeout=1.0))
    with Gate(person.inner.port) as gate:
        person.through(gate)
        gate_process = person.start("echo up; cat")
        assert gate_process.stdout is not None
        gate.passing.set()
        assert gate_process.stdout.readline() == b"up\n"
        until(lambda: gate.accepted == 2, 10, "a spare is made")
        gate.passing.clear()
        assert person.ssh("true", timeout=15).status == 0
        until(lambda: gate.accepted == 3, 10, "the next spare dials in vain")
        waiting = person.start("echo later")
        until(lambda: gate.accepted >= 4, 10, "the client's own dial")
        gate.passing.set()
        out, _ = waiting.communicate(b"", timeout=15)
        assert out == b"later\n"


def test_burst_of_clients(desk: Person, gate: Gate) -> None:
    """Eight clients at once are served, by one connection each."""
    running = [desk.start(f"echo {number}; exit {number}") for number in range(8)]
    for number, process in enumerate(running):
        out, _ = process.communicate(b"", timeout=20)
        assert (process.returncode, out) == (number, b"%d\n" % number)
    assert gate.accepted <= 8 + 2
