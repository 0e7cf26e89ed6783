"""What the broker hears of stock clients: what they are there for, and whether somebody is at work."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.ports import free_port

from .clients import HOST, Echo, Person, end, run, talk_tcp, talk_unix, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import DoorProcess

PLENTY = 100_000
LITTLE = 400
_INIT = b"\0\0\0\5\1\0\0\0\3"
"""An sftp client's first word."""


@pytest.fixture
def often(own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]) -> Person:
    """Somebody at a door that reports all the time."""
    return new_person(own_door(report_every=0.05, report_gap=0.02))


@pytest.fixture
def seldom(own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]) -> Person:
    """Somebody at a door whose next report is far away."""
    return new_person(own_door(report_every=600.0, report_gap=0.01))


def _seen(person: Person) -> list[dict[str, Any]]:
    """The last word on each of the person's attachments."""
    seen = person.door.do("activity")["seen"]
    return [last for last in seen.values() if last["user"] == person.name]


def _signals(person: Person) -> set[str]:
    return {signal for last in _seen(person) for signal in last["ages"]}


def _kinds(person: Person) -> set[str]:
    return {kind for last in _seen(person) for kind in last["kinds"]}


def _reports(person: Person, count: int = 3) -> None:
    """Let so many more reports pass."""
    before = person.door.do("activity")["reports"]
    until(lambda: person.door.do("activity")["reports"] >= before + count, 10, "reports go on")


def _gone(person: Person) -> None:
    until(lambda: person.calls("detached"), 10, "the client has left")


def test_a_key_on_a_terminal_is_typing(often: Person) -> None:
    """What the terminal prints by itself is not."""
    with often.terminal(
        "-tt", "echo up; head -c 200000 /dev/zero | tr '\\0' x; echo end; exec cat"
    ) as one:
        one.expect(rb"x{1000}end")
        until(lambda: _kinds(often) == {"exec"}, 10, "it is reported")
        _reports(often)
        assert _signals(often) == set()
        one.send(b"q")
        until(lambda: _signals(often) == {"typing"}, 10, "the key is reported")
        _reports(often)
        (last,) = _seen(often)
        assert last["ages"]["typing"] > 0


def test_input_of_a_command_is_data(often: Person) -> None:
    """When it is more than a keepalive; what it gives back is a transfer."""
    process = often.start("cat >/dev/null; head -c 100000 /dev/zero; exec sleep 60")
    assert process.stdin is not None
    process.stdin.write(bytes(LITTLE))
    process.stdin.flush()
    until(lambda: _kinds(often) == {"exec"}, 10, "it is reported")
    _reports(often)
    assert _signals(often) == set()
    process.stdin.write(bytes(PLENTY))
    process.stdin.flush()
    until(lambda: _signals(often) == {"data"}, 10, "its input is reported")
    process.stdin.close()
    until(lambda: _signals(often) == {"data", "transfer"}, 10, "its output is reported")


@pytest.mark.parametrize(
    ("options", "there", "signals"),
    [((), True, {"files"}), (("-O",), True, {"data"}), (("-O",), False, {"transfer"})],
    ids=["upload", "old upload", "old download"],
)
def test_a_copy_between_two_reports_is_not_lost(
    seldom: Person, options: tuple[str, ...], there: bool, signals: set[str]
) -> None:
    """One file, and the connection is gone: it is reported before the end is told."""
    local, far = str(seldom.folder / "file"), f"desk:{seldom.folder.name}"
    (seldom.folder / "file").write_bytes(bytes(PLENTY))
    (seldom.inner.home / seldom.folder.name).write_bytes(bytes(PLENTY))
    (seldom.inner.home / seldom.folder.name).chmod(0o666)
    ends = (local, far) if there else (far, local)
    done = run(["scp", *options, "-F", str(seldom.config), *ends])
    assert done.status == 0, done.err
    _gone(seldom)
    assert _signals(seldom) >= signals
    assert "typing" not in _signals(seldom)


