"""Many sessions on one connection: ControlMaster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.ports import free_port

from .clients import HOST, SPOKEN, Echo, Person, end, listens, talk_tcp, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def _master(desk: Person, *options: str) -> Iterator[tuple[str, str]]:
    """A master without a session of its own; the options that share it."""
    path = desk.folder / "mux"
    process = desk.start("-M", "-S", str(path), "-N", *options)
    try:
        until(path.exists, 10, "the master listens")
        yield "-S", str(path)
    finally:
        end(process)


def test_master_alone_starts_nothing(desk: Person) -> None:
    """A master without a session asks for no desktop."""
    with _master(desk) as share:
        assert desk.ssh(*share, "-O", "check").status == 0
        assert desk.calls() == []


def test_many_sessions_at_once(desk: Person) -> None:
    """Five commands stream at the same time, each its own bytes and status."""
    with _master(desk) as share:
        running = [
            desk.start(*share, f"head -c {3_000_000 + number} /dev/zero; cat; exit {number}")
            for number in range(5)
        ]
        for number, process in enumerate(running):
            out, _ = process.communicate(b"tail", timeout=30)
            assert (process.returncode, len(out), out[-4:]) == (number, 3_000_004 + number, b"tail")


def test_session_after_session(desk: Person) -> None:
    """Twenty commands one after the other, on one route."""
    with _master(desk) as share:
        heard = [desk.ssh(*share, f"echo $(({n}*7))").out for n in range(20)]
    assert heard == [b"%d\n" % (n * 7) for n in range(20)]
    assert len(desk.calls("route")) <= 1 + 1


def test_words_and_sessions_share_the_master(desk: Person) -> None:
    """The broker's words and the desktop's commands alternate on one connection."""
    with _master(desk) as share:
        for _ in range(3):
            word = desk.ssh(*share, "desk hi")
            assert (word.status, word.out, word.err) == (7, b"answers: hi\n", b"a warning\n")
            assert desk.ssh(*share, "echo in; exit 2").out == b"in\n"
        big = desk.ssh(*share, "desk big 3000000")
        assert (big.status, len(big.out)) == (3, 3_000_000)


def test_forward_added_later(desk: Person) -> None:
    """-O forward adds a forward to a connection that is there."""
    port = free_port()
    with Echo() as echo, _master(desk) as share:
        spec = f"{port}:{HOST}:{echo.port}"
        assert desk.ssh(*share, "-O", "forward", "-L", spec).status == 0
        assert talk_tcp(port) == SPOKEN
        assert desk.ssh(*share, "-O", "cancel", "-L", spec).status == 0


def test_remote_forward_added_and_cancelled(desk: Person) -> None:
    """-O forward -R listens inside; -O cancel ends it while the connection goes on."""
    port = free_port()
    with Echo() as echo, _master(desk) as share:
        spec = f"{port}:{HOST}:{echo.port}"
        assert desk.ssh(*share, "-O", "forward", "-R", spec).status == 0
        assert talk_tcp(port) == SPOKEN
        assert desk.ssh(*share, "-O", "cancel", "-R", spec).status == 0
        until(lambda: not listens(port), 10, "the listener is gone")
        assert desk.ssh(*share, "echo on").out == b"on\n"


def test_slow_session_does_not_hold_the_others(desk: Person) -> None:
    """A session whose output nobody reads leaves the others theirs."""
    with _master(desk) as share:
        slow = desk.start(*share, "cat /dev/zero")
        assert slow.stdout is not None
        assert slow.stdout.read(1)
        for _ in range(5):
            done = desk.ssh(*share, "echo quick", timeout=10)
            assert done.out == b"quick\n"
            assert done.seconds < 3


def test_terminals_share_the_master(desk: Person) -> None:
    """A shell on a shared connection has its terminal and its status."""
    with _master(desk) as share, desk.terminal(*share, "-tt") as shell:
        shell.expect(rb"\$ $")
        shell.send(b"tty; exit 4\n")
        shell.expect(rb"/dev/pts/\d+")
        assert shell.wait() == 4
