"""Forwards, agents and compression by clients that are not OpenSSH, and PuTTY's and dropbear's scp."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from paramiko.agent import AgentRequestHandler

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
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def _listening(
    desk: Person, argv: list[str], *ports: int, env: dict[str, str] | None = None
) -> Iterator[None]:
    """A client in the background, its ports listening."""
    process = desk.start(argv=argv, env=env)
    try:
        until(lambda: all(listens(port) for port in ports), 10, f"{argv[0]} listens")
        yield
    finally:
        end(process)


# ---------------------------------------------------------------------------------------- PuTTY


@pytest.fixture
def putty(desk: Person) -> list[str]:
    """The options that PuTTY's programs share."""
    key = desk.folder / "id.ppk"
    run(["puttygen", str(desk.key_file), "-O", "private", "-o", str(key)])
    pin = ["-hostkey", desk.door.host_key.get_fingerprint()]
    return ["-batch", "-P", str(desk.door.port), "-i", str(key), *pin]


def test_plink_forwards(desk: Person, putty: list[str]) -> None:
    """plink -N: -L, -R and -D on one connection, compression asked for."""
    local, remote, socks = free_port(), free_port(), free_port()
    with Echo() as echo:
        forwards = ["-L", f"{local}:{HOST}:{echo.port}", "-R", f"{remote}:{HOST}:{echo.port}"]
        argv = [
            "plink",
            "-ssh",
            "-C",
            *putty,
            "-l",
            "desk",
            "-N",
            *forwards,
            "-D",
            str(socks),
            HOST,
        ]
        with _listening(desk, argv, local, remote, socks):
            assert [talk_tcp(local), talk_tcp(remote)] == [SPOKEN] * 2
            assert [talk_socks(socks, echo.port) for _ in range(3)] == [SPOKEN] * 3


def test_plink_is_joined_to_a_port(putty: list[str]) -> None:
    """plink -nc: the client's own streams go to a port inside."""
    with Echo() as echo:
        done = run(
            ["plink", "-ssh", *putty, "-l", "desk", "-nc", f"{HOST}:{echo.port}", HOST], b"abc"
        )
    assert done.out == SPOKEN


def test_plink_shell(putty: list[str]) -> None:
    """plink without a command: a login shell that reads its orders from the pipe."""
    done = run(["plink", "-ssh", *putty, "-l", "desk", "-T", HOST], b"echo hi; exit 6\n")
    assert (done.status, done.out) == (6, b"hi\n")


@pytest.mark.parametrize("protocol", ["-sftp", "-scp"])
def test_pscp(desk: Person, putty: list[str], protocol: str) -> None:
    """pscp: both of its protocols, up and down."""
    data = os.urandom(2_000_000)
    (desk.folder / "a").write_bytes(data)
    far = f"desk@{HOST}:{desk.name}-scp"
    pscp = ["pscp", "-q", protocol, *putty]
    assert run([*pscp, str(desk.folder / "a"), far]).status == 0
    assert run([*pscp, far, str(desk.folder / "b")]).status == 0
    assert (desk.folder / "b").read_bytes() == data


# -------------------------------------------------------------------------------------- dropbear


@pytest.fixture
def dropbear(desk: Person) -> Path:
    """The key in dropbear's form."""
    key = desk.folder / "dropbear"
    run(["dropbearconvert", "openssh", "dropbear", str(desk.key_file), str(key)])
    return key


def test_dbclient_forwards(desk: Person, dropbear: Path) -> None:
    """dbclient -N: -L and -R on one connection."""
    local, remote = free_port(), free_port()
    with Echo() as echo:
        forwards = ["-L", f"{local}:{HOST}:{echo.port}", "-R", f"{remote}:{HOST}:{echo.port}"]
        place = ["-p", str(desk.door.port), f"desk@{HOST}"]
        argv = ["dbclient", "-y", "-y", "-i", str(dropbear), "-N", *forwards, *place]
        with _listening(desk, argv, local, remote):
            assert [talk_tcp(port) for port in (local, remote) * 3] == [SPOKEN] * 6


def test_dbclient_is_joined_to_a_port(desk: Person, dropbear: Path) -> None:
    """dbclient -B: the client's own streams go to a port inside."""
    with Echo() as echo:
        place = ["-p", str(desk.door.port), f"desk@{HOST}"]
        argv = ["dbclient", "-y", "-y", "-i", str(dropbear), "-B", f"{HOST}:{echo.port}", *place]
        process = desk.start(argv=argv)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"abc")
        process.stdin.flush()
        assert process.stdout.read(len(b"hello\nABC")) == b"hello\nABC"
        end(process)


