"""deskctl share: who is shown a desktop, and the end of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import OF_USER, SHARE
from broker.cli.output import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = ("asked", "in")


def _guests(item: Mapping[str, Any]) -> str | None:
    """Those who are in or ask to be; they can take any name."""
    here = [one for one in item["guests"] if one["state"] in _HERE]
    return ", ".join(f"{one['name']} ({one['address']}, {one['state']})" for one in here) or None


_SHARES = Sheet(
    ("id", "user", "desktop", "mode", "made_at", "expires_at", "guests"),
    cells={"guests": _guests},
    told=True,
)


@click.group()
def share() -> None:
    """Desktops that are shown to guests."""


@verb(share, "ls")
@OF_USER
@WATCH
def ls(desk: Desk, user: str | None, *, watched: bool) -> None:
    """List shares that are open, and who is in or asks to be, the newest first."""
    desk.list("/shares", _SHARES, query=filters(user=user), watched=watched)


@verb(share, "end")
@SHARE
def end(desk: Desk, share_id: str) -> None:
    """End a share; its guests are gone within a second."""
    desk.client.call("DELETE", f"/shares/{part(share_id)}")
    desk.out.done({"id": share_id}, f"Share {share_id} is ended.", ident=share_id)
