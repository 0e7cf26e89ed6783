"""A list that is shown again when it changes."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from broker.cli.output import screen
from broker.core.errors import BrokerUnavailable, DeskError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.cli.client import Client
    from broker.cli.layout import Lines
    from broker.cli.output import Output, Sheet

#: Seconds between two looks where no event tells of a change, and from an event to a look.
_PERIOD, _MOMENT = 2.0, 0.2

_AWAY = "No broker answers just now; this is what it said last."


def watch(
    client: Client, out: Output, path: str, sheet: Sheet, *, query: dict[str, str] | None
) -> None:
    """Until Ctrl-C. On a terminal in its place, elsewhere whenever it changed. A broker that goes
    away is waited for; one that was never there raises `DeskError`, as does every refusal.
    """

    async def look() -> Lines:
        found = await client.ask("GET", path, query=query)
        return out.listed(found["items"], sheet, screen())

    async def follow(show: Callable[[Lines, bool], None]) -> None:
        lines = await look()
        away = False
        show(lines, away)
        async with _changes(client, told=sheet.told) as changed:
            while True:
                await changed(away)
                try:
                    lines, away = await look(), False
                except BrokerUnavailable:
                    away = True
                show(lines, away)

    with suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            with Live(screen=True, auto_refresh=False, console=Console()) as live:
                asyncio.run(
                    follow(lambda lines, away: live.update(_view(lines, away=away), refresh=True))
                )
        else:
            asyncio.run(follow(_Plain().show))


class _Bell:
    """Rings when something happened."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rung = asyncio.Event()
        self._up = False

    async def listen(self) -> None:
        """Runs until it is cancelled; a broker that goes away is waited for."""
        while True:
            with suppress(DeskError):
                async with aclosing(self._client.events()) as told:
                    async for _ in told:
                        self._up = True
                        self._rung.set()
            self._up = False
            await asyncio.sleep(_PERIOD)

    async def wait(self, away: bool) -> None:
        """Until it rings, or where nothing would be heard for as long as is between two looks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._up and not away else _PERIOD):
                await self._rung.wait()
        # What happens at once is looked at once.
        await asyncio.sleep(_MOMENT)
        self._rung.clear()


@asynccontextmanager
async def _changes(
    client: Client, *, told: bool
) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
    """What waits until it is time to look again. Raises `DeskError` as whoever looks does."""
    bell = _Bell(client)
    try:
        async with asyncio.TaskGroup() as group:
            if told:
                group.create_task(bell.listen(), name="events")
            yield bell.wait
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


class _Plain:
    """For whoever reads no terminal: what was said, when it is not what was said before."""

    def __init__(self) -> None:
        self._said: Lines | None = None

    def show(self, lines: Lines, _away: bool) -> None:
        if lines != self._said:
            self._said = lines
            click.echo("\n".join(lines.text))


def _view(lines: Lines, *, away: bool) -> Text:
    """As much as fits, and how much does not."""
    notes = [_AWAY] if away else []
    room = shutil.get_terminal_size().lines - len(lines.head) - len(notes)
    body = lines.body
    if len(body) > room:
        notes.append(f"… and {len(body) - room + 1} lines more")
        body = body[: room - 1]
    view = Text(no_wrap=True, end="")
    for line in lines.head:
        view.append(f"{line}\n", "bold")
    return view.append("\n".join([*body, *notes]))
