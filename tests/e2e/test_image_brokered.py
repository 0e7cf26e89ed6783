"""The desktop image as a broker starts it: an ordinary user, no capabilities, a read-only root."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.brokered import DISPLAY, UID, Brokered, running
from tests.e2e.images import eventually, output_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def brokered(
    docker: Callable[..., str],
    desktop_image: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Brokered]:
    """A desktop that is ready, with a home volume of its own."""
    with running(docker, desktop_image, tmp_path) as container:
        with capsys.disabled():
            print(
                f" [banner {container.greeted:.2f} s, ready {container.ready:.2f} s after start] ",
                end="",
            )
        yield container


@pytest.fixture
def screen() -> Iterator[str]:
    """A person's own display."""
    reader, writer = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        "640x480x24",
        "-noreset",
        "-nolisten",
        "tcp",
    ]
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
