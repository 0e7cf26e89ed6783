"""What is known of the use of each live session, in monotonic time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.idle import Facts, Signal
from broker.core.model import SessionId, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Clock
    from broker.core.model import Deadline, Session


@dataclass(slots=True)
class Watch:
    """One session, watched. Times are monotonic seconds."""

    session: Session
    policy: IdlePolicy
    """What holds for its owner."""
    began: float
    frozen: float | None
    kept_until: float
    seen: dict[Signal, float]
    """When each signal was last seen."""
    deadline: Deadline | None = None
    """What is stored of its next step."""
    stale: bool = True
    """Whether that has to be stored anew."""
    quiet_until: float = 0.0
    """Nothing can be near before: signs of life only make a step later."""
    warned: float | None = None
    """When whoever is inside was told of the next step."""
    untold: float | None = None
    """Since when nobody there could be told, though it was tried."""
    known_at: float = float("-inf")
    """When its record was last told by itself; a list that was asked for before is older."""
    attended: float = 0.0
    """When somebody was last attached."""
    cpu: tuple[float, float] | None = None
    """A moment, and the CPU seconds used up to it."""

    @property
    def warning(self) -> bool:
        """Whether whoever is inside was told, or was to be."""
        return self.warned is not None or self.untold is not None

    def withdraw(self) -> None:
        """The warning, if there was one, holds no more."""
        self.warned = self.untold = None

    def facts(self, now: float, *, attached: bool) -> Facts:
        return Facts(
            ages={signal: max(0.0, now - at) for signal, at in self.seen.items()},
            age=now - self.began,
            frozen=None if self.frozen is None else now - self.frozen,
            kept=max(0.0, self.kept_until - now),
            attached=attached,
        )


@dataclass(slots=True)
class Watches:
    """The watches of all live sessions, kept in step with the records."""

    clock: Clock
    _watches: dict[SessionId, Watch] = field(default_factory=dict)
    _early: dict[str, dict[Signal, float]] = field(default_factory=dict)
    """Signals of sessions that are not watched yet, since the last look."""
    _earlier_still: dict[str, dict[Signal, float]] = field(default_factory=dict)
    """Those of before it."""

    def saw(self, session_id: str, signal: Signal, age: float = 0.0) -> None:
        """A sign of life, `age` seconds old; an older one than is known changes nothing."""
        at = self.clock.monotonic() - age
        watch = self._watches.get(SessionId(session_id))
        seen = watch.seen if watch is not None else self._early.setdefault(session_id, {})
        seen[signal] = max(at, seen.get(signal, at))

    def of(self, session_id: SessionId) -> Watch | None:
        return self._watches.get(session_id)

    def follow(
        self,
        sessions: Iterable[Session],
        policies: Callable[[Session], IdlePolicy],
        stored: Mapping[SessionId, Deadline] | None = None,
        *,
        asked: float | None = None,
    ) -> list[Watch]:
        """Watch exactly the ready and frozen ones of these, each by the policy of its owner, which
        can be another one than at the last look; return them. `stored` is what the
        records know of the deadlines after a restart; without it, sessions that are new here began
        just now, whatever the wall clock says. `asked` is the monotonic time at which these were
        asked for: what was told of one since then is newer.
        """
        watched = {}
        for session in sessions:
            if session.state not in _WATCHED:
                continue
            policy = policies(session)
            watch = self._watches.get(session.id)
            if watch is None:
                watch = self._begin(session, policy, stored)
            self._hold_to(watch, policy)
            if asked is None or watch.known_at < asked:
                watch = self._in_step(watch, session)
            watched[session.id] = watch
        self._watches = watched
        # What came between the read of these records and now is of a session that the next ones have.
        self._earlier_still, self._early = self._early, {}
        return list(watched.values())

    def current(self, session: Session, policy: IdlePolicy) -> Watch | None:
        """The watch as the record and the policy of its owner are now: since the last look it can
        have frozen or thawed.
        """
        if session.state not in _WATCHED:
            return None
        watch = self._watches.get(session.id) or self._begin(session, policy, None)
        self._hold_to(watch, policy)
        if session.changed_at < watch.session.changed_at:
            return watch
        watch = self._watches[session.id] = self._in_step(watch, session)
        watch.known_at = self.clock.monotonic()
        return watch

    def _hold_to(self, watch: Watch, policy: IdlePolicy) -> None:
        """Another policy can make a step nearer, and whoever grew too old by it gets the time of a
        warning.
        """
        if watch.policy is policy or watch.policy == policy:
            return
        now = self.clock.monotonic()
        watch.policy = policy
        watch.quiet_until = 0.0
        watch.stale = True
        watch.withdraw()
        watch.began = now - _spared(now - watch.began, policy.max_age, policy)
        watch.kept_until = self._later(watch.session.kept_until, policy)
        if watch.frozen is not None:
            watch.frozen = now - _spared(now - watch.frozen, policy.stop_after, policy)

    def _in_step(self, watch: Watch, session: Session) -> Watch:
        if watch.session.kept_until != session.kept_until:
            watch.kept_until = self._later(session.kept_until, watch.policy)
            watch.quiet_until = 0.0
        known = watch.session
        if (known.state, known.changed_at) != (session.state, session.changed_at):
            watch = self._renew(watch, session)
        watch.session = session
        return watch

    def _begin(
        self,
        session: Session,
        policy: IdlePolicy,
        stored: Mapping[SessionId, Deadline] | None,
    ) -> Watch:
        """Ages come from the wall clock once, after a restart, and never make anybody late:
        whatever was due while nobody watched gets the time of a warning.
        """
        now = began = changed = self.clock.monotonic()
        deadline = None
        if stored is not None:
            deadline = stored.get(session.id)
            if deadline is not None and deadline.at < session.changed_at:
                deadline = None  # of before it froze or thawed
            began = self._earlier(session.created_at, policy.max_age, policy)
            changed = self._earlier(session.changed_at, policy.stop_after, policy)
        seen = self._earlier_still.get(session.id, {}) | self._early.get(session.id, {})
        seen.setdefault(Signal.WOKE, now - self._slept_through(deadline, policy))
        return Watch(
            session=session,
            policy=policy,
            began=began,
            frozen=changed if session.state is SessionState.FROZEN else None,
            kept_until=self._later(session.kept_until, policy),
            seen=seen,
            deadline=deadline,
            stale=deadline is None,
            attended=now,
        )

    def _renew(self, watch: Watch, session: Session) -> Watch:
        """It froze or thawed: from here all counts anew."""
        now = self.clock.monotonic()
        frozen = session.state is SessionState.FROZEN
        seen = {Signal.WOKE: now}
        if Signal.ARRIVED in watch.seen and not frozen:
            seen[Signal.ARRIVED] = watch.seen[Signal.ARRIVED]
        return Watch(
            session=session,
            policy=watch.policy,
            began=watch.began,
            frozen=now if frozen else None,
            kept_until=watch.kept_until,
            seen=seen,
            deadline=watch.deadline,
            attended=now,
        )

    def renew_all(self) -> None:
        """Nobody watched for a while: from here all counts anew, and whoever grew too old meanwhile
        gets the time of a warning.
        """
        now = self.clock.monotonic()
        for watch in self._watches.values():
            watch.seen[Signal.WOKE] = now
            watch.began = now - _spared(now - watch.began, watch.policy.max_age, watch.policy)
            watch.withdraw()
            watch.stale = True
            if watch.frozen is not None:
                watch.frozen = now

    def assume_use(self) -> None:
        """Anybody may be in any session that runs: each counts as used now."""
        now = self.clock.monotonic()
        for watch in self._watches.values():
            if watch.frozen is None:
                watch.seen[Signal.WOKE] = now

    def forget_stored(self) -> None:
        """The wall clock was set: what is stored is of another time."""
        for watch in self._watches.values():
            watch.stale = True

    def _slept_through(self, stored: Deadline | None, policy: IdlePolicy) -> float:
        """How long ago a session was last used, by what is stored; less where it would be due
        before anybody could be warned.
        """
        after = policy.freeze_after or policy.stop_after
        if stored is None or stored.due_at is None or after is None:
            return 0.0
        left = (stored.due_at - self.clock.now()).total_seconds()
        return after - min(max(left, _spare(policy)), after)

    def _earlier(self, moment: datetime, most: float | None, policy: IdlePolicy) -> float:
        """The monotonic time of a moment in the past; a later one where `most` seconds since then
        would be over before anybody could be warned.
        """
        age = max(0.0, (self.clock.now() - moment).total_seconds())
        return self.clock.monotonic() - _spared(age, most, policy)

    def _later(self, moment: datetime | None, policy: IdlePolicy) -> float:
        """The monotonic time of a moment in the future, at most as far as one may keep."""
        if moment is None:
            return 0.0
        left = (moment - self.clock.now()).total_seconds()
        return self.clock.monotonic() + min(max(0.0, left), policy.keep_up_to)


#: Seconds between two looks at all sessions.
LOOK_EVERY = 10.0

_WATCHED = frozenset({SessionState.READY, SessionState.FROZEN})


def _spared(age: float, most: float | None, policy: IdlePolicy) -> float:
    return age if most is None else min(age, max(0.0, most - _spare(policy)))


def _spare(policy: IdlePolicy) -> float:
    """A warning, and the time to notice that one is due."""
    return policy.warn_before + LOOK_EVERY
