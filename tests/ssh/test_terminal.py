"""Sessions on a terminal, as a person sees them."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from .clients import Person, end, until

if TYPE_CHECKING:
    from .clients import Terminal

PROMPT = rb"\$ $"


def _shell(desk: Person, *options: str, **size: int) -> Terminal:
    terminal = desk.terminal(*(options or ("-tt",)), **size)
    try:
        terminal.expect(PROMPT)
    except BaseException:
        terminal.close()
        raise
    return terminal


def test_shell_has_a_terminal_of_the_client_s_kind(desk: Person) -> None:
    """tty, size and TERM are the client's, and the shell's own status comes back."""
    with _shell(desk, rows=30, columns=90) as shell:
        shell.send(b"tty; stty size; echo T=$TERM\n")
        shell.expect(rb"/dev/pts/\d+")
        shell.expect(rb"30 90")
        shell.expect(rb"T=xterm")
        shell.send(b"exit 9\n")
        assert shell.wait() == 9


def test_window_change_reaches_the_desktop(desk: Person) -> None:
    """A resize of the client's window is a resize of the far terminal."""
    with _shell(desk) as shell:
        shell.send(b"trap 'echo now $(stty size)' WINCH; echo armed\n")
        shell.expect(rb"\narmed")
        shell.resize(44, 123)
        # The shell, which alone gets the signal, tells of it with the next line; and the first one
        # can be there before the size is.
        for _ in range(20):
            shell.send(b"\n")
            with suppress(AssertionError):
                shell.expect(rb"now 44 123", 0.5)
                break
        else:
            pytest.fail(f"the shell saw no other size: {shell.seen!r}")


def test_ctrl_c_interrupts(desk: Person) -> None:
    """Ctrl-C ends the far command and not the session."""
    with _shell(desk) as shell:
        # What prints is in the foreground already, so that the key cannot come before it.
        shell.send(b"sh -c \"echo on''going; exec sleep 100\"\n")
        shell.expect(rb"\nongoing")
        shell.send(b"\x03")
        shell.expect(PROMPT)
        shell.send(b"echo INT=$?\n")
        shell.expect(rb"INT=130")


def test_break_is_no_end(desk: Person) -> None:
    """~B sends a break; the session goes on."""
    with _shell(desk) as shell:
        shell.send(b"\n~B")
        shell.send(b"\necho al''ive\n")
        shell.expect(rb"\nalive")


def test_tilde_dot_leaves_at_once(desk: Person) -> None:
    """~. ends the client, and the desktop sees it leave."""
    with _shell(desk) as shell:
        shell.send(b"\n~.")
        began = time.monotonic()
        assert shell.wait() == 255
        assert time.monotonic() - began < 3
    until(lambda: desk.calls("detached"), 10, "the gateway hears of the end")


def test_terminal_for_a_command(desk: Person) -> None:
    """-tt gives a command a terminal; its status is kept."""
    done = desk.ssh("-tt", "tty; exit 6")
    assert done.status == 6
    assert b"/dev/pts/" in done.out


def test_no_terminal_when_refused_by_the_client(desk: Person) -> None:
    """-T: a shell without a terminal reads its commands from the pipe."""
    done = desk.ssh("-T", stdin=b"tty; echo hi; exit 5\n")
    assert (done.status, done.out) == (5, b"not a tty\nhi\n")


def test_long_output_on_a_terminal_can_be_interrupted(desk: Person) -> None:
    """Ctrl-C gets through while output pours."""
    with _shell(desk) as shell:
        shell.send(b"yes pouring\n")
        shell.expect(rb"pouring\r\npouring")
        began = time.monotonic()
        shell.send(b"\x03")
        shell.send(b"echo st''opped\n")
        shell.expect(rb"\nstopped", 10)
        assert time.monotonic() - began < 5


def test_hang_up_ends_the_far_shell(desk: Person) -> None:
    """A client that is killed takes its shell with it."""
    mark = desk.inner.shared / f"{desk.name}-hup"
    with _shell(desk) as shell:
        shell.send(f"trap 'touch {mark}' EXIT; echo ar''med\n".encode())
        shell.expect(rb"\narmed")
        shell.process.send_signal(signal.SIGKILL)
        until(mark.exists, 10, "the shell was hung up on")


def test_two_shells_side_by_side(desk: Person) -> None:
    """Two clients of one person have a terminal each."""
    with _shell(desk) as one, _shell(desk) as two:
        for number, shell in enumerate((one, two)):
            shell.send(f"tty; echo this is {number}''x\n".encode())
        ttys = [shell.expect(rb"/dev/pts/(\d+)")[1] for shell in (one, two)]
        assert ttys[0] != ttys[1]
        for number, shell in enumerate((one, two)):
            shell.expect(b"this is %dx" % number)


def test_no_command_starts_nothing(desk: Person) -> None:
    """-N alone is authenticated and asks for no desktop."""
    process = desk.start("-v", "-o", "LogLevel=DEBUG", "-N")
    assert process.stderr is not None
    line = b""
    while b"Authenticated to" not in line:
        line = process.stderr.readline()
        assert line, "the client ended"
    while b"Entering interactive session" not in line:
        line = process.stderr.readline()
        assert line, "the client ended"
    time.sleep(0.3)
    assert process.poll() is None
    assert desk.calls() == []
    end(process)
    assert desk.calls() == []
