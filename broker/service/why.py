"""Why a desktop is in the state it is in, and what happens next: for its user and for an admin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.idle import BUSY, Signal, Step
from broker.core.words import spoken, spoken_size
from broker.service.sentences import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.idle import IdlePolicy, Verdict
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Deadline, Desktop, HomeArchive, Session
    from broker.service.policies import Policies
    from broker.service.presence import Presence, Present
    from broker.service.reaper import Reaper
    from broker.service.watches import Watches

#: Signals in the order in which people look for them.
_ORDER = (
    Signal.INPUT,
    Signal.TYPING,
    Signal.DATA,
    Signal.FILES,
    Signal.JOB,
    Signal.TRANSFER,
    Signal.KEEP,
    Signal.ARRIVED,
    Signal.WOKE,
)

#: Changes of the deadline that are shown.
_HISTORY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What is known of a desktop's sleep at one moment. Ages and spans are seconds."""

    desktop: str
    session: Session | None
    """None: it never ran."""
    now: datetime
    present: Sequence[Present]
    ages: dict[Signal, float]
    """Of each signal that was seen since it started or woke."""
    kept: float
    verdict: Verdict | None
    """None unless it is ready or frozen."""
    policy: IdlePolicy
    archive: HomeArchive | None
    """Set while its home is packed away."""
    history: Sequence[Deadline]
    """The last changes of its deadline, newest first."""

    @property
    def state(self) -> str:
        if self.session is None or not self.session.live:
            return "archived" if self.archive is not None else "stopped"
        return self.session.state.value

    @property
    def due_in(self) -> float | None:
        """None when nothing happens by itself; 0 when it is overdue, and happens any moment."""
        if self.verdict is None or self.verdict.step is None:
            return None
        return max(0.0, self.verdict.due)

    @property
    def due_at(self) -> datetime | None:
        return None if self.due_in is None else self.now + timedelta(seconds=self.due_in)


class Explainer:
    """Asks everybody who knows something, the desktop itself too."""

    def __init__(
        self,
        *,
        store: Store,
        reaper: Reaper,
        watches: Watches,
        presence: Presence,
        clock: Clock,
        policies: Policies,
    ) -> None:
        self._store = store
        self._reaper = reaper
        self._watches = watches
        self._presence = presence
        self._clock = clock
        self._policies = policies

    async def why(self, desktop: Desktop) -> Why:
        """Raises `StateUnusable`."""
        session = await self._store.last_session(desktop.id)
        policy = (await self._policies.of(desktop.user_id)).policy.idle
        watch = self._watches.current(session, policy) if session is not None else None
        if watch is not None and watch.frozen is None:
            await self._reaper.refresh(watch)
        facts = None
        if watch is not None:
            facts = watch.facts(self._clock.monotonic(), attached=False)
        return Why(
            desktop=desktop.name,
            session=session,
            now=self._clock.now(),
            present=self._presence.of(session.id) if session is not None else [],
            ages=dict(facts.ages) if facts is not None else {},
            kept=facts.kept if facts is not None else 0.0,
            verdict=self._reaper.verdict(watch) if watch is not None else None,
            policy=policy,
            archive=desktop.archive,
            history=await self._store.deadlines(session.id, limit=_HISTORY) if session else [],
        )


def archived(archive: HomeArchive | None) -> dict[str, str | int | None]:
    """Since when a home is packed away, and how large it is, for programs."""
    return {
        "archived_at": archive.at.isoformat(timespec="seconds") if archive else None,
        "archive_size": archive.size if archive else None,
    }


def data(why: Why) -> dict[str, object]:
    """For programs."""
    session, verdict = why.session, why.verdict
    return {
        "desktop": why.desktop,
        "state": why.state,
        "session": session.id if session else None,
        "reason": session.reason if session and why.state not in {"ready", "starting"} else None,
        "since": session.changed_at.isoformat(timespec="seconds") if session else None,
        **archived(why.archive),
        "attached": len(why.present),
        "signals": {signal.value: round(age, 1) for signal, age in why.ages.items()},
        "kept_for": round(why.kept),
        "counts": verdict.signal.value if verdict else None,
        "next": verdict.step.value if verdict and verdict.step else None,
        "next_in": None if why.due_in is None else round(why.due_in),
        "next_at": why.due_at.isoformat(timespec="seconds") if why.due_at else None,
        "changes": [
            {
                "at": change.at.isoformat(timespec="seconds"),
                "due_at": change.due_at.isoformat(timespec="seconds") if change.due_at else None,
                "next": change.step.value if change.step else None,
                "signal": change.signal.value,
                "actor": change.actor,
            }
            for change in why.history
        ],
    }


def text(why: Why) -> str:
    """For people."""
    return "\n".join([_headline(why), *_signals(why), *next_step(why)])


def _headline(why: Why) -> str:
    session = why.session
    if session is None:
        return f"{why.desktop} never ran; the next connect starts it."
    if why.state == "archived" and why.archive is not None:
        since = spoken((why.now - why.archive.at).total_seconds())
        return (
            f"{why.desktop} was put into the archive {since} ago, as nobody used it for long: its"
            f" home takes {spoken_size(why.archive.size)} there. The next connect fetches it back."
        )
    ago = spoken((why.now - session.changed_at).total_seconds())
    match why.state:
        case "ready":
            present = f"{len(why.present)} attached" if why.present else "nobody attached"
            return f"{why.desktop} is awake, {present}."
        case "frozen":
            return f"{why.desktop} sleeps since {ago}: {session.reason}. The next connect wakes it."
        case "stopped":
            return f"{why.desktop} stopped {ago} ago: {session.reason}. The next connect starts it."
        case "stopping":
            return f"{why.desktop} is being stopped: {session.reason}."
        case _:
            return f"{why.desktop} is starting since {ago}."


def _signals(why: Why) -> list[str]:
    if why.verdict is None or why.state != "ready":
        return []
    lines = ["What keeps it awake, and when that was last seen:"]
    for signal in _ORDER:
        if signal is Signal.KEEP:
            seen = f"for {spoken(why.kept)} more" if why.kept > 0 else "no"
        elif signal in why.ages:
            seen = f"{spoken(why.ages[signal])} ago"
        else:
            seen = "not seen"
        mark = "   <- this counts" if signal is why.verdict.signal else ""
        lines.append(f"  {SIGNALS[signal]:<34}{seen}{mark}")
    if any(signal in why.ages for signal in BUSY):
        lines.append(
            f"  (a job keeps it for at most {spoken(why.policy.busy_for)} with nobody there)"
        )
    return lines


def next_step(why: Why) -> list[str]:
    """What happens next, and when: a sentence, or none when it does not run."""
    verdict = why.verdict
    if verdict is None:
        return []
    if why.due_in is None or why.due_at is None:
        return ["It does not go to sleep by itself."]
    when = f"in {spoken(why.due_in)}, at {why.due_at:%Y-%m-%d %H:%M} UTC"
    if why.state == "frozen":
        return [f"Unless somebody connects, it is stopped {when}; its home is kept."]
    told = f"; whoever is inside is told {spoken(why.policy.warn_before)} before"
    if verdict.signal is Signal.AGE:
        most = spoken(why.policy.max_age or 0)
        return [f"It may run for {most}, and is stopped {when}{told}."]
    verb = "goes to sleep" if verdict.step is Step.FREEZE else "is stopped"
    return [f"If nothing happens it {verb} {when}{told}."]
