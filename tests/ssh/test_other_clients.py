"""Clients that are not OpenSSH: PuTTY's, dropbear's, paramiko, asyncssh."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import asyncssh
import paramiko
import pytest

from .clients import HOST, SPOKEN, Echo, Person, Terminal, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clients import DoorProcess

OUT = b"out\nin\n"
COMMAND = "echo out; echo err >&2; cat; exit 4"


# ---------------------------------------------------------------------------------------- PuTTY


@pytest.fixture
def putty(desk: Person) -> list[str]:
    """The options that PuTTY's programs share."""
    key = desk.folder / "id.ppk"
    run(["puttygen", str(desk.key_file), "-O", "private", "-o", str(key)])
    fingerprint = desk.door.host_key.get_fingerprint()
    return [
        "-batch",
        "-P",
        str(desk.door.port),
        "-l",
        "desk",
        "-i",
        str(key),
        "-hostkey",
        fingerprint,
    ]


def test_plink(putty: list[str]) -> None:
    """plink: streams, half close and status."""
    done = run(["plink", "-ssh", *putty, HOST, COMMAND], b"in\n")
    assert (done.status, done.out) == (4, OUT)
    assert b"err" in done.err


def test_plink_big(putty: list[str]) -> None:
    """plink: 5 MB back and forth, and its own kind of rekey."""
    data = bytes(range(256)) * 20_000
    assert run(["plink", "-ssh", *putty, HOST, "cat"], data).out == data


def test_plink_word(putty: list[str]) -> None:
    """plink: the broker's words."""
    done = run(["plink", "-ssh", *putty, HOST, "desk x y"])
    assert (done.status, done.out) == (7, b"answers: x y\n")


def test_psftp(desk: Person, putty: list[str]) -> None:
    """psftp: put and get."""
    (desk.folder / "a").write_bytes(b"q" * 1_000_000)
    orders = f"put {desk.folder}/a {desk.name}-p\nget {desk.name}-p {desk.folder}/b\nquit\n"
    done = run(["psftp", *putty, HOST], orders.encode())
    assert done.status == 0, done.err
    assert (desk.folder / "b").read_bytes() == b"q" * 1_000_000


# -------------------------------------------------------------------------------------- dropbear


@pytest.fixture
def dbclient(desk: Person) -> list[str]:
    key = desk.folder / "dropbear"
    run(["dropbearconvert", "openssh", "dropbear", str(desk.key_file), str(key)])
    return ["dbclient", "-y", "-y", "-i", str(key), "-p", str(desk.door.port)]


def test_dbclient(dbclient: list[str]) -> None:
    """dbclient: streams, half close and status."""
    done = run([*dbclient, f"desk@{HOST}", COMMAND], b"in\n")
    assert (done.status, done.out) == (4, OUT)
    assert b"err" in done.err


def test_dbclient_terminal(dbclient: list[str]) -> None:
    """dbclient: a terminal."""
    with Terminal([*dbclient, "-t", f"desk@{HOST}", "tty; exit 3"]) as terminal:
        terminal.expect(rb"/dev/pts/\d+")
        assert terminal.wait() == 3


def test_dbclient_big(dbclient: list[str]) -> None:
    """dbclient: 5 MB out."""
    assert len(run([*dbclient, f"desk@{HOST}", "head -c 5000000 /dev/zero"]).out) == 5_000_000


# -------------------------------------------------------------------------------------- paramiko


@pytest.fixture
def connect(door: DoorProcess) -> Iterator[Callable[..., paramiko.SSHClient]]:
    """Makes paramiko's clients, and ends them."""
    made: list[paramiko.SSHClient] = []

    def make(person: Person, **more: Any) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        made.append(client)
        client.load_host_keys(str(person.known_hosts))
        options = {"key_filename": str(person.key_file), **more}
        client.connect(
            HOST, door.port, "desk", look_for_keys=False, allow_agent=False, timeout=10, **options
        )
        return client

    yield make
    for client in made:
        client.close()


Connect = "Callable[..., paramiko.SSHClient]"


def test_paramiko_exec(desk: Person, connect: Connect) -> None:
    """paramiko: 3 MB back and forth, stderr apart, status."""
    stdin, stdout, stderr = connect(desk).exec_command("cat; echo e >&2; exit 6", timeout=20)
    stdin.write(b"x" * 3_000_000)
    stdin.channel.shutdown_write()
    assert len(stdout.read()) == 3_000_000
    assert stderr.read() == b"e\n"
    assert stdout.channel.recv_exit_status() == 6


def test_paramiko_shell(desk: Person, connect: Connect) -> None:
    """paramiko: a shell on a terminal, which waits for each of its requests."""
    channel = connect(desk).invoke_shell(width=77, height=22)
    channel.settimeout(10)
    channel.send(b"stty size; exit 5\n")
    seen = b""
    while data := channel.recv(9999):
        seen += data
    assert b"22 77" in seen
    assert channel.recv_exit_status() == 5


