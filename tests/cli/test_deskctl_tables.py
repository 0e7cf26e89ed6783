"""What deskctl's lists look like, at 80 and at 140 columns, and what hostile names do to them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from rich.cells import cell_len

from broker.cli import output
from broker.cli.client import Client
from broker.http.routes import Page
from broker.http.table import TABLE
from tests.cli.conftest import invoke
from tests.cli.lists import LISTS

STORED = Path(__file__).parent / "tables"
WIDTHS = (80, 140)

ITEMS = {
    route.path: route.answers[200].of
    for noun in TABLE
    for route in noun.routes
    if isinstance(route.answers.get(200), Page)
}


@pytest.fixture
def shown(monkeypatch):
    """What a list's verb prints of such items, on a terminal of such a width or in a pipe."""

    def call(words, items, width):
        async def ask(self, method, path, *, body=None, query=None):
            return {"items": items, "next": None}

        monkeypatch.setattr(Client, "ask", ask)
        monkeypatch.setattr(output, "screen", lambda: width)
        return invoke(["--socket", "/nowhere", *words.split()], 0)

    return call


@pytest.mark.parametrize("words", LISTS)
def test_the_items_are_what_the_api_answers(words):
    """Each field of its answer, and no other."""
    listed = LISTS[words]
    TypeAdapter(list[ITEMS[listed.path]]).validate_python(listed.items, strict=False)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", LISTS)
def test_a_list_looks_as_it_is_stored(shown, words, width):
    """A change of it is a change of the stored one, to be looked at: DESK_STORE=1 stores."""
    stored = STORED / f"{words.replace(' ', '-')}.{width}.txt"
    found = shown(words, LISTS[words].items, width)
    if os.environ.get("DESK_STORE"):
        stored.write_text(found, encoding="utf-8")
    assert found == stored.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [*WIDTHS, 40])
@pytest.mark.parametrize("words", LISTS)
def test_a_list_fits_and_breaks_no_id(shown, words, width):
    """Whatever the terminal."""
    lines = shown(words, LISTS[words].items, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []
    ids = [
        item[key]
        for item in LISTS[words].items
        for key in ("id", "session", "session_id", "desktop_id")
        if item.get(key) and key.upper().replace("_", " ") in "\n".join(lines)
    ]
    assert [one for one in ids if not any(one in line for line in lines)] == []


HOSTILE = {
    "escapes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "right to left": "ada\u202eexe\u2066\u200f\u061c",
    "wide": "名" * 64,
    "lines": "one\ntwo\r\nthree\u2028\x0b\x85",
    "nothing": "",
    "blanks": "   a   b   ",
    "combining": "e" + "\u0301" * 40,
    "markup": "[bold red]x[/] :skull: %s {0}",
}


def hostile(value, text):
    match value:
        case str() if not re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
            return text
        case list():
            return [hostile(part, text) for part in value]
        case dict():
            return {key: hostile(part, text) for key, part in value.items()}
        case _:
            return value


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("words", LISTS)
def test_hostile_names_are_harmless(shown, words, text):
    """In every column at once: no line more than there would be, none too wide, nothing that
    commands a terminal.
    """
    items = [
        {key: hostile(value, text) for key, value in one.items()} for one in LISTS[words].items
    ]
    lines = shown(words, items, None).splitlines()
    assert len(lines) == len(items) + 1
    assert all(line.isprintable() for line in lines)
    for width in WIDTHS:
        told = shown(words, items, width)
        assert all(line.isprintable() for line in told.split("\n"))
        assert max(map(cell_len, told.split("\n"))) <= width
    assert len(shown(f"{words} --quiet", items, None).splitlines()) == len(items)
    assert shown(f"{words} --json", items, None).isascii()


def test_every_list_is_stored():
    """And nothing else."""
    assert {LISTS[words].path for words in LISTS} == set(ITEMS)
    assert {file.name for file in STORED.glob("*.txt")} == {
        f"{words.replace(' ', '-')}.{width}.txt" for words in LISTS for width in WIDTHS
    }
