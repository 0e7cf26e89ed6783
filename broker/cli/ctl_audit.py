"""deskctl audit: what was changed, and whether it is told as it was."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import JSON, Desk
from broker.cli.errors import plain_errors

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def audit() -> None:
    """What was changed, when, by whom."""


@audit.command("ls")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--user", help="What this user did, and what was done to their account.")
@JSON
@click.pass_obj
@plain_errors
def ls(desk: Desk, limit: int, user: str | None) -> None:
    """List the newest entries, newest first."""
    query = {"limit": str(limit)} | ({"user": user} if user is not None else {})
    found = desk.client.call("GET", "/audit", query=query)
    columns = ("seq", "at", "actor", "proof", "origin", "action", "subject", "detail")
    desk.out.table(found, columns, {"at": _at, "detail": _detail})


def _at(item: Mapping[str, Any]) -> str:
    return f"{item['at'][:19].replace('T', ' ')}Z"


def _detail(item: Mapping[str, Any]) -> str | None:
    return " ".join(f"{key}={value}" for key, value in item["detail"].items()) or None


@audit.command("verify")
@click.option("--after", type=click.IntRange(0), help="Begin behind the entry of this number.")
@JSON
@click.pass_obj
@plain_errors
def verify(desk: Desk, after: int | None) -> None:
    """Walk along the chain; ends with 1, and names the entry, when one is not as it was written."""
    query = None if after is None else {"after": str(after)}
    found = desk.client.call("GET", "/audit/verify", query=query)
    head = found["head"]
    whole = f"{found['entries']} entries are as they were written; the last is {head['seq']},"
    desk.out.done(found, found["problem"] or f"{whole} with the hash {head['hash']}.")
    if found["problem"] is not None:
        sys.exit(1)


@audit.command("export")
@click.option("--after", type=click.IntRange(0), default=0, help="Begin behind that entry.")
@JSON
@click.pass_obj
@plain_errors
def export(desk: Desk, after: int) -> None:
    """Print all entries, oldest first, each as one line of JSON."""
    while True:
        page = desk.client.call("GET", "/audit/chain", query={"after": str(after)})["items"]
        for entry in page:
            click.echo(json.dumps(entry))
        if not page:
            return
        after = page[-1]["seq"]
