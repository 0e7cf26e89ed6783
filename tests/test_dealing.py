from pathlib import Path

import pytest

from tests.dealing import INDEPENDENT, LONG, turn, unit

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("test", "goes_with"),
    [
        ("tests/e2e/test_xpra.py::test_a[fast-800x600]", "tests/e2e/test_xpra.py[fast]"),
        ("tests/e2e/test_xpra.py::test_b[stock]", "tests/e2e/test_xpra.py[stock]"),
        ("tests/e2e/test_sleep.py::test_story[typing]", "tests/e2e/test_sleep.py"),
        ("tests/e2e/test_many.py::test_a", "tests/e2e/test_many.py::test_a"),
        ("tests/browser/test_flow.py::test_a[fast]", "tests/browser"),
    ],
)
def test_who_shares_a_fixture_of_the_module_shares_a_unit(test, goes_with):
    assert unit(test) == goes_with


def test_long_units_are_dealt_out_first_and_single_tests_last():
    one, other = "tests/core/test_idle.py::test_a", "tests/db/test_rows.py::test_b"
    single = f"{min(INDEPENDENT)}::test_c"
    long = [f"{module}::test_d" for module in LONG]
    assert sorted([single, one, other, *reversed(long)], key=turn) == [*long, one, other, single]


def test_long_modules_are_there():
    assert [module for module in LONG if not (ROOT / module).exists()] == []


def test_a_folder_that_goes_together_begins_as_early_as_it_is_long():
    assert turn("tests/browser/test_flow.py::test_a") == LONG.index("tests/browser")


def test_modules_of_independent_tests_are_there_and_share_nothing():
    for module in INDEPENDENT:
        assert 'scope="module"' not in (ROOT / module).read_text(), module
