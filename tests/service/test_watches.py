"""What is known of the use of each session, across restarts, gaps and clocks that were set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.config import IdleConfig
from broker.core.idle import Signal, Step
from broker.core.model import Deadline, DesktopId, Session, SessionId, SessionState
from broker.service.watches import LOOK_EVERY, Watches
from tests.clocks import ManualClock
from tests.service.hours import DAY, HOUR, MINUTE, Story, begin

READY, FROZEN, ENDED = SessionState.READY, SessionState.FROZEN, SessionState.ENDED

AFTER, WARNING = HOUR, 5 * MINUTE

#: What is due while nobody watches gets a warning's time, and the time to notice.
SPARE = WARNING + LOOK_EVERY


class Records:
    """Sessions as the store has them, and the watches of them."""

    def __init__(self, **idle) -> None:
        self.clock = ManualClock()
        self.clock.advance(100 * DAY)
        self.policy = IdleConfig.model_validate(idle).policy
        self.watches = Watches(self.clock)

    def ago(self, seconds: float):
        return self.clock.now() - timedelta(seconds=seconds)

    def session(self, state: SessionState = READY, *, age=0.0, changed=0.0, kept=None) -> Session:
        return Session(
            id=SessionId("s"),
            desktop_id=DesktopId("d"),
            state=state,
            host="local",
            image="sha256:1",
            port=20000,
            display=1000,
            address="10.0.0.4",
            deadline=None,
            kept_until=None if kept is None else self.ago(-kept),
            reason=None,
            created_at=self.ago(age),
            changed_at=self.ago(changed),
        )

    def stored(self, due: float | None) -> dict[SessionId, Deadline]:
        """A deadline that is due in so many seconds."""
        row = Deadline(
            session_id=SessionId("s"),
            at=self.ago(HOUR),
            step=None if due is None else Step.FREEZE,
            due_at=None if due is None else self.ago(-due),
            signal=Signal.INPUT,
            reason="keyboard or mouse in the desktop",
            actor="broker",
        )
        return {row.session_id: row}

    def follow(self, session: Session, stored=None):
        """`stored` is given by the first look after a restart alone."""
        (watch,) = self.look([session], stored)
        return watch

    def look(self, sessions, stored=None, **options):
        return self.watches.follow(sessions, lambda _session: self.policy, stored, **options)

    def current(self, session: Session):
        return self.watches.current(session, self.policy)

    def facts(self, watch):
        return watch.facts(self.clock.monotonic(), attached=False)


@pytest.fixture
def records():
    """With the default policy."""
    return Records()


# ------------------------------------------------------------------------------ what is watched


def test_ready_and_frozen_sessions_are_watched_and_no_others(records):
    """What ended is forgotten with the next look."""
    watches = records.watches
    for state in SessionState:
        found = records.look([records.session(state)])
        assert [w.session.state for w in found] == [state] * (state in {READY, FROZEN})
        assert (watches.of(SessionId("s")) is not None) == (state in {READY, FROZEN})


def test_a_new_session_is_taken_for_used_just_now(records):
    """And whatever was seen of it before it was watched counts."""
    records.watches.saw("s", Signal.TYPING, 20)
    records.clock.advance(10)
    watch = records.follow(records.session())
    assert records.facts(watch).ages == {Signal.TYPING: 30, Signal.WOKE: 0}
    assert watch.stale


def test_what_is_seen_of_a_session_that_never_comes_is_not_kept(records):
    """A door can tell of what ended long ago."""
    records.watches.saw("other", Signal.TYPING)
    records.look([])
    assert records.watches._early == {}


def test_the_newest_sign_of_life_counts_in_whatever_order_it_is_told(records):
    """Reports overtake each other."""
    watch = records.follow(records.session())
    records.clock.advance(100)
    for age in (60, 20, 40):
        records.watches.saw("s", Signal.INPUT, age)
    assert records.facts(watch).ages[Signal.INPUT] == 20


def test_an_age_of_the_future_is_none(records):
    """A desktop that says that it will be touched tomorrow is touched now at the latest."""
    watch = records.follow(records.session())
    records.watches.saw("s", Signal.INPUT, -DAY)
    assert records.facts(watch).ages[Signal.INPUT] == 0


@pytest.mark.parametrize(("before", "after"), [(READY, FROZEN), (FROZEN, READY)])
def test_freezing_and_thawing_let_all_deadlines_start_anew(records, before, after):
    """What was seen, warned and measured before counts no more; who is in it is in it still."""
    watch = records.follow(records.session(before, age=HOUR, changed=HOUR), {})
    for signal in (Signal.INPUT, Signal.JOB, Signal.ARRIVED):
        records.watches.saw("s", signal)
    watch.warned, watch.untold, watch.cpu = 1.0, 1.0, (1.0, 1.0)
    watch.stale = False
    records.clock.advance(100)
    renewed = records.follow(records.session(after, age=HOUR + 100))
    facts = records.facts(renewed)
    arrived = {Signal.ARRIVED: 100} if after is READY else {}
    assert facts.ages == {Signal.WOKE: 0, **arrived}
    assert facts.frozen == (0 if after is FROZEN else None)
    assert facts.age == HOUR + 100
    assert renewed.stale
    assert not renewed.warning
    assert renewed.cpu is None


def test_between_two_looks_the_record_counts(records):
    """Whoever asks why sees what froze a moment ago as frozen, and what ended as gone."""
    records.follow(records.session(changed=HOUR))
    frozen = records.session(FROZEN)
    assert records.current(frozen).frozen is not None
    assert records.current(frozen) is records.watches.of(SessionId("s"))
    assert records.current(records.session(ENDED)) is None
    new = replace(frozen, id=SessionId("t"))
    assert records.current(new) is records.watches.of(SessionId("t"))
    assert records.current(records.session(changed=HOUR)).frozen is not None, (
        "a list of before it froze"
    )


def test_a_wish_of_another_process_is_seen(records):
    """The record alone changed."""
    session = records.session()
    records.follow(session)
    watch = records.follow(replace(session, kept_until=records.ago(-2 * HOUR)))
    assert records.facts(watch).kept == 2 * HOUR
    watch = records.follow(replace(session, kept_until=None))
    assert records.facts(watch).kept == 0


# --------------------------------------------------------------------------------- at a restart


@pytest.mark.parametrize(
    ("due", "left"),
    [
        (20 * MINUTE, 20 * MINUTE),
        (-10 * MINUTE, SPARE),
        (MINUTE, SPARE),
        (30 * DAY, AFTER),
        (None, AFTER),
    ],
)
def test_a_restart_goes_on_with_the_stored_deadline(records, due, left):
    """One of the downtime, or nearly, gets the time of a warning; none is put off for longer."""
    watch = records.follow(records.session(age=5 * HOUR, changed=5 * HOUR), records.stored(due))
    assert AFTER - records.facts(watch).ages[Signal.WOKE] == left
    assert not watch.stale


def test_a_restart_without_a_stored_deadline_takes_it_for_used_just_now(records):
    """It crashed before the first one was stored."""
    watch = records.follow(records.session(age=5 * HOUR, changed=5 * HOUR), {})
    assert records.facts(watch).ages[Signal.WOKE] == 0
    assert watch.stale


@pytest.mark.parametrize(("slept", "counted"), [(10 * HOUR, 10 * HOUR), (40 * HOUR, DAY - SPARE)])
def test_a_restart_knows_for_how_long_a_session_slept(records, slept, counted):
    """By the wall clock, and never so long that it would be due at once."""
    watch = records.follow(records.session(FROZEN, age=50 * HOUR, changed=slept), {})
    assert records.facts(watch).frozen == counted


def test_a_restart_knows_for_how_long_a_session_slept_where_nothing_is_stopped():
    """However long."""
    records = Records(stop_after="never")
    watch = records.follow(records.session(FROZEN, age=400 * DAY, changed=300 * DAY), {})
    assert records.facts(watch).frozen == 300 * DAY


@pytest.mark.parametrize(("age", "counted"), [(HOUR, HOUR), (9 * HOUR, 8 * HOUR - SPARE)])
def test_a_restart_makes_no_session_too_old_at_once(age, counted):
    """A warning's time is left."""
    records = Records(max_age="8h")
    assert records.facts(records.follow(records.session(age=age), {})).age == counted


