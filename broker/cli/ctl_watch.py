"""A list that is shown again when it changes."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from broker.cli.output import screen
from broker.core.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.cli.client import Client
    from broker.cli.output import Output, Sheet

#: Seconds between two looks.
_PERIOD = 2.0

_AWAY = "No broker answers just now; this is what it said last."


def watch(
    client: Client, out: Output, path: str, sheet: Sheet, *, query: dict[str, str] | None
) -> None:
    """Until Ctrl-C. On a terminal in its place, elsewhere whenever it changed. A broker that goes
    away is waited for; one that was never there raises `DeskError`, as does every refusal.
    """

    async def look() -> list[str]:
        found = await client.ask("GET", path, query=query)
        return out.listed(found["items"], sheet, screen())

    async def follow(show: Callable[[list[str], bool], None]) -> None:
        lines = await look()
        show(lines, False)
        while True:
            await asyncio.sleep(_PERIOD)
            try:
                lines, away = await look(), False
            except BrokerUnavailable:
                away = True
            show(lines, away)

    with suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            with Live(screen=True, auto_refresh=False, console=Console()) as live:
                asyncio.run(
                    follow(lambda lines, away: live.update(_view(lines, out, away), refresh=True))
                )
        else:
            asyncio.run(follow(_Plain().show))


class _Plain:
    """For whoever reads no terminal: what was said, when it is not what was said before."""

    def __init__(self) -> None:
        self._said: list[str] | None = None

    def show(self, lines: list[str], _away: bool) -> None:
        if lines != self._said:
            self._said = lines
            click.echo("\n".join(lines))


def _view(lines: list[str], out: Output, away: bool) -> Text:
    """As much as fits, and how much does not."""
    notes = [_AWAY] if away else []
    height = shutil.get_terminal_size().lines - len(notes)
    if len(lines) > height:
        notes.append(f"… and {len(lines) - height + 1} lines more")
        lines = lines[: height - 1]
    title, rest = (lines[:1], lines[1:]) if out.titled else ([], lines)
    view = Text(no_wrap=True, end="")
    view.append("\n".join(title), "bold")
    view.append("\n".join(["", *rest, *notes] if title else [*rest, *notes]))
    return view
