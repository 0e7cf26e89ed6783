"""deskctl user: accounts, and by `ctl_credentials` what proves them."""

from __future__ import annotations

import click

from broker.cli.ctl import JSON, Desk, part
from broker.cli.ctl_credentials import code, key, key_lines, password
from broker.cli.ctl_login import HOST, VALID, invited
from broker.cli.errors import plain_errors
from broker.core.model import LOCAL


@click.group()
def user() -> None:
    """People with an account."""


@user.command("add")
@click.argument("name")
@click.option(
    "--key", "key_file", multiple=True, help="A public key's file, or '-' for standard input."
)
@click.option("--admin", is_flag=True, help="Make the user an admin.")
@click.option(
    "--source", default=LOCAL, help="Who checks their password: one of login.sources, or 'local'."
)
@click.option("--invite", is_flag=True, help="Print an invite, by which they bring their key.")
@JSON
@click.pass_obj
@plain_errors
def add(
    desk: Desk, name: str, key_file: tuple[str, ...], source: str, *, admin: bool, invite: bool
) -> None:
    """Make a user."""
    keys = [line for file in key_file for line in key_lines(file)]
    body = {"name": name, "admin": admin, "keys": keys, "source": source}
    made = desk.client.call("POST", "/users", body=body)
    if invite:
        answer = desk.client.call("POST", f"/users/{part(name)}/invites", body={})
        desk.out.text(
            {**made, "invite": answer}, f"User {name} is there.\n{invited(answer, 'HOST')}"
        )
        return
    hint = (
        ""
        if keys or source != LOCAL
        else f"; give a key with: deskctl user key add {name} --key FILE"
    )
    desk.out.done(made, f"User {name} is there, with {len(keys)} keys{hint}.")


@user.command("ls")
@JSON
@click.pass_obj
@plain_errors
def ls(desk: Desk) -> None:
    """List users."""
    columns = ("name", "admin", "enabled", "source", "keys", "created_at")
    desk.out.table(desk.client.call("GET", "/users"), columns)


@user.command("rm")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def rm(desk: Desk, name: str) -> None:
    """Stop what a user runs and take the account away; homes are kept."""
    desk.client.call("DELETE", f"/users/{part(name)}")
    desk.out.done(
        {"name": name},
        f"User {name} is gone. Homes are kept: deskctl desktop ls --all lists them.",
    )


@user.command("disable")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def disable(desk: Desk, name: str) -> None:
    """Let nothing prove a user, and end their connections; what runs sleeps in its time."""
    changed = desk.client.call("POST", f"/users/{part(name)}/disable")
    desk.out.done(changed, f"Nothing proves {name} any more, until: deskctl user enable {name}.")


@user.command("enable")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def enable(desk: Desk, name: str) -> None:
    """Let a disabled user in again."""
    changed = desk.client.call("POST", f"/users/{part(name)}/enable")
    desk.out.done(changed, f"What {name} has proves them again.")


@user.command("policy")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def policy(desk: Desk, name: str) -> None:
    """Show what holds for a user, and which group or the configuration says so."""
    found = desk.client.call("GET", f"/users/{part(name)}/policy")
    desk.out.table(found, ("key", "value", "from"))


@user.command("invite")
@click.argument("name")
@VALID
@HOST
@JSON
@click.pass_obj
@plain_errors
def invite_user(desk: Desk, name: str, valid: str | None, host: str) -> None:
    """Print, once, a command by which a user's own key is bound to their account."""
    answer = desk.client.call("POST", f"/users/{part(name)}/invites", body={"valid": valid})
    desk.out.text(answer, invited(answer, host))


for _credential in (key, password, code):
    user.add_command(_credential)
