"""The desktop itself: the X server, the message bus, xpra and the XFCE session, for one user on one display."""

import glob
import os
import re
import shutil
import signal
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from supervise import Service, say

RUN = "/run/desk"
VNC_SOCKET = f"{RUN}/vnc.sock"
XPRA_SOCKET = f"{RUN}/xpra.sock"
SERVER_AUTHORITY = f"{RUN}/server.auth"
DISPLAY_FILE = f"{RUN}/display"
PATH = "/usr/local/bin:/usr/bin:/bin"
SIZE_LIMITS = (320, 200, 7680, 4320)
FAREWELL_SECONDS = 1.5


class SettingError(ValueError):
    """The container was started with a setting that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What the container was told about its desktop."""

    uid: int
    home: str
    user: str
    display: int
    geometry: str
    person: str
    language: str
    timezone: str

    @classmethod
    def read(cls, environ: Mapping[str, str], *, uid: int, home: str, user: str) -> "Settings":
        """From the environment; SettingError where a value makes no sense."""
        display, geometry = (
            environ.get("DESK_DISPLAY", "10"),
            environ.get("DESK_GEOMETRY", "1280x800"),
        )
        if not re.fullmatch(r"\d{1,5}", display):
            raise SettingError(f"DESK_DISPLAY must be a display number, not {display!r}.")
        if not _is_size(geometry):
            raise SettingError(
                "DESK_GEOMETRY must be a size from {}x{} to {}x{}.".format(*SIZE_LIMITS)
            )
        return cls(
            uid=uid,
            home=home,
            user=user,
            display=int(display),
            geometry=geometry,
            person=_plain(environ.get("DESK_USER", user)),
            language=_plain(environ.get("LANG", "")) or "C.UTF-8",
            timezone=_plain(environ.get("TZ", "")),
        )

    @property
    def runtime(self) -> str:
        """The user's XDG_RUNTIME_DIR."""
        return f"/run/user/{self.uid}"

    def session_env(self) -> dict[str, str]:
        """What every program of the user is told, within the desktop and by ssh."""
        env = {
            "DISPLAY": f":{self.display}",
            "XAUTHORITY": f"{self.runtime}/Xauthority",
            "XDG_RUNTIME_DIR": self.runtime,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime}/bus",
            "DESK_DISPLAY": str(self.display),
            "DESK_USER": self.person,
            "PATH": PATH,
            "LANG": self.language,
            "NO_AT_BRIDGE": "1",
        }
        return {**env, "TZ": self.timezone} if self.timezone else env

    def forwarded_displays(self) -> int:
        """The first display number for forwarded X11: one past the desktop's own, if that is in
        the range where sshd looks (up to 999).
        """
        return self.display + 1 if 10 <= self.display < 900 else 10


def _is_size(geometry: str) -> bool:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", geometry)
    if not match:
        return False
    width, height = int(match[1]), int(match[2])
    return SIZE_LIMITS[0] <= width <= SIZE_LIMITS[2] and SIZE_LIMITS[1] <= height <= SIZE_LIMITS[3]


def _plain(text: str) -> str:
    """Without what sshd's quoting could not carry."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in "\"'\\")


def make_runtime_directories(settings: Settings, owner: int | None = None) -> None:
    """The places in /run and /tmp that everything else counts on."""
    private = ((RUN, 0o700), (settings.runtime, 0o700))
    shared = (("/tmp/.X11-unix", 0o1777), ("/tmp/.ICE-unix", 0o1777))
    os.makedirs("/run/user", 0o755, exist_ok=True)
    os.makedirs("/run/sshd", 0o755, exist_ok=True)
    for path, mode in private + shared:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if owner is not None and (path, mode) in private:
            os.chown(path, owner, owner)


def services(settings: Settings) -> list[Service]:
    """The desktop's programs, for the user whose process this is."""
    if os.access(settings.home, os.W_OK):
        _try(prepare_home, settings)
    else:
        say("desk: the home cannot be written; settings last as long as this container runs")
    _try(os.chdir, settings.home)
    _write(DISPLAY_FILE, f"{settings.display}\n".encode())
    _write_authority(settings)
    env = _environment(settings)
    x = Service("x", _xvnc(settings), env, notifies=True)
    x.before = lambda: _clear_display(settings)
    bus = Service("bus", _bus(settings), env, needs=("x",), notifies=True)
    bus.before = lambda: _remove(f"{settings.runtime}/bus")
    # A module in the user's own packages must not keep the desktop from being seen.
    xpra = Service("xpra", _xpra(settings), {**env, "PYTHONNOUSERSITE": "1"}, needs=("x",))
    # Side by side both come up slowly; one after the other, a client is served in half the time
    # and the panel is not there any later.
    start = ["/bin/sh", "-c", "desk-ready --timeout 5; exec xfce4-session"]
    session = Service("session", start, env, needs=("x", "bus"), umask=0o022)
    return [x, bus, xpra, session, *_sound(env)]


def _sound(env: Mapping[str, str]) -> list[Service]:
    """What plays to nowhere and is heard there, in an image that has it. It needs no right of its own."""
    if not os.path.exists("/usr/bin/pipewire-pulse"):
        return []
    wait = "until [ -S $XDG_RUNTIME_DIR/pipewire-0 ]; do sleep 0.1; done; exec"
    return [
        Service("pipewire", ["/usr/bin/pipewire"], env, needs=("bus",)),
        Service("wireplumber", ["/bin/sh", "-c", f"{wait} wireplumber"], env, needs=("pipewire",)),
        Service("pulse", ["/bin/sh", "-c", f"{wait} pipewire-pulse"], env, needs=("pipewire",)),
    ]


