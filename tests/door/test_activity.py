"""What counts as activity, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.idle import Signal
from broker.door.activity import Bucket, Carried, Kind, Pulse

BOUND = 4096
MANY = 10 * BOUND

LOOKS = st.lists(st.tuples(st.floats(0, 300), st.integers(0, 3 * BOUND)), min_size=1, max_size=40)

CARRIED = st.builds(
    Carried, st.sampled_from(Kind), st.booleans(), st.integers(0, MANY), st.integers(0, MANY)
)


def signals(*carried: Carried) -> set[Signal]:
    """What one look at them shows."""
    pulse = Pulse(BOUND, 0.0)
    pulse.look(carried, 5.0)
    return set(pulse.ages(5.0))


@pytest.mark.parametrize(
    ("carried", "seen"),
    [
        (Carried(Kind.SHELL, True, 1, 0), {Signal.TYPING}),
        (Carried(Kind.EXEC, True, 1, MANY), {Signal.TYPING}),
        (Carried(Kind.SHELL, True, 0, MANY), set()),
        (Carried(Kind.SHELL, False, BOUND, MANY), set()),
        (Carried(Kind.SHELL, False, BOUND + 1, 0), {Signal.DATA}),
        (Carried(Kind.EXEC, False, BOUND, BOUND), set()),
        (Carried(Kind.EXEC, False, BOUND + 1, 0), {Signal.DATA}),
        (Carried(Kind.EXEC, False, 0, BOUND + 1), {Signal.TRANSFER}),
        (Carried(Kind.SFTP, False, 1, 0), {Signal.FILES}),
        (Carried(Kind.SFTP, False, MANY, BOUND), {Signal.FILES}),
        (Carried(Kind.SFTP, False, 0, BOUND + 1), {Signal.TRANSFER}),
        (Carried(Kind.FORWARD, False, BOUND, MANY), set()),
        (Carried(Kind.FORWARD, False, BOUND + 1, 0), {Signal.DATA}),
        (Carried(Kind.XPRA, False, MANY, MANY), set()),
        (Carried(Kind.XPRA, True, MANY, MANY), set()),
        (Carried(Kind.VIEWER, False, MANY, MANY), set()),
    ],
)
def test_each_kind_of_channel_shows_its_own_signs(carried, seen):
    """A key on a terminal, a request over sftp, more than a keepalive elsewhere."""
    assert signals(carried) == seen


def test_channels_of_one_client_share_the_bound():
    """A client that makes a connection for each request is at work as one that keeps its own."""
    half = BOUND // 2 + 1
    assert signals(Carried(Kind.FORWARD, False, half, 0), Carried(Kind.EXEC, False, half, 0)) == {
        Signal.DATA
    }


@given(st.lists(CARRIED, max_size=8), st.lists(CARRIED, max_size=8))
def test_viewers_and_a_terminal_s_output_change_nothing(carried, more):
    """Whatever goes on beside them."""
    inert = [c._replace(kind=Kind.XPRA) for c in more]
    inert += [c._replace(kind=Kind.VIEWER) for c in more]
    inert += [Carried(Kind.SHELL, True, 0, c.down) for c in more]
    assert signals(*carried, *inert) == signals(*carried)


@given(st.lists(st.lists(CARRIED, max_size=4), max_size=8))
def test_ages_count_from_the_last_look_that_showed_something(looks):
    """They are never negative, and a sign once seen only gets older."""
    pulse = Pulse(BOUND, 0.0)
    seen: dict[Signal, float] = {}
    for k, carried in enumerate(looks):
        before = pulse.ages(0.0)
        pulse.look(carried, 5.0 * k)
        after = pulse.ages(0.0)
        assert before.keys() <= after.keys()
        seen.update({signal: 5.0 * k for signal in after if before.get(signal) != after[signal]})
    end = 5.0 * len(looks)
    assert pulse.ages(end) == {signal: end - at for signal, at in seen.items()}
    assert all(pulse.newer_than(at) == any(s > at for s in seen.values()) for at in (0.0, 5.0, end))


@given(LOOKS)
def test_a_trickle_never_runs_over(steps):
    """However long it goes on, and however it falls into looks: the bound's rate, and the bound
    at once on top.
    """
    bucket = Bucket(BOUND)
    room = float(BOUND)
    for passed, wanted in steps:
        room = min(BOUND, room + BOUND * passed / 60)
        count = max(0, min(wanted, int(room - 0.001)))
        room -= count
        assert not bucket.add(count, passed)


@given(LOOKS, st.floats(0, 60), st.integers(1, 8))
def test_twice_the_bound_within_a_minute_always_runs_over(steps, spread, looks):
    """Whatever was before."""
    bucket = Bucket(BOUND)
    for passed, count in steps:
        bucket.add(count, passed)
    each = 2 * BOUND // looks + 2
    assert any(bucket.add(each, spread / looks) for _ in range(looks))


def test_a_flood_is_forgotten_in_a_minute():
    """A poll behind a big upload is a poll."""
    bucket = Bucket(BOUND)
    assert bucket.add(1 << 30, 5)
    assert not bucket.add(300, 60)
    assert not any(bucket.add(300, 60) for _ in range(100))
