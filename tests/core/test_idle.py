"""When a desktop sleeps: the verdict case by case, and what holds whatever happened in it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.idle import BUSY, PERSONAL, Facts, IdlePolicy, Signal, Step, Verdict, judge

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NEVER = math.inf

POLICY = IdlePolicy(
    freeze_after=HOUR,
    stop_after=DAY,
    max_age=None,
    warn_before=5 * MINUTE,
    keep_up_to=3 * DAY,
    busy_for=8 * HOUR,
    busy_cpu=0.1,
)


def facts(ages=None, **changes) -> Facts:
    """A session that began and woke 10 h ago, with nobody in it, but for what is named."""
    seen = {Signal.WOKE: 10 * HOUR, **(ages or {})}
    made = Facts(ages=seen, age=10 * HOUR, frozen=None, kept=0.0, attached=False)
    return replace(made, **changes)


def verdict(ages=None, policy=None, **changes) -> Verdict:
    return judge(facts(ages, **changes), replace(POLICY, **(policy or {})))


# -------------------------------------------------------------------------------------- awake


@pytest.mark.parametrize(
    "signal", [Signal.INPUT, Signal.TYPING, Signal.DATA, Signal.FILES, Signal.WOKE]
)
def test_whatever_a_person_does_is_good_for_a_freeze_period(signal):
    """From that moment, and it is what counts."""
    assert verdict({signal: 20 * MINUTE}) == Verdict(Step.FREEZE, 40 * MINUTE, signal)


def test_the_latest_sign_of_life_counts():
    """Older ones of other kinds change nothing."""
    ages = {Signal.INPUT: 50 * MINUTE, Signal.TYPING: 10 * MINUTE, Signal.FILES: 2 * HOUR}
    assert verdict(ages) == Verdict(Step.FREEZE, 50 * MINUTE, Signal.TYPING)


def test_a_step_that_is_overdue_says_since_when():
    """Below 0: nobody looked for a while."""
    assert verdict({Signal.INPUT: 61 * MINUTE}) == Verdict(Step.FREEZE, -MINUTE, Signal.INPUT)


@pytest.mark.parametrize("signal", [Signal.JOB, Signal.TRANSFER])
def test_a_job_goes_on_without_anybody(signal):
    """A full period from its last sign, for as long as it is bounded by nothing else."""
    ages = {Signal.INPUT: 3 * HOUR, signal: MINUTE}
    assert verdict(ages) == Verdict(Step.FREEZE, 59 * MINUTE, signal)


@pytest.mark.parametrize("signal", [Signal.JOB, Signal.TRANSFER])
@pytest.mark.parametrize("alone", [7.5 * HOUR, 8 * HOUR, 9 * HOUR])
def test_a_job_goes_on_for_so_long_and_no_longer(signal, alone):
    """Behind the last thing that a person did, however busy it is."""
    ages = {Signal.INPUT: alone, signal: 0.0}
    assert verdict(ages).due == 8 * HOUR - alone


def test_a_job_is_never_worse_than_no_job():
    """Where jobs may go on for less than anybody's pause, the person counts."""
    ages = {Signal.TYPING: 10 * MINUTE, Signal.JOB: 0.0}
    assert verdict(ages, {"busy_for": 15 * MINUTE}) == Verdict(
        Step.FREEZE, 50 * MINUTE, Signal.TYPING
    )


def test_who_arrives_has_the_time_of_a_warning():
    """An open connection alone is no activity, but its owner must be able to read a sentence."""
    ages = {Signal.INPUT: 62 * MINUTE, Signal.ARRIVED: MINUTE}
    assert verdict(ages, attached=True) == Verdict(Step.FREEZE, 4 * MINUTE, Signal.ARRIVED)


def test_who_came_and_left_again_keeps_nothing():
    """Polls by machines would keep every desktop for ever."""
    ages = {Signal.INPUT: 2 * HOUR, Signal.ARRIVED: MINUTE}
    assert verdict(ages, attached=False) == Verdict(Step.FREEZE, -HOUR, Signal.INPUT)


