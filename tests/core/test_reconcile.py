"""The plan that makes records and containers agree, case by case and as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.interfaces import Container, ContainerState
from broker.core.model import DesktopId, Session, SessionId, SessionState
from broker.core.reconcile import (
    End,
    Pause,
    Resume,
    Sweep,
    Unpause,
    cause_of_death,
    doubtful,
    plan,
)
from tests.clocks import START

S, C = SessionState, ContainerState

#: Records are read a moment after the containers were listed; everything else is older.
LISTED, READ, OLD = START, START + timedelta(seconds=1), START - timedelta(hours=1)
AFTER = READ + timedelta(hours=1)

CUT = "the broker stopped while the desktop started"
REMOVED = "its container was removed from outside"
EXITED = "its container stopped with exit code 3"


def session(number: int = 1, state: SessionState = S.READY, **changes) -> Session:
    made = Session(
        id=SessionId(f"{number:016x}"),
        desktop_id=DesktopId(f"d{number:015x}"),
        state=state,
        host="local",
        image="sha256:1",
        port=20000 + number,
        display=1000 + number,
        address="10.0.0.4",
        deadline=None,
        kept_until=None,
        reason=None,
        created_at=OLD,
        changed_at=OLD,
    )
    return replace(made, **changes)


def container(number: int = 1, state: ContainerState = C.RUNNING, **changes) -> Container:
    made = Container(
        name=f"desk-{number:016x}",
        state=state,
        desktop_id=f"d{number:015x}",
        session_id=f"{number:016x}",
        spec_hash="s",
        address="10.0.0.4",
        exit_code=3 if state is C.EXITED else None,
        oom_killed=False,
    )
    return replace(made, **changes)


def planned(sessions, containers, *, busy=(), unseen=None):
    return plan(sessions, containers, busy=busy, listed_at=LISTED, read_at=READ, unseen=unseen)


@pytest.mark.parametrize(
    ("state", "found", "wanted"),
    [
        (S.STARTING, C.RUNNING, "resume"),
        (S.STARTING, C.PAUSED, "resume"),
        (S.STARTING, C.CREATED, CUT),
        (S.STARTING, C.EXITED, CUT),
        (S.STARTING, None, CUT),
        (S.READY, C.RUNNING, None),
        (S.READY, C.PAUSED, "unpause"),
        (S.READY, C.CREATED, "its container stopped with exit code None"),
        (S.READY, C.EXITED, EXITED),
        (S.READY, None, REMOVED),
        (S.FROZEN, C.RUNNING, "pause"),
        (S.FROZEN, C.PAUSED, None),
        (S.FROZEN, C.CREATED, "its container stopped with exit code None"),
        (S.FROZEN, C.EXITED, EXITED),
        (S.FROZEN, None, REMOVED),
        (S.STOPPING, C.RUNNING, "it was being stopped"),
        (S.STOPPING, C.CREATED, "it was being stopped"),
        (S.STOPPING, C.PAUSED, "it was being stopped"),
        (S.STOPPING, C.EXITED, "it was being stopped"),
        (S.STOPPING, None, "it was being stopped"),
    ],
)
def test_each_state_of_a_record_meets_each_state_of_its_container(state, found, wanted):
    """The whole table: what one record and one container come to."""
    record = session(state=state)
    containers = [] if found is None else [container(state=found)]
    actions = planned([record], containers)
    match wanted:
        case None:
            assert actions == []
        case "resume":
            assert actions == [Resume(record)]
        case "pause":
            assert actions == [Pause(record)]
        case "unpause":
            assert actions == [Unpause(record)]
        case reason:
            assert actions == [End(record, reason)]


def test_a_stop_keeps_the_reason_that_it_was_given():
    """What was written when it began is what the person reads."""
    record = session(state=S.STOPPING, reason="ada stopped it")
    assert planned([record], []) == [End(record, "ada stopped it")]


@pytest.mark.parametrize("state", [S.READY, S.FROZEN])
@pytest.mark.parametrize("who", ["the broker", "the container engine"])
def test_what_died_while_somebody_was_away_says_who(state, who):
    """Whether it was there to be seen or not: the person reads that nobody could have known."""
    record = session(state=state)
    dead = container(state=C.EXITED, oom_killed=True)
    assert planned([record], [], unseen=who) == [End(record, f"{REMOVED} while {who} was away")]
    assert planned([record], [dead], unseen=who) == [
        End(record, f"its container ran out of memory while {who} was away")
    ]


@pytest.mark.parametrize("unseen", [None, "the broker"])
def test_nobody_is_blamed_for_what_was_begun_before(unseen):
    """A stop and a start that was cut have reasons of their own; what agrees has none."""
    records = [session(1, S.STOPPING, reason="ada stopped it"), session(2, S.STARTING), session(3)]
    assert planned(records, [container(3)], unseen=unseen) == [
        End(records[0], "ada stopped it"),
        End(records[1], CUT),
    ]


@pytest.mark.parametrize(("state", "found"), [(S.READY, C.PAUSED), (S.FROZEN, C.RUNNING)])
def test_what_somebody_freezes_or_thaws_just_now_is_left_alone(state, found):
    """Between record and container there is a moment at which they differ."""
    record = session(state=state)
    assert planned([record], [container(state=found)], busy={record.id}) == []
    new = session(state=state, changed_at=LISTED)
    assert planned([new], [container(state=found)]) == []


@pytest.mark.parametrize(
    ("states", "there", "doubted"),
    [
        ([S.READY], 0, True),
        ([S.FROZEN], 0, True),
        ([S.ENDED, S.STARTING, S.STOPPING, S.READY], 0, True),
        ([S.STARTING], 0, False),
        ([S.STOPPING], 0, False),
        ([], 0, False),
        ([S.READY, S.READY], 1, False),
    ],
)
def test_a_listing_is_doubted_when_it_lacks_all_that_should_run(states, there, doubted):
    """One that shows anything at all is an engine's that has looked around."""
    records = [session(number, state) for number, state in enumerate(states, 1)]
    assert doubtful(records, [container(number) for number in range(1, there + 1)]) is doubted


