"""deskctl audit: what was changed, and whether it is told as it was."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, verb
from broker.cli.ctl_names import USERS
from broker.cli.output import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping


def detail(item: Mapping[str, Any]) -> str | None:
    """What else an entry says, on one line."""
    return " ".join(f"{key}={value}" for key, value in item["detail"].items()) or None


_ENTRIES = Sheet(
    ("seq", "at", "actor", "proof", "origin", "action", "subject", "detail"),
    cells={"detail": detail},
    told=True,
)


@click.group()
def audit() -> None:
    """What was changed, when, by whom."""


@verb(audit, "ls")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option(
    "--user",
    help="What this user did, and what was done to their account.",
    shell_complete=USERS,
)
@WATCH
def ls(desk: Desk, limit: int, user: str | None, *, watched: bool) -> None:
    """List the newest entries, newest first."""
    query = filters(limit=str(limit), user=user)
    desk.list("/audit", _ENTRIES, query=query, watched=watched)


@verb(audit, "verify")
@click.option("--after", type=click.IntRange(0), help="Begin behind the entry of this number.")
def verify(desk: Desk, after: int | None) -> None:
    """Walk along the chain; ends with 1, and names the entry, when one is not as it was written."""
    query = None if after is None else {"after": str(after)}
    found = desk.client.call("GET", "/audit/verify", query=query)
    head = found["head"]
    whole = f"{found['entries']} entries are as they were written; the last is {head['seq']},"
    told = found["problem"] or f"{whole} with the hash {head['hash']}."
    desk.out.done(found, told, ident=str(head["seq"]))
    if found["problem"] is not None:
        sys.exit(1)


@verb(audit, "export")
@click.option("--after", type=click.IntRange(0), default=0, help="Begin behind that entry.")
def export(desk: Desk, after: int) -> None:
    """Print all entries, oldest first, each as one line of JSON."""
    while True:
        page = desk.client.call("GET", "/audit/chain", query={"after": str(after)})["items"]
        for entry in page:
            click.echo(str(entry["seq"]) if desk.out.quiet else json.dumps(entry))
        if not page:
            return
        after = page[-1]["seq"]