def test_an_arrival_is_worth_no_more_than_a_warning():
    """However long the connection stands."""
    ages = {Signal.INPUT: 64 * MINUTE, Signal.ARRIVED: 6 * MINUTE}
    assert verdict(ages, attached=True) == Verdict(Step.FREEZE, -MINUTE, Signal.ARRIVED)


def test_arrivals_put_a_step_off_for_two_warnings_and_no_longer():
    """A client that comes again and again by itself is nobody."""
    ages = {Signal.INPUT: 71 * MINUTE, Signal.ARRIVED: 0.0}
    assert verdict(ages, attached=True) == Verdict(Step.FREEZE, -MINUTE, Signal.ARRIVED)


def test_a_session_is_kept_until_the_time_that_was_asked_for():
    """And sleeps then, when nothing else holds it."""
    assert verdict(kept=4 * HOUR) == Verdict(Step.FREEZE, 4 * HOUR, Signal.KEEP)


def test_a_wish_that_is_shorter_than_a_pause_takes_nothing_away():
    """`extend 10m` in the middle of work."""
    kept = verdict({Signal.INPUT: 0.0}, kept=10 * MINUTE)
    assert kept == Verdict(Step.FREEZE, HOUR, Signal.INPUT)


# ------------------------------------------------------------------------------------- frozen


def test_a_frozen_session_is_stopped_later():
    """From its freezing, whatever people did before."""
    asleep = verdict({Signal.INPUT: MINUTE}, frozen=4 * HOUR)
    assert asleep == Verdict(Step.STOP, 20 * HOUR, Signal.WOKE)


def test_a_frozen_session_can_be_kept_as_well():
    """It is not stopped before that."""
    assert verdict(frozen=4 * HOUR, kept=2 * DAY) == Verdict(Step.STOP, 2 * DAY, Signal.KEEP)
    assert verdict(frozen=2 * DAY, kept=MINUTE) == Verdict(Step.STOP, MINUTE, Signal.KEEP)
    assert verdict(frozen=4 * HOUR, kept=HOUR) == Verdict(Step.STOP, 20 * HOUR, Signal.WOKE)


def test_a_frozen_session_that_is_overdue_says_since_when():
    """As one that is awake."""
    assert verdict(frozen=DAY + MINUTE) == Verdict(Step.STOP, -MINUTE, Signal.WOKE)


def test_nobody_and_no_job_holds_a_frozen_session():
    """There is nothing going on in it: a connect would have woken it."""
    ages = {Signal.JOB: 0.0, Signal.TRANSFER: 0.0, Signal.ARRIVED: 0.0}
    assert verdict(ages, frozen=DAY + MINUTE, attached=True).due == -MINUTE


# -------------------------------------------------------------------------------------- never


def test_where_nothing_freezes_the_last_activity_counts_for_the_stop():
    """The second stage without the first."""
    policy = {"freeze_after": None}
    assert verdict({Signal.INPUT: HOUR}, policy) == Verdict(Step.STOP, 23 * HOUR, Signal.INPUT)


def test_a_job_holds_off_a_stop_too():
    """Bounded as ever."""
    ages = {Signal.INPUT: 7 * HOUR, Signal.JOB: 0.0}
    policy = {"freeze_after": None, "stop_after": 2 * HOUR}
    assert verdict(ages, policy) == Verdict(Step.STOP, HOUR, Signal.JOB)


def test_frozen_for_ever_where_nothing_stops():
    """Asleep it holds memory and nothing else."""
    asleep = verdict(policy={"stop_after": None}, frozen=100 * DAY)
    assert (asleep.step, asleep.due) == (None, NEVER)


def test_awake_for_ever_where_nothing_happens():
    """Both stages off."""
    awake = verdict(policy={"freeze_after": None, "stop_after": None})
    assert (awake.step, awake.due) == (None, NEVER)


