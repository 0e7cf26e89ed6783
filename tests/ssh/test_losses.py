"""Desktops that go away under their clients."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .clients import HOST, SPOKEN, Echo, Person, Relay, end, listens, talk_tcp, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clients import DoorProcess


@pytest.fixture
def line(desk: Person) -> Iterator[Relay]:
    """The one line to the person's desktop."""
    with Relay(desk.inner.port) as relay:
        desk.through(relay)
        yield relay


def _cut(line: Relay) -> None:
    line.cut()
    until(lambda: line.open == 0, 10, "the line is dead")


def test_terminal_says_why_and_the_client_ends(desk: Person, line: Relay) -> None:
    """Who looks at a terminal reads the sentence at once; the client ends with 255."""
    with desk.terminal() as terminal:
        terminal.expect(rb"\$ $")
        began = time.monotonic()
        _cut(line)
        terminal.expect(rb"desk: your desktop ended")
        assert terminal.wait() == 255
        assert time.monotonic() - began < 4
    assert len(desk.calls("lost")) == 1
    until(lambda: desk.calls("detached"), 10, "the client has left")


def test_command_keeps_what_it_wrote(desk: Person, line: Relay) -> None:
    """Without a terminal the output is drained first; the client ends with a failure."""
    process = desk.start("head -c 300000 /dev/zero; echo mark; exec sleep 60")
    assert process.stdout is not None
    heard = b""
    while not heard.endswith(b"mark\n"):
        heard += process.stdout.read1(65536)
    _cut(line)
    out, _ = process.communicate(timeout=15)
    assert process.returncode not in {0, None}
    assert len(heard) + len(out) == 300_005


def test_command_that_pours_ends(desk: Person, line: Relay) -> None:
    """A client in the middle of a download ends soon, with a failure."""
    process = desk.start("cat /dev/zero")
    assert process.stdout is not None
    assert process.stdout.read(1_000_000)
    line.cut()
    began = time.monotonic()
    while process.stdout.read1(1 << 20):
        assert time.monotonic() - began < 15
    assert process.wait(10) != 0


def test_forward_ends_and_the_next_works(desk: Person, line: Relay) -> None:
    """A forwarded connection ends with the desktop, a new one binds again or the client ends."""
    port = free_port()
    with Echo() as echo, desk.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port) as process:
        with socket.create_connection((HOST, port), 5) as far:
            far.settimeout(10)
            assert far.recv(6) == b"hello\n"
            _cut(line)
            assert far.recv(10) == b""
        if process.poll() is None:
            assert talk_tcp(port) == SPOKEN


def test_idle_connection_binds_again(desk: Person, line: Relay) -> None:
    """A connection without channels survives, and its next session finds the desktop anew."""
    mux = desk.folder / "mux"
    master = desk.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    assert desk.ssh("-S", str(mux), "echo one").out == b"one\n"
    _cut(line)
    until(lambda: desk.calls("lost"), 10, "the gateway hears of it")
    done = desk.ssh("-S", str(mux), "echo two; exit 3")
    assert (done.status, done.out, done.err) == (3, b"two\n", b"")
    assert master.poll() is None
    assert len(desk.calls("route")) == 2


def test_lost_again_and_again(desk: Person, line: Relay) -> None:
    """The same connection survives many losses."""
    mux = desk.folder / "mux"
    desk.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    for number in range(5):
        assert desk.ssh("-S", str(mux), f"echo {number}").out == b"%d\n" % number
        _cut(line)
        until(lambda: len(desk.calls("lost")) == number + 1, 10, "the gateway hears of it")  # noqa: B023


def test_shared_connection_loses_its_sessions(desk: Person, line: Relay) -> None:
    """Every session on a shared connection ends with a failure; none hangs."""
    mux = desk.folder / "mux"
    desk.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    running = [desk.attached("-S", str(mux), then="exec sleep 60") for _ in range(3)]
    _cut(line)
    for process in running:
        process.communicate(timeout=15)
        assert process.returncode != 0


def test_remote_forward_does_not_pretend(desk: Person, line: Relay) -> None:
    """A client with a listener inside hears that it is gone, and may connect again."""
    port = free_port()
    with Echo() as echo, desk.forwarding("-R", f"{port}:{HOST}:{echo.port}", port=port) as process:
        assert talk_tcp(port) == SPOKEN
        _cut(line)
        until(lambda: not listens(port), 10, "the listener is gone")
        until(lambda: process.poll() is not None, 10, "the client is told")
        assert process.returncode == 255


def test_desktop_that_is_killed(desk: Person) -> None:
    """The sshd of a session that dies by itself is no different from a cut line."""
    process = desk.start("-tt", "kill -9 $(ps -o ppid= -p $PPID | tr -d ' ') $PPID; sleep 60")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 255, (out, err)
    until(lambda: desk.calls("lost"), 10, "the gateway hears of it")
    assert desk.ssh("echo again").out == b"again\n"


def test_door_s_end_is_the_clients_end(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A door that is closed ends its clients, and leaves no process."""
    door = own_door()
    person = new_person(door)
    process = person.attached(then="exec sleep 60")
    assert door.process.stdin is not None
    door.process.stdin.close()
    assert door.process.wait(10) == 0
    assert end(process) == 255
