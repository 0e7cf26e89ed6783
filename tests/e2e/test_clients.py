"""Programs that come over ssh for a purpose of their own, in a real desktop."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.desk import HOST, until
from tests.ports import free_port
from tests.ssh.clients import SPOKEN, Echo, Terminal, talk_socks, talk_tcp, talk_unix
from tests.ssh.mount import mounted
from tests.ssh.playbook import ansible
from tests.ssh.vscode import Window, kill_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def lea(desk):
    person = desk.person("lea")
    desk.ok(person, "true")
    return person


def test_vscode(desk, lea):
    """Its script starts a server that outlives the window and is reached by the window's -D."""
    port, again = free_port(), free_port()
    ssh = ["ssh", "-F", str(lea.config)]
    first = Window.open(ssh, "desk", port, ".vscode-test", desk.env)
    try:
        assert first.told["osReleaseId"] == "debian"
        token = first.told["connectionToken"].encode()
        with ThreadPoolExecutor(4) as pool:
            heard = list(pool.map(lambda _: talk_socks(port, first.port), range(4)))
        assert heard == [token + b"\nABC"] * 4
    finally:
        first.close()
    second = Window.open(ssh, "desk", again, ".vscode-test", desk.env)
    try:
        assert "Found running server" in second.said
        assert talk_socks(again, second.port) == token + b"\nABC"
    finally:
        second.close()
        desk.ok(lea, kill_server(".vscode-test"))


def test_ansible(desk, lea):
    """A playbook with facts, files both ways and commands."""
    desk.ok(lea, "mkdir play")
    with ansible(lea.config, "/home/desk/play", pipelining=False, env=desk.env) as (done, place):
        assert done.returncode == 0, done.stdout + done.stderr
        assert (place / "back").read_bytes() == (place / "big").read_bytes()
    assert desk.ok(lea, "cat play/who; rm -r play") == "desk\n"


