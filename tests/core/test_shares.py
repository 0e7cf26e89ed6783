"""What guests may call themselves."""

import pytest

from broker.core.errors import BadRequest
from broker.core.shares import guest_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Eve", "Eve"),
        ("  Zoë B.  ", "Zoë B."),
        ("Zoe\u0308", "Zoë"),
        ("数据", "数据"),
        ("<b>x</b> & $(id)", "<b>x</b> & $(id)"),
        ("x" * 40, "x" * 40),
    ],
)
def test_a_name_is_what_can_be_shown(text, name):
    assert guest_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "x" * 41,
        "a\nb",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\u200bb",
        "a\x00",
        "\ud800",
        "a\u2028b",
    ],
)
def test_a_name_is_nothing_that_steers(text):
    with pytest.raises(BadRequest, match="1 to 40 characters"):
        guest_name(text)
