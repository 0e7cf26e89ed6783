"""What OpenSSH's client can do besides: its command line, SOCKS the other way, many at once."""

from __future__ import annotations

import contextlib
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.ports import free_port

from .clients import (
    HOST,
    SPOKEN,
    Echo,
    Person,
    end,
    environment,
    listens,
    run,
    talk_socks,
    talk_tcp,
    talk_unix,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

# The option is there from OpenSSH 9.2 on; before that the command line was always on.
_COMMAND_LINE = (
    "-o",
    "IgnoreUnknown=EnableEscapeCommandline",
    "-o",
    "EnableEscapeCommandline=yes",
    "-o",
    "LogLevel=INFO",
)


def _takes(path: Path) -> bool:
    """Whether somebody accepts there."""
    with contextlib.suppress(OSError):
        return talk_unix(path) == SPOKEN
    return False


def test_command_line_of_a_running_session(desk: Person) -> None:
    """~C adds forwards of each kind to a session that runs, and ends one."""
    local, remote, socks = free_port(), free_port(), free_port()
    with Echo() as echo, desk.terminal(*_COMMAND_LINE, "-tt") as shell:
        shell.expect(rb"\$ $")
        for option in (f"-L {local}:{HOST}:{echo.port}", f"-R {remote}:{HOST}:{echo.port}"):
            shell.send(b"\n~C")
            shell.expect(rb"ssh> $")
            shell.send(f"{option}\n".encode())
            shell.expect(rb"Forwarding port")
        shell.send(b"\n~C")
        shell.expect(rb"ssh> $")
        shell.send(f"-D {socks}\n".encode())
        shell.expect(rb"Forwarding port")
        until(lambda: listens(remote), 10, "the desktop listens")
        assert (talk_tcp(local), talk_tcp(remote)) == (SPOKEN, SPOKEN)
        assert talk_socks(socks, echo.port) == SPOKEN
        shell.send(b"\n~C")
        shell.expect(rb"ssh> $")
        shell.send(f"-KR {remote}\n".encode())
        until(lambda: not listens(remote), 10, "the listener is gone")
        shell.send(b"echo still''here; exit 3\n")
        shell.expect(rb"\nstillhere")
        assert shell.wait() == 3


def test_connections_are_listed(desk: Person) -> None:
    """~# tells of the session's channel, ~? of the escapes: the client's own, and no end."""
    with desk.terminal("-tt") as shell:
        shell.expect(rb"\$ $")
        shell.send(b"\n~#")
        shell.expect(rb"The following connections are open")
        shell.send(b"\n~?")
        shell.expect(rb"Supported escape sequences")
        shell.send(b"\n~R\n~V\n")
        shell.send(b"echo on''ward; exit 4\n")
        shell.expect(rb"\nonward")
        assert shell.wait() == 4


def test_suspended_and_continued(desk: Person) -> None:
    """~^Z stops the client, and `fg` goes on with the same shell."""
    with desk.terminal("-tt") as shell:
        shell.expect(rb"\$ $")
        shell.send(b"mark=kept\n")
        shell.expect(rb"\$ $")
        shell.send(b"\n~\x1a")
        shell.expect(rb"\[suspend ssh\]")
        shell.process.send_signal(18)
        shell.send(b"\necho $mark; exit 5\n")
        shell.expect(rb"\nkept")
        assert shell.wait() == 5


def test_remote_dynamic_forward(desk: Person) -> None:
    """-R PORT alone: SOCKS inside, dialled from the client's side."""
    port = free_port()
    with Echo() as echo, desk.forwarding("-R", f"{HOST}:{port}", port=port):
        assert [talk_socks(port, echo.port) for _ in range(5)] == [SPOKEN] * 5


def test_several_free_ports(desk: Person) -> None:
    """-R 0 three times: three ports, each leading to its own."""
    with Echo() as one, Echo() as two, Echo() as three:
        options = []
        for echo in (one, two, three):
            options += ["-R", f"0:{HOST}:{echo.port}"]
        process = desk.start("-o", "LogLevel=INFO", "-N", *options)
        assert process.stderr is not None
        ports = []
        while len(ports) < 3:
            line = process.stderr.readline()
            assert line, "the client ended"
            if found := re.search(rb"Allocated port (\d+)", line):
                ports.append(int(found[1]))
        assert [talk_tcp(port) for port in ports] == [SPOKEN] * 3
        assert [echo.accepted for echo in (one, two, three)] == [1, 1, 1]
        end(process)


def test_unix_sockets_both_ways_on_one_connection(desk: Person) -> None:
    """-L and -R between socket files, side by side; and again, over the file that an sshd leaves."""
    near, far = desk.folder / "near", desk.inner.shared / f"{desk.name}-far"
    own, inside = desk.folder / "own", desk.inner.home / f"{desk.name}-in"
    options = ["-o", "StreamLocalBindUnlink=yes", "-L", f"{near}:{far}", "-R", f"{inside}:{own}"]
    with Echo(far), Echo(own):
        for _ in range(2):
            with desk.forwarding(*options), ThreadPoolExecutor(6) as pool:
                until(lambda: _takes(near) and _takes(inside), 10, "both listen")
                assert list(pool.map(talk_unix, [near, inside] * 3)) == [SPOKEN] * 6


def test_stdio_forward_is_a_proxy_command(desk: Person) -> None:
    """`ProxyCommand ssh -W` leads a second ssh to a sshd that is seen from inside."""
    beside = desk.beside()
    proxy = " ".join([*desk.argv, "-W", "%h:%p", "desk"])
    process = desk.start(argv=[*beside[:-1], "-o", f"ProxyCommand={proxy}", beside[-1], "exit 3"])
    process.communicate(timeout=20)
    assert process.returncode == 3


def test_thirty_sessions_on_one_master(desk: Person) -> None:
    """ControlMaster: thirty commands at once, each its own words and status."""
    path = desk.folder / "mux"
    master = desk.start("-M", "-S", str(path), "-N")
    until(path.exists, 10, "the master listens")
    with ThreadPoolExecutor(30) as pool:
        done = list(pool.map(lambda n: desk.ssh("-S", str(path), f"echo {n}; exit {n}"), range(30)))
    assert [(run.status, run.out) for run in done] == [(n, b"%d\n" % n) for n in range(30)]
    assert len(desk.calls("attached")) == 1
    end(master)


def test_persistent_master(desk: Person) -> None:
    """ControlPersist: the first command leaves a master behind, which the next ones use."""
    path = desk.folder / "mux"
    options = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}", "-o", "ControlPersist=60"]
    try:
        # What is left behind holds stderr: it is not waited for.
        first = desk.start(*options, "echo one")
        assert first.wait(20) == 0
        for number in range(3):
            assert desk.ssh("-S", str(path), f"exit {number}").status == number
        assert len(desk.calls("attached")) == 1
    finally:
        assert desk.ssh("-S", str(path), "-O", "exit").status == 0