def test_sftp_and_scp_over_dbclient(desk: Person, dropbear: Path) -> None:
    """OpenSSH's sftp and scp with dropbear as their ssh."""
    data = os.urandom(2_000_000)
    (desk.folder / "a").write_bytes(data)
    program = desk.folder / "ssh"
    # They give options of OpenSSH's, which dropbear refuses: what it needs is the end of the line.
    program.write_text(
        "#!/bin/bash\n"
        'while [ "$1" != desk ]; do case "$1" in -s) s=-s;; esac; shift; done; shift\n'
        f'exec dbclient -y -y -i {dropbear} -p {desk.door.port} $s desk@{HOST} "$@"\n'
    )
    program.chmod(0o755)
    for number, protocol in enumerate(([], ["-O"])):
        scp = ["scp", "-q", "-S", str(program), *protocol]
        far = f"desk:{desk.name}-{number}"
        there = run([*scp, str(desk.folder / "a"), far])
        assert there.status == 0, there.err
        back = run([*scp, far, str(desk.folder / f"b{number}")])
        assert back.status == 0, back.err
        assert (desk.folder / f"b{number}").read_bytes() == data


# -------------------------------------------------------------------------------------- paramiko


@contextlib.contextmanager
def _paramiko(desk: Person, **more: Any) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(desk.known_hosts))
        key = {"key_filename": str(desk.key_file), "look_for_keys": False, "allow_agent": False}
        client.connect(HOST, desk.door.port, "desk", timeout=10, **key, **more)
        yield client


def test_paramiko_with_compression(desk: Person) -> None:
    """paramiko asks for zlib first, gets none, and works."""
    with _paramiko(desk, compress=True) as client:
        stdin, stdout, _ = client.exec_command("cat", timeout=20)
        stdin.write(b"z" * 1_000_000)
        stdin.channel.shutdown_write()
        assert stdout.read() == b"z" * 1_000_000
        transport = client.get_transport()
        assert transport is not None
        assert (transport.local_compression, transport.remote_compression) == ("none", "none")


def test_paramiko_remote_forward(desk: Person) -> None:
    """paramiko: a free port inside, accepted by the client, and cancelled."""
    with _paramiko(desk) as client:
        transport = client.get_transport()
        assert transport is not None
        port = transport.request_port_forward(HOST, 0)
        with socket.create_connection((HOST, port), 5) as far:
            channel = transport.accept(10)
            channel.sendall(b"inwards")
            assert far.recv(100) == b"inwards"
            far.sendall(b"outwards")
            assert channel.recv(100) == b"outwards"
            channel.close()
        transport.cancel_port_forward(HOST, port)
        assert not listens(port)


def test_paramiko_forwards_its_agent(desk: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko: ssh-add inside lists the keys of the agent here."""
    agent = desk.folder / "agent"
    process = desk.start(argv=["ssh-agent", "-D", "-a", str(agent)])
    until(agent.exists, 5, "the agent listens")
    assert (
        run(["ssh-add", "-q", str(desk.key_file)], env=environment(SSH_AUTH_SOCK=str(agent))).status
        == 0
    )
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    with _paramiko(desk) as client:
        transport = client.get_transport()
        assert transport is not None
        session = transport.open_session(timeout=10)
        session.settimeout(10)
        handler = AgentRequestHandler(session)
        session.exec_command("ssh-add -l")
        heard = session.makefile("rb").read()
        handler.close()
    end(process)
    assert desk.keys[0].get_fingerprint().encode() in heard


# -------------------------------------------------------------------------------------- asyncssh


async def test_asyncssh_forwards(desk: Person) -> None:
    """asyncssh: local, remote on a free port, socket files and SOCKS on one connection."""
    far = desk.inner.shared / f"{desk.name}-far"
    with Echo() as echo, Echo(far):
        async with (
            asyncio.timeout(30),
            desk.asyncssh(compression_algs=["zlib@openssh.com", "none"]) as client,
        ):
            local = await client.forward_local_port(HOST, 0, HOST, echo.port)
            remote = await client.forward_remote_port(HOST, 0, HOST, echo.port)
            path = await client.forward_local_port_to_path(HOST, 0, str(far))
            socks = await client.forward_socks(HOST, 0)
            for listener in (local, remote, path):
                assert await asyncio.to_thread(talk_tcp, listener.get_port()) == SPOKEN
            assert await asyncio.to_thread(talk_socks, socks.get_port(), echo.port) == SPOKEN
            for listener in (local, remote, path, socks):
                listener.close()
                await listener.wait_closed()