def test_it_freezes_though_nothing_stops():
    """The first stage alone."""
    assert verdict({Signal.INPUT: 0.0}, {"stop_after": None}).step is Step.FREEZE


# ---------------------------------------------------------------------------------------- age


def test_a_session_is_stopped_at_its_greatest_age():
    """Before it would freeze."""
    policy = {"max_age": 10.5 * HOUR}
    assert verdict({Signal.INPUT: 10 * MINUTE}, policy) == Verdict(
        Step.STOP, 30 * MINUTE, Signal.AGE
    )


def test_what_comes_first_counts():
    """A freeze before the greatest age."""
    assert verdict({Signal.INPUT: 0.0}, {"max_age": 12 * HOUR}).step is Step.FREEZE


def test_an_old_session_is_not_stopped_under_somebodys_hands():
    """Not before it was left alone for the time of a warning."""
    policy = {"max_age": 8 * HOUR}
    assert verdict({Signal.TYPING: MINUTE}, policy) == Verdict(Step.STOP, 4 * MINUTE, Signal.AGE)


@pytest.mark.parametrize(
    "changes",
    [
        {"kept": 2 * DAY},
        {"ages": {Signal.JOB: 0.0, Signal.TRANSFER: 0.0}},
        {"ages": {Signal.JOB: 0.0, Signal.ARRIVED: 0.0}, "attached": True},
    ],
)
def test_neither_a_wish_nor_a_job_makes_a_session_older(changes):
    """The greatest age is for patches of the image and for fairness."""
    old = verdict(policy={"max_age": 8 * HOUR, "busy_for": DAY}, **changes)
    assert old == Verdict(Step.STOP, -2 * HOUR, Signal.AGE)


def test_a_frozen_session_has_a_greatest_age_too():
    """And nobody's hands are on it."""
    old = verdict({Signal.INPUT: MINUTE}, {"max_age": 8 * HOUR}, frozen=MINUTE)
    assert old == Verdict(Step.STOP, -2 * HOUR, Signal.AGE)


def test_a_greatest_age_alone_is_a_policy():
    """Awake for so long, then stopped."""
    policy = {"freeze_after": None, "stop_after": None, "max_age": DAY}
    assert verdict(policy=policy) == Verdict(Step.STOP, 14 * HOUR, Signal.AGE)
    assert verdict(policy=policy, frozen=HOUR) == Verdict(Step.STOP, 14 * HOUR, Signal.AGE)


# --------------------------------------------------------------------------------- as a whole


#: Whole seconds, so that sums are exact.
spans = st.integers(0, 40 * 24 * 3600).map(float)
periods = st.integers(1, 40 * 24 * 3600).map(float)
policies = st.builds(
    IdlePolicy,
    freeze_after=st.none() | periods,
    stop_after=st.none() | periods,
    max_age=st.none() | periods,
    warn_before=st.integers(1, 3600).map(float),
    keep_up_to=periods,
    busy_for=periods,
    busy_cpu=st.just(0.1),
)
life = st.builds(
    lambda woke, ages, **rest: Facts(ages={**ages, Signal.WOKE: woke}, **rest),
    spans,
    st.dictionaries(st.sampled_from(sorted(set(Signal) - {Signal.KEEP, Signal.AGE})), spans),
    age=spans,
    frozen=st.none() | spans,
    kept=st.just(0.0) | spans,
    attached=st.booleans(),
)


@given(life, policies, st.sampled_from(sorted(PERSONAL | BUSY)), spans)
def test_a_newer_sign_of_life_never_makes_a_step_earlier(before, policy, signal, age):
    """Whichever it is, and whatever else is known."""
    newer = min(age, before.ages.get(signal, age))
    after = replace(before, ages={**before.ages, signal: newer})
    assert judge(after, policy).due >= judge(before, policy).due