def test_rsync_over_a_shared_connection_while_a_shell_is_used(desk: Person) -> None:
    """A long copy and a typed shell on one connection do not hold each other."""
    path = desk.folder / "mux"
    (desk.folder / "a").write_bytes(b"q" * 8_000_000)
    master = desk.start("-M", "-S", str(path), "-N")
    until(path.exists, 10, "the master listens")
    with desk.terminal("-S", str(path), "-tt") as shell:
        shell.expect(rb"\$ $")
        way = f"ssh -F {desk.config} -S {path}"
        copy = desk.start(
            argv=["rsync", "-a", "-e", way, str(desk.folder / "a"), f"desk:{desk.name}-r"]
        )
        shell.send(b"echo ty''ped; exit 2\n")
        shell.expect(rb"\ntyped")
        assert shell.wait() == 2
        assert copy.wait(30) == 0
    assert (desk.inner.home / f"{desk.name}-r").stat().st_size == 8_000_000
    end(master)


def test_git_pushes_and_fetches(desk: Person) -> None:
    """A bare repository inside takes a push of 2 MB and gives it to another clone."""
    assert desk.ssh(f"git init -q --bare -b main {desk.name}.git").status == 0
    env = environment(
        GIT_SSH_COMMAND=" ".join(desk.argv),
        GIT_CONFIG_GLOBAL="/dev/null",
        GIT_AUTHOR_NAME="a",
        GIT_AUTHOR_EMAIL="a@example.org",
        GIT_COMMITTER_NAME="a",
        GIT_COMMITTER_EMAIL="a@example.org",
    )
    tree, again = str(desk.folder / "tree"), str(desk.folder / "again")
    assert run(["git", "init", "-q", "-b", "main", tree], env=env).status == 0
    (desk.folder / "tree" / "file").write_bytes(bytes(range(256)) * 8000)
    git = ["git", "-C", tree]
    for words in (
        [*git, "add", "file"],
        [*git, "commit", "-q", "-m", "first"],
        [*git, "push", "-q", f"desk:{desk.name}.git", "main"],
        ["git", "clone", "-q", f"ssh://desk/{desk.inner.home}/{desk.name}.git", again],
    ):
        done = run(words, env=env)
        assert done.status == 0, done.err
    assert (desk.folder / "again" / "file").read_bytes() == bytes(range(256)) * 8000


def test_keepalives_while_a_forward_is_silent(desk: Person) -> None:
    """ServerAliveInterval on a connection that never had a desktop, and then gets one."""
    port = free_port()
    options = [
        "-o",
        "ServerAliveInterval=1",
        "-o",
        "ServerAliveCountMax=1",
        "-o",
        "TCPKeepAlive=no",
    ]
    with (
        Echo() as echo,
        desk.forwarding(*options, "-L", f"{port}:{HOST}:{echo.port}", port=port) as ssh,
    ):
        with socket.socket() as idle:
            idle.settimeout(3.5)
            idle.connect((HOST, port))
            assert idle.recv(100) == b"hello\n"
            with contextlib.suppress(TimeoutError):
                idle.recv(100)
        assert ssh.poll() is None
        assert talk_tcp(port) == SPOKEN