def test_a_container_without_a_live_session_is_swept():
    """Whatever state it is in."""
    containers = [container(n, state) for n, state in enumerate(C, 1)]
    assert planned([], containers) == [Sweep(found.name) for found in containers]


def test_all_containers_of_one_ended_session_are_swept():
    """Two that claim the same session do not hide each other."""
    both = [container(name="desk-1"), container(name="desk-copy")]
    assert planned([], both) == [Sweep("desk-1"), Sweep("desk-copy")]


def test_the_container_of_a_busy_session_is_not_swept():
    """Somebody is at it, and its record may have ended a moment ago."""
    assert planned([], [container()], busy={session().id}) == []


def test_a_container_whose_memory_ran_out_says_so():
    """That reason goes before the exit code."""
    assert cause_of_death(container(state=C.EXITED, oom_killed=True)) == (
        "its container ran out of memory"
    )


@pytest.mark.parametrize("changed", [LISTED, LISTED + (READ - LISTED) / 2, READ])
def test_a_record_that_changed_since_the_listing_waits(changed):
    """It is newer than what the engine said."""
    assert planned([session(changed_at=changed)], []) == []


@pytest.mark.parametrize("changed", [OLD, LISTED - timedelta(microseconds=1), AFTER])
def test_a_record_of_another_time_is_judged(changed):
    """An older one, and one of the future: there the clock was set back since."""
    record = session(changed_at=changed)
    assert planned([record], []) == [End(record, REMOVED)]


# ---------------------------------------------------------------------------------- as a whole

