"""Programs that come over ssh for a purpose of their own: libssh2's, sshfs, Ansible, VS Code, mosh."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .clients import HOST, Person, environment, run, talk, talk_socks
from .mount import mounted
from .playbook import ansible
from .vscode import Window, kill_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# ---------------------------------------------------------------------------------------- libssh2


def _curl(desk: Person, *arguments: str) -> bytes:
    pin = desk.door.host_key.get_fingerprint().removeprefix("SHA256:")
    key = ["--key", str(desk.key_file), "--pubkey", f"{desk.key_file}.pub", "--user", "desk:"]
    done = run(["curl", "-sS", "--hostpubsha256", pin, *key, *arguments])
    assert done.status == 0, done.err
    return done.out


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
@pytest.mark.parametrize("compression", [[], ["--compressed-ssh"]], ids=["plain", "compressed"])
def test_curl(desk: Person, scheme: str, compression: list[str]) -> None:
    """libssh2 by curl: 3 MB up and down; compression is asked for and not had."""
    data = os.urandom(3_000_000)
    (desk.folder / "a").write_bytes(data)
    place = f"{scheme}://{HOST}:{desk.door.port}{desk.inner.home}/{desk.name}-{scheme}"
    _curl(desk, *compression, "-T", str(desk.folder / "a"), place)
    assert (desk.inner.home / f"{desk.name}-{scheme}").read_bytes() == data
    assert _curl(desk, *compression, place) == data


def test_curl_lists_and_renames(desk: Person) -> None:
    """libssh2 by curl: a listing, and orders that go before it."""
    home = desk.inner.home
    assert desk.ssh(f"mkdir {desk.name} && touch {desk.name}/one").status == 0
    place = f"sftp://{HOST}:{desk.door.port}{home}/{desk.name}/"
    order = f"rename {home}/{desk.name}/one {home}/{desk.name}/two"
    assert sorted(_curl(desk, "-l", "-Q", order, place).split()) == [b".", b"..", b"two"]


# ------------------------------------------------------------------------------------------ sshfs


@contextlib.contextmanager
def _mounted(desk: Person, *options: str) -> Iterator[Path]:
    """A folder of the person's over there, as a folder here."""
    assert desk.ssh(f"mkdir {desk.name}").status == 0
    with mounted(desk.config, desk.name, *options, env=desk.env) as point:
        yield point


def test_sshfs(desk: Person) -> None:
    """sshfs: a tree is written, read back, renamed and removed through a mount."""
    data = os.urandom(3_000_000)
    with _mounted(desk) as point:
        (point / "deep").mkdir()
        (point / "deep" / "file").write_bytes(data)
        (point / "deep" / "file").rename(point / "moved")
        (point / "moved").chmod(0o640)
        there = desk.inner.home / desk.name / "moved"
        assert there.read_bytes() == data
        assert there.stat().st_mode & 0o777 == 0o640
        (there.parent / "other").write_bytes(data[::-1])
        assert (point / "other").read_bytes() == data[::-1]
        shutil.rmtree(point / "deep")
        assert sorted(os.listdir(point)) == ["moved", "other"]


def test_sshfs_many_at_once(desk: Person) -> None:
    """sshfs: eight writers at the same time, on several connections as it may have them."""
    with _mounted(desk, "-o", "max_conns=4") as point, ThreadPoolExecutor(8) as pool:
        pieces = {str(number): os.urandom(400_000) for number in range(8)}
        list(pool.map(lambda name: (point / name).write_bytes(pieces[name]), pieces))
        assert {name: (point / name).read_bytes() for name in pieces} == pieces


# ---------------------------------------------------------------------------------------- Ansible


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "files"])
def test_ansible(desk: Person, pipelining: bool) -> None:
    """A playbook: facts, files both ways, commands, a failure; on the connection that it shares."""
    with ansible(desk.config, desk.name, pipelining=pipelining, env=desk.env) as (done, place):
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ok=7    changed=3 " in done.stdout
        assert (place / "back").read_bytes() == (place / "big").read_bytes()
    assert (desk.inner.home / desk.name / "who").read_text() == "desk\n"
    assert len(desk.calls("attached")) == 1


# ---------------------------------------------------------------------------------------- VS Code


def _socks(desk: Person, window: Window, port: int) -> None:
    """The editor's several connections at once: each its own bytes, all to the one server."""
    token = window.told["connectionToken"].encode()
    with ThreadPoolExecutor(4) as pool:
        heard = list(pool.map(lambda _: talk_socks(port, window.port), range(4)))
    assert heard == [token + b"\nABC"] * 4


def test_vscode(desk: Person) -> None:
    """The script on bash's stdin starts a server, which the same ssh's -D reaches."""
    port = free_port()
    window = Window.open(desk.argv, "desk", port, f".vs-{desk.name}", desk.env)
    try:
        assert "Installing" in window.said
        assert (window.told["platform"], window.told["DISPLAY"]) == ("linux", "")
        _socks(desk, window, port)
        assert talk_socks(port, window.port, b"x" * 500_000).endswith(b"\n" + b"X" * 500_000)
    finally:
        window.close()
        assert desk.ssh(kill_server(f".vs-{desk.name}")).status == 0


def test_vscode_server_outlives_its_window(desk: Person) -> None:
    """A second window, after the first was closed, finds the server running, and stops it."""
    folder = f".vs-{desk.name}"
    first = Window.open(desk.argv, "desk", free_port(), folder, desk.env)
    first.close()
    port = free_port()
    second = Window.open(desk.argv, "desk", port, folder, desk.env)
    try:
        assert "Found running server" in second.said
        assert second.told["connectionToken"] == first.told["connectionToken"]
        _socks(desk, second, port)
    finally:
        second.close()
        assert desk.ssh(kill_server(folder)).status == 0


def test_vscode_on_a_socket(desk: Person) -> None:
    """`remoteServerListenOnSocket`: a tunnel of its own leads to the server's socket file."""
    folder, port = f".vs-{desk.name}", free_port()
    window = Window.open(desk.argv, "desk", free_port(), folder, desk.env)
    try:
        far = desk.inner.home / folder / "sock"
        with desk.forwarding("-L", f"{port}:{far}", port=port):
            token = window.told["connectionToken"].encode()
            assert talk(socket.create_connection((HOST, port), 5)) == token + b"\nABC"
    finally:
        window.close()
        assert desk.ssh(kill_server(folder)).status == 0


# ------------------------------------------------------------------------------------------- mosh


@pytest.mark.parametrize("form", ["proxy", "remote"])
def test_mosh_is_told_that_it_cannot_be(desk: Person, form: str) -> None:
    """mosh shows one sentence, ends with a failure, and no desktop was asked for."""
    done = run(
        ["mosh", f"--experimental-remote-ip={form}", f"--ssh=ssh -F {desk.config}", "desk"],
        env=environment(LC_ALL="C.UTF-8", TERM="xterm"),
    )
    assert done.status != 0
    assert done.out.replace(b"\r", b"") == (
        b"desk: mosh needs UDP, which does not reach a desktop: connect with ssh, and start tmux in"
        b" it for a session that outlives the connection. (unsupported)\n"
    )
    assert desk.calls() == []
