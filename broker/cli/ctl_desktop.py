"""deskctl desktop, lease."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import DESKTOP, DESKTOPS, MEMBER, OF_USER, SESSIONS
from broker.cli.ctl_session import started
from broker.cli.output import Sheet
from broker.core.errors import BadRequest
from broker.core.model import DEFAULT_DESKTOP, LeaseKind
from broker.core.words import spoken_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATES = ("starting", "ready", "frozen", "stopping", "stopped", "archived")


def _archive_size(item: Mapping[str, Any]) -> str | None:
    size = item.get("archive_size")
    return None if size is None else spoken_size(size)


_DESKTOPS = Sheet(
    ("id", "user", "name", "state", "uid", "created_at", "archived_at", "size"),
    cells={"size": _archive_size},
    # Few installations archive: the others need no two columns of dashes.
    where_any=frozenset({"archived_at", "size"}),
    told=True,
)
_EVERY_DESKTOP = replace(
    _DESKTOPS,
    columns=(*_DESKTOPS.columns[:4], "removed", *_DESKTOPS.columns[4:]),
)
_DESKTOP = replace(
    _EVERY_DESKTOP,
    columns=(*_EVERY_DESKTOP.columns[:4], "session", "template", *_EVERY_DESKTOP.columns[4:]),
)
_LEASES = Sheet(("kind", "value", "desktop_id", "session_id", "since"), ident="value", told=True)


@click.group()
def desktop() -> None:
    """What users own and keep."""


@verb(desktop, "ls")
@click.option("--all", "every", is_flag=True, help="Removed ones too, whose homes are kept.")
@OF_USER
@click.option("--state", type=click.Choice(_STATES), help="Those that are so.")
@WATCH
def desktop_ls(
    desk: Desk, user: str | None, state: str | None, *, every: bool, watched: bool
) -> None:
    """List desktops."""
    query = filters(all="1" if every else None, user=user, state=state)
    desk.list("/desktops", _EVERY_DESKTOP if every else _DESKTOPS, query=query, watched=watched)


@verb(desktop, "show")
@DESKTOP
def desktop_show(desk: Desk, desktop_id: str) -> None:
    """Show a desktop, a removed one too."""
    desk.show(desk.client.call("GET", f"/desktops/{part(desktop_id)}"), _DESKTOP)


@verb(desktop, "add")
@MEMBER
@click.argument("name", default=DEFAULT_DESKTOP)
def desktop_add(desk: Desk, user: str, name: str) -> None:
    """Make a desktop of a user; nothing is started. A removed one of the name comes back, with its
    home.
    """
    made = desk.client.call("POST", "/desktops", body={"user": user, "name": name})
    desk.out.done(made, f"Desktop {made['id']} is there: {name} of {user}.", ident=made["id"])


@verb(desktop, "start")
@DESKTOP
def desktop_start(desk: Desk, desktop_id: str) -> None:
    """Start or wake a desktop, and wait until it is ready."""
    ready = started(desk, f"/desktops/{part(desktop_id)}/start", f"Starting {desktop_id}")
    told = f"Desktop {desktop_id} is ready, in the session {ready['id']}."
    desk.out.done(ready, told, ident=ready["id"])


@verb(desktop, "stop")
@DESKTOP
def desktop_stop(desk: Desk, desktop_id: str) -> None:
    """Stop what runs of a desktop; its home is kept."""
    with desk.out.working(f"Stopping {desktop_id}"):
        stopped = desk.client.call("POST", f"/desktops/{part(desktop_id)}/stop")
    desk.out.done(stopped, f"Desktop {desktop_id} is {stopped['state']}.", ident=desktop_id)


@verb(desktop, "rm")
@DESKTOP
@click.option("--with-home", is_flag=True, help="Delete its home for good; asks twice.")
@click.option("--yes", is_flag=True, help="Answer both questions beforehand, for programs.")
def desktop_rm(desk: Desk, desktop_id: str, *, with_home: bool, yes: bool) -> None:
    """Remove a desktop. Its home is kept, and the user's next desktop of the name gets it back."""
    if with_home and not yes:
        _ask_twice(desk, desktop_id)
    query = {"with_home": desktop_id} if with_home else None
    with desk.out.working(f"Removing {desktop_id}"):
        desk.client.call("DELETE", f"/desktops/{part(desktop_id)}", query=query)
    end = "its home is deleted" if with_home else "its home is kept"
    told = f"Desktop {desktop_id} is removed; {end}."
    desk.out.done({"id": desktop_id, "home": end}, told, ident=desktop_id)


def _ask_twice(desk: Desk, desktop_id: str) -> None:
    if not sys.stdin.isatty():
        raise BadRequest(public="--with-home asks twice at a terminal; programs add --yes.")
    found = desk.client.call("GET", f"/desktops/{part(desktop_id)}")
    click.confirm(
        f"Delete the home of {found['user']}'s desktop {found['name']} for good?", abort=True
    )
    if click.prompt(f"Type its id {desktop_id} to delete it") != desktop_id:
        raise BadRequest(public="That was not its id; nothing was deleted.")


@click.group()
def lease() -> None:
    """Ports, displays, addresses and uids that are held."""


@verb(lease, "ls")
@click.option(
    "--kind", type=click.Choice([one.value for one in LeaseKind]), help="Those of that kind."
)
@click.option("--desktop", help="Those of that desktop.", shell_complete=DESKTOPS)
@click.option("--session", help="Those of that session.", shell_complete=SESSIONS)
@WATCH
def lease_ls(
    desk: Desk, kind: str | None, desktop: str | None, session: str | None, *, watched: bool
) -> None:
    """List leases."""
    query = filters(kind=kind, desktop=desktop, session=session)
    desk.list("/leases", _LEASES, query=query, watched=watched)
