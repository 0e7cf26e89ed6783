"""What may be passed on as a password."""

from __future__ import annotations

import pytest

from broker.core.outside import can_be_password


@pytest.mark.parametrize("text", ["x", " ", "Löwe", "\u202e", "\n", "x" * 1024, "\U0001f511"])
def test_any_text_may_be_a_password(text):
    assert can_be_password(text)


@pytest.mark.parametrize("text", ["", "\0", "x\0", "x" * 1025, "\ud800", "x\udcff"])
def test_what_means_something_else_may_not(text):
    assert not can_be_password(text)