def test_sshfs(desk, lea):
    """The home is mounted, written and read."""
    data = os.urandom(3_000_000)
    with mounted(lea.config, "", env=desk.env) as point:
        (point / "mounted").write_bytes(data)
        (point / "mounted").rename(point / "renamed")
        told = desk.ok(lea, "sha256sum renamed").split()[0]
        assert told == hashlib.sha256(data).hexdigest()
        desk.ok(lea, "tr a-z A-Z <renamed >capitals")
        assert (point / "capitals").read_bytes() == data.upper()


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_curl(desk, lea, tmp_path, scheme):
    """libssh2: up and down."""
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))
    host_key = (desk.state / "ssh_host_key.pub").read_text().split()[1]
    pin = base64.b64encode(hashlib.sha256(base64.b64decode(host_key)).digest()).decode().rstrip("=")
    curl = ["curl", "-sS", "--hostpubsha256", pin, "--user", "desk:"]
    curl += ["--key", lea.key, "--pubkey", f"{lea.key}.pub"]
    place = f"{scheme}://{HOST}:{desk.ssh_port}/home/desk/curled"
    subprocess.run([*curl, "-T", tmp_path / "a", place], check=True, timeout=60)
    subprocess.run([*curl, "-o", tmp_path / "b", place], check=True, timeout=60)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_mosh_is_told_that_it_cannot_be(desk):
    """One sentence, a failure, and no desktop for somebody who has none yet."""
    person = desk.person("mo")
    done = subprocess.run(
        ["mosh", f"--ssh=ssh -F {person.config}", "desk"],
        env={**desk.env, "LC_ALL": "C.UTF-8", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert done.stdout.count(b"mosh needs UDP") == 1
    assert not [s for s in desk.listing("sessions") if s["user"] == "mo"]


def test_free_port_and_socket_files_are_forwarded(desk, lea):
    """-R 0, and -L and -R between a socket file here and one inside, on one connection."""
    with tempfile.TemporaryDirectory(prefix="desk-", dir="/tmp") as folder:
        near, own = Path(folder, "near"), Path(folder, "own")
        with Echo() as echo, Echo(own):
            client = subprocess.Popen(
                desk.ssh_command(
                    lea,
                    "-N",
                    "-o",
                    "LogLevel=INFO",
                    "-o",
                    "ExitOnForwardFailure=yes",
                    "-R",
                    f"0:{HOST}:{echo.port}",
                )[:-1]
                + ["-R", f"/home/desk/far:{own}", "-L", f"{near}:/home/desk/far", "desk"],
                env=desk.env,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                found = None
                while found is None:
                    line = client.stderr.readline()
                    assert line, "the client ended"
                    found = re.search(rb"Allocated port (\d+)", line)
                port = int(found[1])
                # Through the desktop and back: the one way in, the other out.
                until(near.exists, what="the socket here")
                desk.ok(lea, "for i in $(seq 100); do test -S far && break; sleep 0.05; done")
                assert [talk_unix(near) for _ in range(3)] == [SPOKEN] * 3
                told = desk.ok(lea, f"exec 3<>/dev/tcp/127.0.0.1/{port}; head -1 <&3")
                assert told == "hello\n"
            finally:
                client.terminate()
                client.communicate(timeout=10)


def test_stdio_forward_reaches_the_desktop_s_own_sshd(desk, lea):
    """-W to where the desktop's sshd listens: what it says first is its greeting."""
    *_, address, port = desk.ok(lea, "echo $SSH_CONNECTION").split()
    client = subprocess.Popen(
        desk.ssh_command(lea, "-W", f"{address}:{port}"),
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert client.stdout.readline().startswith(b"SSH-2.0-OpenSSH")
    finally:
        client.terminate()
        client.communicate(timeout=10)


def test_typed_command_line_and_break(desk, lea):
    """~C adds a forward to a shell in the desktop, ~B is no end, and a resize arrives."""
    local = free_port()
    words = ["-o", "IgnoreUnknown=EnableEscapeCommandline", "-o", "EnableEscapeCommandline=yes"]
    command = desk.ssh_command(lea, "-tt", "-o", "LogLevel=INFO", *words)
    inside = "python3 -m http.server -b 127.0.0.1 18083 >/dev/null 2>&1 & echo st''arted\n"
    with Terminal(command) as shell:
        shell.expect(rb"\$ ", 30)
        shell.send(inside.encode())
        shell.expect(rb"\nstarted")
        shell.send(b"\n~C")
        shell.expect(rb"ssh> $")
        shell.send(f"-L {local}:127.0.0.1:18083\n".encode())
        shell.expect(rb"Forwarding port")
        until(lambda: b"200" in _status(local), what="the page")
        shell.send(b"\n~B")
        shell.resize(44, 123)
        shell.send(b"\nkill %1; stty size; exit 5\n")
        shell.expect(rb"44 123")
        assert shell.wait(20) == 5


def _status(port: int) -> bytes:
    try:
        return talk_tcp(port, b"HEAD / HTTP/1.0\r\n\r\n")
    except OSError:
        return b""


def test_many_sessions_share_a_master(desk, lea):
    """ControlMaster: twenty commands at once beside a copy, rekeyed each 16 MiB."""
    with tempfile.TemporaryDirectory(prefix="desk-", dir="/tmp") as folder:
        path = Path(folder, "mux")
        master = subprocess.Popen(
            desk.ssh_command(lea, "-M", "-S", str(path), "-N", "-o", "RekeyLimit=16M"), env=desk.env
        )
        try:
            until(path.exists, what="the master")
            # Without a way of its own, or one that is refused a session would make a connection.
            share = ("-S", str(path), "-o", "ProxyCommand=false")
            with ThreadPoolExecutor(21) as pool:
                big = pool.submit(desk.ssh, lea, "cat", *share, stdin=bytes(80_000_000))
                runs = list(
                    pool.map(lambda n: desk.ssh(lea, f"echo {n}; exit {n}", *share), range(20))
                )
                assert [(run.returncode, run.stdout) for run in runs] == [
                    (n, b"%d\n" % n) for n in range(20)
                ]
                assert big.result().stdout == bytes(80_000_000)
        finally:
            master.terminate()
            master.wait(10)
