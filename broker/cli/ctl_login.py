"""deskctl invite, login-block: who may come, and who has to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import BLOCKED, INVITE, OF_USER
from broker.cli.output import Sheet, span

if TYPE_CHECKING:
    from collections.abc import Mapping

VALID = click.option("--valid", help="For how long: 3d; else as login.invites.valid says.")

HOST = click.option(
    "--host", default="HOST", help="The name of this host, as people reach it, for the command."
)

_INVITES = Sheet(
    ("id", "user", "state", "made_by", "expires_at", "used_at", "fingerprint"), told=True
)
_BLOCKS = Sheet(
    ("account", "place", "failures", "left"),
    cells={
        "place": lambda item: item["place"] or "elsewhere",
        "left": lambda item: span(item["seconds"]),
    },
)


def invited(answer: Mapping[str, Any], host: str) -> str:
    """What is handed on to whoever is invited."""
    command = f"ssh -p {answer['port']} {answer['login']}@{host}"
    until = f"{answer['expires_at'][:16].replace('T', ' ')}Z"
    return f"{command}\nThis is shown once, and good once, for {answer['user']}, until {until}."


@click.group()
def invite() -> None:
    """Tokens that bind a key, each once."""


@verb(invite, "ls")
@OF_USER
@click.option("--state", type=click.Choice(("open", "used", "expired")), help="Those that are so.")
@WATCH
def list_invites(desk: Desk, user: str | None, state: str | None, *, watched: bool) -> None:
    """List invites, newest first; of used ones the key that each bound."""
    desk.list("/invites", _INVITES, query=filters(user=user, state=state), watched=watched)


@verb(invite, "rm")
@INVITE
def remove_invite(desk: Desk, invite_id: str) -> None:
    """Take an invite back that nobody has used."""
    desk.client.call("DELETE", f"/invites/{part(invite_id)}")
    told = f"Invite {invite_id} lets nobody in any more."
    desk.out.done({"id": invite_id}, told, ident=invite_id)


@click.group("login-block")
def login_block() -> None:
    """Accounts that wait after wrong passwords and codes."""


@verb(login_block, "ls")
@WATCH
def list_blocks(desk: Desk, *, watched: bool) -> None:
    """List those that wait now, the longest wait first. PLACE is where the account is at home, or
    an exempt network; a name that nobody has is not shown, for it can be somebody's password.
    """
    desk.list("/login-blocks", _BLOCKS, watched=watched)


@verb(login_block, "rm")
@BLOCKED
def remove_block(desk: Desk, name: str) -> None:
    """Let an account be tried again at once, from everywhere."""
    desk.client.call("DELETE", f"/login-blocks/{part(name)}")
    desk.out.done({"account": name}, f"{name} can be tried again.", ident=name)
