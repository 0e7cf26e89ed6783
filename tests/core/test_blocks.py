"""How wrong tries add up to a wait, and what they do not touch."""

from __future__ import annotations

import pytest

from broker.core.blocks import FORGOTTEN, Block, Blocks, Circle, Rule

RULE = Rule(after=5, first=30.0, longest=900.0)
ADA = Circle("ada", None)


def blocks(**options) -> Blocks:
    return Blocks(RULE, **options)


def fail(table: Blocks, times: int, circle: Circle = ADA, now: float = 0.0) -> Block | None:
    found = None
    for _ in range(times):
        found = table.failed(circle, now)
    return found


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (4, 0), (5, 30), (6, 60), (7, 120), (9, 480), (10, 900), (10_000, 900)],
)
def test_the_delay_begins_with_the_fifth_and_doubles_to_the_longest(failures, seconds):
    assert RULE.delay(failures) == seconds


def test_four_wrong_tries_cost_nothing_and_the_fifth_makes_wait():
    table = blocks()
    assert fail(table, 4) is None
    assert table.left(ADA, 0.0) == 0
    assert table.failed(ADA, 0.0) == Block(circle=ADA, failures=5, left=30.0)
    assert table.left(ADA, 10.0) == 20
    assert table.left(ADA, 30.0) == table.left(ADA, 1000.0) == 0


def test_a_wrong_try_after_the_wait_makes_a_longer_one_at_once():
    table = blocks()
    fail(table, 5)
    assert table.failed(ADA, 31.0).left == 60
    assert table.left(ADA, 90.0) == 1


def test_a_right_one_ends_all():
    table = blocks()
    fail(table, 5)
    table.succeeded(ADA)
    assert table.left(ADA, 1.0) == 0
    assert fail(table, 4, now=1.0) is None
    table.succeeded(ADA)
    assert fail(table, 4, now=2.0) is None


def test_what_is_long_ago_is_forgotten():
    table = blocks()
    fail(table, 4)
    assert fail(table, 1, now=FORGOTTEN) is None
    fail(table, 4, now=FORGOTTEN)
    assert table.left(ADA, FORGOTTEN) == 30
    later = FORGOTTEN + 30 + FORGOTTEN
    assert table.failed(ADA, later) is None


def test_tries_elsewhere_and_on_other_accounts_count_for_themselves():
    table = blocks()
    home, bob = Circle("ada", "192.0.2.7"), Circle("bob", None)
    fail(table, 9)
    for other in (home, bob):
        assert table.left(other, 0.0) == 0
        assert fail(table, 4, other) is None
    table.succeeded(home)
    assert table.left(ADA, 0.0) == 480


def test_lifting_forgets_the_account_wherever_the_tries_came_from():
    table = blocks()
    home, bob = Circle("ada", "192.0.2.7"), Circle("bob", None)
    fail(table, 5)
    fail(table, 4, home)
    fail(table, 5, bob)
    assert table.lift("ada")
    assert not table.lift("ada")
    assert not table.lift("nobody")
    assert (table.left(ADA, 0.0), table.left(bob, 0.0)) == (0, 30)
    assert table.failed(home, 0.0) is None


def test_those_that_wait_are_told_the_longest_first():
    table = blocks()
    bob = Circle("bob", None)
    fail(table, 5)
    fail(table, 6, bob)
    fail(table, 3, Circle("cyd", None))
    assert table.standing(1.0) == [
        Block(circle=bob, failures=6, left=59.0),
        Block(circle=ADA, failures=5, left=29.0),
    ]
    assert [block.circle for block in table.standing(30.0)] == [bob]
    assert table.standing(60.0) == []


def test_memory_is_bounded_and_who_waits_is_not_pushed_out_by_names():
    table = blocks(most=100)
    fail(table, 5)
    for number in range(1000):
        fail(table, 1, Circle(f"n{number}", None))
    assert len(table) == 51
    assert table.left(ADA, 0.0) == 30
    for number in range(1000):
        fail(table, 5, Circle(f"m{number}", None))
    assert len(table) <= 100
    assert table.left(ADA, 0.0) == 0


def test_with_as_many_waiting_as_can_be_others_still_count_to_five():
    table = blocks(most=4)
    for name in ("a", "b", "c"):
        fail(table, 5, Circle(name, None))
    for _ in range(4):
        assert table.failed(ADA, 0.0) is None
        table.failed(Circle("x", None), 0.0)
        table.succeeded(Circle("x", None))
    assert table.failed(ADA, 0.0) is not None
