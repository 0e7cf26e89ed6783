"""Tables for people, JSON for programs; nothing that a tenant named reaches a terminal raw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Output:
    """Prints answers in the form that was asked for."""

    as_json: bool

    def done(self, answer: Any, sentence: str) -> None:
        click.echo(json.dumps(answer) if self.as_json else _safe(sentence))

    def table(self, answer: Any, columns: tuple[str, ...]) -> None:
        if self.as_json:
            click.echo(json.dumps(answer["items"]))
            return
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
        for column in columns:
            # An id is there to be copied, which one in two pieces cannot be.
            title, whole = column.upper().replace("_", " "), column == "id"
            table.add_column(title, overflow="fold", no_wrap=whole)
        for item in answer["items"]:
            table.add_row(*(Text(_cell(column, item[column])) for column in columns))
        console = Console()
        if not console.is_terminal:
            console = Console(width=_PIPE)
        console.print(table)


#: Columns of a pipe: a program that reads lines gets every row on one.
_PIPE = 400


def _cell(column: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() if column.endswith(("_at", "since")):
            return _safe(value[:19].replace("T", " ") + "Z")
        case _:
            return _safe(str(value))


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
