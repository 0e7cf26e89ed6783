from pathlib import Path

import pytest

from tests.dealing import INDEPENDENT, unit

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("test", "goes_with"),
    [
        ("tests/e2e/test_xpra.py::test_a[fast-800x600]", "tests/e2e/test_xpra.py[fast]"),
        ("tests/e2e/test_xpra.py::test_b[stock]", "tests/e2e/test_xpra.py[stock]"),
        ("tests/e2e/test_sleep.py::test_story[typing]", "tests/e2e/test_sleep.py"),
        ("tests/e2e/test_many.py::test_a", "tests/e2e/test_many.py::test_a"),
    ],
)
def test_who_shares_a_fixture_of_the_module_shares_a_unit(test, goes_with):
    assert unit(test) == goes_with


def test_modules_of_independent_tests_are_there_and_share_nothing():
    for module in INDEPENDENT:
        assert 'scope="module"' not in (ROOT / module).read_text(), module
