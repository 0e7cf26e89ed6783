"""deskctl token, whoami: what lets programs in, and what it lets them do."""

from __future__ import annotations

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import OF_USER, TOKEN, USERS
from broker.cli.output import Sheet, moment
from broker.core.tokens import Reach, Scope

_TOKENS = Sheet(
    (
        "id",
        "user",
        "name",
        "scopes",
        "reach",
        "made_by",
        "expires_at",
        "last_used_at",
        "last_used_from",
    ),
    told=True,
)
_CALLER = Sheet(("name", "user", "scopes", "reach", "token", "expires_at"))


@click.group()
def token() -> None:
    """What lets programs in as their users."""


@verb(token, "add")
@click.argument("name")
@click.option(
    "--user", help="Whose it is; the own one when not said.", shell_complete=USERS, metavar="USER"
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([one.value for one in Scope]),
    multiple=True,
    required=True,
    help="What it may; several times for several.",
)
@click.option(
    "--reach",
    type=click.Choice([one.value for one in Reach]),
    default=Reach.OWN.value,
    show_default=True,
    help="Whose things it sees and changes.",
)
@click.option("--valid", help="For how long: 30d, or never; 90 days when not said.")
def add(
    desk: Desk,
    name: str,
    *,
    user: str | None,
    scopes: tuple[str, ...],
    reach: str,
    valid: str | None,
) -> None:
    """Print, once, a new token; NAME says what it is for."""
    body = {
        "name": name,
        "scopes": sorted(set(scopes)),
        "reach": reach,
        **filters(user=user, valid=valid),
    }
    made = desk.client.call("POST", "/tokens", body=body)
    until = f"until {moment(made['expires_at'])}" if made["expires_at"] else "without an end"
    told = f"{made['secret']}\nThis is shown once: {made['id']}, for {made['user']}, {until}."
    desk.out.text(made, told, ident=made["secret"])


@verb(token, "ls")
@OF_USER
@WATCH
def ls(desk: Desk, user: str | None, *, watched: bool) -> None:
    """List tokens, newest first."""
    desk.list("/tokens", _TOKENS, query=filters(user=user), watched=watched)


@verb(token, "rm")
@TOKEN
def rm(desk: Desk, token_id: str) -> None:
    """Take a token back; what streams by it ends within seconds."""
    desk.client.call("DELETE", f"/tokens/{part(token_id)}")
    desk.out.done({"id": token_id}, f"Token {token_id} lets nobody in any more.", ident=token_id)


def add_whoami(main: click.Group) -> None:
    """It is no noun, but the word that everybody tries."""

    @verb(main, "whoami")
    def whoami(desk: Desk) -> None:
        """Tell who you are here and what you may do."""
        desk.show(desk.client.call("GET", "/caller"), _CALLER)
