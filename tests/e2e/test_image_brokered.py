"""The desktop image as a broker starts it: an ordinary user, no capabilities, a read-only root."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.images import eventually, output_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

UID = 200001
DISPLAY = 1000
LOCKDOWN = (
    "--user", f"{UID}:{UID}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--init",
    "--pids-limit", "1024", "--memory", "2g", "--cpus", "2", "--shm-size", "256m", "--log-driver", "local",
    "--tmpfs", "/tmp:mode=1777,size=512m,nosuid,nodev,exec", "--tmpfs", f"/run:mode=755,uid={UID},gid={UID},size=64m,nosuid,nodev,exec",
)  # fmt: skip
PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
desk:x:{UID}:{UID}:Desk:/home/desk:/bin/bash
"""
GROUP = f"root:x:0:\nnogroup:x:65534:\ndesk:x:{UID}:\n"


@dataclass
class Brokered:
    """A container as a broker runs it, with the one key that opens it."""

    name: str
    port: int
    key: Path
    docker: Callable[..., str]

    def command(self, *arguments: str, program: str = "ssh") -> list[str]:
        """A client's command line, up to the host."""
        options = [
            "-F",
            "none",
            "-i",
            str(self.key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ]
        options += [
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            f"Port={self.port}",
        ]
        return [program, *options, *arguments]

    def ssh(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command by ssh; options may stand before it."""
        *options, command = arguments
        return subprocess.run(
            [*self.command(*options, "desk@127.0.0.1"), command], capture_output=True, text=True, timeout=90,
            check=False, env=env, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def says(self, command: str) -> str:
        """What a command that must succeed printed in the desktop."""
        done = self.ssh(command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def process(self, name: str) -> int:
        """The process that runs under this name now, or 0."""
        return int(self.ssh(f"pgrep -o -x {name}").stdout.strip() or 0)

    def windows(self) -> list[str]:
        """The names of the windows that the window manager keeps."""
        listed = re.findall(r"0x[0-9a-f]+", self.ssh("xprop -root _NET_CLIENT_LIST").stdout)
        names = [self.ssh(f"xprop -id {window} WM_NAME").stdout for window in listed]
        return [name.partition("=")[2].strip().strip('"') for name in names]


def free_port() -> int:
    """A port of this host that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def banner(port: int) -> bytes:
    """What the server on that port says first; nothing where none says anything yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(64)
    except OSError:
        return b""


def write_mounts(directory: Path) -> dict[str, str]:
    """The files that a broker mounts, and where."""
    directory.mkdir(mode=0o700)
    for name in ("host_key", "client"):
        output_of(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)]
        )
    (directory / "authorized_keys").write_text((directory / "client.pub").read_text())
    (directory / "passwd").write_text(PASSWD)
    (directory / "group").write_text(GROUP)
    targets = {
        "host_key": "/etc/desk/host_key",
        "authorized_keys": "/etc/desk/authorized_keys",
        "passwd": "/etc/passwd",
        "group": "/etc/group",
    }
    for name in targets:
        (directory / name).chmod(0o444)
    return targets


@pytest.fixture
def brokered(
    docker: Callable[..., str],
    desktop_image: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Brokered]:
    """A desktop that is ready, with a home volume of its own."""
    name, port = f"desk-test-{uuid4().hex[:12]}", free_port()
    files = tmp_path / "mounts"
    mounts = [f"-v={files / source}:{target}:ro" for source, target in write_mounts(files).items()]
    docker("volume", "create", "--label", "desk.test=1", name)
    try:
        owner = [
            "--user",
            "0",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CHOWN",
            "--network",
            "none",
            "--entrypoint",
            "chown",
        ]
        home = f"-v={name}:/home/desk:nocopy"
        docker(
            "run",
            "--rm",
            "--label",
            "desk.test=1",
            *owner,
            home,
            desktop_image,
            f"{UID}:{UID}",
            "/home/desk",
        )
        told = {
            "DESK_SESSION": "s1",
            "DESK_DISPLAY": f"{DISPLAY}",
            "DESK_GEOMETRY": "1280x800",
            "DESK_USER": "Ada L.",
        }
        settings = [f"-e={key}={value}" for key, value in told.items()]
        publish = f"-p=127.0.0.1:{port}:2222"
        labels = ["--name", name, "--hostname", "d7f3a9c2e5", "--label", "desk.test=1"]
        docker("create", *labels, *LOCKDOWN, publish, home, *mounts, *settings, desktop_image)
        started = time.monotonic()
        docker("start", name)
        eventually(lambda: banner(port).startswith(b"SSH-2.0-"), "sshd's banner")
        greeted = time.monotonic() - started
        container = Brokered(name, port, files / "client", docker)
        assert container.ssh("exec /usr/local/bin/desk-ready").returncode == 0
        with capsys.disabled():
            print(
                f" [banner {greeted:.2f} s, ready {time.monotonic() - started:.2f} s after start] ",
                end="",
            )
        yield container
    finally:
        docker("rm", "-f", name)
        docker("volume", "rm", name)


@pytest.fixture
def screen() -> Iterator[str]:
    """A person's own display."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(writer,), stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as announced:
        number = announced.readline().strip()
    try:
        yield f":{number}"
    finally:
        server.kill()
        server.wait()


def test_it_runs_locked_down(brokered: Brokered) -> None:
    """No capability, no way to gain one, nothing setuid, and nothing but home, /tmp and /run to write to."""
    status = brokered.says("cat /proc/self/status")
    assert re.search(r"CapEff:\s+0{16}\n", status)
    assert re.search(r"CapBnd:\s+0{16}\n", status)
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert brokered.says("find / -xdev -type f -perm /6000 2>/dev/null | wc -l") == "0"
    assert "Read-only file system" in brokered.ssh("touch /usr/x").stderr
    assert brokered.says(
        "touch ~/x /tmp/x $XDG_RUNTIME_DIR/x && stat -c %a $XDG_RUNTIME_DIR /run/desk/vnc.sock"
    ) == ("700\n600")


def test_a_session_knows_its_desktop(brokered: Brokered) -> None:
    """Every session is told the display, the bus and the rest, and can use them."""
    told = dict(line.split("=", 1) for line in brokered.says("env").splitlines() if "=" in line)
    assert told["DISPLAY"] == f":{DISPLAY}"
    assert told["XAUTHORITY"] == f"/run/user/{UID}/Xauthority"
    assert told["XDG_RUNTIME_DIR"] == f"/run/user/{UID}"
    assert told["DBUS_SESSION_BUS_ADDRESS"] == f"unix:path=/run/user/{UID}/bus"
    assert told["LANG"] == "C.UTF-8"
    assert told["PATH"].split(":")[0] == "/usr/local/bin"
    assert told["DESK_USER"] == "Ada L."
    assert "1280x800" in brokered.says("xdpyinfo")
    assert "org.freedesktop.DBus" in brokered.says(
        "dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames"
    )


def test_ssh_is_an_sshd_of_ones_own(brokered: Brokered, tmp_path: Path) -> None:
    """Exit status, terminal, files both ways, and not a byte that was not asked for."""
    assert brokered.ssh("exit 42").returncode == 42
    silent = brokered.ssh("true")
    assert (silent.stdout, silent.stderr) == ("", "")
    assert "/dev/pts/" in brokered.ssh("-tt", "tty").stdout
    sent, returned = tmp_path / "sent", tmp_path / "returned"
    sent.write_bytes(os.urandom(300_000))
    output_of([*brokered.command(program="scp"), str(sent), "desk@127.0.0.1:there"])
    output_of([*brokered.command(program="scp"), "desk@127.0.0.1:there", str(returned)])
    assert returned.read_bytes() == sent.read_bytes()


def test_forwarded_x11_shows_the_clients_display(brokered: Brokered, screen: str) -> None:
    """With -X a program is on the client's display, and the desktop's own stays usable beside it."""
    env = {**os.environ, "DISPLAY": screen}
    seen = brokered.ssh(
        "-X",
        "xdpyinfo | grep dimensions; xdpyinfo -display :$DESK_DISPLAY | grep dimensions",
        env=env,
    )
    assert "640x480" in seen.stdout.splitlines()[0], seen.stderr
    assert "1280x800" in seen.stdout.splitlines()[1], seen.stderr
    assert "1280x800" in brokered.says("xdpyinfo")


def test_programs_outlive_xpra(brokered: Brokered) -> None:
    """After `kill -9` of xpra it is back, and an xterm never noticed."""
    brokered.says("setsid -f xterm >/dev/null 2>&1 </dev/null")
    xterm = eventually(lambda: brokered.process("xterm"), "an xterm")
    eventually(
        lambda: any("@d7f3a9c2e5" in name or name == "xterm" for name in brokered.windows()),
        "its window",
    )
    brokered.says("./docker-desktop -s 1000x700")
    brokered.says("kill -9 $(pgrep -f '[x]pra start-desktop')")
    time.sleep(0.5)
    brokered.says("desk-ready")
    assert brokered.process("xterm") == xterm
    assert "1000x700" in brokered.says("xdpyinfo"), "nor may the size change"
    assert "xpra ended by signal 9" in brokered.docker("logs", brokered.name)


def test_the_desktop_outlives_its_x_server(brokered: Brokered) -> None:
    """After `kill -9` of Xvnc there is a whole desktop again, and open sessions can use it."""
    brokered.says("kill -9 $(pgrep -x Xvnc)")
    time.sleep(0.5)
    brokered.says("desk-ready")
    eventually(
        lambda: sorted(brokered.windows()) == ["Desktop", "xfce4-panel"], "panel and background", 60
    )


def test_a_killed_session_comes_back(brokered: Brokered) -> None:
    """After `kill -9` of the session manager, window manager and panel are there, once each."""
    eventually(lambda: brokered.process("xfdesktop"), "the session", 60)
    brokered.says("kill -9 $(pgrep -x xfce4-session)")
    time.sleep(1)
    eventually(lambda: brokered.process("xfce4-session"), "the session manager")
    eventually(
        lambda: sorted(brokered.windows()) == ["Desktop", "xfce4-panel"], "panel and background", 60
    )
    time.sleep(2)
    assert brokered.says("pgrep -c -x xfwm4; pgrep -c -x xfce4-panel").split() == ["1", "1"]


def test_nothing_complains_after_the_start(brokered: Brokered) -> None:
    """Panel and background are the only windows: no box about locks, launchers, power or rights."""
    eventually(lambda: brokered.process("xfdesktop"), "the session", 60)
    time.sleep(5)
    assert sorted(brokered.windows()) == ["Desktop", "xfce4-panel"]


def test_a_home_has_what_a_person_needs(brokered: Brokered) -> None:
    """The link to docker-desktop, a shell's files and the usual folders are there."""
    assert brokered.says("readlink docker-desktop") == "/usr/local/bin/docker-desktop"
    brokered.says(
        "test -f .bashrc && test -f .profile && test -d Desktop && test -d Documents && test -d Downloads"
    )


def test_what_is_logged_is_bounded(brokered: Brokered) -> None:
    """A program that shouts for ever fills neither memory nor the container's log."""
    brokered.says("yes noise | head -c 20000000 > /proc/$(pgrep -x xfce4-session)/fd/2")
    time.sleep(1)
    used = int(brokered.says("du -sk /run/log | cut -f1"))
    assert used < 4096, "at most two files of 256 KiB for each of five programs"
    assert len(brokered.docker("logs", brokered.name)) < 4096


def test_it_stops_in_good_time(brokered: Brokered) -> None:
    """`docker stop` is an orderly end and takes no more than a few seconds."""
    started = time.monotonic()
    brokered.docker("stop", brokered.name)
    assert time.monotonic() - started < 5
    assert brokered.docker("inspect", "-f", "{{.State.ExitCode}}", brokered.name) in {"0", "143"}
