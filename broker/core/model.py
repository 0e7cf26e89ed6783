"""The words of Desk as frozen values: who, what they own, what runs, what is held."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

from broker.core.errors import BadRequest

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.idle import Signal, Step

UserId = NewType("UserId", str)
DesktopId = NewType("DesktopId", str)
SessionId = NewType("SessionId", str)
InstanceId = NewType("InstanceId", str)

#: The one desktop that everybody has.
DEFAULT_DESKTOP = "main"

#: The login name under which the key alone names the person.
SHARED_LOGIN = "desk"

#: Names with a meaning of their own at the front door; they cannot be users.
RESERVED_USERS = frozenset({"desk", "invite", "root", "admin"})

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


def new_id() -> str:
    """A random, opaque id: 16 hex digits."""
    return secrets.token_hex(8)


def user_name(text: str) -> str:
    """Return `text` when it can name a user, else raise `BadRequest` with what is allowed."""
    if not _NAME.fullmatch(text):
        raise BadRequest(public=f"The user name {shown(text)} cannot be used: {_NAME_RULE}")
    if text in RESERVED_USERS:
        reserved = ", ".join(sorted(RESERVED_USERS))
        raise BadRequest(public=f"The user name '{text}' is reserved ({reserved} are).")
    return text


def desktop_name(text: str) -> str:
    """Return `text` when it can name a desktop, else raise `BadRequest` with what is allowed."""
    if not _NAME.fullmatch(text):
        raise BadRequest(public=f"The desktop name {shown(text)} cannot be used: {_NAME_RULE}")
    return text


_NAME_RULE = "a name has 1 to 31 characters a-z, 0-9, '_' and '-', and begins with a letter."


def shown(text: str) -> str:
    """`text` made safe to print: control characters escaped, at most 64 characters, in quotes."""
    cut = text if len(text) <= 64 else text[:63] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account."""

    id: UserId
    name: str
    admin: bool
    enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key that proves one user, and no other."""

    fingerprint: str
    """`SHA256:` and 43 characters, as OpenSSH prints it."""
    user_id: UserId
    public: str
    """`TYPE BASE64`, as in an `authorized_keys` line, without options or comment."""
    comment: str
    added_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeArchive:
    """A home that was packed into a file and has no volume any more."""

    at: datetime
    """When it was packed."""
    size: int
    """Bytes of the file."""
    unpacked: int
    """Bytes of what it holds, as an uncompressed tar."""
    sha256: str
    """Of the file, in hex digits: another one is never unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desktop:
    """A named thing that a user owns and keeps: a home, a template, a uid for life."""

    id: DesktopId
    user_id: UserId
    name: str
    template: str
    uid: int
    created_at: datetime
    home_made_at: datetime | None
    """When its home was made; from then on a home that is missing is lost, and no new one is made
    in its place."""
    removed_at: datetime | None
    """Set when it was removed and its home kept; the same user's next desktop of the name gets
    it back."""
    archive: HomeArchive | None = None
    """Set while its home is packed away: the next start unpacks it first."""


class SessionState(StrEnum):
    """Where a session is in its life; `lifecycle` holds the steps."""

    STARTING = "starting"
    READY = "ready"
    FROZEN = "frozen"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of a desktop: one container incarnation, from start to known gone."""

    id: SessionId
    desktop_id: DesktopId
    state: SessionState
    host: str
    image: str
    """The image's id when the session began: a later build does not change a running session."""
    port: int | None
    display: int | None
    address: str | None
    """Leased while the session lives; None once it has ended."""
    deadline: datetime | None
    """When a transitional state is overdue; None at rest."""
    kept_until: datetime | None
    """Until when somebody wants it kept awake, or at least not stopped."""
    reason: str | None
    """Why it stops or ended, in words for people."""
    created_at: datetime
    changed_at: datetime

    @property
    def live(self) -> bool:
        return self.state is not SessionState.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """One change of when a session's next step of sleep is due."""

    session_id: SessionId
    at: datetime
    """When it was changed."""
    step: Step | None
    """None: nothing happens by itself."""
    due_at: datetime | None
    signal: Signal
    """What it hangs on."""
    reason: str
    """In words for people."""
    actor: str
    """As in `AuditEntry.actor`."""


class LeaseKind(StrEnum):
    """What can be held exclusively on a host."""

    PORT = "port"
    DISPLAY = "display"
    ADDRESS = "address"
    UID = "uid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The exclusive hold of one number: by a session, or of a uid by a desktop for life."""

    host: str
    kind: LeaseKind
    number: int
    """A port, a display, an IPv4 address as an integer, or a uid."""
    session_id: SessionId | None
    desktop_id: DesktopId
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change of state and who made it, written in the same transaction."""

    seq: int
    at: datetime
    actor: str
    """`user:NAME`, `admin:NAME`, `uid:N` of a local caller, or `broker`."""
    action: str
    """Noun and verb with a dot: `session.start`."""
    subject: str
    detail: dict[str, str | int | bool | None]


class NetworkPolicy(StrEnum):
    """What the desktops of a template reach; never their host or each other."""

    NONE = "none"
    INTERNET = "internet"
    """Public addresses, and the name servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What desktops are made from."""

    name: str
    image: str
    memory: int
    """Bytes."""
    cpus: float
    pids: int
    shm: int
    """Bytes of /dev/shm."""
    geometry: str
    """`WIDTHxHEIGHT` of a new desktop, in pixels."""
    network: NetworkPolicy = NetworkPolicy.INTERNET