def _environment(settings: Settings) -> dict[str, str]:
    env = {
        **os.environ,
        **settings.session_env(),
        "HOME": settings.home,
        "USER": settings.user,
        "LOGNAME": settings.user,
        "SHELL": "/bin/bash",
        "ICEAUTHORITY": f"{settings.runtime}/ICEauthority",
        "XDG_CURRENT_DESKTOP": "XFCE",
        "XDG_SESSION_TYPE": "x11",
        "DESKTOP_SESSION": "xfce",
    }
    if not os.access(settings.home, os.W_OK):
        for kind in ("CONFIG", "CACHE", "DATA", "STATE"):
            env[f"XDG_{kind}_HOME"] = f"{settings.runtime}/home/{kind.lower()}"
    return env


def _bus(settings: Settings) -> list[str]:
    return [
        "/usr/bin/dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog",
        f"--address=unix:path={settings.runtime}/bus", "--print-address=3",
    ]  # fmt: skip


def _xvnc(settings: Settings) -> list[str]:
    return [
        "/usr/bin/Xvnc", f":{settings.display}", "-displayfd", "3", "-auth", SERVER_AUTHORITY,
        "-geometry", settings.geometry, "-depth", "24", "-dpi", "96", "-desktop", "Desk",
        "-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath", VNC_SOCKET, "-rfbunixmode", "0600",
        # What is selected stays here; what is copied goes to the viewers, up to 2 MiB. What a viewer
        # copies is not selected here: that would end the selection which it is pasted over.
        "-SendPrimary=0", "-SetPrimary=0", "-MaxCutText", "2097152",
        # All of a unix socket are one host to it: a viewer that says nothing would shut out the others.
        "-UseBlacklist=0", "-AlwaysShared=1", "-AcceptSetDesktopSize=1",
        "-nolisten", "tcp", "-noreset", "+extension", "RANDR", "+extension", "Composite",
    ]  # fmt: skip


def _xpra(settings: Settings) -> list[str]:
    return [
        "/usr/bin/xpra", "start-desktop", f":{settings.display}", "--use-display=yes", "--daemon=no",
        f"--bind={XPRA_SOCKET}", "--bind=auto", f"--socket-dirs={settings.runtime}/xpra",
        "--sharing=yes", "--lock=no", "--resize-display=yes", "--exit-with-children=no",
        # Were xpra to take the desktop's notifications, browsers would see none.
        "--notifications=no", "--dbus-proxy=no", "--dbus-launch=no", "--dbus-control=no",
        "--pulseaudio=no", "--speaker=disabled", "--microphone=disabled", "--webcam=no", "--printing=no",
        "--mdns=no", "--html=off", "--splash=no", "--opengl=no", "--systemd-run=no",
        "--ssh-upgrade=no", "--rfb-upgrade=0",
        "--start-via-proxy=no", "--start-new-commands=no", "--exec-wrapper=",
    ]  # fmt: skip


def _clear_display(settings: Settings) -> None:
    """End the X server that an earlier run may have left, and what it would stumble over."""
    lock = f"/tmp/.X{settings.display}-lock"
    with suppress(OSError, ValueError):
        with open(lock) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() in {"Xvnc", "Xtigervnc"}:
                os.kill(pid, signal.SIGKILL)
    for path in (lock, f"/tmp/.X11-unix/X{settings.display}", VNC_SOCKET, XPRA_SOCKET):
        _remove(path)


def _write_authority(settings: Settings) -> None:
    """The key to the display: one file for the server, one for its clients.

    sshd adds the keys of forwarded displays to the clients' file, and the server must not take those.
    """
    parts = (b"", str(settings.display).encode(), b"MIT-MAGIC-COOKIE-1", os.urandom(16))
    any_host = 0xFFFF
    entry = struct.pack(">H", any_host) + b"".join(
        struct.pack(">H", len(part)) + part for part in parts
    )
    _write(SERVER_AUTHORITY, entry)
    _write(f"{settings.runtime}/Xauthority", entry)


def prepare_home(settings: Settings) -> None:
    """Give a home what it lacks; one that is full or read-only stays as it is."""
    for source in glob.glob("/etc/skel/.[!.]*"):
        target = f"{settings.home}/{os.path.basename(source)}"
        if not os.path.lexists(target):
            _try(shutil.copyfile, source, target)
    link = f"{settings.home}/docker-desktop"
    if not os.path.lexists(link):
        _try(os.symlink, "/usr/local/bin/docker-desktop", link)
    env = {"HOME": settings.home, "LANG": settings.language, "PATH": PATH}
    os.waitpid(os.posix_spawn("/usr/bin/xdg-user-dirs-update", ["xdg-user-dirs-update"], env), 0)


def end_applications(running: dict[str, int]) -> None:
    """Before the X server goes, ask every program to end, and give it a moment to save its state."""
    spared = {1, os.getpid(), os.getppid(), running["x"]}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
        for pid in _others(spared):
            with suppress(OSError):
                os.kill(pid, number)
    deadline = time.monotonic() + FAREWELL_SECONDS
    while _others(spared) and time.monotonic() < deadline:
        time.sleep(0.02)


def _others(spared: set[int]) -> list[int]:
    processes = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in processes if pid not in spared and _is_live_and_ours(pid)]


def _is_live_and_ours(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            state = stat.read().rpartition(")")[2].split()[0]
        return state != "Z" and os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False


def _write(path: str, data: bytes) -> None:
    _remove(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _try(action: Callable[..., object], *arguments: object) -> None:
    """Do it, or say why not."""
    try:
        action(*arguments)
    except OSError as error:
        say(f"desk: {error}")
