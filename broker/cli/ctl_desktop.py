"""deskctl desktop, lease."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import JSON, Desk, part
from broker.cli.errors import plain_errors
from broker.core.errors import BadRequest, NotFound
from broker.core.words import spoken_size

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def desktop() -> None:
    """What users own and keep."""


@desktop.command("ls")
@click.option("--all", "every", is_flag=True, help="Removed ones too, whose homes are kept.")
@JSON
@click.pass_obj
@plain_errors
def desktop_ls(desk: Desk, *, every: bool) -> None:
    """List desktops."""
    found = desk.client.call("GET", "/desktops", query={"all": "1"} if every else None)
    columns = ("id", "user", "name", "state", "removed", "uid", "created_at", "archived_at", "size")
    # Few installations archive: the others need no two columns of dashes.
    archives = any(item.get("archived_at") for item in found["items"])
    left_out = {*(() if every else ("removed",)), *(() if archives else ("archived_at", "size"))}
    desk.out.table(found, tuple(c for c in columns if c not in left_out), {"size": _archive_size})


def _archive_size(item: Mapping[str, Any]) -> str | None:
    size = item.get("archive_size")
    return None if size is None else spoken_size(size)


@desktop.command("rm")
@click.argument("desktop_id", metavar="ID")
@click.option("--with-home", is_flag=True, help="Delete its home for good; asks twice.")
@click.option("--yes", is_flag=True, help="Answer both questions beforehand, for programs.")
@JSON
@click.pass_obj
@plain_errors
def desktop_rm(desk: Desk, desktop_id: str, *, with_home: bool, yes: bool) -> None:
    """Remove a desktop. Its home is kept, and the user's next desktop of the name gets it back."""
    if with_home and not yes:
        _ask_twice(desk, desktop_id)
    query = {"with_home": desktop_id} if with_home else None
    desk.client.call("DELETE", f"/desktops/{part(desktop_id)}", query=query)
    end = "its home is deleted" if with_home else "its home is kept"
    desk.out.done({"id": desktop_id, "home": end}, f"Desktop {desktop_id} is removed; {end}.")


def _ask_twice(desk: Desk, desktop_id: str) -> None:
    if not sys.stdin.isatty():
        raise BadRequest(public="--with-home asks twice at a terminal; programs add --yes.")
    every = desk.client.call("GET", "/desktops", query={"all": "1"})["items"]
    found = next((item for item in every if item["id"] == desktop_id), None)
    if found is None:
        raise NotFound(public=f"There is no desktop {desktop_id}.")
    click.confirm(
        f"Delete the home of {found['user']}'s desktop {found['name']} for good?", abort=True
    )
    if click.prompt(f"Type its id {desktop_id} to delete it") != desktop_id:
        raise BadRequest(public="That was not its id; nothing was deleted.")


@click.group()
def lease() -> None:
    """Ports, displays, addresses and uids that are held."""


@lease.command("ls")
@JSON
@click.pass_obj
@plain_errors
def lease_ls(desk: Desk) -> None:
    """List leases."""
    columns = ("kind", "value", "desktop_id", "session_id", "since")
    desk.out.table(desk.client.call("GET", "/leases"), columns)
