"""deskctl invite, login-block: who may come, and who has to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import JSON, Desk, part
from broker.cli.errors import plain_errors
from broker.cli.output import span

if TYPE_CHECKING:
    from collections.abc import Mapping

VALID = click.option("--valid", help="For how long: 3d; else as login.invites.valid says.")

HOST = click.option(
    "--host", default="HOST", help="The name of this host, as people reach it, for the command."
)


def invited(answer: Mapping[str, Any], host: str) -> str:
    """What is handed on to whoever is invited."""
    command = f"ssh -p {answer['port']} {answer['login']}@{host}"
    until = f"{answer['expires_at'][:16].replace('T', ' ')}Z"
    return f"{command}\nThis is shown once, and good once, for {answer['user']}, until {until}."


@click.group()
def invite() -> None:
    """Tokens that bind a key, each once."""


@invite.command("ls")
@JSON
@click.pass_obj
@plain_errors
def list_invites(desk: Desk) -> None:
    """List invites, newest first; of used ones the key that each bound."""
    columns = ("id", "user", "state", "made_by", "expires_at", "used_at", "fingerprint")
    desk.out.table(desk.client.call("GET", "/invites"), columns)


@invite.command("rm")
@click.argument("invite_id", metavar="ID")
@JSON
@click.pass_obj
@plain_errors
def remove_invite(desk: Desk, invite_id: str) -> None:
    """Take an invite back that nobody has used."""
    desk.client.call("DELETE", f"/invites/{part(invite_id)}")
    desk.out.done({"id": invite_id}, f"Invite {invite_id} lets nobody in any more.")


@click.group("login-block")
def login_block() -> None:
    """Accounts that wait after wrong passwords and codes."""


@login_block.command("ls")
@JSON
@click.pass_obj
@plain_errors
def list_blocks(desk: Desk) -> None:
    """List those that wait now, the longest wait first. PLACE is where the account is at home, or
    an exempt network; a name that nobody has is not shown, for it can be somebody's password.
    """
    cells = {
        "place": lambda item: item["place"] or "elsewhere",
        "left": lambda item: span(item["seconds"]),
    }
    found = desk.client.call("GET", "/login-blocks")
    desk.out.table(found, ("account", "place", "failures", "left"), cells)


@login_block.command("rm")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def remove_block(desk: Desk, name: str) -> None:
    """Let an account be tried again at once, from everywhere."""
    desk.client.call("DELETE", f"/login-blocks/{part(name)}")
    desk.out.done({"account": name}, f"{name} can be tried again.")
