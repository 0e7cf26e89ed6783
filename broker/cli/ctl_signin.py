"""deskctl sign-in: the browsers in which people are signed in."""

from __future__ import annotations

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import OF_USER, SIGN_IN
from broker.cli.output import Sheet

_SIGN_INS = Sheet(
    ("id", "user", "browser", "address", "made_at", "last_used_at"),
    told=True,
)


@click.group(name="sign-in")
def sign_in() -> None:
    """Browsers in which people are signed in."""


@verb(sign_in, "ls")
@OF_USER
@WATCH
def ls(desk: Desk, user: str | None, *, watched: bool) -> None:
    """List them, the last used first."""
    desk.list("/sign-ins", _SIGN_INS, query=filters(user=user), watched=watched)


@verb(sign_in, "rm")
@SIGN_IN
def rm(desk: Desk, sign_in_id: str) -> None:
    """Sign a browser out; what is open by it ends at once."""
    desk.client.call("DELETE", f"/sign-ins/{part(sign_in_id)}")
    desk.out.done({"id": sign_in_id}, f"{sign_in_id} is signed out.", ident=sign_in_id)