def test_sftp_is_files(often: Person) -> None:
    """A listing is enough; of a folder of its own, for what a long one carries is a transfer too."""
    words = f"mkdir {often.name}\nls {often.name}\nrmdir {often.name}\n"
    done = run(["sftp", "-F", str(often.config), "-b", "-", "desk"], words.encode())
    assert done.status == 0, done.err
    _gone(often)
    assert _signals(often) == {"files"}


def test_a_command_without_input_does_nothing(seldom: Person) -> None:
    """Nobody waits for a report of it."""
    assert seldom.ssh("echo done").out == b"done\n"
    _gone(seldom)
    assert seldom.door.do("activity")["reports"] == 0


def test_xpra_s_stream_is_no_activity(often: Person) -> None:
    """However much it carries."""
    process = often.start("xpra _proxy")
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(3):
        process.stdin.write(bytes(PLENTY))
        process.stdin.flush()
        assert len(process.stdout.read(PLENTY)) == PLENTY
    until(lambda: _kinds(often) == {"xpra"}, 10, "it is reported")
    _reports(often)
    assert _signals(often) == set()


@pytest.mark.parametrize(
    ("size", "signals"), [(LITTLE, set()), (PLENTY, {"data"})], ids=["poll", "work"]
)
def test_a_forward_counts_above_a_poll(often: Person, size: int, signals: set[str]) -> None:
    """What comes back through it never does."""
    port = free_port()
    with Echo() as echo, often.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port):
        assert len(talk_tcp(port, bytes(size))) == size + 10
        _reports(often)
        assert _signals(often) == signals


def test_a_viewer_s_socket_is_no_activity(often: Person) -> None:
    """By a forward of the client's own, as some viewers come."""
    (often.inner.shared / "xpra").mkdir(exist_ok=True)
    far = often.inner.shared / "xpra" / often.folder.name
    near = often.folder / "near"
    with Echo(far), often.forwarding("-L", f"{near}:{far}"):
        until(near.exists, 10, "it listens")
        assert len(talk_unix(near, bytes(PLENTY))) == PLENTY + 10
        _reports(often)
        assert _signals(often) == set()


def test_kinds_are_what_is_open_now(often: Person) -> None:
    """Of a shared connection with everything on it, and then with nothing."""
    mux, port = often.folder / "mux", free_port()
    with Echo() as echo:
        often.start("-M", "-S", str(mux), "-N", "-L", f"{port}:{HOST}:{echo.port}")
        until(mux.exists, 10, "the master listens")
        running = [
            often.start("-S", str(mux), "-tt"),
            often.start("-S", str(mux), "cat"),
            often.start("-S", str(mux), "-s", "sftp"),
            often.start("-S", str(mux), "xpra _proxy"),
        ]
        for process, word in zip(running, (b"\n", b"x", _INIT, b"x"), strict=True):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(word)
            process.stdin.flush()
            assert process.stdout.read(1)
        with socket.create_connection((HOST, port), 5):
            everything = {"shell", "exec", "sftp", "xpra", "forward"}
            until(lambda: _kinds(often) == everything, 10, "all are reported")
            (last,) = _seen(often)
            assert last["kinds"] == sorted(everything)
        for process in running:
            end(process)
        # A master of OpenSSH 9.2 writes the last EOF of those only with the next thing it does.
        assert often.ssh("-S", str(mux), "-O", "check").status == 0
        until(lambda: _kinds(often) == set(), 10, "none is left")
        assert len(_seen(often)) == 1
        assert often.calls("detached") == []


def test_an_attachment_that_left_is_in_no_report(often: Person) -> None:
    """All reports, comings and goings have the name of the one door."""
    process = often.start("exec sleep 60")
    until(lambda: _seen(often), 10, "it is reported")
    end(process)
    _gone(often)
    _reports(often)
    assert often.door.do("activity")["now"] == []
    doors = {call["door"] for call in often.calls("attached", "detached")}
    assert doors == {last["door"] for last in _seen(often)}
    assert len(doors) == 1