numbers = st.integers(1, 8)
live_states = st.sampled_from([state for state in S if state is not S.ENDED])
times = st.sampled_from([OLD, LISTED, READ, AFTER])
sessions = st.dictionaries(numbers, st.tuples(live_states, times)).map(
    lambda found: [
        session(number, state, changed_at=changed) for number, (state, changed) in found.items()
    ]
)
containers = st.dictionaries(numbers, st.sampled_from(C)).map(
    lambda found: [container(number, state) for number, state in found.items()]
)
busy = st.sets(numbers.map(lambda number: session(number).id))


def _new(record: Session) -> bool:
    return LISTED <= record.changed_at <= READ


def _agrees(record: Session, found: Container | None) -> bool:
    return found is not None and (record.state, found.state) in {
        (S.READY, C.RUNNING),
        (S.FROZEN, C.PAUSED),
    }


@settings(deadline=None)
@given(sessions, containers, busy)
def test_every_disagreement_gets_exactly_one_action_and_nothing_else_any(records, found, at_work):
    """Busy and newer records are never touched, the containers of live sessions never swept."""
    actions = planned(records, found, busy=at_work)
    swept = Counter(action.name for action in actions if isinstance(action, Sweep))
    acted = Counter(action.session.id for action in actions if not isinstance(action, Sweep))
    live = {record.id for record in records}
    by_session = {one.session_id: one for one in found}
    assert swept == Counter(
        one.name for one in found if one.session_id not in live and one.session_id not in at_work
    )
    assert acted == Counter(
        record.id
        for record in records
        if record.id not in at_work
        and not _new(record)
        and not _agrees(record, by_session.get(record.id))
    )


@settings(deadline=None)
@given(sessions, containers)
def test_only_a_running_container_is_waited_for(records, found):
    """A start is resumed where there is something to wait for, and ended elsewhere."""
    running = {one.session_id for one in found if one.state in {C.RUNNING, C.PAUSED}}
    for action in planned(records, found):
        if isinstance(action, Resume):
            assert action.session.state is S.STARTING
            assert action.session.id in running
        if isinstance(action, Pause | Unpause):
            assert action.session.state is (S.FROZEN if isinstance(action, Pause) else S.READY)
            assert action.session.id in running
        if isinstance(action, End):
            assert action.reason


@settings(deadline=None)
@given(st.sets(numbers), st.sampled_from([(S.READY, C.RUNNING), (S.FROZEN, C.PAUSED)]))
def test_what_agrees_is_left_alone(both, states):
    """Nothing to do on a quiet system."""
    records = [session(number, states[0]) for number in both]
    assert planned(records, [container(number, states[1]) for number in both]) == []


@settings(deadline=None)
@given(sessions, containers, st.sampled_from([None, "the broker"]))
def test_a_session_that_serves_somebody_is_never_ended(records, found, unseen):
    """Nor one that could be woken: whoever was away, whatever else there is to do."""
    alive = {one.session_id for one in found if one.state in {C.RUNNING, C.PAUSED}}
    for action in planned(records, found, unseen=unseen):
        if isinstance(action, End) and action.session.state in {S.READY, S.FROZEN}:
            assert action.session.id not in alive


@settings(deadline=None)
@given(sessions, containers)
def test_the_plan_carried_out_leaves_nothing_to_do(records, found):
    """Ended and swept for once, resumed starts ready: the second plan is empty but for the new."""
    records = [record for record in records if not _new(record)]
    actions = planned(records, found)
    swept = {action.name for action in actions if isinstance(action, Sweep)}
    ended = {action.session.id for action in actions if isinstance(action, End)}
    resumed = {action.session.id for action in actions if isinstance(action, Resume)}
    paused = {action.session.id for action in actions if isinstance(action, Pause)}
    woken = {action.session.id for action in actions if isinstance(action, Unpause)}
    left = [
        replace(record, state=S.READY) if record.id in resumed else record
        for record in records
        if record.id not in ended
    ]
    there = [
        replace(one, state=C.PAUSED if one.session_id in paused else C.RUNNING)
        if one.session_id in paused | woken | resumed
        else one
        for one in found
        if one.name not in swept and one.session_id not in ended
    ]
    assert planned(left, there) == []