@pytest.mark.parametrize(
    ("kept", "left"), [(2 * HOUR, 2 * HOUR), (-HOUR, 0), (50 * DAY, 3 * DAY), (None, 0)]
)
def test_a_wish_survives_a_restart(records, kept, left):
    """Up to as far as one may keep: the clock can have been wrong when it was written."""
    assert records.facts(records.follow(records.session(kept=kept), {})).kept == left


def test_a_session_that_is_new_while_one_watches_began_just_now():
    """Whatever the wall clock says: it was set between the record and the look."""
    records = Records(max_age="8h")
    for state in (READY, FROZEN):
        facts = records.facts(records.follow(records.session(state, age=5 * HOUR, changed=HOUR)))
        assert facts.age == 0
        assert facts.frozen in {0, None}
        records.look([])


async def test_a_wish_that_another_process_takes_back_is_over_with_the_next_look(world):
    """Nobody told this one: it reads the record."""
    story = await begin(world)
    await story.broker.gateway.word(story.ada, ["extend", "8h"])
    await story.hours.go_by(2 * HOUR)
    await story.broker.store.keep_session(story.session.id, until=None, actor="uid:0")
    await story.hours.go_by(2 * LOOK_EVERY)
    assert await story.state() is FROZEN


async def test_a_clock_that_is_set_while_a_session_starts_makes_it_no_older(world):
    """Its record and the first look are of different times."""
    story = await begin(world, max_age="12h")
    await story.hours.tick()
    other = await story.broker.ensure(await story.broker.desktop("bob"))
    story.hours.clock.jump(DAY)
    await story.hours.go_by(HOUR - 2 * LOOK_EVERY)
    assert await story.broker.state(other) is READY


