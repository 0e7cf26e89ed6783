"""Desktops that start late, never, or elsewhere than they said."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import asyncssh
import paramiko
import pytest

from tests.ports import free_port

from .clients import HOST, SPOKEN, Echo, Person, Relay, Sink, run, talk_tcp, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clients import DoorProcess

PROGRESS = "Your desktop is starting."
SENTENCE = "Your desktop is on holiday. Ask again next week."


@pytest.fixture
def late(desk: Person) -> Iterator[Person]:
    """A desktop that starts when `ready` is called."""
    desk.plan(gate=desk.name, progress=PROGRESS)
    yield desk
    _ready(desk)


def _ready(person: Person) -> None:
    person.door.do("open", gate=person.name)


def _asked(person: Person) -> None:
    until(lambda: person.calls("route"), 10, "the gateway is asked for the desktop")


@pytest.fixture
def failing(desk: Person) -> Person:
    """A desktop that cannot be started."""
    desk.plan(error=["StartFailed", SENTENCE])
    return desk


# ------------------------------------------------------------------------------------------ late


def test_shell_sees_one_line_of_progress(late: Person) -> None:
    """An interactive shell is told once, on stderr, and works when the desktop is there."""
    process = late.start("-tt")
    assert process.stderr is not None
    _asked(late)
    line = process.stderr.readline()
    assert PROGRESS.encode() in line
    _ready(late)
    out, err = process.communicate(b"echo in''side; exit 3\n", timeout=15)
    assert process.returncode == 3
    assert b"inside" in out
    assert PROGRESS.encode() not in out
    assert PROGRESS.encode() not in err


def test_shell_sees_each_new_sentence_once(late: Person) -> None:
    """As its place in the line changes; what is said twice in a row is one line."""
    third, second = "You are 3rd in line.", "You are 2nd in line."
    late.plan(progress=[third, third, second, second])
    process = late.start("-tt")
    assert process.stderr is not None
    _asked(late)
    lines = [process.stderr.readline() for _ in range(2)]
    _ready(late)
    out, err = process.communicate(b"exit 3\n", timeout=15)
    assert (process.returncode, err) == (3, b"")
    assert lines == [f"{sentence}\r\n".encode() for sentence in (third, second)]
    assert b"in line" not in out


@pytest.mark.parametrize("options", [(), ("-tt",)], ids=["plain", "terminal"])
def test_command_sees_no_progress(late: Person, options: tuple[str, ...]) -> None:
    """A command's output is the command's alone."""
    process = late.start(*options, "echo inside; exit 3")
    _asked(late)
    _ready(late)
    out, err = process.communicate(b"", timeout=15)
    assert (process.returncode, out.strip(), err) == (3, b"inside", b"")


def test_shell_without_terminal_sees_no_progress(late: Person) -> None:
    """A shell that a program drives is not interactive."""
    process = late.start("-T")
    _asked(late)
    _ready(late)
    out, err = process.communicate(b"echo inside; exit 3\n", timeout=15)
    assert (process.returncode, out, err) == (3, b"inside\n", b"")


def test_input_waits_for_the_start(late: Person) -> None:
    """What is piped in before the desktop is there arrives in it."""
    data = bytes(range(256)) * 10_000
    process = late.start("cat; exit 4")
    _asked(late)
    time.sleep(0.1)
    _ready(late)
    out, err = process.communicate(data, timeout=15)
    assert (process.returncode, out == data, err) == (4, True, b"")


def test_resize_waits_for_the_start(late: Person) -> None:
    """A window that changes meanwhile has its last size inside."""
    with late.terminal(rows=20, columns=70) as terminal:
        _asked(late)
        terminal.expect(PROGRESS.encode())
        terminal.resize(33, 111)
        time.sleep(0.2)
        _ready(late)
        terminal.expect(rb"\$ $")
        terminal.send(b"stty size\n")
        terminal.expect(rb"33 111")


def test_sessions_and_forwards_wait_together(late: Person) -> None:
    """All that one connection asks meanwhile is one question to the gateway."""
    port = free_port()
    mux = late.folder / "mux"
    with Echo() as echo:
        late.start("-M", "-S", str(mux), "-N", "-L", f"{port}:{HOST}:{echo.port}")
        until(mux.exists, 10, "the master listens")
        running = [
            late.start("-S", str(mux), f"echo {number}; exit {number}") for number in range(4)
        ]
        _asked(late)
        time.sleep(0.2)
        _ready(late)
        assert talk_tcp(port) == SPOKEN
        for number, process in enumerate(running):
            out, err = process.communicate(b"", timeout=15)
            assert (process.returncode, out, err) == (number, b"%d\n" % number, b"")
    assert len(late.calls("route")) == 1


def test_word_is_answered_while_the_desktop_starts(late: Person) -> None:
    """The broker's words do not wait."""
    mux = late.folder / "mux"
    late.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    waiting = late.start("-S", str(mux), "echo inside")
    _asked(late)
    assert late.ssh("-S", str(mux), "desk status", timeout=5).status == 7
    assert waiting.poll() is None
    _ready(late)
    assert waiting.communicate(b"", timeout=15)[0] == b"inside\n"


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_client_leaves_during_the_start(late: Person, how: str) -> None:
    """Nobody waits any more; the next client finds the desktop."""
    process = late.start("echo inside")
    _asked(late)
    getattr(process, how)()
    process.wait(5)
    until(lambda: late.calls("cancelled"), 10, "the door stops waiting")
    _ready(late)
    assert late.ssh("echo again").out == b"again\n"
    until(lambda: len(late.calls("attached")) == len(late.calls("detached")), 10, "all have left")


