"""The words of Desk as frozen values: who, what they own, what runs, what is held."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NewType

from broker.core.errors import BadRequest
from broker.core.netpolicy import INTERNET

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from broker.core.idle import Signal, Step
    from broker.core.netpolicy import NetworkPolicy

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

#: Where an account's password is checked by Desk itself.
LOCAL = "local"

#: Characters of a key's name.
KEY_NAME_LENGTH = 64

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


def group_name(text: str) -> str:
    """Return `text` when it can name a group, else raise `BadRequest` with what is allowed."""
    if not _NAME.fullmatch(text):
        raise BadRequest(public=f"The group name {shown(text)} cannot be used: {_NAME_RULE}")
    return text


def key_name(text: str) -> str:
    """Return `text` when it can name a key, else raise `BadRequest` with what is allowed."""
    if not text.strip() or not text.isprintable() or len(text) > KEY_NAME_LENGTH:
        raise BadRequest(
            public=f"The key name {shown(text)} cannot be used: a name has 1 to"
            f" {KEY_NAME_LENGTH} characters that can be printed, and not spaces alone."
        )
    return text


def free_key_name(wanted: str, taken: Collection[str]) -> str:
    """A name for a key near `wanted` (a comment, say, which may be empty, long or unprintable) that
    is not among the `taken` ones: `wanted`, else `wanted-2` and so on; without one `key-1`.
    """
    stem = "".join(c for c in wanted if c.isprintable()).strip()[:KEY_NAME_LENGTH].strip()
    if stem and stem not in taken:
        return stem
    number = 2 if stem else 1
    while True:
        end = f"-{number}"
        name = (stem or "key")[: KEY_NAME_LENGTH - len(end)] + end
        if name not in taken:
            return name
        number += 1


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
    source: str = LOCAL
    """Where the password is checked: `local`, or the name of an outside source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key that proves one user, and no other."""

    fingerprint: str
    """`SHA256:` and 43 characters, as OpenSSH prints it."""
    user_id: UserId
    public: str
    """`TYPE BASE64`, as in an `authorized_keys` line, without options or comment."""
    name: str
    """As in `key_name`; no other key of the user has it."""
    added_at: datetime
    expires_at: datetime | None = None
    """From then on it proves nobody; None: never."""
    sources: tuple[str, ...] = ()
    """Networks as `ADDRESS/BITS` from which it proves anybody; empty: from anywhere."""
    verify_required: bool = False
    """Whether its device must have asked for its PIN, or the like."""
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    """The client's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """What a user's password is checked against."""

    user_id: UserId
    id: str
    """New with every setting: what the old one opened can be told from what the new one does."""
    hash: str = field(repr=False)
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What a user's one-time codes are checked against."""

    user_id: UserId
    secret: str = field(repr=False)
    """In base32."""
    confirmed_at: datetime | None
    """None until the user has shown that they can make codes; until then none is asked for."""
    last_step: int
    """The newest step whose code was taken; -1 before the first."""
    recovery_left: int
    """How many recovery codes are unused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """A token, used once, that binds a key to its user; the token itself is kept nowhere."""

    id: str
    user_id: UserId
    made_at: datetime
    made_by: str
    """As in `Actor.name`."""
    expires_at: datetime
    used_at: datetime | None
    fingerprint: str | None
    """Of the key that it bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a desktop is, and in which groups they are."""

    user_id: UserId
    groups: tuple[str, ...]
    """Names, each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Users for whom a policy holds beside the configuration's."""

    name: str
    priority: int
    """Of groups that say something of the same, the one with the higher one counts."""
    policy: Mapping[str, Any]
    """Values by flat keys with dots."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked for a change, how they proved it, and from where."""

    name: str
    """`user:NAME`, `admin:NAME`, `uid:N` of a local caller, or `broker`."""
    proof: str | None = None
    """`key SHA256:…`, `certificate …`, `password`, with `+code` where one was given too; None when
    nothing was proven."""
    origin: str | None = None
    """The client's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginNote:
    """A login that succeeded, for the audit and the key's last use."""

    user_id: UserId
    fingerprint: str | None
    """Of the user's key that proved them; None for everything else."""
    at: datetime
    address: str
    actor: Actor


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
    """As in `Actor.name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A maintenance that is announced: nothing starts until it is over."""

    since: datetime
    made_by: str
    """As in `Actor.name`, of whoever changed it last."""
    at: datetime | None
    """When it is planned for; None: nobody said."""
    message: str
    """What people are told beside; can be empty."""


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
    """As in `Actor.name`; so are the next two."""
    proof: str | None = None
    origin: str | None = None
    action: str
    """Noun and verb with a dot: `session.start`."""
    subject: str
    detail: dict[str, str | int | bool | None]
    hash: str | None = None
    """The link to the entry before, as in `chain.link`; None where the audit is older than its
    chain, which the next start of the broker mends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The newest entry of the audit; in the note of it that is kept beside the entries, `hash` is
    a seal.
    """

    seq: int
    """0 while there is none."""
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a walk along the whole audit found."""

    entries: int
    """Those that are as they were written, up to the first that is not."""
    head: AuditHead
    problem: str | None
    """The first thing that is wrong, as one sentence that names the entry; None: nothing is."""


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
    network: NetworkPolicy = INTERNET
    home: int | None = None
    """Bytes that a home may hold; None: as many as there is room for."""
