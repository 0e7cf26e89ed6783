import re
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import BadRequest
from broker.core.model import (
    DEFAULT_DESKTOP,
    RESERVED_USERS,
    DesktopId,
    Session,
    SessionId,
    SessionState,
    User,
    UserId,
    desktop_name,
    new_id,
    shown,
    user_name,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)

GOOD = ["a", "ada", "a-b_c9", "x" * 31]
BAD = ["", "A", "9a", "-a", "_a", "a b", "a+b", "a/b", "a.b", "ä", "a\n", "a\0", "x" * 32, "../x"]


@pytest.mark.parametrize("check", [user_name, desktop_name])
@pytest.mark.parametrize("text", GOOD)
def test_a_good_name_is_returned_as_it_is(check, text):
    assert check(text) == text


@pytest.mark.parametrize("check", [user_name, desktop_name])
@pytest.mark.parametrize("text", BAD)
def test_a_bad_name_is_refused_with_the_rule(check, text):
    with pytest.raises(BadRequest) as caught:
        check(text)
    assert "1 to 31 characters" in caught.value.public


@pytest.mark.parametrize("text", sorted(RESERVED_USERS))
def test_names_with_a_meaning_cannot_be_users_but_desktops(text):
    with pytest.raises(BadRequest, match="reserved"):
        user_name(text)
    assert desktop_name(text) == text


def test_the_default_desktop_has_a_lawful_name():
    assert desktop_name(DEFAULT_DESKTOP) == DEFAULT_DESKTOP


@given(st.text())
def test_whatever_passes_is_safe_in_a_path_an_argument_and_a_login_name(text):
    for check in (user_name, desktop_name):
        try:
            passed = check(text)
        except BadRequest as error:
            assert error.public.isprintable()
        else:
            assert re.fullmatch(r"[a-z][a-z0-9_-]*", passed)
            assert len(passed.encode()) <= 31


@given(st.text())
def test_what_is_shown_is_printable_and_short(text):
    printed = shown(text)
    assert printed.isprintable()
    assert printed[0] == printed[-1] == "'"
    assert len(printed) <= 2 + 64 * len(r"\U0010ffff")


def test_shown_text_is_escaped_and_cut():
    assert shown("ada") == "'ada'"
    assert shown("a\x1b[31m\n") == r"'a\x1b[31m\n'"
    assert shown("x" * 100) == "'" + "x" * 63 + "…'"


def test_ids_are_sixteen_random_hex_digits():
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-f]{16}", id_) for id_ in made)


@pytest.mark.parametrize("state", SessionState)
def test_a_session_lives_until_it_ended(state):
    session = Session(
        id=SessionId("s"),
        desktop_id=DesktopId("d"),
        state=state,
        host="h",
        image="i",
        port=None,
        display=None,
        address=None,
        deadline=None,
        kept_until=None,
        reason=None,
        created_at=NOW,
        changed_at=NOW,
    )
    assert session.live == (state != "ended")


def test_values_do_not_change():
    ada = User(id=UserId("u"), name="ada", admin=False, enabled=True, created_at=NOW)
    with pytest.raises(FrozenInstanceError):
        ada.admin = True
