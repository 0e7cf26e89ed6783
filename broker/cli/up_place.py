"""Who asks for a Desk, where it lives, and the files of it that `make up` knows."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from broker.core.errors import BadRequest, StateUnusable
from broker.core.model import RESERVED_USERS, shown, user_name
from broker.system.state import prepare as prepare_state

#: The account of a caller whose own name cannot be a user.
FALLBACK_USER = "operator"

#: A Unix socket's path has at most 107 bytes, and the sockets lie in the state.
_LONGEST_STATE = 88

#: What needs no escape in a shell's quotes, in ssh's options and in xpra's.
_PLAIN_PATH = re.compile(r"/[\w./+@,=~ -]*")

ROOT = Path(__file__).resolve().parents[2]
"""The clone that this file is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The person who typed the command; behind sudo, the one who typed that."""

    login: str
    uid: int
    gid: int
    home: Path

    @property
    def user(self) -> str:
        return user_of(self.login)

    @property
    def elevated(self) -> bool:
        """Whether what this process makes is out of the caller's own reach."""
        return self.uid != os.geteuid()


def user_of(login: str) -> str:
    """The Desk user that a login name stands for."""
    bare = login.rpartition("\\")[2].partition("@")[0].lower()
    name = re.sub(r"[^a-z0-9_-]", "-", bare).lstrip("0123456789_-")[:31].rstrip("-")
    if name in RESERVED_USERS:
        return FALLBACK_USER
    try:
        return user_name(name)
    except BadRequest:
        return FALLBACK_USER


def find_caller() -> Caller:
    for login in (os.environ.get("SUDO_USER"), None):
        try:
            entry = pwd.getpwnam(login) if login else pwd.getpwuid(os.geteuid())
        except KeyError:
            continue
        return Caller(
            login=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir)
        )
    # A container may run as a uid that has no name.
    return Caller(login="", uid=os.geteuid(), gid=os.getegid(), home=Path.home())


def default_state() -> Path:
    return Path("/var/lib/desk") if os.geteuid() == 0 else Path.home() / ".local/state/desk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One instance: its state, and the ports that were asked for (None: whatever is set)."""

    state: Path
    caller: Caller
    ssh_port: int | None = None
    http_port: int | None = None

    @property
    def config(self) -> Path:
        return self.state / "desk.yaml"

    @property
    def log(self) -> Path:
        return self.state / "deskd.log"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def host_key(self) -> Path:
        return self.state / "ssh_host_key.pub"

    @property
    def reach(self) -> Path:
        """Where the caller can read what `make up` makes for their clients."""
        if not self.caller.elevated:
            return self.state
        return self.caller.home / ".local/share/desk" / str(self.state).strip("/").replace("/", "-")

    @property
    def known_hosts(self) -> Path:
        return self.reach / "known_hosts"

    @property
    def key_pair(self) -> Path:
        return self.reach / "id_ed25519"

    @property
    def sudo(self) -> str:
        """What stands before a command to type that must run as this one does."""
        return "sudo " if self.caller.elevated else ""

    @property
    def make(self) -> str:
        return f"{self.sudo}make"

    @property
    def settings(self) -> str:
        """What `make` must be told to mean this instance again."""
        return "" if self.state == default_state() else f" STATE={shlex.quote(str(self.state))}"


def prepare(place: Place) -> None:
    """Make the state's directory, or see that it is one of ours. Raises `StateUnusable`."""
    state = place.state
    if len(os.fsencode(state)) > _LONGEST_STATE:
        raise StateUnusable(
            public=f"{state}: this path is too long for the sockets in it;"
            f" set STATE to one of at most {_LONGEST_STATE} characters."
        )
    if not _PLAIN_PATH.fullmatch(str(state)):
        raise StateUnusable(
            public=f"{shown(str(state))}: the lines to connect with cannot hold this path;"
            " set STATE to one of letters, digits, spaces and . _ - + @ , = ~ alone."
        )
    try:
        names = {entry.name for entry in state.iterdir()} if state.exists() else set()
    except OSError as error:
        raise StateUnusable(
            public=f"{state}: {error.strerror}; set STATE to another directory."
        ) from error
    if names and not names & {"desk.yaml", "desk.db", "up.json"}:
        raise StateUnusable(
            public=f"{state}: this directory holds other things; set STATE to an empty or a new one."
        )
    prepare_state(state)


def give(path: Path, content: str, *, mode: int, caller: Caller) -> None:
    """Write the file whole, the caller's own, and make the directories that it lacks."""
    missing = [parent for parent in path.parents if not parent.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=0o700)
        os.chown(directory, caller.uid, caller.gid)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), caller.uid, caller.gid)
    fresh.replace(path)
