"""Tables as lines that fit."""

from __future__ import annotations

import pytest

from broker.cli.layout import folded, tabular
from broker.cli.output import Sheet

ID = "0123456789abcdef"


def lines(titles, *rows, width, whole=()):
    return tabular(titles, rows, whole=frozenset(whole), width=width).text


@pytest.mark.parametrize(
    ("value", "width", "wanted"),
    [
        ("", 4, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a abcdefgh", 4, ["a", "abcd", "efgh"]),
        ("名名名", 4, ["名名", "名"]),
        ("名名名", 5, ["名名", "名"]),
        ("  x", 2, ["x"]),
    ],
)
def test_a_value_is_folded_at_spaces_and_within_long_words(value, width, wanted):
    """Cells count, not characters."""
    assert folded(value, width) == wanted


def test_what_fits_stays_on_one_line():
    """A column is as wide as its widest value or its title."""
    assert lines(("A", "NAME"), ("12345", "x"), width=10) == ["A     NAME", "12345 x"]


def test_the_widest_gives_way():
    """A time folds at its space, which saves more than was wanted."""
    row = ("margaret.hamilton", "2030-01-01 09:00:00Z")
    assert lines(("NAME", "AT"), row, width=36) == [
        "NAME              AT",
        "margaret.hamilton 2030-01-01",
        "                  09:00:00Z",
    ]


def test_what_is_left_over_goes_back():
    """The name had given way before the time did."""
    row = ("margaret.hamilton.x2", "2030-01-01 09:00:00Z")
    assert lines(("NAME", "AT"), row, width=35) == [
        "NAME                 AT",
        "margaret.hamilton.x2 2030-01-01",
        "                     09:00:00Z",
    ]


def test_what_must_be_whole_is():
    """Others give way, down to a few letters of each word."""
    row = ("margaret.hamilton", ID, "flight-software")
    assert lines(("USER", "SESSION", "DESKTOP"), row, width=35, whole={1}) == [
        "USER     SESSION          DESKTOP",
        "margaret 0123456789abcdef flight-so",
        ".hamilto                  ftware",
        "n",
    ]


def test_where_columns_do_not_fit_each_row_is_a_block():
    """A value on each line, with an empty line between two."""
    rows = [("a", ID), ("b", ID)]
    assert lines(("NAME", "ID"), *rows, width=20, whole={1}) == [
        "NAME  a",
        f"ID    {ID}"[:20],
        f"      {ID}"[:6] + ID[14:],
        "",
        "NAME  b",
        f"ID    {ID}"[:20],
        f"      {ID}"[:6] + ID[14:],
    ]


def test_what_would_be_tall_is_a_block_rather():
    """A table of narrow columns is none that anybody reads."""
    row = ("word" * 12, "b" * 48, ID)
    found = lines(("A", "B", "ID"), row, width=40, whole={2})
    assert found == [
        f"A   {'word' * 9}",
        f"    {'word' * 3}",
        f"B   {'b' * 36}",
        f"    {'b' * 12}",
        f"ID  {ID}",
    ]


def test_nothing_is_a_title():
    """So that it is seen that there is nothing, however narrow it is."""
    assert lines(("NAME", "CREATED AT"), width=80) == ["NAME CREATED AT"]
    assert lines(("NAME", "CREATED AT"), width=8) == ["NAME", "CREATED", "AT"]


def test_without_a_width_each_row_is_one_line():
    """However long."""
    assert lines(("A", "B"), ("x" * 500, "y"), width=None)[1] == f"{'x' * 500} y"


def test_ids_are_whole_whatever_they_are_of():
    """And so is what names the thing itself."""
    sheet = Sheet(("kind", "session_id", "desktop_id", "since"), ident="kind")
    item = {
        "kind": "an-address-of-some-length",
        "session_id": ID,
        "desktop_id": ID,
        "since": "2030-01-01T09:00:00",
    }
    text = sheet.lines([item], 72).text
    assert text[1].split() == ["an-address-of-some-length", ID, ID, "2030-01-01"]
    other = Sheet(("since", "session", "client", "kind"), ident="kind")
    item = {"since": "x" * 30, "session": ID, "client": "y" * 20, "kind": "port"}
    assert ID in other.lines([item], 44).text[1].split()
