"""What the API takes and gives of desktops and their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from typing_extensions import TypedDict

from broker.core.model import DEFAULT_DESKTOP, LeaseKind, SessionState
from broker.http.kinds import Time, time, time_or_none
from broker.service.meter import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.idle import Verdict
    from broker.core.model import Desktop, Lease, Session
    from broker.service.meter import Usage
    from broker.service.presence import Present


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kill(_In):
    """Body of `POST /api/v1/sessions/{id}/kill`."""

    force: StrictBool = False
    """End the record even when the engine does not answer."""


class NewDesktop(_In):
    """Body of `POST /desktops`."""

    user: str | None = Field(default=None, max_length=256)
    """Whose it is; the caller's own when not said."""
    name: str = Field(default=DEFAULT_DESKTOP, max_length=256)


class Message(_In):
    """Body of `POST /sessions/{id}/message`."""

    text: str = Field(max_length=500)


class Size(_In):
    """Body of `PUT /sessions/{id}/size`, in pixels."""

    width: StrictInt = Field(ge=320, le=7680)
    height: StrictInt = Field(ge=200, le=4320)


class Extend(_In):
    """Body of `POST /api/v1/sessions/{id}/extend`."""

    time: str = Field(max_length=64)
    """As in `desk extend`: `4h`, or `0` for no longer."""


#: Of sessions that live, and of desktops.
LIVE_STATES = tuple(state.value for state in SessionState if state is not SessionState.ENDED)
DESKTOP_STATES = (*LIVE_STATES, "stopped", "archived")


class DesktopOut(TypedDict):
    """What a user owns and keeps."""

    id: str
    user: str
    name: str
    template: str
    uid: int
    state: str
    """Of its live session, else `stopped` or `archived`."""
    session: str | None
    """The live one's id."""
    removed: bool
    created_at: Time
    archived_at: Time | None
    archive_size: int | None
    """Bytes."""


class SessionOut(TypedDict):
    """One run of a desktop."""

    id: str
    user: str
    desktop: str
    desktop_id: str
    state: SessionState
    display: int | None
    port: int | None
    address: str | None
    attached: int
    """How many clients are in it."""
    kinds: list[str]
    """What they are in it for."""
    idle: int | None
    """Seconds since a person was last seen to do something; null unless it is awake."""
    next: str | None
    """What happens next by itself: `freeze` or `stop`."""
    next_in: int | None
    """Seconds until then."""
    kept_until: Time | None
    cpu: float | None
    """Cores that it uses, lately; null when nobody knows, as in the first look at it."""
    memory: int | None
    """Bytes that it holds; null when nobody knows."""
    outdated: bool | None
    """Whether its next start takes another image; null when nobody knows."""
    reason: str | None
    """Why it sleeps, stops or ended."""
    created_at: Time
    changed_at: Time


AttachmentOut = TypedDict(
    "AttachmentOut",
    {
        "user": str,
        "desktop": str | None,
        "session": str,
        "kinds": list[str],
        "since": Time,
        "from": str,
        "client": str,
        "idle": int | None,
    },
)


class MessageOut(TypedDict):
    """What came of a message."""

    seen: bool
    """Whether somebody there could see it."""


class LeaseOut(TypedDict):
    """Something that is held: by a session, or a uid by a desktop for life."""

    host: str
    kind: LeaseKind
    value: str
    """As people write it."""
    desktop_id: str
    session_id: str | None
    since: Time


class Change(TypedDict):
    """A change of when the next step is due."""

    at: Time
    due_at: Time | None
    next: str | None
    signal: str
    actor: str


class WhyOut(TypedDict):
    """Why a desktop is in the state it is in, and what happens next."""

    user: str
    desktop: str
    state: str
    session: str | None
    reason: str | None
    since: Time | None
    archived_at: Time | None
    archive_size: int | None
    attached: int
    signals: dict[str, float]
    """What was seen since it started or woke, and how many seconds ago."""
    kept_for: int
    counts: str | None
    """The signal that its next step hangs on."""
    next: str | None
    next_in: int | None
    next_at: Time | None
    changes: list[Change]
    text: str
    """All of it, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is known of a session's use without asking it."""

    present: Sequence[Present] = ()
    idle: float | None = None
    """Seconds since a person was last seen to do something; None unless it is awake."""
    verdict: Verdict | None = None
    """None unless it is ready or frozen."""
    usage: Usage = UNKNOWN
    next_image: str | None = None
    """The id of the image that starts take now; None when nobody knows."""

    @property
    def kinds(self) -> list[str]:
        return sorted({kind for one in self.present for kind in one.kinds})


def state_of(desktop: Desktop, session: Session | None) -> str:
    """One of `DESKTOP_STATES`."""
    if session is not None:
        return session.state.value
    return "archived" if desktop.archive else "stopped"


def desktop_out(desktop: Desktop, owner: str, session: Session | None) -> DesktopOut:
    archive = desktop.archive
    return {
        "id": desktop.id,
        "user": owner,
        "name": desktop.name,
        "template": desktop.template,
        "uid": desktop.uid,
        "state": state_of(desktop, session),
        "session": session.id if session else None,
        "removed": desktop.removed_at is not None,
        "created_at": time(desktop.created_at),
        "archived_at": time(archive.at) if archive else None,
        "archive_size": archive.size if archive else None,
    }


def session_out(session: Session, desktop: Desktop, owner: str, use: Use) -> SessionOut:
    awake = session.state in {SessionState.STARTING, SessionState.READY}
    step = use.verdict.step if use.verdict else None
    return {
        "id": session.id,
        "user": owner,
        "desktop": desktop.name,
        "desktop_id": desktop.id,
        "state": session.state,
        "display": session.display,
        "port": session.port,
        "address": session.address,
        "attached": len(use.present),
        "kinds": use.kinds,
        "idle": None if use.idle is None else round(use.idle),
        "next": step.value if step else None,
        "next_in": max(0, round(use.verdict.due)) if use.verdict and step else None,
        "kept_until": time_or_none(session.kept_until),
        "cpu": None if use.usage.cpu is None else round(use.usage.cpu, 3),
        "memory": use.usage.memory,
        "outdated": None if use.next_image is None else session.image != use.next_image,
        # A session that thawed keeps in its record why it froze.
        "reason": None if awake else session.reason,
        "created_at": time(session.created_at),
        "changed_at": time(session.changed_at),
    }


def attachment_out(
    present: Present, desktop: Desktop | None, *, since: datetime, idle: float | None
) -> AttachmentOut:
    """`desktop` is None when its session ended a moment ago; `idle` as in `Use`, of this client."""
    attachment = present.attachment
    return {
        "user": attachment.user,
        "desktop": desktop.name if desktop else None,
        "session": attachment.session_id,
        "kinds": list(present.kinds),
        "since": time(since),
        "from": attachment.peer,
        "client": attachment.client,
        "idle": None if idle is None else round(idle),
    }


def lease_out(lease: Lease, shown: str) -> LeaseOut:
    return {
        "host": lease.host,
        "kind": lease.kind,
        "value": shown,
        "desktop_id": lease.desktop_id,
        "session_id": lease.session_id,
        "since": time(lease.since),
    }
