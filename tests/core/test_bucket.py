"""An allowance that fills with time."""

from __future__ import annotations

from broker.core.bucket import Bucket


def test_what_is_taken_comes_back_with_time():
    bucket = Bucket(2, 0.5, now=10)
    assert [bucket.take(1, 10) for _ in range(3)] == [True, True, False]
    assert not bucket.take(1, 11.9)
    assert bucket.take(1, 12)


def test_it_is_never_fuller_than_at_first():
    bucket = Bucket(2, 1, now=0)
    assert [bucket.take(1, 1000) for _ in range(3)] == [True, True, False]


def test_what_is_owed_has_to_be_waited_for():
    """And what comes next waits for both."""
    bucket = Bucket(10, 2, now=0)
    assert bucket.owe(8, 0) == 0
    assert bucket.owe(6, 0) == 2
    assert bucket.owe(2, 1) == 2
    assert not bucket.take(1, 3)
    assert bucket.owe(0, 3) == 0
