"""Tables for people, JSON for programs."""

from __future__ import annotations

import json

import pytest

from broker.cli import output
from broker.cli.output import Output, Sheet

ITEMS = {
    "items": [
        {
            "name": "ada",
            "admin": True,
            "keys": 2,
            "session_id": None,
            "since": "2030-01-01T09:00:00",
        },
        {"name": "x\x1b[2J\ny", "admin": False, "keys": 0, "session_id": "s", "since": "2030"},
    ]
}
COLUMNS = ("name", "admin", "keys", "session_id", "since")


def test_a_table_shows_the_columns_asked_for(capsys):
    """Words for flags, a dash for nothing, times that people read; one line for each item."""
    Output(as_json=False).table(ITEMS, Sheet(COLUMNS))
    head, ada, other = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "ADMIN", "KEYS", "SESSION", "ID", "SINCE"]
    assert ada.split() == ["ada", "yes", "2", "-", "2030-01-01", "09:00:00Z"]
    assert other.split()[:3] == ["x\\x1b[2J\\ny", "no", "0"]


def test_a_table_of_nothing_is_its_head(capsys):
    """So that it is seen that there is nothing."""
    Output(as_json=False).table({"items": []}, Sheet(("name",)))
    assert capsys.readouterr().out.split() == ["NAME"]


def test_a_pipe_gets_wide_rows_whole(capsys):
    """A program that reads lines gets every item on one."""
    Output(as_json=False).table(
        {"items": [{"name": "n" * 200, "comment": "c" * 150}]}, Sheet(("name", "comment"))
    )
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["n" * 200, "c" * 150]


@pytest.fixture
def terminal(monkeypatch):
    """Output goes to one of so many columns."""
    return lambda width: monkeypatch.setattr(output, "screen", lambda: width)


def test_a_terminal_gets_wide_rows_folded(terminal, capsys):
    """Nothing is cut off."""
    terminal(40)
    Output().table({"items": [{"name": "n" * 100, "size": 1}]}, Sheet(("name", "size")))
    shown = capsys.readouterr().out
    assert shown.count("n") == 100
    assert max(map(len, shown.splitlines())) == 40


def test_a_narrow_terminal_gets_ids_in_one_piece(terminal, capsys):
    """To be copied."""
    terminal(60)
    row = {"id": "0123456789abcdef", "name": "n" * 40, "address": "a" * 40}
    Output().table({"items": [row]}, Sheet(tuple(row)))
    shown = capsys.readouterr().out
    assert "0123456789abcdef" in shown
    assert shown.count("n") == shown.count("a") - "0123456789abcdef".count("a") == 40


def test_markup_is_text(capsys):
    """What a person wrote means nothing to the printer."""
    Output(as_json=False).table({"items": [{"name": "[bold]x[/bold] :smile:"}]}, Sheet(("name",)))
    assert "[bold]x[/bold] :smile:" in capsys.readouterr().out


def test_json_is_everything_and_nothing_else(capsys):
    """All keys, also those that the table leaves out, in one document."""
    Output(as_json=True).table(ITEMS, Sheet(("name",)))
    text = capsys.readouterr().out
    assert json.loads(text) == ITEMS["items"]
    assert text.isascii()


@pytest.mark.parametrize(
    ("as_json", "wanted"), [(True, '{"name": "ada"}\n'), (False, "It is \\x07.\n")]
)
def test_what_was_done_is_told_once(capsys, as_json, wanted):
    """The answer for programs, a safe sentence for people."""
    Output(as_json=as_json).done({"name": "ada"}, "It is \x07.")
    assert capsys.readouterr().out == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (None, None),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min"),
        (3600, "1 h"),
        (3719, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_span_in_a_table_is_short(seconds, wanted):
    """Whole minutes where there are any; never more than has passed."""
    assert output.span(seconds) == wanted


def test_a_cell_can_be_made_of_the_whole_item(capsys):
    """For people alone; what it says is made safe like the rest, and nothing is a dash."""
    items = {"items": [{"a": 1, "b": 2}, {"a": None, "b": 3}]}
    cells = {"next": lambda item: item["a"] and f"{item['a']}\x1b of {item['b']}"}
    Output(as_json=False).table(items, Sheet(("b", "next"), cells=cells))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["B", "NEXT"]
    assert first.split() == ["2", "1\\x1b", "of", "2"]
    assert second.split() == ["3", "-"]
    Output(as_json=True).table(items, Sheet(("b", "next"), cells=cells))
    assert json.loads(capsys.readouterr().out) == items["items"]


def test_a_list_is_written_in_one_cell(capsys):
    """Each part made safe."""
    items = {"items": [{"kinds": ["shell", "x\x1b"]}, {"kinds": []}]}
    Output(as_json=False).table(items, Sheet(("kinds",)))
    assert capsys.readouterr().out.split() == ["KINDS", "shell,", "x\\x1b", "-"]


def test_several_lines_stay_several_lines(capsys):
    """Each made safe; one document for programs."""
    Output(as_json=False).text({"a": 1}, "one \x1b[2J\n  two\r")
    assert capsys.readouterr().out == "one \\x1b[2J\n  two\\r\n"
    Output(as_json=True).text({"a": 1}, "one\ntwo")
    assert capsys.readouterr().out == '{"a": 1}\n'
