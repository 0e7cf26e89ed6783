"""The desktop image standing alone: `docker run -d -p 2222:22 IMAGE`, and the article's ways to see it."""

import base64
import io
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image
from playwright.sync_api import Locator, sync_playwright

from tests.browser import looks
from tests.browser.launching import CHROMIUM
from tests.e2e.images import eventually, output_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SCREEN = "1600x900x24"


@dataclass
class Alone:
    """A container that stands alone, and how to get in."""

    name: str
    port: str
    password: str
    askpass: Path

    @property
    def ssh_options(self) -> str:
        """Options for a client that has never been here, and leaves no trace."""
        return f"-F none -p {self.port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

    def env(self, password: str | None = None, **more: str) -> dict[str, str]:
        """An environment in which ssh is given the password."""
        asked = {"SSH_ASKPASS": str(self.askpass), "SSH_ASKPASS_REQUIRE": "force"}
        return {**os.environ, **asked, "DESK_TEST_PASSWORD": password or self.password, **more}

    def ssh(
        self, *arguments: str, user: str = "desk", password: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command by ssh."""
        command = [
            "ssh",
            *self.ssh_options.split(),
            "-o",
            "NumberOfPasswordPrompts=1",
            f"{user}@127.0.0.1",
            *arguments,
        ]
        return subprocess.run(
            command, env=self.env(password), capture_output=True, text=True, timeout=90, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def size(self) -> str:
        """The desktop's size, as a program in it sees it."""
        found = re.search(r"dimensions:\s+(\d+x\d+)", self.ssh("xdpyinfo").stdout)
        return found[1] if found else ""


@pytest.fixture
def alone(docker: Callable[..., str], desktop_image: str, tmp_path: Path) -> Iterator[Alone]:
    """A container as a person starts it."""
    askpass = tmp_path / "askpass"
    askpass.write_text('#!/bin/sh\nprintf "%s\\n" "$DESK_TEST_PASSWORD"\n')
    askpass.chmod(0o700)
    name = f"desk-test-{uuid4().hex[:12]}"
    docker(
        *("run", "-d", "--name", name, "--label", "desk.test=1"),
        *("-p", "127.0.0.1::22", "-p", "127.0.0.1::80", desktop_image),
    )
    try:
        line = eventually(lambda: docker("logs", name), "the first line of the log").splitlines()[0]
        said = re.fullmatch(r"User: desk Password: (\S+)", line)
        assert said, line
        port = docker("port", name, "22").splitlines()[0].rpartition(":")[2]
        container = Alone(name, port, said[1], askpass)
        eventually(lambda: container.ssh("true").returncode == 0, "a login")
        yield container
    finally:
        docker("rm", "-f", "-v", name)


@pytest.fixture
def screen() -> Iterator[str]:
    """A person's own display, bigger than the desktops."""
    reader, writer = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        SCREEN,
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


@contextmanager
def running(
    command: list[str], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A client that is ended with the block; what it said is in the log."""
    with log.open("wb") as out:
        client = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield client
    finally:
        client.terminate()
        client.wait(timeout=30)


def window_shown(screen: str, size: str, client: subprocess.Popen[bytes], log: Path) -> str:
    """The number of a window of that size, once a client that is there shows it."""
    found = eventually(
        lambda: window_of(screen, size) or client.poll() is not None, f"a window of {size}", 60
    )
    assert isinstance(found, str), f"{client.args} ended: {log.read_text()}"
    return found


def window_of(screen: str, size: str) -> str:
    """The number of a window of that size on the display, or nothing."""
    tree = output_of(["xwininfo", "-display", screen, "-root", "-tree"])
    found = re.search(rf"^\s+(0x[0-9a-f]+) .*\s{size}\+\d+\+\d+ ", tree, re.MULTILINE)
    return found[1] if found else ""


def test_the_first_log_line_is_the_login_and_the_password_is_good(alone: Alone) -> None:
    """`docker logs` begins with `User: desk Password: ...`, and it opens a shell of an ordinary user."""
    said = alone.ssh("id -un; id -u; pwd; echo $DISPLAY")
    assert said.stdout.split() == ["desk", "1000", "/home/desk", ":10"], said.stderr


def test_a_wrong_password_and_root_are_refused(alone: Alone) -> None:
    """Nobody gets in by a wrong password, and root not even by the right one."""
    assert alone.ssh("true", password="wrong").returncode == 255
    assert alone.ssh("true", user="root").returncode == 255


def test_a_key_of_the_persons_own_opens_the_door(alone: Alone, tmp_path: Path) -> None:
    """What a person puts into ~/.ssh/authorized_keys works beside the password."""
    key = tmp_path / "key"
    output_of(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    public = key.with_suffix(".pub").read_text().strip()
    assert (
        alone.ssh(f"umask 077; mkdir -p .ssh; echo '{public}' > .ssh/authorized_keys").returncode
        == 0
    )
    command = [
        "ssh",
        *alone.ssh_options.split(),
        "-o",
        "BatchMode=yes",
        "-i",
        str(key),
        "desk@127.0.0.1",
        "echo in",
    ]
    assert output_of(command) == "in"


def test_the_password_outlives_a_restart(alone: Alone, docker: Callable[..., str]) -> None:
    """After `docker restart` the first password is still the one, and the desktop comes up again."""
    docker("restart", alone.name)
    alone.port = docker("port", alone.name, "22").splitlines()[0].rpartition(":")[2]
    eventually(lambda: alone.ssh("true").returncode == 0, "a login after the restart")
    assert alone.ssh("desk-ready").returncode == 0
    assert docker("logs", alone.name).count("Password:") == 1


def test_the_persons_environment_is_heard(docker: Callable[..., str], desktop_image: str) -> None:
    """DESK_GEOMETRY and DESK_DISPLAY given to `docker run` shape the desktop."""
    name = f"desk-test-{uuid4().hex[:12]}"
    given = ("-e", "DESK_GEOMETRY=1024x700", "-e", "DESK_DISPLAY=7")
    docker("run", "-d", "--name", name, "--label", "desk.test=1", *given, desktop_image)
    try:
        docker("exec", name, "desk-ready")
        said = docker(
            "exec",
            "-u",
            "desk",
            "-e",
            "XAUTHORITY=/run/desk/server.auth",
            name,
            "xdpyinfo",
            "-display",
            ":7",
        )
        assert "1024x700 pixels" in said
    finally:
        docker("rm", "-f", "-v", name)


def test_a_setting_without_sense_is_refused_in_a_sentence(
    docker: Callable[..., str], desktop_image: str
) -> None:
    """A geometry that is none ends the container with one sentence in its log."""
    name = f"desk-test-{uuid4().hex[:12]}"
    docker(
        "run",
        "-d",
        "--name",
        name,
        "--label",
        "desk.test=1",
        "-e",
        "DESK_GEOMETRY=wide",
        desktop_image,
    )
    try:
        assert docker("wait", name) == "2"
        assert docker("logs", name).startswith("desk: DESK_GEOMETRY must be a size from 320x200")
    finally:
        docker("rm", "-f", "-v", name)


def test_two_steps_show_the_desktop_in_the_asked_size(
    alone: Alone, screen: str, tmp_path: Path
) -> None:
    """The article's flow: docker-desktop over ssh, then an xpra client; twice, with two sizes."""
    for size in ("800x600", "1366x768"):
        assert (
            alone.ssh(f"sh -c './docker-desktop -s {size} -d 10 > /dev/null 2>&1 &'").returncode
            == 0
        )
        attach = ["xpra", f"--ssh=ssh {alone.ssh_options}", "attach", "ssh:desk@127.0.0.1:10"]
        log = tmp_path / f"{size}.log"
        with running(attach, alone.env(DISPLAY=screen), log) as client:
            window_shown(screen, size, client, log)
            time.sleep(3)
            assert alone.size() == size, "an attached client must not change the size"
            assert window_of(screen, size)
        assert alone.size() == size, "nor a client that leaves"
        eventually(lambda size=size: not window_of(screen, size), "the window to go")


def test_one_step_shows_the_desktop_until_its_window_is_closed(
    alone: Alone, screen: str, tmp_path: Path
) -> None:
    """`ssh -Y ... ./docker-desktop -s 800x600 -d 11` opens a window, and ends when it is closed."""
    command = [
        "ssh",
        *alone.ssh_options.split(),
        "-Y",
        "desk@127.0.0.1",
        "./docker-desktop -s 800x600 -d 11",
    ]
    log = tmp_path / "viewer.log"
    with running(command, alone.env(DISPLAY=screen), log) as client:
        window = window_shown(screen, "800x600", client, log)
        assert alone.size() == "800x600"
        output_of(["xkill", "-display", screen, "-id", window])
        assert client.wait(timeout=30) is not None


def test_a_size_that_is_none_is_refused_in_a_sentence(alone: Alone) -> None:
    """docker-desktop refuses with one sentence and status 2, and leaves the desktop's size alone."""
    for size in ("wide", "800", "x600", "1x1", "319x600", "7681x600", "800x4321", "0800x600", "''"):
        refused = alone.ssh(f"./docker-desktop -s {size}")
        assert refused.returncode == 2, size
        assert refused.stderr.startswith("docker-desktop: the size must be WIDTHxHEIGHT")
        assert refused.stderr.count("\n") == 1
    assert alone.size() == "1280x800"


def test_a_terminal_without_a_forwarded_display_gets_a_hint(alone: Alone) -> None:
    """On a terminal docker-desktop says how the desktop can be seen; in a plain exec it is silent."""
    assert "ssh -Y" in alone.ssh("-tt", "./docker-desktop -s 900x650").stdout
    assert alone.ssh("./docker-desktop -s 901x651").stdout == ""
    assert alone.size() == "901x651"


def test_a_browser_shows_the_desktop_by_the_same_password(
    alone: Alone, docker: Callable[..., str], tmp_path: Path
) -> None:
    """The article's other system: `docker run -p 6080:80 IMAGE`, and the page asks for the password."""
    port = docker("port", alone.name, "80").splitlines()[0].rpartition(":")[2]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        page = browser.new_page(viewport={"width": 1100, "height": 700})
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Open the desktop").click()
        page.get_by_text("That is not the password.").wait_for()
        page.get_by_label("Password").fill(alone.password)
        page.get_by_role("button", name="Open the desktop").click()
        page.get_by_text("Connected", exact=True).wait_for()
        screen = page.locator("#screen canvas")
        frame = page.locator("#screen").bounding_box()
        assert frame
        size = f"{frame['width']:.0f}x{frame['height']:.0f}"
        eventually(lambda: alone.size() == size, "the desktop in the size of its place in the page")
        # The cursor is a viewer's own in both.
        eventually(
            lambda: alike(painted(screen), shown(alone)),
            "the picture that the X server shows",
        )
        browser.close()


def alike(one: Image.Image, other: Image.Image) -> bool:
    """But for what JPEG takes away."""
    return one.size == other.size and looks.difference(one, other) < looks.LOSSY


def painted(canvas: Locator) -> Image.Image:
    """What a canvas of a page holds, pixel by pixel."""
    url = canvas.evaluate("(one) => one.toDataURL('image/png')")
    return png(url.partition(",")[2])


def shown(alone: Alone) -> Image.Image:
    """What the desktop's X server shows, as one of its own programs sees it."""
    grab = "import sys; from PIL import ImageGrab; ImageGrab.grab().save(sys.stdout.buffer, 'png')"
    return png(alone.ssh(f'python3 -c "{grab}" | base64 -w 0').stdout)


def png(coded: str) -> Image.Image:
    """From base64."""
    return Image.open(io.BytesIO(base64.b64decode(coded))).convert("RGB")
