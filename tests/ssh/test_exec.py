"""Commands without a terminal: status, streams, environment, end."""

from __future__ import annotations

import hashlib
import os

import pytest

from .clients import Person, until


@pytest.mark.parametrize("status", [0, 3, 7])
def test_exit_status_arrives(desk: Person, status: int) -> None:
    """The client ends with the command's own status."""
    assert desk.ssh(f"exit {status}").status == status


def test_stderr_stays_apart(desk: Person) -> None:
    """The two outputs are never mixed."""
    done = desk.ssh("echo out; echo err >&2; exit 3")
    assert (done.status, done.out, done.err) == (3, b"out\n", b"err\n")


def test_half_close(desk: Person) -> None:
    """The end of the input is not the end of the session."""
    done = desk.ssh("cat; echo end", stdin=b"x\n")
    assert (done.status, done.out) == (0, b"x\nend\n")


def test_signal_of_the_command_is_a_failure(desk: Person) -> None:
    """A command that died of a signal has no status of its own: the client says 255."""
    assert desk.ssh("kill -TERM $$").status == 255


def test_last_bytes_of_short_runs(desk: Person) -> None:
    """Nothing of the tail is lost, run after run."""
    for _ in range(20):
        done = desk.ssh("head -c 1000000 /dev/zero; echo end; exit 5")
        assert (done.status, len(done.out), done.out[-4:]) == (5, 1000004, b"end\n")


def test_last_bytes_of_tiny_runs(desk: Person) -> None:
    """Output, status and close may come in one read."""
    for number in range(30):
        done = desk.ssh(f"echo {number}; exit {number}")
        assert (done.status, done.out) == (number, b"%d\n" % number)


def test_large_download(desk: Person) -> None:
    """20 MB out of the desktop arrive as they were."""
    data = os.urandom(20_000_000)
    file = desk.inner.shared / desk.name
    file.write_bytes(data)
    done = desk.ssh(f"cat {file}; exit 2")
    file.unlink()
    assert done.status == 2
    assert done.out == data


def test_large_upload(desk: Person) -> None:
    """20 MB into the desktop arrive as they were."""
    data = os.urandom(20_000_000)
    done = desk.ssh("md5sum", stdin=data)
    assert done.out.split()[0].decode() == hashlib.md5(data).hexdigest()


def test_large_both_ways(desk: Person) -> None:
    """The two directions do not wait for each other for ever."""
    data = os.urandom(20_000_000)
    done = desk.ssh("cat; exit 4", stdin=data)
    assert done.status == 4
    assert done.out == data


def test_environment_passes_by_an_allow_list(desk: Person) -> None:
    """Language settings pass; what changes how programs are loaded does not."""
    done = desk.ssh(
        "-o",
        "SetEnv=LANG=C.UTF-8 LC_X=2 LD_PRELOAD=x BAD=3",
        "echo $LANG-$LC_X-$LD_PRELOAD-$BAD",
    )
    assert done.out == b"C.UTF-8-2--\n"


def test_runs_as_the_account_in_its_home(desk: Person) -> None:
    """The command runs as the container's user, at home."""
    done = desk.ssh("id -un; pwd")
    assert done.out.decode().split() == ["desk", str(desk.inner.home)]


def test_nothing_is_printed_around_a_command(desk: Person) -> None:
    """An exec channel carries what the command wrote and nothing else."""
    done = desk.ssh("true")
    assert (done.status, done.out, done.err) == (0, b"", b"")


def test_client_that_goes_away_ends_what_it_started(desk: Person) -> None:
    """The end of the connection reaches the command as the end of its input and output."""
    mark = desk.inner.shared / f"{desk.name}-ended"
    process = desk.start(f"trap '' HUP; echo up; cat; touch {mark}")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    until(mark.exists, 10, "the command saw the end")
