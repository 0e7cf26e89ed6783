"""A person connects by stock clients: everything lands in a desktop of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time

import pytest

from tests.e2e.desk import HOST, until
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BOTH_LANES = True


@pytest.fixture(scope="module")
def ada(desk):
    person = desk.person("ada")
    desk.ok(person, "true")
    return person


def test_a_shell_lands_in_the_home_of_an_ordinary_user(desk, ada):
    """`id`, the home, the host name and DISPLAY are those of the person's own desktop."""
    told = desk.ok(ada, "id -un; pwd; hostname; echo $DISPLAY").split()
    (session,) = [s for s in desk.listing("sessions") if s["user"] == "ada"]
    assert told == ["desk", "/home/desk", session["desktop_id"], f":{session['display']}"]


def test_the_display_is_real(desk, ada):
    """An X client started by ssh draws on the desktop."""
    assert "dimensions:    1280x800" in desk.ok(ada, "xdpyinfo")


@pytest.mark.parametrize("status", [0, 7])
def test_the_exit_status_is_the_commands(desk, ada, status):
    """What the command says is what ssh says."""
    assert desk.ssh(ada, f"exit {status}").returncode == status


def test_death_by_a_signal_is_told(desk, ada):
    """A command that a signal ends is no success: ssh reports 255, as with any sshd."""
    assert desk.ssh(ada, "kill -TERM $$").returncode == 255


def test_an_interactive_shell_has_a_terminal(desk, ada):
    """With a pty: a tty, a size, a prompt, and the shell's own exit status."""
    done = desk.ssh(ada, None, "-tt", stdin=b"tty; stty size; exit 9\n")
    assert b"/dev/pts/" in done.stdout
    assert done.returncode == 9


def test_nothing_is_printed_that_was_not_asked_for(desk, ada):
    """An exec's streams hold the command's bytes alone."""
    done = desk.ssh(ada, "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


@pytest.fixture(scope="module")
def big_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("big") / "big"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(1 << 20))
    return path