def test_paramiko_resize(desk: Person, connect: Connect) -> None:
    """paramiko: a window change."""
    channel = connect(desk).invoke_shell(width=77, height=22)
    channel.settimeout(10)
    channel.resize_pty(99, 33)
    channel.send(b"stty size; exit\n")
    seen = b""
    while data := channel.recv(9999):
        seen += data
    assert b"33 99" in seen


def test_paramiko_sftp(desk: Person, connect: Connect) -> None:
    """paramiko: sftp."""
    with connect(desk).open_sftp() as sftp:
        sftp.putfo(io.BytesIO(b"q" * 2_000_000), f"{desk.name}-q")
        assert sftp.stat(f"{desk.name}-q").st_size == 2_000_000
        back = io.BytesIO()
        sftp.getfo(f"{desk.name}-q", back)
    assert back.getvalue() == b"q" * 2_000_000


def test_paramiko_word(desk: Person, connect: Connect) -> None:
    """paramiko: the broker's words, with a terminal and without."""
    client = connect(desk)
    for pty in (False, True):
        _, stdout, _ = client.exec_command("desk p", get_pty=pty, timeout=10)
        assert b"answers: p" in stdout.read()
        assert stdout.channel.recv_exit_status() == 7


def test_paramiko_environment(desk: Person, connect: Connect) -> None:
    """paramiko: environment requests go before the command."""
    _, stdout, _ = connect(desk).exec_command(
        "echo $LC_X", environment={"LC_X": "given"}, timeout=10
    )
    assert stdout.read() == b"given\n"


def test_paramiko_with_several_keys(desk: Person, connect: Connect) -> None:
    """paramiko: the right key is found behind wrong ones, which asks for the service each time."""
    wrong = []
    for number in range(2):
        path = desk.folder / f"wrong{number}"
        path.touch(0o600)
        path.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
        wrong.append(str(path))
    client = connect(desk, key_filename=[*wrong, str(desk.key_file)])
    _, stdout, _ = client.exec_command("echo in", timeout=10)
    assert stdout.read() == b"in\n"


def test_paramiko_direct_channel(desk: Person, connect: Connect) -> None:
    """paramiko: a forwarded channel without a session."""
    with Echo() as echo:
        transport = connect(desk).get_transport()
        assert transport is not None
        with transport.open_channel("direct-tcpip", (HOST, echo.port), (HOST, 1)) as channel:
            channel.settimeout(10)
            channel.sendall(b"abc")
            channel.shutdown_write()
            heard = b""
            while data := channel.recv(999):
                heard += data
    assert heard == SPOKEN


def test_paramiko_sessions_one_after_the_other(desk: Person, connect: Connect) -> None:
    """paramiko: twenty commands on one connection."""
    client = connect(desk)
    for number in range(20):
        _, stdout, _ = client.exec_command(f"echo {number}; exit {number}", timeout=10)
        assert stdout.read() == b"%d\n" % number
        assert stdout.channel.recv_exit_status() == number


# -------------------------------------------------------------------------------------- asyncssh


async def test_asyncssh_exec(desk: Person) -> None:
    """asyncssh: signals by name, 4 MB back and forth, a terminal's size."""
    async with asyncio.timeout(30), desk.asyncssh() as client:
        assert (await client.run("kill -TERM $$")).exit_signal[0] == "TERM"
        assert len((await client.run("cat", input="z" * 4_000_000)).stdout) == 4_000_000
        sized = await client.run("stty size", term_type="xterm", term_size=(91, 31))
        assert "31 91" in sized.stdout


async def test_asyncssh_sends_a_signal(desk: Person) -> None:
    """asyncssh: a signal request reaches the command."""
    async with asyncio.timeout(30), desk.asyncssh() as client:
        async with client.create_process("echo up; exec sleep 50") as process:
            await process.stdout.readline()
            process.send_signal("TERM")
            done = await process.wait()
        assert done.exit_signal[0] == "TERM"


async def test_asyncssh_sftp_and_forward(desk: Person) -> None:
    """asyncssh: sftp beside a forwarded connection."""
    with Echo() as echo:
        async with asyncio.timeout(30), desk.asyncssh() as client:
            async with client.start_sftp_client() as sftp:
                assert "." in await sftp.listdir(".")
            reader, writer = await client.open_connection(HOST, echo.port)
            writer.write(b"abc")
            writer.write_eof()
            assert await reader.read() == SPOKEN
            writer.close()


async def test_asyncssh_word(desk: Person) -> None:
    """asyncssh: the broker's words."""
    async with asyncio.timeout(30), desk.asyncssh() as client:
        done = await client.run("desk x y")
        assert (done.exit_status, done.stdout) == (7, "answers: x y\n")
        again = await client.run("desk big 3000000")
        assert (again.exit_status, len(again.stdout)) == (3, 3_000_000)