async def restarted(world, story: Story, *, down: float, **idle) -> Story:
    """Another broker after so many seconds without one."""
    await story.broker.abandon()
    world.clock.advance(down)
    broker = await world.broker(idle=idle)
    return Story(broker, story.ada, story.session)


async def test_what_was_due_while_no_broker_ran_is_warned_first(world):
    """Somebody is in it still: the doors tell so, and they get the full time."""
    story = await begin(world)
    await story.hours.go_by(AFTER - WARNING - MINUTE)
    later = await restarted(world, story, down=HOUR)
    await later.hours.visit(story.session)
    took = await later.hours.until(later.sleeps, within=2 * WARNING)
    assert len(later.told) == 1
    assert later.hours.clock.monotonic() - later.told_at[0] >= WARNING
    assert WARNING <= took <= SPARE + 2 * LOOK_EVERY


async def test_a_restart_gives_nobody_more_time_than_they_had(world):
    """Else a broker that restarts every night lets no desktop sleep."""
    story = await begin(world)
    await story.hours.go_by(HOUR / 2)
    later = await restarted(world, story, down=5 * MINUTE)
    took = await later.hours.until(later.sleeps, within=AFTER)
    assert 24 * MINUTE <= took <= 25 * MINUTE + 2 * LOOK_EVERY


async def test_a_wish_and_a_sleep_go_on_over_a_restart(world):
    """Kept for four hours from then, and stopped a day after it froze."""
    story = await begin(world)
    await story.broker.gateway.word(story.ada, ["extend", "4h"])
    await story.hours.go_by(2 * HOUR)
    later = await restarted(world, story, down=HOUR)
    took = await later.hours.until(later.sleeps, within=2 * HOUR)
    assert abs(took - HOUR) <= 2 * LOOK_EVERY
    last = await restarted(world, later, down=10 * HOUR)

    async def ended() -> bool:
        return await last.state() is ENDED

    assert abs(await last.hours.until(ended, within=DAY) - 14 * HOUR) <= 3 * LOOK_EVERY


# ---------------------------------------------------------------------------- clocks and gaps


