"""Who may start, who is next, and what is told: one rule, played forward and step by step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.admission import Bounds, admitted, refusal, turns

# ------------------------------------------------------------------------------------- running


def told(running, of_user, most, of_one):
    """The public sentence, None where one more may run."""
    bounds = Bounds(running=most, running_per_user=of_one)
    refused = refusal(running=running, of_user=of_user, bounds=bounds)
    return refused and refused.public


@pytest.mark.parametrize(
    ("running", "of_user", "bounds", "sentence"),
    [
        (
            2,
            ["main", "lab"],
            (None, 2),
            (
                "You have 2 desktops running (main, lab) and may have 2:"
                " stop one with 'ssh desk@… desk stop NAME'."
            ),
        ),
        (
            1,
            ["main"],
            (None, 1),
            (
                "You have 1 desktop running (main) and may have 1:"
                " stop it with 'ssh desk@… desk stop main'."
            ),
        ),
        (
            7,
            list("abcdefg"),
            (9, 5),
            (
                "You have 7 desktops running (a, b, c, d, e and 2 more) and may have 5:"
                " stop 3 with 'ssh desk@… desk stop NAME'."
            ),
        ),
        (
            40,
            [],
            (40, 2),
            (
                "This host has 40 desktops running and may have 40:"
                " try again when somebody has stopped theirs, or ask your administrator."
            ),
        ),
        (
            1,
            [],
            (1, 2),
            (
                "This host has 1 desktop running and may have 1:"
                " try again when somebody has stopped theirs, or ask your administrator."
            ),
        ),
    ],
)
def test_a_refusal_says_what_is_found_what_is_allowed_and_what_to_do(
    running, of_user, bounds, sentence
):
    """One sentence; whoever can help themselves reads how, even when the host is full too."""
    assert told(running, of_user, *bounds) == sentence


def test_one_s_own_bound_is_told_before_the_hosts():
    """It is the one that they can do something about."""
    assert told(5, ["main"], 5, 1).startswith("You have 1 desktop")


@given(
    running=st.integers(0, 50),
    own=st.lists(st.sampled_from(["main", "lab", "gpu"]), max_size=9),
    most=st.none() | st.integers(1, 50),
    of_one=st.integers(1, 9),
)
def test_one_more_may_run_exactly_while_both_bounds_leave_room(running, own, most, of_one):
    """And the sentence is one, of a length that a terminal shows."""
    sentence = told(running, own, most, of_one)
    assert (sentence is None) == (len(own) < of_one and (most is None or running < most))
    if sentence is not None:
        assert len(sentence) < 200
        assert sentence.endswith(".")
        assert sentence.isprintable()


# --------------------------------------------------------------------------------------- turns

users = st.sampled_from(["ada", "bob", "cara", "dan"])


@given(
    waiting=st.lists(users),
    under_way=st.lists(users, max_size=6),
    at_once=st.integers(1, 6),
    per_user=st.integers(1, 4),
)
def test_whoever_starts_now_is_the_first_whom_no_bound_holds(waiting, under_way, at_once, per_user):
    """No place stays free for which somebody may start, and nobody passes an equal."""
    chosen = admitted(waiting, under_way=Counter(under_way), at_once=at_once, per_user=per_user)
    assert chosen == sorted(set(chosen))
    busy = Counter(under_way)
    for index, user in enumerate(waiting):
        may = sum(busy.values()) < at_once and busy[user] < per_user
        assert (index in chosen) == may
        busy[user] += may


@st.composite
def queues(draw):
    """A queue as it stands after everybody who may start has started."""
    at_once, per_user = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    coming = draw(st.lists(users, max_size=25))
    started = admitted(coming, under_way={}, at_once=at_once, per_user=per_user)
    lefts = st.floats(1, 20)
    return {
        "waiting": [user for index, user in enumerate(coming) if index not in started],
        "under_way": [(coming[index], draw(lefts)) for index in started],
        "at_once": at_once,
        "per_user": per_user,
        "lasting": draw(st.floats(0, 20)),
    }


@given(queue=queues())
def test_turns_are_what_admission_will_choose_when_starts_last_as_expected(queue):
    """Played step by step with the rule itself: the same order, the same moments."""
    found = turns(**queue)
    left = list(enumerate(queue["waiting"]))
    ends = [(seconds, order, user) for order, (user, seconds) in enumerate(queue["under_way"])]
    started, order = [], len(ends)
    while left:
        ends.sort()
        now, _, _ = ends.pop(0)
        chosen = admitted(
            [user for _, user in left],
            under_way=Counter(user for _, _, user in ends),
            at_once=queue["at_once"],
            per_user=queue["per_user"],
        )
        for step in reversed(chosen):
            assert len(chosen) == 1  # one end frees one place
            index, user = left.pop(step)
            started.append((index, now))
            ends.append((now + queue["lasting"], order, user))
            order += 1
    assert [found[index] for index, _ in started] == [
        (position, now) for position, (_, now) in enumerate(started, 1)
    ]


@given(queue=queues())
def test_each_position_is_given_once_and_later_ones_are_not_sooner(queue):
    """1 is the next, and nobody is told a moment in the past."""
    found = sorted(turns(**queue))
    assert [position for position, _ in found] == list(range(1, len(found) + 1))
    moments = [about for _, about in found]
    assert moments == sorted(moments)
    assert all(about >= 1 for about in moments)


def test_a_crowd_of_one_user_holds_up_nobody_behind_it():
    """Thirty wishes of ada's came first; the ten who came after wait as if she had two."""
    found = turns(
        ["ada"] * 30 + [f"user-{n}" for n in range(10)],
        under_way=[("ada", 4.0), ("ada", 4.0), ("bob", 2.0), ("cara", 2.0)],
        at_once=4,
        per_user=2,
        lasting=4.0,
    )
    behind = found[30:]
    assert [about for _, about in behind[:2]] == [2.0, 2.0]
    assert [position for position, _ in behind[:2]] == [1, 2]
    # Two places are ada's at any time, so two are for the ten: five rounds of four seconds.
    assert behind[-1][1] == 2.0 + 4 * 4.0


def test_two_hundred_users_are_served_in_the_order_of_their_coming():
    """A step of four each five seconds."""
    found = turns(
        [f"user-{n}" for n in range(200)],
        under_way=[(f"early-{n}", 5.0) for n in range(4)],
        at_once=4,
        per_user=2,
        lasting=5.0,
    )
    assert found == [(n + 1, 5.0 * (n // 4 + 1)) for n in range(200)]
