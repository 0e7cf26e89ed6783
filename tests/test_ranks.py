"""The rank test of the benchmark of guesses, against tables and against what it must see."""

from __future__ import annotations

import random

import pytest

from bench.guesses import rank_test


def test_what_is_alike_is_likely():
    assert rank_test([1, 2, 3], [1, 2, 3]) == 1
    assert rank_test([7, 7, 7], [7, 7]) == 1


@pytest.mark.parametrize(
    ("some", "others", "likely"),
    [
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 0.01219),
        ([19, 22, 16, 29, 24], [20, 11, 17, 12], 0.11135),
        ([1, 1, 2, 2, 3, 3], [2, 2, 3, 3, 4, 4], 0.11335),
    ],
)
def test_figures_are_those_of_the_books(some, others, likely):
    """By the normal approximation with its corrections for continuity and ties."""
    assert rank_test(some, others) == pytest.approx(likely, abs=1e-4)
    assert rank_test(others, some) == pytest.approx(likely, abs=1e-4)


def test_a_twentieth_of_the_noise_more_is_seen_in_thousands_and_none_is_not():
    dice = random.Random(1)
    base = [dice.gauss(100, 20) for _ in range(4000)]
    assert rank_test(base, [dice.gauss(100, 20) for _ in range(4000)]) > 0.01
    assert rank_test(base, [dice.gauss(103, 20) for _ in range(4000)]) < 0.0001