def _digest(path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("tool", ["scp", "scp -O", "sftp", "rsync"])
def test_100_megabytes_arrive_whole_both_ways(desk, ada, big_file, tmp_path, tool):
    """Up, checked inside, and down again."""
    back = tmp_path / "back"
    options = ["-F", str(ada.config)]
    match tool.split():
        case ["scp", *legacy]:
            commands = [
                ["scp", *legacy, *options, big_file, "desk:big"],
                ["scp", *legacy, *options, "desk:big", back],
            ]
        case ["sftp"]:
            batch = tmp_path / "batch"
            batch.write_text(f"put {big_file} big\nget big {back}\n")
            commands = [["sftp", *options, "-b", batch, "desk"]]
        case _:
            way = ["rsync", "-e", f"ssh -F {ada.config}"]
            commands = [[*way, big_file, "desk:big"], [*way, "desk:big", back]]
    desk.ok(ada, "rm -f big")
    for command in commands:
        subprocess.run(command, check=True, env=desk.env, timeout=120, capture_output=True)
    inside = desk.ok(ada, "sha256sum big").split()[0]
    assert inside == _digest(big_file) == _digest(back)


def test_git_clones_from_the_desktop(desk, ada, tmp_path):
    """A repository inside is a remote like any other."""
    desk.ok(
        ada,
        "rm -rf repo; git init -q repo && cd repo && echo hi > file && git add file &&"
        " git -c user.name=a -c user.email=a@example.org commit -qm first",
    )
    env = {**desk.env, "GIT_SSH_COMMAND": f"ssh -F {ada.config}"}
    subprocess.run(["git", "clone", "-q", "desk:repo", tmp_path / "repo"], check=True, env=env)
    assert (tmp_path / "repo/file").read_text() == "hi\n"


_ECHO = (
    "python3 -u -c 'import socketserver as s;"
    'h=type("H",(s.StreamRequestHandler,),{"handle":lambda q:q.wfile.write(q.rfile.readline().upper())});'
    's.TCPServer.allow_reuse_address=True; s.TCPServer(("127.0.0.1",{port}),h).serve_forever()\' '
)


def _say(port: int, word: bytes = b"hello\n") -> bytes:
    with socket.create_connection((HOST, port), timeout=10) as sock:
        sock.sendall(word)
        return sock.makefile("rb").readline()


def _answers(port: int) -> bool:
    try:
        return _say(port) == b"HELLO\n"
    except OSError:
        return False


def test_local_and_dynamic_forwards_reach_a_service_inside(desk, ada):
    """`-L` and `-D` dial from inside the container."""
    inside, local, socks = 18081, free_port(), free_port()
    service = subprocess.Popen(
        desk.ssh_command(ada, "-L", f"{local}:127.0.0.1:{inside}", "-D", str(socks))
        + [_ECHO.replace("{port}", str(inside))],
        env=desk.env,
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(local), what="the forward")
        for _ in range(20):
            done = subprocess.run(
                ["curl", "-sS", "--socks5", f"{HOST}:{socks}", f"telnet://127.0.0.1:{inside}"],
                input=b"hello\n",
                capture_output=True,
                timeout=20,
            )
            assert done.stdout == b"HELLO\n", done.stderr
    finally:
        service.terminate()
        service.wait(10)


def test_a_remote_forward_reaches_a_service_outside(desk, ada):
    """`-R` listens inside the container, and nowhere on the host."""
    outside = free_port()
    with socket.create_server((HOST, outside)) as server:
        remote = 18082
        client = subprocess.Popen(
            desk.ssh_command(
                ada, "-R", f"{remote}:{HOST}:{outside}", "-o", "ExitOnForwardFailure=yes"
            )
            + [f"exec 3<>/dev/tcp/127.0.0.1/{remote}; echo ping >&3; head -1 <&3"],
            env=desk.env,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        server.settimeout(20)
        connection, _ = server.accept()
        with connection:
            assert connection.makefile("rb").readline() == b"ping\n"
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((HOST, remote), timeout=2)
            connection.sendall(b"pong\n")
        assert client.communicate(timeout=20)[0] == b"pong\n"


def test_two_clients_of_one_user_reach_each_their_own_agent(desk, ada, tmp_path):
    """`-A` from two machines at once: neither sees the other's keys."""
    agents, clients = [], []
    try:
        for number in range(2):
            sock, key = tmp_path / f"agent{number}", tmp_path / f"key{number}"
            agents.append(
                subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
            )
            subprocess.run(
                ["ssh-keygen", "-qt", "ed25519", "-N", "", "-C", f"key-{number}", "-f", key]
            )
            until(sock.exists)
            env = {**desk.env, "SSH_AUTH_SOCK": str(sock)}
            subprocess.run(["ssh-add", "-q", key], env=env, check=True)
            # A key that was forwarded is not one to log in with.
            command = desk.ssh_command(ada, "-A", "-o", "IdentityAgent=SSH_AUTH_SOCK")
            clients.append(
                subprocess.Popen(
                    [*command, "for i in 1 2 3 4 5; do ssh-add -l; sleep 0.1; done"],
                    env=env,
                    stdout=subprocess.PIPE,
                    stdin=subprocess.DEVNULL,
                )
            )
        told = [client.communicate(timeout=30)[0].decode() for client in clients]
    finally:
        for agent in agents:
            agent.terminate()
            agent.wait(10)
    for number in range(2):
        assert told[number].count(f"key-{number}") == 5
        assert f"key-{1 - number}" not in told[number]


def test_x11_is_forwarded_to_the_clients_own_display(desk, ada, xvfb):
    """`-X`: xdpyinfo inside shows the client's screen, not the desktop's."""
    with xvfb("648x480") as screen:
        done = desk.ssh(ada, "echo $DISPLAY; xdpyinfo | grep dimensions", "-X", **screen.env)
    assert b"localhost:1" in done.stdout
    assert b"648x480" in done.stdout, done


def test_one_connect_is_cheap_once_the_spare_waits(desk, ada):
    """A second connect is in the same desktop, and the container was not made anew."""
    before = desk.ok(ada, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    time.sleep(0.2)
    assert desk.ok(ada, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1") == before


def test_words_are_answered_and_start_nothing(desk):
    """A new user asks the broker's words: answers, and no container."""
    person = desk.person("bob")
    assert "desk start" in desk.ok(person, "desk help")
    assert "no desktop yet" in desk.ok(person, "desk list")
    assert desk.ok(person, "desk list --json").strip() == "[]"
    assert desk.ssh(person, "desk status").returncode == 1
    assert desk.ssh(person, "desk dance").returncode == 2
    assert not [s for s in desk.listing("sessions") if s["user"] == "bob"]


def test_the_words_start_and_stop_a_desktop_and_its_home_stays(desk):
    """start, status, stop; then a connect finds the same home."""
    person = desk.person("cid")
    assert "ready on display :" in desk.ok(person, "desk start")
    assert "ready" in desk.ok(person, "desk status")
    desk.ok(person, "echo kept > file")
    assert "home is kept" in desk.ok(person, "desk stop")
    assert desk.ok(person, "cat file") == "kept\n"


def test_a_named_desktop_is_another_one(desk, ada):
    """`desk+work` after `desk start work`: its own home; unknown names get one sentence."""
    done = desk.ssh(ada, "true", "-l", "desk+work")
    assert done.returncode != 0
    assert b"desk start work" in done.stderr
    desk.ok(ada, "desk start work")
    hosts = {desk.ok(ada, "hostname", "-l", login) for login in ("desk", "desk+work", "ada+work")}
    assert len(hosts) == 2
    assert "stopped" in desk.ok(ada, "desk stop work")


def test_the_login_name_must_be_the_keys_owners(desk, ada):
    """One's own name works, another's is refused like an unknown one's."""
    desk.person("bob")
    assert desk.ok(ada, "id -un", "-l", "ada") == "desk\n"
    refused = [desk.ssh(ada, "true", "-l", login) for login in ("bob", "nobody-here", "root")]
    assert {(done.returncode, done.stderr.split(b"@")[-1]) for done in refused} == {
        (255, refused[0].stderr.split(b"@")[-1])
    }
    assert b"Permission denied" in refused[0].stderr


def test_an_unknown_key_is_refused_and_starts_nothing(desk):
    """A key that proves nobody: permission denied, no record, no container."""
    stranger = desk.person("stranger", registered=False)
    done = desk.ssh(stranger, "true", "-o", "BatchMode=yes")
    assert done.returncode == 255
    assert b"Permission denied (publickey,keyboard-interactive,password)" in done.stderr


def test_client_tools_are_there():
    """The suite drives real clients: each of them is installed."""
    for tool in ("ssh", "scp", "sftp", "rsync", "git", "ssh-agent", "curl", "Xvfb", "xpra"):
        assert shutil.which(tool), tool