def test_client_leaves_while_the_door_dials(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A connection that was being made for somebody who left becomes the spare."""
    person = new_person(own_door())
    with _Slow(person.inner.port) as relay:
        person.through(relay)
        process = person.start("echo inside")
        until(lambda: relay.accepted == 1, 10, "the door dials")
        process.kill()
        process.wait(5)
        time.sleep(0.2)
        relay.ready.set()
        done = person.ssh("echo again")
        assert done.out == b"again\n"
        until(lambda: relay.accepted >= 2 or relay.open >= 2, 10, "the next spare is made")
        assert relay.accepted <= 2


class _Slow(Relay):
    """Accepts, and passes nothing on until it is ready."""

    def __init__(self, target: int) -> None:
        self.ready = threading.Event()
        super().__init__(target)

    def serve(self, peer: object) -> None:
        self.ready.wait(30)
        super().serve(peer)  # type: ignore[arg-type]

    def close(self) -> None:
        self.ready.set()
        super().close()


# --------------------------------------------------------------------------------------- failing


@pytest.mark.parametrize("options", [(), ("-tt",)], ids=["plain", "terminal"])
def test_command_hears_why_it_cannot_start(failing: Person, options: tuple[str, ...]) -> None:
    """One sentence on stderr, and a status that is not the client's own."""
    done = failing.ssh(*options, "echo inside")
    assert done.status not in {0, 255}
    assert done.out == b""
    assert done.err.strip() == f"desk: {SENTENCE} (start_failed)".encode()


def test_shell_hears_why_it_cannot_start(failing: Person) -> None:
    """A shell's terminal shows the sentence, at the left edge."""
    with failing.terminal() as terminal:
        terminal.expect(rb"(^|\r\n|\r)desk: " + SENTENCE.encode() + rb" \(start_failed\)\r\n")
        assert terminal.wait() not in {0, 255}


def test_sftp_hears_why_it_cannot_start(failing: Person) -> None:
    """sftp and scp show the sentence and fail."""
    done = run(["sftp", "-F", str(failing.config), "-b", "-", "desk"], b"ls\n")
    assert done.status != 0
    assert SENTENCE.encode() in done.err
    (failing.folder / "a").write_bytes(b"x")
    done = run(["scp", "-F", str(failing.config), str(failing.folder / "a"), "desk:a"])
    assert done.status != 0
    assert SENTENCE.encode() in done.err


def test_forward_hears_why_it_cannot_start(failing: Person) -> None:
    """A forward's open fails with the sentence."""
    done = failing.ssh("-o", "LogLevel=INFO", "-W", f"{HOST}:1")
    assert done.status == 255
    assert b"open failed" in done.err
    assert SENTENCE.encode() in done.err


def test_remote_forward_of_a_failing_start(failing: Person) -> None:
    """A listen is refused; without ExitOnForwardFailure the rest goes on to its own refusal."""
    spec = f"{free_port()}:{HOST}:1"
    done = failing.ssh("-o", "ExitOnForwardFailure=yes", "-R", spec, "true")
    assert done.status == 255
    assert b"remote port forwarding failed" in done.err


def test_next_try_on_the_same_connection(failing: Person) -> None:
    """A failed start ends the session that asked and not the connection."""
    mux = failing.folder / "mux"
    failing.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    assert SENTENCE.encode() in failing.ssh("-S", str(mux), "echo inside").err
    failing.plan(error=None)
    done = failing.ssh("-S", str(mux), "echo inside")
    assert (done.status, done.out, done.err) == (0, b"inside\n", b"")


def test_failing_start_of_paramiko(failing: Person) -> None:
    """A client that waits for each reply hears the sentence too."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(failing.known_hosts))
    try:
        client.connect(
            HOST,
            failing.door.port,
            "desk",
            key_filename=str(failing.key_file),
            look_for_keys=False,
            allow_agent=False,
        )
        _, stdout, stderr = client.exec_command("true", get_pty=True, timeout=10)
        assert stdout.channel.recv_exit_status() not in {0, -1}
        assert SENTENCE.encode() in stderr.read()
    finally:
        client.close()


# ----------------------------------------------------------------------------------------- where


def test_first_endpoint_that_answers_is_used(desk: Person) -> None:
    """A dead address in front costs a moment and no more."""
    desk.plan(endpoints=[[HOST, free_port()], [HOST, desk.inner.port]])
    done = desk.ssh("echo inside")
    assert done.out == b"inside\n"
    assert desk.calls("lost") == []


def test_route_that_was_lost_is_asked_again(desk: Person) -> None:
    """A desktop that is not where it was is reported lost and asked for once more."""
    desk.plan(endpoints=[[HOST, free_port()]], lost_once=True)
    done = desk.ssh("echo inside; exit 3")
    assert (done.status, done.out, done.err) == (3, b"inside\n", b"")
    kinds = [call["call"] for call in desk.calls("route", "lost")]
    assert kinds == ["route", "lost", "route"]


def test_desktop_that_stays_away(desk: Person) -> None:
    """Nobody at the address, twice: a sentence, a status, and the gateway was told."""
    desk.plan(endpoints=[[HOST, free_port()]])
    done = desk.ssh("echo inside")
    assert done.status not in {0, 255}
    assert done.out == b""
    assert done.err.startswith(b"desk: ")
    assert str(desk.inner.port).encode() not in done.err
    assert desk.calls("lost")


def test_desktop_with_another_host_key(desk: Person) -> None:
    """An sshd that is not the pinned one is nobody's desktop."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    desk.plan(host_key=other)
    done = desk.ssh("echo inside")
    assert done.status not in {0, 255}
    assert done.out == b""
    assert desk.calls("lost")
    assert desk.calls("attached") == []


def test_desktop_that_accepts_and_says_nothing(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A handshake inside that does not end is given up."""
    person = new_person(own_door(handshake_timeout=2.0, connect_timeout=2.0))
    with Sink() as sink:
        person.plan(endpoints=[[HOST, sink.port]])
        done = person.ssh("echo inside", timeout=15)
        assert done.status not in {0, 255}
        assert sink.accepted >= 1
    person.plan(endpoints=None)
    assert person.ssh("echo inside").out == b"inside\n"


def test_desktop_that_dies_while_it_is_dialled(desk: Person) -> None:
    """A connection that breaks in the handshake is a lost desktop, not a lost client."""

    class Door(Relay):
        def serve(self, peer: object) -> None:
            if self.accepted > 1:
                super().serve(peer)  # type: ignore[arg-type]

    with Door(desk.inner.port) as relay:
        desk.through(relay)
        done = desk.ssh("echo inside")
        assert done.out == b"inside\n"
        assert len(desk.calls("lost")) == 1


async def test_many_clients_of_a_late_desktop(late: Person) -> None:
    """Ten connections wait for one desktop, and all get it."""
    running = [late.start(f"echo {number}; exit {number}") for number in range(10)]
    await asyncio.to_thread(until, lambda: len(late.calls("route")) == 10, 15, "all ask")
    _ready(late)
    for number, process in enumerate(running):
        out, _ = await asyncio.to_thread(process.communicate, b"", 20)
        assert (process.returncode, out) == (number, b"%d\n" % number)
