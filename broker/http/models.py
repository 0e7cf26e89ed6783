"""What the API takes and gives of desktops and their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from broker.core.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.idle import Verdict
    from broker.core.model import Desktop, Lease, Session
    from broker.service.presence import Present


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kill(_In):
    """Body of `POST /api/v1/sessions/{id}/kill`."""

    force: StrictBool = False
    """End the record even when the engine does not answer."""


class Extend(_In):
    """Body of `POST /api/v1/sessions/{id}/extend`."""

    time: str = Field(max_length=64)
    """As in `desk extend`: `4h`, or `0` for no longer."""


Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is known of a session's use without asking it."""

    present: Sequence[Present] = ()
    idle: float | None = None
    """Seconds since a person was last seen to do something; None unless it is awake."""
    verdict: Verdict | None = None
    """None unless it is ready or frozen."""

    @property
    def kinds(self) -> list[str]:
        return sorted({kind for one in self.present for kind in one.kinds})


def desktop_out(desktop: Desktop, owner: str, session: Session | None) -> Json:
    archive = desktop.archive
    unused = "archived" if archive else "stopped"
    return {
        "id": desktop.id,
        "user": owner,
        "name": desktop.name,
        "template": desktop.template,
        "uid": desktop.uid,
        "state": session.state.value if session else unused,
        "removed": desktop.removed_at is not None,
        "created_at": desktop.created_at.isoformat(),
        "archived_at": archive.at.isoformat() if archive else None,
        "archive_size": archive.size if archive else None,
    }


def session_out(session: Session, desktop: Desktop, owner: str, use: Use) -> Json:
    awake = session.state in {SessionState.STARTING, SessionState.READY}
    step = use.verdict.step if use.verdict else None
    return {
        "id": session.id,
        "user": owner,
        "desktop": desktop.name,
        "desktop_id": desktop.id,
        "state": session.state.value,
        "display": session.display,
        "port": session.port,
        "address": session.address,
        "attached": len(use.present),
        "kinds": use.kinds,
        "idle": None if use.idle is None else round(use.idle),
        "next": step.value if step else None,
        "next_in": max(0, round(use.verdict.due)) if use.verdict and step else None,
        "kept_until": session.kept_until.isoformat() if session.kept_until else None,
        # A session that thawed keeps in its record why it froze.
        "reason": None if awake else session.reason,
        "created_at": session.created_at.isoformat(),
        "changed_at": session.changed_at.isoformat(),
    }


def attachment_out(
    present: Present, desktop: Desktop | None, *, since: datetime, idle: float | None
) -> Json:
    """`desktop` is None when its session ended a moment ago; `idle` as in `Use`, of this client."""
    attachment = present.attachment
    return {
        "user": attachment.user,
        "desktop": desktop.name if desktop else None,
        "session": attachment.session_id,
        "kinds": list(present.kinds),
        "since": since.isoformat(),
        "from": attachment.peer,
        "client": attachment.client,
        "idle": None if idle is None else round(idle),
    }


def lease_out(lease: Lease, shown: str) -> Json:
    return {
        "host": lease.host,
        "kind": lease.kind.value,
        "value": shown,
        "desktop_id": lease.desktop_id,
        "session_id": lease.session_id,
        "since": lease.since.isoformat(),
    }
