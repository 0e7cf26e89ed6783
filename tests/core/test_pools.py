import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.pools import Pool

number = st.integers(min_value=0, max_value=2**32 - 1)


def test_both_ends_belong_to_it():
    pool = Pool(10, 12)
    assert [n in pool for n in (9, 10, 11, 12, 13)] == [False, True, True, True, False]
    assert len(pool) == 3


def test_one_number_is_a_pool():
    assert len(Pool(7, 7)) == 1


@given(number, number)
def test_a_pool_is_never_empty(first, last):
    if last < first:
        with pytest.raises(ValueError, match=f"empty pool {first}-{last}"):
            Pool(first, last)
    else:
        assert len(Pool(first, last)) == last - first + 1 >= 1


@given(number, number, number)
def test_it_holds_what_stands_between_its_ends(first, last, asked):
    first, last = sorted((first, last))
    assert (asked in Pool(first, last)) == (first <= asked <= last)
