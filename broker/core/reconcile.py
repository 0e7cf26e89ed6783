"""What to do so that records and containers agree: a pure plan over what both sides say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.interfaces import Container, ContainerState
from broker.core.model import Session, SessionId, SessionState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sweep:
    """A container of ours that no live session owns: remove it."""

    name: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A start that nobody carries on though its container runs: wait for it to answer."""

    session: Session


@dataclass(frozen=True, slots=True)
class Pause:
    """A frozen session whose container runs: a crash came between, or somebody outside."""

    session: Session


@dataclass(frozen=True, slots=True)
class Unpause:
    """A ready session whose container is paused: likewise."""

    session: Session


@dataclass(frozen=True, slots=True)
class End:
    """A session whose container is dead, gone, or half made and given up: stop and end it."""

    session: Session
    reason: str


Action = Sweep | Resume | Pause | Unpause | End


def plan(
    sessions: Iterable[Session],
    containers: Iterable[Container],
    *,
    busy: Collection[SessionId],
    listed_at: datetime,
    read_at: datetime,
    unseen: str | None = None,
) -> list[Action]:
    """Compare live `sessions`, read at `read_at`, with `containers`, listed first, at `listed_at`.
    `unseen` says who was away since the last look, so that a reason can tell it.

    Sessions in `busy` are somebody's work just now, and a record that changed since the listing is
    newer than what the engine said: both are left for the next pass. A change in the future is an
    old one, of before the clock was set back.
    """
    live = {session.id: session for session in sessions}
    by_session: dict[SessionId, Container] = {}
    actions: list[Action] = []
    for container in containers:
        session_id = SessionId(container.session_id)
        by_session[session_id] = container
        if session_id not in live and session_id not in busy:
            actions.append(Sweep(container.name))
    for session in live.values():
        if session.id in busy or listed_at <= session.changed_at <= read_at:
            continue
        action = _judge(session, by_session.get(session.id), unseen)
        if action is not None:
            actions.append(action)
    return actions


def _judge(session: Session, container: Container | None, unseen: str | None) -> Action | None:
    state = container.state if container is not None else None
    match session.state:
        case SessionState.STARTING if state in _ALIVE:
            return Resume(session)
        case SessionState.STARTING:
            return End(session, "the broker stopped while the desktop started")
        case SessionState.READY | SessionState.FROZEN if state not in _ALIVE:
            cause = cause_of_death(container)
            return End(session, f"{cause} while {unseen} was away" if unseen else cause)
        case SessionState.READY if state is ContainerState.PAUSED:
            return Unpause(session)
        case SessionState.FROZEN if state is ContainerState.RUNNING:
            return Pause(session)
        case SessionState.STOPPING:
            return End(session, session.reason or "it was being stopped")
        case _:
            return None


_ALIVE = frozenset({ContainerState.RUNNING, ContainerState.PAUSED})


def doubtful(sessions: Iterable[Session], containers: Collection[Container]) -> bool:
    """Whether a listing looks like an engine's that has not found its containers yet: it shows
    none at all though some should be there.
    """
    return not containers and any(session.state in _AT_REST for session in sessions)


_AT_REST = frozenset({SessionState.READY, SessionState.FROZEN})


def cause_of_death(container: Container | None) -> str:
    """Why a session ends whose container serves nobody, in words for people."""
    if container is None:
        return "its container was removed from outside"
    if container.oom_killed:
        return "its container ran out of memory"
    return f"its container stopped with exit code {container.exit_code}"
