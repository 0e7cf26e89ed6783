"""Login names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.gateway import Login
from broker.core.model import RESERVED_USERS
from broker.door.login import parse_login


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("desk", Login(None, None)),
        ("desk+lab", Login(None, "lab")),
        ("ann", Login("ann", None)),
        ("ann+big_one-2", Login("ann", "big_one-2")),
        ("a" * 31 + "+" + "b" * 31, Login("a" * 31, "b" * 31)),
    ],
)
def test_names_that_somebody_can_have(text, login):
    """`desk` leaves the person to the key; a desktop stands behind a plus."""
    assert parse_login(text) == login


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "+",
            "+lab",
            "ann+",
            "desk+",
            "ann+lab+x",
            "root",
            "admin",
            "invite",
            "invite+",
            "invite+a b",
        ),
        *("root+lab", "Ann", "ann ", " ann", "ann\n", "ann\0", "../ann", "-x", "0", "a:b", "/etc"),
        *("a" * 32, "ann+" + "b" * 32, "аnn", "ann+lаb", "ann+LAB", "ａnn"),
    ],
)
def test_names_that_nobody_can_have(text):
    """Reserved, malformed and overlong names are nobody's."""
    assert parse_login(text) is None


@given(st.text())
def test_no_text_raises(text):
    """Whatever was typed, the answer is a login or None, and never a reserved user."""
    login = parse_login(text)
    assert login is None or login.user not in RESERVED_USERS
