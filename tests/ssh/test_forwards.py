"""Forwards of every kind, dialled from inside the desktop."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor

from tests.ports import free_port

from .clients import (
    HOST,
    SPOKEN,
    Echo,
    Person,
    end,
    listens,
    talk_socks,
    talk_tcp,
    talk_unix,
    until,
)


def test_stdio_forward(desk: Person) -> None:
    """-W joins the client's own streams to a port inside."""
    with Echo() as echo:
        process = desk.start("-W", f"{HOST}:{echo.port}")
        out, err = process.communicate(b"abc", timeout=10)
        assert (out, err) == (SPOKEN, b"")
        assert process.returncode == 0


def test_stdio_forward_to_nobody(desk: Person) -> None:
    """-W to a port where nobody listens is an open failure, as with any sshd."""
    done = desk.ssh("-o", "LogLevel=INFO", "-W", f"{HOST}:1")
    assert done.status == 255
    assert b"open failed" in done.err


def test_local_forward_many_times(desk: Person) -> None:
    """-L carries 20 connections one after the other."""
    port = free_port()
    with Echo() as echo, desk.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port):
        assert [talk_tcp(port) for _ in range(20)] == [SPOKEN] * 20


def test_local_forward_at_once(desk: Person) -> None:
    """-L carries 20 connections at the same time, each its own bytes."""
    port = free_port()
    messages = [b"m%d-" % number * 20_000 for number in range(20)]
    with (
        Echo() as echo,
        desk.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port),
        ThreadPoolExecutor(20) as pool,
    ):
        heard = list(pool.map(lambda message: talk_tcp(port, message), messages))
    assert heard == [b"hello\n" + message.upper() + b"bye\n" for message in messages]


def test_forward_starts_the_desktop_when_used(desk: Person) -> None:
    """-N -L asks for no desktop until somebody connects to the forward."""
    port = free_port()
    with Echo() as echo:
        process = desk.start("-N", "-v", "-o", "LogLevel=DEBUG", "-L", f"{port}:{HOST}:{echo.port}")
        assert process.stderr is not None
        line = b""
        while b"Entering interactive session" not in line:
            line = process.stderr.readline()
            assert line, "the client ended"
        assert desk.calls("route") == []
        assert talk_tcp(port) == SPOKEN
        assert len(desk.calls("route")) == 1
        assert talk_tcp(port) == SPOKEN
        assert len(desk.calls("route")) == 1
        end(process)


def test_local_forward_to_nobody_keeps_the_connection(desk: Person) -> None:
    """A refused forward ends itself alone."""
    port, good = free_port(), free_port()
    with (
        Echo() as echo,
        desk.forwarding("-L", f"{port}:{HOST}:1", "-L", f"{good}:{HOST}:{echo.port}", port=good),
    ):
        with socket.create_connection((HOST, port), 5) as far:
            far.settimeout(5)
            assert far.recv(10) == b""
        assert talk_tcp(good) == SPOKEN


def test_local_forward_between_unix_sockets(desk: Person) -> None:
    """-L joins a socket file here to one inside."""
    near, far = desk.folder / "near", desk.inner.shared / f"{desk.name}-far"
    with Echo(far), desk.forwarding("-L", f"{near}:{far}"):
        until(near.exists, 10, "the client listens")
        assert talk_unix(near) == SPOKEN


def test_remote_forward(desk: Person) -> None:
    """-R listens inside, and its listener goes with the client."""
    port = free_port()
    with Echo() as echo:
        with desk.forwarding("-R", f"{port}:{HOST}:{echo.port}", port=port):
            assert [talk_tcp(port) for _ in range(5)] == [SPOKEN] * 5
        until(lambda: not listens(port), 10, "the listener is gone")


def test_remote_forward_of_a_free_port(desk: Person) -> None:
    """-R 0 tells the port that the desktop chose."""
    with Echo() as echo:
        process = desk.start("-o", "LogLevel=INFO", "-N", "-R", f"0:{HOST}:{echo.port}")
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the client ended"
            found = re.search(rb"Allocated port (\d+)", line)
        assert talk_tcp(int(found[1])) == SPOKEN


def test_remote_forward_refused(desk: Person) -> None:
    """A port that the account may not bind is refused, and the client hears of it."""
    done = desk.ssh("-o", "ExitOnForwardFailure=yes", "-R", f"1:{HOST}:1", "true")
    assert done.status == 255
    assert b"remote port forwarding failed" in done.err


def test_remote_forward_refused_and_the_rest_works(desk: Person) -> None:
    """One refused and two granted listens keep their answers apart."""
    one, two = free_port(), free_port()
    with Echo() as echo:
        argv = []
        for port in (one, 1, two):
            argv += ["-R", f"{port}:{HOST}:{echo.port}"]
        desk.attached(*argv)
        assert (talk_tcp(one), talk_tcp(two)) == (SPOKEN, SPOKEN)


def test_remote_forward_of_a_unix_socket(desk: Person) -> None:
    """-R listens on a socket file inside."""
    path = desk.inner.home / f"{desk.name}.sock"
    with Echo() as echo, desk.forwarding("-R", f"{path}:{HOST}:{echo.port}"):
        until(path.exists, 10, "the desktop listens")
        assert talk_unix(path) == SPOKEN


def test_dynamic_forward_again_and_again(desk: Person) -> None:
    """-D serves 20 SOCKS connections, on one client and the next."""
    with Echo() as echo:
        for _ in range(2):
            port = free_port()
            with desk.forwarding("-D", f"{HOST}:{port}", port=port):
                assert [talk_socks(port, echo.port) for _ in range(10)] == [SPOKEN] * 10


def test_dynamic_forward_each_on_a_new_client(desk: Person) -> None:
    """The first channel of a connection may be a forward, every time."""
    with Echo() as echo:
        for _ in range(6):
            port = free_port()
            with desk.forwarding("-D", f"{HOST}:{port}", port=port):
                assert talk_socks(port, echo.port) == SPOKEN


def test_jump_through_the_desktop(desk: Person) -> None:
    """-J uses the desktop as the way to another sshd that is seen from inside."""
    ssh = desk.beside()
    process = desk.start(argv=[*ssh[:-1], "-J", "desk", ssh[-1], "echo behind; exit 3"])
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, b"behind\n")


def test_session_and_forwards_share_a_connection(desk: Person) -> None:
    """A command and forwards of both directions live side by side."""
    local, remote = free_port(), free_port()
    with Echo() as echo:
        process = desk.attached(
            "-L",
            f"{local}:{HOST}:{echo.port}",
            "-R",
            f"{remote}:{HOST}:{echo.port}",
            then="cat; exit 3",
        )
        assert (talk_tcp(local), talk_tcp(remote)) == (SPOKEN, SPOKEN)
        out, _ = process.communicate(b"tail", timeout=10)
        assert (process.returncode, out) == (3, b"tail")
