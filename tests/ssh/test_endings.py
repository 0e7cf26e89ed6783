"""Sessions that the broker ends under their clients, as before a desktop sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .clients import HOST, Echo, Person, Sink, frozen, talk_tcp, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import DoorProcess

SENTENCE = "Your desktop went to sleep. Connect again to wake it."
SAID = f"desk: {SENTENCE}".encode()


def _end(person: Person) -> None:
    person.door.do("end_session", session=f"session-{person.name}-main", sentence=SENTENCE)


def _attached(person: Person) -> None:
    until(lambda: person.calls("attached"), 10, "it is attached")


def _wakes(person: Person) -> None:
    """Whoever connects again is asked for again, on a connection that is new inside too."""
    before = len(person.calls("route"))
    assert person.ssh("echo again").out == b"again\n"
    assert len(person.calls("route")) == before + 1
    assert person.calls("lost") == []
    until(lambda: len(person.calls("attached")) == len(person.calls("detached")), 10, "all left")


def test_shell_reads_why(desk: Person) -> None:
    with desk.terminal() as terminal:
        terminal.expect(rb"\$ $")
        _end(desk)
        terminal.expect(SAID)
        assert terminal.wait() == 255
    _wakes(desk)


def test_command_on_a_terminal_reads_why(desk: Person) -> None:
    process = desk.attached("-tt", then="exec sleep 60")
    _end(desk)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err.count(SAID)) == (255, 1)
    _wakes(desk)


def test_command_keeps_what_it_wrote_and_reads_why(desk: Person) -> None:
    """Though it is slow to take it."""
    process = desk.start("head -c 1500000 /dev/zero; echo up >&2; exec sleep 60")
    assert process.stderr is not None
    assert process.stderr.readline() == b"up\n"
    began = time.monotonic()
    with frozen(process):
        _end(desk)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, len(out), err) == (255, 1_500_000, SAID + b"\n")
    assert time.monotonic() - began < 4
    _wakes(desk)


def test_xpra_simply_ends(desk: Person) -> None:
    """Its stream is not for reading."""
    process = desk.start("xpra _proxy")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"packet")
    process.stdin.flush()
    assert process.stdout.read(6) == b"packet"
    _end(desk)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (255, b"", b"")
    _wakes(desk)


def test_sftp_reads_why(desk: Person) -> None:
    process = desk.start(argv=["sftp", "-F", str(desk.config), "-b", "-", "desk"])
    assert process.stdin is not None
    process.stdin.write(b"pwd\n")
    process.stdin.flush()
    _attached(desk)
    assert process.stdout is not None
    assert process.stdout.readline()
    _end(desk)
    process.stdin.write(b"ls\n")
    _, err = process.communicate(timeout=10)
    assert process.returncode != 0
    assert SAID in err
    _wakes(desk)


def test_forward_and_idle_connection_read_why(desk: Person) -> None:
    """A connection with no channel open ends at once."""
    port = free_port()
    with Echo() as echo, desk.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port) as process:
        assert talk_tcp(port)
        _attached(desk)
        _end(desk)
        _, err = process.communicate(timeout=10)
        assert (process.returncode, SAID in err) == (255, True)
    _wakes(desk)


def test_all_of_a_shared_connection_read_why(desk: Person) -> None:
    """And it ends with the last of them, though it was slow to take its end."""
    mux = desk.folder / "mux"
    master = desk.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    running = [desk.attached("-S", str(mux), then="exec sleep 60") for _ in range(2)]
    with frozen(master):
        _end(desk)
    for process in running:
        _, err = process.communicate(timeout=10)
        assert process.returncode == 255
        assert SAID in err
    _, err = master.communicate(timeout=10)
    assert (master.returncode, SAID in err) == (255, True)
    assert len(desk.calls("route")) == 1
    _wakes(desk)


@pytest.mark.parametrize("options", [(), ("-tt",)], ids=["plain", "terminal"])
def test_who_is_about_to_enter_reads_why(desk: Person, options: tuple[str, ...]) -> None:
    """While the door dials the desktop."""
    with Sink() as sink:
        desk.plan(endpoints=[[HOST, sink.port]])
        process = desk.start(*options, "echo inside")
        until(lambda: sink.accepted, 10, "the door dials")
        _end(desk)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err.strip()) == (1, b"", SAID)
        until(lambda: sink.accepted == 1, 10, "nobody dials again")
    desk.plan(endpoints=None)
    assert desk.calls("lost") == []
    _wakes(desk)


def test_who_is_about_to_enter_wakes_what_falls_asleep(desk: Person) -> None:
    """It asks for the desktop anew, and is let in."""
    with Sink() as sink:
        desk.plan(endpoints=[[HOST, sink.port]])
        process = desk.start("echo inside")
        until(lambda: sink.accepted, 10, "the door dials")
        desk.plan(endpoints=None)
        session = f"session-{desk.name}-main"
        desk.door.do("end_session", session=session, sentence=SENTENCE, sleeps=True)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, b"inside\n", b"")
    assert len(desk.calls("route")) == 2


def test_spare_is_dropped_with_its_session(desk: Person) -> None:
    """Whether it is ready or in the making."""
    log = desk.inner.log
    process = desk.attached(then="exec sleep 60")
    before = log.read_text().count("Accepted publickey")
    _end(desk)
    process.communicate(timeout=10)
    assert desk.ssh("echo again").out == b"again\n"
    until(lambda: log.read_text().count("Accepted publickey") > before, 10, "it is dialled anew")


def test_desktop_that_stands_still_is_asked_for_again(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """It froze between its route and the dial: the kernel accepts for it, and nobody answers."""
    person = new_person(own_door(first_dial=0.7))
    with person.inner.stopped() as wake:
        process = person.start("echo inside")
        until(lambda: person.calls("lost"), 10, "the door gives up the first try")
        wake()
        out, _ = process.communicate(b"", timeout=10)
        assert out == b"inside\n"
    kinds = [call["call"] for call in person.calls("route", "lost")]
    assert kinds == ["route", "lost", "route"]
