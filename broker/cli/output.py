"""Tables for people, JSON for programs; nothing that a tenant named reaches a terminal raw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.core.words import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Cell = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Output:
    """Prints answers in the form that was asked for."""

    as_json: bool

    def done(self, answer: Any, sentence: str) -> None:
        click.echo(json.dumps(answer) if self.as_json else _safe(sentence))

    def text(self, answer: Any, lines: str) -> None:
        """Like `done`, of several lines."""
        if self.as_json:
            click.echo(json.dumps(answer))
            return
        for line in lines.split("\n"):
            click.echo(_safe(line))

    def table(
        self, answer: Any, columns: tuple[str, ...], cells: Mapping[str, Cell] | None = None
    ) -> None:
        """`cells` says for some columns what people read there, of the whole item; None is a
        dash.
        """
        if self.as_json:
            click.echo(json.dumps(answer["items"]))
            return
        made = cells or {}
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
        for column in columns:
            # An id is there to be copied, which one in two pieces cannot be.
            title, whole = column.upper().replace("_", " "), column in _WHOLE
            table.add_column(title, overflow="fold", no_wrap=whole)
        for item in answer["items"]:
            values = {column: made[column](item) for column in made}
            row = (_cell(column, values.get(column, item.get(column))) for column in columns)
            table.add_row(*map(Text, row))
        console = Console()
        if not console.is_terminal:
            console = Console(width=_PIPE)
        console.print(table)


def span(seconds: float | None) -> str | None:
    """For a table: whole minutes where there are any."""
    if seconds is None or seconds < 60:
        return None if seconds is None else spoken(seconds)
    return spoken(seconds // 60 * 60)


_WHOLE = frozenset({"id", "session"})

#: Columns of a pipe: a program that reads lines gets every row on one.
_PIPE = 400


def _cell(column: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_safe(str(part)) for part in value) or "-"
        case str() if column.endswith(("_at", "since")):
            return _safe(value[:19].replace("T", " ") + "Z")
        case _:
            return _safe(str(value))


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
