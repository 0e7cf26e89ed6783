"""The desktop is seen and used by stock xpra clients, in all the forms that they have."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import screens
from tests.e2e.desk import HOST, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def eva(desk):
    person = desk.person("eva")
    desk.ok(person, "true")
    return person


@contextmanager
def attached(desk, person, url, screen, *options, ssh=None):
    """A stock client that is attached to `url`, until left."""
    log = desk.home / f"xpra-{screen.display[1:]}.log"
    # A home for each client: xpra takes two of one home for the same machine that came back.
    home = desk.home / f"machine{screen.display[1:]}"
    home.mkdir(exist_ok=True)
    environment = {**desk.env, **screen.env, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    with log.open("ab") as out:
        client = subprocess.Popen(
            [
                "xpra",
                "attach",
                url,
                f"--ssh={ssh or f'ssh -F {person.config}'}",
                "--opengl=no",
                "--speaker=off",
                "--microphone=off",
                "--notifications=no",
                "--mdns=no",
                "--tray=no",
                "--system-tray=no",
                *options,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield client
    finally:
        client.terminate()
        client.wait(20)


def desktop_window(screen):
    """The size of the window in which the client shows the desktop, None while there is none."""
    found = [
        size for title, size in screen.windows() if size not in {"1x1", "10x10"} and "x" in size
    ]
    big = [size for size in found if int(size.split("x")[0]) >= 320]
    return big[0] if big else None


def shown(screen):
    return until(lambda: desktop_window(screen), within=60, what="the desktop's window")


def test_attach_shows_the_default_desktop(desk, eva, xvfb):
    """`xpra attach ssh://desk@host:port/` opens a window of the desktop's size."""
    size = desk.ok(eva, "xdpyinfo | awk '/dimensions/ {print $2}'").strip()
    with xvfb("1600x1000") as screen:
        url = f"ssh://desk@{HOST}:{desk.ssh_port}/"
        with attached(desk, eva, url, screen):
            assert shown(screen) == size
            until(lambda: screen.colours() > 256, what="a drawn desktop")
            if folder := os.environ.get("DESK_PICTURES"):
                screen.picture(Path(folder) / "xpra-attach.png")


def test_the_display_number_names_the_desktop(desk, eva, xvfb):
    """With two desktops, `…/DISPLAY` reaches the one that holds it."""
    desk.ok(eva, "desk start work")
    work = next(s for s in desk.listing("sessions") if (s["user"], s["desktop"]) == ("eva", "work"))
    desk.ok(eva, "./docker-desktop -s 900x700", "-l", "desk+work")
    with xvfb("1600x1000") as screen:
        url = f"ssh://desk@{HOST}:{desk.ssh_port}/{work['display']}"
        with attached(desk, eva, url, screen):
            assert shown(screen) == "900x700"
    desk.ok(eva, "desk stop work")


def test_two_clients_and_a_return_see_the_same_windows(desk, eva, xvfb, tmp_path):
    """A program started once is there for a second client, and after detach and reattach."""
    desk.ok(eva, "xterm -T keeps-running -e sleep 1000 >/dev/null 2>&1 & disown")
    titles = "xwininfo -root -tree | grep -c keeps-running"
    until(lambda: desk.ssh(eva, titles).returncode == 0, what="the program's window")
    url = f"ssh://desk@{HOST}:{desk.ssh_port}/"
    (tmp_path / "two").mkdir()
    with xvfb("1600x1000") as one:
        with attached(desk, eva, url, one):
            shown(one)
            with screens.xvfb(tmp_path / "two", "1400x900") as two, attached(desk, eva, url, two):
                shown(two)
                assert desktop_window(one)
        with attached(desk, eva, url, one):
            shown(one)
            assert int(desk.ok(eva, titles)) >= 1
    desk.ok(eva, "pkill -f keeps-running")


@pytest.mark.parametrize("size", ["800x600", "1366x768"])
def test_the_articles_two_steps_show_a_desktop_of_that_size(desk, eva, xvfb, size):
    """Word for word but user, host and port: ./docker-desktop, then xpra attach on :10."""
    # `-F` stands for the person's own ~/.ssh/config; the rest is as the article has it.
    ssh = ["ssh", "-F", str(eva.config), f"desk@{HOST}", "-p", str(desk.ssh_port)]
    subprocess.run(
        [*ssh, f"sh -c './docker-desktop -s {size} -d 10 > /dev/null 2>&1 &'"],
        check=True,
        env=desk.env,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    want = f"xdpyinfo | grep -q 'dimensions: *{size} '"
    until(lambda: desk.ssh(eva, want).returncode == 0, what=size)
    with xvfb("1600x1000") as screen:
        form = f"ssh -F {eva.config} -p {desk.ssh_port}"
        with attached(desk, eva, f"ssh:desk@{HOST}:10", screen, ssh=form):
            assert shown(screen) == size


def test_the_articles_one_step_shows_a_window(desk, eva, xvfb):
    """`ssh -Y desk@host ./docker-desktop -s 800x600 -d 11` draws on the client's own display."""
    with xvfb("1600x1000") as screen:
        client = subprocess.Popen(
            [
                "ssh",
                "-F",
                str(eva.config),
                "-Y",
                f"desk@{HOST}",
                "-p",
                str(desk.ssh_port),
                "./docker-desktop",
                "-s",
                "800x600",
                "-d",
                "11",
            ],
            env={**desk.env, **screen.env},
            stdin=subprocess.DEVNULL,
        )
        try:
            assert shown(screen) == "800x600"
        finally:
            client.terminate()
            client.wait(20)


def test_other_verbs_of_xpra_work_over_ssh(desk, eva):
    """`xpra info` and `xpra version` of a stock client are answered by the desktop's server."""
    env = {**desk.env, "HOME": str(desk.home), "XDG_RUNTIME_DIR": str(desk.home)}
    for verb in ("version", "info"):
        done = subprocess.run(
            ["xpra", verb, f"ssh://desk@{HOST}:{desk.ssh_port}/", f"--ssh=ssh -F {eva.config}"],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done
        assert "5.1" in done.stdout
