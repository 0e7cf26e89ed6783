"""deskctl events: the audit as it is written."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import Desk, filters, verb
from broker.cli.ctl_audit import detail
from broker.cli.output import moment, safe
from broker.core.errors import BrokerUnavailable

if TYPE_CHECKING:
    from broker.cli.client import Client

#: Seconds until a broker that went away is asked again.
_PAUSE = 2.0


@click.group()
def events() -> None:
    """What happens, as it happens."""


@verb(events, "follow")
@click.option("--after", type=click.IntRange(0), help="Begin behind the entry of this number.")
@click.option("--action", help="Those whose action begins so: session.")
def follow(desk: Desk, after: int | None, action: str | None) -> None:
    """Print each new entry of the audit on a line, until Ctrl-C. A broker that goes away is waited
    for, and nothing is left out.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_follow(desk, after, filters(action=action)))


async def _follow(desk: Desk, after: int | None, query: dict[str, str]) -> None:
    # Else what happens while the line is down at first would be left out.
    seen = await _newest(desk.client) if after is None else after
    was_up = False
    while True:
        try:
            async with aclosing(desk.client.events(after=seen, query=query)) as told:
                async for entry in told:
                    was_up = True
                    if entry is not None:
                        seen = entry["seq"]
                        click.echo(_line(desk, entry))
        except BrokerUnavailable:
            if not was_up:
                raise
        await asyncio.sleep(_PAUSE)


async def _newest(client: Client) -> int:
    entries = (await client.ask("GET", "/audit", query={"limit": "1"}))["items"]
    return int(entries[0]["seq"]) if entries else 0


def _line(desk: Desk, entry: dict[str, Any]) -> str:
    if desk.out.as_json:
        return json.dumps(entry)
    if desk.out.quiet:
        return str(entry["seq"])
    parts = (moment(entry["at"]), entry["actor"], entry["action"], entry["subject"], detail(entry))
    return safe(" ".join(part for part in parts if part))
