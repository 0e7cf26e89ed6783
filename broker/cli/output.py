"""Tables for people, JSON and ids for programs; nothing that a tenant named reaches a terminal
raw.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from broker.cli.layout import Lines, tabular
from broker.core.words import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Cell = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What people read of each item of a list, and what names it to other commands."""

    columns: tuple[str, ...]
    ident: str | None = None
    """The field that names an item; None: its first column."""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """What stands in some columns, of the whole item; None is a dash."""

    told: bool = False
    """Whether each change of it is an event."""
    where_any: frozenset[str] = frozenset()
    """Columns that are left out where no item has anything in them."""

    def id_of(self, item: Mapping[str, Any]) -> str:
        return _cell("id", item.get(self.ident or self.columns[0]))

    def lines(self, items: Sequence[Mapping[str, Any]], width: int | None) -> Lines:
        """In at most `width` cells; None: each item on one line."""
        rows = [[self._cell(column, item) for column in self.columns] for item in items]
        shown = [
            at
            for at, column in enumerate(self.columns)
            if column not in self.where_any or any(row[at] != _NOTHING for row in rows)
        ]
        return tabular(
            [_title(self.columns[at]) for at in shown],
            [[row[at] for at in shown] for row in rows],
            whole=frozenset(
                at for at, named in enumerate(shown) if self._whole(self.columns[named])
            ),
            width=width,
        )

    def _whole(self, column: str) -> bool:
        """What names a thing is there to be copied, which one in two pieces cannot be."""
        return column in _IDS or column == (self.ident or self.columns[0])

    def block(self, item: Mapping[str, Any]) -> list[str]:
        """A line for each column."""
        margin = max(len(column) for column in self.columns) + 2
        return [f"{_title(column):{margin}}{self._cell(column, item)}" for column in self.columns]

    def _cell(self, column: str, item: Mapping[str, Any]) -> str:
        made = self.cells[column](item) if column in self.cells else item.get(column)
        return _cell(column, made)


@dataclass(frozen=True, slots=True)
class Output:
    """Prints answers in the form that was asked for."""

    as_json: bool = False
    quiet: bool = False
    """Whether ids alone are printed, each on a line."""

    def done(self, answer: Any, sentence: str, *, ident: str | None = None) -> None:
        """`ident` names what was done something to; without one there is nothing to print of it
        when it is quiet.
        """
        self.text(answer, safe(sentence), ident=ident)

    def text(self, answer: Any, lines: str, *, ident: str | None = None) -> None:
        """Like `done`, of several lines, and of several idents where it has several."""
        if self.as_json:
            click.echo(json.dumps(answer))
        elif self.quiet:
            if ident is not None:
                for line in ident.split("\n"):
                    click.echo(safe(line))
        else:
            for line in lines.split("\n"):
                click.echo(safe(line))

    def table(self, answer: Any, sheet: Sheet) -> None:
        """A list in its whole; the titles are bold on a terminal."""
        lines = self.listed(answer["items"], sheet, screen())
        for line in lines.head:
            click.echo(click.style(line, bold=True))
        for line in lines.body:
            click.echo(line)

    def listed(self, items: Sequence[Mapping[str, Any]], sheet: Sheet, width: int | None) -> Lines:
        """A list in the form that was asked for."""
        if self.as_json:
            return Lines([], [json.dumps(items)])
        if self.quiet:
            return Lines([], [sheet.id_of(item) for item in items])
        return sheet.lines(items, width)

    @contextmanager
    def working(self, sentence: str) -> Iterator[Callable[[str], None]]:
        """While something takes its time: what, and for how long now, on a terminal alone. Gives
        what says another sentence.
        """
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        look = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
        console = Console(stderr=True)
        with Progress(*look, TimeElapsedColumn(), console=console, transient=True) as progress:
            task = progress.add_task(safe(sentence), total=None)
            yield lambda sentence: progress.update(task, description=safe(sentence))


def screen() -> int | None:
    """The columns of the terminal; None: whoever reads is none, and gets each item on one line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def span(seconds: float | None) -> str | None:
    """For a table: whole minutes where there are any."""
    if seconds is None or seconds < 60:
        return None if seconds is None else spoken(seconds)
    return spoken(seconds // 60 * 60)


def moment(at: str) -> str:
    """A time of the API for people."""
    return f"{at[:19].replace('T', ' ')}Z"


#: Columns of ids, of whatever they are.
_IDS = frozenset({"id", "session", "session_id", "desktop_id"})


#: How columns end that hold a time.
_MOMENTS = frozenset({"at", "since", "until"})

#: What stands where nothing is.
_NOTHING = "-"


def _title(column: str) -> str:
    return column.upper().replace("_", " ")


def _cell(column: str, value: Any) -> str:
    match value:
        case None | "":
            return _NOTHING
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(safe(str(part)) for part in value) or _NOTHING
        case str() if column.rsplit("_", maxsplit=1)[-1] in _MOMENTS:
            return safe(moment(value))
        case _:
            return safe(str(value))


def safe(text: str) -> str:
    """`text` with what commands a terminal written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