@pytest.mark.parametrize("seconds", [-DAY, -HOUR, HOUR, DAY])
async def test_a_clock_that_is_set_makes_nobody_late(world, seconds):
    """It sleeps when it would have; what is stored and told is of the new time."""
    story = await begin(world)
    hours = story.hours
    await hours.go_by(HOUR / 2)
    rows = len(await hours.rows(story.session))
    hours.clock.jump(seconds)
    await hours.tick()
    told = (await story.broker.store.deadlines(story.session.id))[0]
    assert len(await hours.rows(story.session)) == rows + 1
    assert abs((told.due_at - hours.clock.now()).total_seconds() - HOUR / 2) <= LOOK_EVERY
    await hours.tick()
    assert len(await hours.rows(story.session)) == rows + 1
    took = await hours.until(story.sleeps, within=HOUR)
    assert abs(took - HOUR / 2) <= 3 * LOOK_EVERY


@pytest.mark.parametrize("seconds", [-DAY, DAY])
async def test_a_clock_that_is_set_takes_no_wish_back(world, seconds):
    """For a desktop that sleeps as for one that runs."""
    story = await begin(world)
    hours = story.hours
    await story.broker.gateway.word(story.ada, ["extend", "2d"])
    hours.clock.jump(seconds)
    await hours.tick()
    assert await story.broker.freeze(await story.broker.store.session(story.session.id))
    await hours.tick()
    _, data = await hours.why(story.ada)
    assert abs(data["kept_for"] - 2 * DAY) <= 3 * LOOK_EVERY


@pytest.mark.parametrize("seconds", [-DAY, -HOUR, HOUR, DAY])
async def test_a_clock_that_is_set_stops_nothing_that_sleeps(world, seconds):
    """Nor keeps it for longer."""
    story = await begin(world)
    await story.hours.until(story.sleeps, within=2 * HOUR)
    await story.hours.go_by(10 * HOUR)
    story.hours.clock.jump(seconds)

    async def ended() -> bool:
        return await story.state() is ENDED

    took = await story.hours.until(ended, within=DAY)
    assert abs(took - 14 * HOUR) <= 3 * LOOK_EVERY


async def test_after_an_hour_in_which_nobody_watched_all_deadlines_start_anew(world):
    """The host slept, or the process was stopped: that was nobody's idleness. The records say so."""
    story = await begin(world)
    hours = story.hours
    await hours.visit(story.session)
    await hours.go_by(AFTER - WARNING)
    assert len(story.told) == 1
    rows = await hours.rows(story.session)
    await hours.tick(HOUR)
    assert await story.state() is READY
    assert await hours.rows(story.session) == [*rows, (Step.FREEZE, Signal.WOKE, AFTER)]
    took = await hours.until(story.sleeps, within=2 * HOUR)
    assert AFTER <= took <= AFTER + 2 * LOOK_EVERY
    assert len(story.told) == 2


async def test_after_a_gap_what_sleeps_sleeps_on(world):
    """Its day begins anew."""
    story = await begin(world)
    await story.hours.until(story.sleeps, within=2 * HOUR)
    await story.hours.go_by(DAY - HOUR)
    rows = await story.hours.rows(story.session)
    await story.hours.tick(2 * HOUR)
    assert await story.state() is FROZEN
    assert await story.hours.rows(story.session) == [*rows, (Step.STOP, Signal.WOKE, DAY)]
    await story.hours.go_by(DAY - LOOK_EVERY)
    assert await story.state() is FROZEN


@pytest.mark.parametrize("asleep", [False, True])
async def test_after_a_gap_nobody_is_too_old_at_once(world, asleep):
    """A warning's time is left."""
    story = await begin(world, max_age="3h")
    hours = story.hours
    if asleep:
        await hours.until(story.sleeps, within=2 * HOUR)
    else:
        await hours.visit(story.session)
        await hours.tick()
    await hours.tick(5 * HOUR)
    before = await story.state()

    async def ended() -> bool:
        return await story.state() is ENDED

    assert before is (FROZEN if asleep else READY)
    took = await hours.until(ended, within=2 * WARNING)
    assert took >= WARNING
    assert len(story.told) == (0 if asleep else 1)


async def test_a_pass_that_comes_late_is_no_gap(world):
    """A minute without a look is a busy machine."""
    story = await begin(world)
    await story.hours.go_by(AFTER - WARNING - MINUTE)
    for _ in range(4):
        await story.hours.tick(MINUTE)
    took = await story.hours.until(story.sleeps, within=AFTER)
    assert took <= 2 * MINUTE + 2 * LOOK_EVERY
