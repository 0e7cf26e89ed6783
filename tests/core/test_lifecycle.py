import pytest

from broker.core.errors import IllegalTransition
from broker.core.lifecycle import TRANSITIONAL, TRANSITIONS, check
from broker.core.model import SessionState

S = SessionState

STEPS = {
    (S.STARTING, S.READY),
    (S.STARTING, S.STOPPING),
    (S.READY, S.FROZEN),
    (S.READY, S.STOPPING),
    (S.FROZEN, S.READY),
    (S.FROZEN, S.STOPPING),
    (S.STOPPING, S.ENDED),
}


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_exactly_the_steps_of_the_design_are_legal(before, after):
    if (before, after) in STEPS:
        check(before, after)
    else:
        with pytest.raises(IllegalTransition, match=f"no step from {before} to {after}"):
            check(before, after)


def test_every_state_is_in_the_table():
    assert set(TRANSITIONS) == set(S)


def test_stop_is_legal_from_every_live_state():
    for state in set(S) - {S.STOPPING, S.ENDED}:
        check(state, S.STOPPING)


def test_every_life_can_reach_its_end_and_stays_there():
    def reach(state):
        found, new = set(), {state}
        while new:
            found |= new
            new = {after for before in new for after in TRANSITIONS[before]} - found
        return found

    assert all(S.ENDED in reach(state) for state in S)
    assert reach(S.ENDED) == {S.ENDED}
    assert reach(S.STARTING) == set(S)


def test_only_a_stopping_session_ends():
    assert {state for state in S if S.ENDED in TRANSITIONS[state]} == {S.STOPPING}


def test_states_at_rest_are_not_transitional():
    assert set(S) - TRANSITIONAL == {S.READY, S.FROZEN, S.ENDED}


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[S.ENDED] = frozenset({S.READY})
