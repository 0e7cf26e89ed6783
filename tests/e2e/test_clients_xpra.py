"""The desktop is attached to by xpra clients of every age, by either of their ways to speak ssh.

3.1.3 is Debian 12's, and 5.1 is in the desktop's own image. The others run where
`make xpra-clients` has built them; elsewhere their tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.desk import HOST, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.desk import Instance, Person
    from tests.e2e.screens import Screen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

QUIET = ["--opengl=no", "--speaker=off", "--microphone=off", "--notifications=no", "--mdns=no"]
QUIET += ["--tray=no", "--system-tray=no"]

#: Of another version than Debian's: the versions that are built from source.
BUILT = ("4.4.6", "5.1.6", "6.5.5")


@pytest.fixture(scope="module")
def kim(desk: Instance) -> Person:
    person = desk.person("kim")
    desk.ok(person, "true")
    return person


@pytest.fixture
def machine(desk: Instance, kim: Person, tmp_path: Path) -> Path:
    """A home with ~/.ssh as a person has it: a key, the host's key, and no word about the port.

    3.1.3 with paramiko looks for an RSA key alone, unless the configuration names one.
    """
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    shutil.copy(kim.key, home / ".ssh/id_ed25519")
    shutil.copy(f"{kim.key}.pub", home / ".ssh/id_ed25519.pub")
    (home / ".ssh/config").write_text("Host *\n  IdentityFile ~/.ssh/id_ed25519\n")
    # Clients before 6 look their host up by its name alone where paramiko speaks for them.
    (known,) = (desk.home / "known_hosts").read_text().splitlines()
    (home / ".ssh/known_hosts").write_text(f"{known}\n{HOST} {known.split(maxsplit=1)[1]}\n")
    return home


def _own(desk: Instance, machine: Path, screen: Screen | None) -> tuple[list[str], dict[str, str]]:
    """Debian's xpra."""
    shown = screen.env if screen else {}
    place = {"HOME": str(machine), "XDG_RUNTIME_DIR": str(machine)}
    return ["xpra"], {**desk.env, **place, **shown}


def _boxed(image: str, *entry: str) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """The one of an image, on this machine's network and screen."""

    def command(
        desk: Instance, machine: Path, screen: Screen | None
    ) -> tuple[list[str], dict[str, str]]:
        shown = {"HOME": "/client", "XDG_RUNTIME_DIR": "/client", "USER": "root"}
        mounts = ["-v", f"{machine}:/client"]
        if screen:
            shown |= {"DISPLAY": screen.display, "XAUTHORITY": "/xauthority"}
            mounts += ["-v", f"{screen.authority}:/xauthority:ro"]
        words = ["docker", "run", "--rm", "--init", "--network", "host", "--uts", "host"]
        words += ["--user", "0:0", *mounts]
        for name, value in shown.items():
            words += ["-e", f"{name}={value}"]
        return [*words, *entry, image], {**desk.env, "DOCKER_HOST": desk.engine}

    return command


def _client(version: str, desk: Instance) -> Callable[..., tuple[list[str], dict[str, str]]]:
    match version:
        case "3.1.3":
            return _own
        case "image":
            return _boxed(desk.image, "--entrypoint", "/usr/bin/xpra")
    image = f"desk-xpra-client:{version}"
    client = desk.client()
    try:
        if not client.images.list(image):
            pytest.skip(f"there is no xpra {version} here: `make xpra-clients` builds it")
    finally:
        client.close()
    return _boxed(image)


def _ssh(form: str, version: str, machine: Path) -> str:
    if form == "paramiko":
        return "paramiko"
    # ssh takes its home from the password file and not from HOME.
    home = machine if version == "3.1.3" else "/client"
    return (
        f"ssh -F none -i {home}/.ssh/id_ed25519 -o UserKnownHostsFile={home}/.ssh/known_hosts"
        " -o IdentityAgent=none"
    )


@contextmanager
def _attached(
    argv: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        client = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield client
    finally:
        client.terminate()
        client.wait(30)


def _shows(screen: Screen, size: str) -> bool:
    """Whether a window has that size, or that and the frame that clients from 6 on draw around."""
    width, height = map(int, size.split("x"))
    found = [tuple(map(int, size.split("x"))) for _, size in screen.windows()]
    return any(0 <= w - width <= 20 and 0 <= h - height <= 80 for w, h in found)


def _forms() -> list[tuple[str, str]]:
    """Who attaches, and how; the first two run everywhere."""
    forms = [("3.1.3", "paramiko"), ("image", "openssh")]
    return forms + [(version, form) for version in BUILT for form in ("openssh", "paramiko")]


@pytest.mark.parametrize(("version", "form"), _forms())
@pytest.mark.parametrize("named", [False, True], ids=["default", "display"])
def test_attach(desk, kim, machine, xvfb, tmp_path, version, form, named):
    """A window of the desktop's size, with the desktop drawn in it."""
    size = desk.ok(kim, "xdpyinfo | awk '/dimensions/ {print $2}'").strip()
    (session,) = [s for s in desk.listing("sessions") if s["user"] == "kim"]
    display = session["display"] if named else ""
    client = _client(version, desk)
    log = tmp_path / "client.log"
    with xvfb("1600x1000") as screen:
        argv, environment = client(desk, machine, screen)
        url = f"ssh://desk@{HOST}:{desk.ssh_port}/{display}"
        argv += ["attach", url, f"--ssh={_ssh(form, version, machine)}", *QUIET]
        with _attached(argv, environment, log) as process:
            until(
                lambda: _shows(screen, size) or process.poll() is not None,
                within=60,
                what="the desktop's window",
            )
            assert process.poll() is None, log.read_text()
            until(lambda: screen.colours() > 256, what="a drawn desktop")
            if folder := os.environ.get("DESK_PICTURES"):
                screen.picture(Path(folder) / f"xpra-{version}-{form}-{display or 'default'}.png")


@pytest.mark.parametrize(("version", "form"), _forms())
def test_version(desk, kim, machine, version, form):
    """`xpra version` is answered by the desktop's own server."""
    argv, environment = _client(version, desk)(desk, machine, None)
    url = f"ssh://desk@{HOST}:{desk.ssh_port}/"
    argv += ["version", url, f"--ssh={_ssh(form, version, machine)}"]
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done
    assert "5.1" in done.stdout