@given(life, policies, st.sampled_from(sorted(PERSONAL)))
def test_somebody_who_uses_it_has_at_least_a_warning(before, policy, signal):
    """Nothing attached and active is reaped, at whatever age."""
    policy = replace(
        policy,
        freeze_after=policy.freeze_after and policy.freeze_after + policy.warn_before,
        stop_after=policy.stop_after and policy.stop_after + policy.warn_before,
    )
    now = replace(before, ages={**before.ages, signal: 0.0}, frozen=None)
    assert judge(now, policy).due >= policy.warn_before


@given(life, policies)
def test_without_people_everything_comes_to_an_end(before, policy):
    """A job and a client's wish have a bound, so that what is idle past its policy sleeps."""
    quiet = {**dict.fromkeys(PERSONAL, 1000 * DAY), **dict.fromkeys(BUSY, 0.0)}
    ages = {**quiet, Signal.ARRIVED: 1000 * DAY}
    found = judge(replace(before, ages=ages, kept=0.0), policy)
    if before.frozen is None and (policy.freeze_after or policy.stop_after):
        assert found.due < 0
    if before.frozen is not None and policy.stop_after:
        assert found.due <= policy.stop_after - before.frozen


@given(life, policies)
def test_a_job_never_outlasts_its_bound(before, policy):
    """Behind the last personal sign, whatever the engine measures."""
    without = replace(before, ages={s: a for s, a in before.ages.items() if s not in BUSY})
    alone = min(age for signal, age in before.ages.items() if signal in PERSONAL)
    bound = max(policy.busy_for - alone, judge(without, policy).due)
    assert judge(before, policy).due <= bound


@given(life, policies, periods)
def test_what_is_kept_stays_unless_it_is_too_old(before, policy, kept):
    """The greatest age alone comes before the wish."""
    found = judge(replace(before, kept=kept), policy)
    assert found.due >= kept or found.signal is Signal.AGE


@given(life, policies)
def test_no_wish_job_or_client_moves_the_greatest_age(before, policy):
    """It depends on age and people alone."""
    bare = replace(
        before,
        ages={s: a for s, a in before.ages.items() if s in PERSONAL},
        kept=0.0,
        attached=False,
    )
    aged = replace(policy, freeze_after=None, stop_after=None)
    assert judge(before, aged).due == judge(bare, aged).due


@given(life, policies)
def test_the_signal_that_is_named_is_the_one_that_counts(before, policy):
    """Without it the step is due earlier, or no later where another is as new."""
    found = judge(before, policy)
    match found.signal:
        case Signal.AGE:
            assert policy.max_age is not None
            younger = judge(before, replace(policy, max_age=None))
            assert younger.due > found.due
            return
        case Signal.KEEP:
            less = replace(before, kept=0.0)
        case Signal.ARRIVED:
            less = replace(before, attached=False)
        case signal:
            ages = {s: a for s, a in before.ages.items() if s is not signal}
            if not ages.keys() & PERSONAL:
                return  # one of those always is
            less = replace(before, ages=ages)
    assert judge(less, policy).due <= found.due


@given(life, policies)
def test_a_step_and_its_time_go_together(before, policy):
    """Nothing is never due, and something is due at some time; what is frozen does not freeze."""
    found = judge(before, policy)
    assert (found.step is None) == (found.due == NEVER)
    assert not math.isnan(found.due)
    if before.frozen is not None:
        assert found.step is not Step.FREEZE
    if (policy.freeze_after, policy.stop_after, policy.max_age) == (None, None, None):
        assert found.step is None


@given(life, policies, st.integers(1, DAY).map(float))
def test_time_alone_brings_a_step_nearer_by_just_so_much(before, policy, later):
    """Nobody who looks later finds another moment, unless a wish ran out or was never there."""
    if before.kept:
        before = replace(before, kept=before.kept + later)
    after = replace(
        before,
        ages={signal: age + later for signal, age in before.ages.items()},
        age=before.age + later,
        frozen=None if before.frozen is None else before.frozen + later,
        kept=max(0.0, before.kept - later),
    )
    first, second = judge(before, policy), judge(after, policy)
    assert second.step is first.step
    assert second.due == first.due - later
