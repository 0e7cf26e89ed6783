"""Puts to sleep what nobody uses, and nobody who was not told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError, EngineUnavailable
from broker.core.idle import NEWCOMERS, PERSONAL, Signal, Step, judge
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.service import sentences
from broker.service.watches import LOOK_EVERY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from broker.core.idle import Verdict
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Actor, Deadline, Session, SessionId
    from broker.service.host import Host
    from broker.service.inside import Inside
    from broker.service.policies import Policies
    from broker.service.presence import Presence
    from broker.service.sessions import Sessions
    from broker.service.watches import Watch, Watches
    from broker.telemetry import Metrics

log = structlog.get_logger()

BROKER = "broker"

#: Looks into desktops at once.
_AT_ONCE = 32

#: Seconds between two samples of a session's CPU.
_SAMPLE_EVERY = 60.0

#: Sessions that are judged before the event loop gets its turn.
_SLICE = 200

#: Seconds within which a door tells what was done: what is due waits for as long.
REPORTED_WITHIN = 6.0

#: A deadline that moved by less than so many seconds has not moved; one that moves on with whoever
#: works in a session that is too old has not within a minute.
_SAME, _SAME_AGE = 5.0, 60.0

#: Who wants it kept until the same minute wants nothing new.
_SAME_WISH = timedelta(minutes=1)

#: Seconds between two passes, and of the wall clock's own way meanwhile, beyond which nobody can
#: have watched as one should.
_GAP, _DRIFT = 6 * LOOK_EVERY, 60.0


class Reaper:
    """Looks at every live session: cheaply at all, closely at those that are about to sleep."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        sessions: Sessions,
        inside: Inside,
        presence: Presence,
        watches: Watches,
        host: Host,
        clock: Clock,
        policies: Policies,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._engine = engine
        self._sessions = sessions
        self._inside = inside
        self._presence = presence
        self._watches = watches
        self._host = host
        self._clock = clock
        self._policies = policies
        self._metrics = metrics
        self._last_pass: tuple[float, datetime] | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._passing = asyncio.Lock()
        self._silent = False
        """The engine did not answer in this pass."""

    async def pass_once(self) -> None:
        """One look at everything. Raises `DeskError` when the state cannot be read."""
        async with self._passing:
            await self._pass()

    async def _pass(self) -> None:
        self._sessions.woke.clear()
        self._silent = False
        self._presence.expire()
        asked = self._clock.monotonic()
        sessions = await self._store.live_sessions(self._host.name)
        policies = await self._policies.idle(sessions)
        stored = await self._stored(sessions)
        watches = self._watches.follow(sessions, policies, stored, asked=asked)
        self._notice_gap()
        if not self._presence.complete:
            self._watches.assume_use()
        self._inside.hold([s for s in sessions if s.state is SessionState.READY])
        await self._all(self._attend, await self._near(watches))
        await self._all(self._sample, [w for w in watches if self._wants_sample(w)])
        # However long this pass took, somebody watched.
        self._last_pass = (self._clock.monotonic(), self._clock.now())

    async def _stored(self, sessions: Sequence[Session]) -> dict[SessionId, Deadline] | None:
        """What is stored of sessions that are not watched yet: read once, after a restart."""
        if self._last_pass is not None:
            return None
        if not sessions:
            return {}
        return {d.session_id: d for d in await self._store.last_deadlines(self._host.name)}

    def _notice_gap(self) -> None:
        """After a pause of this process, or of the host, nothing is late; after a jump of the wall
        clock, what is stored is.
        """
        now = (self._clock.monotonic(), self._clock.now())
        last, self._last_pass = self._last_pass, now
        if last is None:
            return
        passed = now[0] - last[0]
        if passed > _GAP:
            log.warning("nobody watched for a while; all deadlines start anew", seconds=passed)
            self._watches.renew_all()
        drift = (now[1] - last[1]).total_seconds() - passed
        if abs(drift) > _DRIFT:
            log.warning("the clock was set; stored deadlines are told anew", seconds=drift)
            self._watches.forget_stored()

    async def _near(self, watches: Sequence[Watch]) -> list[Watch]:
        """Those to look at closely: a step is near or was at the last look, or what is stored of it
        does not hold any more.
        """
        attached = self._presence.counts()
        now = self._clock.monotonic()
        near = []
        for start in range(0, len(watches), _SLICE):
            for watch in watches[start : start + _SLICE]:
                if attached[watch.session.id]:
                    watch.attended = now
                if now < watch.quiet_until and not (watch.stale or watch.warning):
                    continue
                facts = watch.facts(now, attached=attached[watch.session.id] > 0)
                left = judge(facts, watch.policy).due
                left -= 0 if watch.frozen is not None else watch.policy.warn_before + LOOK_EVERY
                watch.quiet_until = now + left
                if left <= 0 or watch.stale or watch.warning:
                    near.append(watch)
            await asyncio.sleep(0)
        return near

    async def _all(
        self, work: Callable[[Watch], Awaitable[None]], watches: Iterable[Watch]
    ) -> None:
        """Each in its place; what fails for one is told, and is no reason to leave the others."""

        async def one(watch: Watch) -> None:
            async with self._places:
                try:
                    await work(watch)
                except DeskError as error:
                    log.warning(
                        "left for the next pass",
                        session=watch.session.id,
                        code=error.code,
                        reason=str(error),
                    )

        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(one(watch))

    # ------------------------------------------------------------------------------ one session

    def verdict(self, watch: Watch) -> Verdict:
        """What happens next, by what is known now."""
        attached = self._presence.anybody(watch.session.id)
        facts = watch.facts(self._clock.monotonic(), attached=attached)
        return judge(facts, watch.policy)

    async def refresh(self, watch: Watch) -> None:
        """Ask the desktop and the engine what is known only by asking."""
        session_id = watch.session.id
        age = await self._inside.input_age(session_id)
        if age is not None:
            # Where nobody was, a program moved the pointer: that is a job, and bounded like one.
            there = max(watch.attended, watch.seen.get(Signal.ARRIVED, watch.attended))
            hands = self._clock.monotonic() - age <= there + LOOK_EVERY
            self._watches.saw(session_id, Signal.INPUT if hands else Signal.JOB, age)
        await self._sample(watch)

    async def _attend(self, watch: Watch) -> None:
        if watch.frozen is None:
            await self.refresh(watch)
        verdict = self.verdict(watch)
        await self.note(watch, verdict)
        if verdict.due > watch.policy.warn_before + LOOK_EVERY:
            watch.withdraw()
        elif watch.frozen is not None:
            if verdict.due <= 0:
                await self._stop(watch, verdict)
        elif self._silent and verdict.signal is Signal.JOB:
            return  # nobody knows whether it computes still
        elif await self._told(watch, verdict) and verdict.due <= -REPORTED_WITHIN:
            await self._put_to_sleep(watch, verdict)

    async def _told(self, watch: Watch, verdict: Verdict) -> bool:
        """Whether everybody inside had the time of a warning; warns them if nobody did. A desktop
        that takes no warning for as long as one lasts has had it.
        """
        if not self._presence.anybody(watch.session.id):
            return True
        now = self._clock.monotonic()
        if self._worn_out(watch, verdict, now):
            watch.warned = None
        if watch.warned is None:
            notice = sentences.notice(verdict, watch.policy, alone=_alone(watch, now))
            if not await self._inside.tell(watch.session.id, notice):
                watch.untold = now if watch.untold is None else watch.untold
                return now - watch.untold >= watch.policy.warn_before
            self._metrics.warnings.inc()
            log.info("people warned", session=watch.session.id, due=round(verdict.due))
            watch.warned, watch.untold = self._clock.monotonic(), None
        return self._clock.monotonic() - watch.warned >= watch.policy.warn_before

    def _worn_out(self, watch: Watch, verdict: Verdict, now: float) -> bool:
        """Whether somebody came since the warning, or worked on in spite of it for as long as one
        lasts: nobody who goes on working is told more often than that.
        """
        if watch.warned is None:
            return False
        if watch.seen.get(Signal.ARRIVED, 0.0) > watch.warned:
            return verdict.due > -NEWCOMERS * watch.policy.warn_before
        since = now - watch.warned
        return since >= watch.policy.warn_before and _alone(watch, now) < since

    async def _put_to_sleep(self, watch: Watch, verdict: Verdict) -> None:
        if verdict.step is Step.STOP:
            await self._stop(watch, verdict)
            return

        async def still() -> bool:
            if not await self._unmoved(watch):
                return False
            now = self.verdict(watch)
            return now.step is Step.FREEZE and now.due <= 0

        if await self.freeze(watch, still=still):
            self._metrics.reaps.labels(Step.FREEZE.value, verdict.signal.value).inc()

    async def freeze(
        self,
        watch: Watch,
        *,
        still: Callable[[], Awaitable[bool]],
        by: str | None = None,
        actor: Actor | str = BROKER,
    ) -> bool:
        """Freeze it, by the wish of the person `by`, or because nobody uses it."""
        alone = _alone(watch, self._clock.monotonic())
        reason = f"{by} sent it to sleep" if by else sentences.unused(alone)
        return await self._sessions.freeze(
            watch.session,
            reason=reason,
            sentence=sentences.asleep(reason),
            actor=actor,
            still=still,
        )

    async def _unmoved(self, watch: Watch) -> bool:
        """Whether it neither froze nor thawed since this pass began."""
        record = await self._store.session(watch.session.id)
        return record is not None and record.changed_at == watch.session.changed_at

    async def _stop(self, watch: Watch, verdict: Verdict) -> None:
        async def still() -> bool:
            if not await self._unmoved(watch):
                return False
            if watch.frozen is None and not await self._told(watch, self.verdict(watch)):
                return False  # somebody came who was not told
            now = self.verdict(watch)
            if (now.signal is Signal.AGE) is not (verdict.signal is Signal.AGE):
                return False  # the next pass tells why it stops
            return now.step is Step.STOP and now.due <= 0

        now = self._clock.monotonic()
        reason = sentences.why_stopped(verdict, watch.facts(now, attached=False), watch.policy)
        if await self._sessions.retire(
            watch.session, reason=reason, sentence=sentences.stopped(reason), still=still
        ):
            self._metrics.reaps.labels(Step.STOP.value, verdict.signal.value).inc()

    # --------------------------------------------------------------------------------- deadlines

    async def keep(self, watch: Watch, seconds: float, *, actor: Actor | str) -> None:
        """Keep it for so long from now, 0 for no longer; within what the policy allows."""
        until = self._clock.now() + timedelta(seconds=seconds) if seconds > 0 else None
        known = watch.session.kept_until
        if until is not None and known is not None and abs(until - known) < _SAME_WISH:
            return  # a program that asks again and again must not fill the records
        session = await self._store.keep_session(watch.session.id, until=until, actor=actor)
        watch = (
            self._watches.current(session, watch.policy) or watch
        )  # it can have frozen meanwhile
        verdict = self.verdict(watch)
        if verdict.due > watch.policy.warn_before:
            watch.withdraw()
        await self.note(watch, verdict, actor=actor)

    async def note(self, watch: Watch, verdict: Verdict, *, actor: Actor | str = BROKER) -> None:
        """Store when the next step is due, if that is not what is stored."""
        due_at = None
        if verdict.step is not None:
            due_at = self._clock.now() + timedelta(seconds=verdict.due)
        if not watch.stale and _same(watch.deadline, verdict, due_at):
            return
        step = "none" if verdict.step is None else verdict.step.value
        self._metrics.verdicts.labels(step, verdict.signal.value).inc()
        watch.deadline = await self._store.note_deadline(
            watch.session.id,
            step=verdict.step,
            due_at=due_at,
            signal=verdict.signal,
            reason=sentences.SIGNALS[verdict.signal],
            actor=actor,
        )
        watch.stale = False

    # --------------------------------------------------------------------------------------- cpu

    def _wants_sample(self, watch: Watch) -> bool:
        """A job matters only behind the last thing that a person did."""
        now = self._clock.monotonic()
        if watch.frozen is not None or _alone(watch, now) < _SAMPLE_EVERY:
            return False
        return watch.cpu is None or now - watch.cpu[0] >= _SAMPLE_EVERY

    async def _sample(self, watch: Watch) -> None:
        if self._silent:
            return
        try:
            used = await self._engine.cpu_seconds(container_name(watch.session.id))
        except EngineUnavailable as error:
            if not self._silent:
                log.warning("cpu not known", reason=str(error))
            self._silent = True
            return
        now = self._clock.monotonic()
        if used is None:
            return
        if watch.cpu is not None:
            since, before = watch.cpu
            if now - since < _SAMPLE_EVERY:
                return  # a moment's load is no job
            if (used - before) / (now - since) >= watch.policy.busy_cpu:
                self._watches.saw(watch.session.id, Signal.JOB)
        watch.cpu = now, used


def _alone(watch: Watch, now: float) -> float:
    """Seconds since a person did something."""
    return now - max(at for signal, at in watch.seen.items() if signal in PERSONAL)


def _same(stored: Deadline | None, verdict: Verdict, due_at: datetime | None) -> bool:
    if stored is None or (stored.step, stored.signal) != (verdict.step, verdict.signal):
        return False
    if stored.due_at is None or due_at is None:
        return stored.due_at is due_at
    moved = abs((stored.due_at - due_at).total_seconds())
    return moved < (_SAME_AGE if verdict.signal is Signal.AGE else _SAME)
