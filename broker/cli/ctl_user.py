"""deskctl user: accounts, and by `ctl_credentials` what proves them."""

from __future__ import annotations

import click

from broker.cli.ctl import WATCH, YES, Desk, part, sure, verb
from broker.cli.ctl_credentials import code, key, key_lines, password
from broker.cli.ctl_login import HOST, VALID, invited
from broker.cli.ctl_names import USER
from broker.cli.output import Sheet
from broker.core.model import LOCAL

_USERS = Sheet(("name", "admin", "enabled", "source", "keys", "created_at"), told=True)
_VALUES = Sheet(("key", "value", "from"), told=True)


@click.group()
def user() -> None:
    """People with an account."""


@verb(user, "add")
@click.argument("name")
@click.option(
    "--key", "key_file", multiple=True, help="A public key's file, or '-' for standard input."
)
@click.option("--admin", is_flag=True, help="Make the user an admin.")
@click.option(
    "--source", default=LOCAL, help="Who checks their password: one of login.sources, or 'local'."
)
@click.option("--invite", is_flag=True, help="Print an invite, by which they bring their key.")
def add(
    desk: Desk, name: str, key_file: tuple[str, ...], source: str, *, admin: bool, invite: bool
) -> None:
    """Make a user."""
    keys = [line for file in key_file for line in key_lines(file)]
    body = {"name": name, "admin": admin, "keys": keys, "source": source}
    made = desk.client.call("POST", "/users", body=body)
    if invite:
        answer = desk.client.call("POST", f"/users/{part(name)}/invites", body={})
        told = f"User {name} is there.\n{invited(answer, 'HOST')}"
        desk.out.text({**made, "invite": answer}, told, ident=answer["login"])
        return
    hint = (
        ""
        if keys or source != LOCAL
        else f"; give a key with: deskctl user key add {name} --key FILE"
    )
    desk.out.done(made, f"User {name} is there, with {len(keys)} keys{hint}.", ident=name)


@verb(user, "ls")
@WATCH
def ls(desk: Desk, *, watched: bool) -> None:
    """List users."""
    desk.list("/users", _USERS, watched=watched)


@verb(user, "show")
@USER
def show(desk: Desk, name: str) -> None:
    """Show an account."""
    desk.show(desk.client.call("GET", f"/users/{part(name)}"), _USERS)


@verb(user, "rm")
@USER
@YES
def rm(desk: Desk, name: str, *, yes: bool) -> None:
    """Stop what a user runs and take the account away; homes are kept."""
    sure(f"Take away the account of {name}, with what proves them?", yes=yes)
    with desk.out.working(f"Removing {name}"):
        desk.client.call("DELETE", f"/users/{part(name)}")
    told = f"User {name} is gone. Homes are kept: deskctl desktop ls --all lists them."
    desk.out.done({"name": name}, told, ident=name)


@verb(user, "disable")
@USER
def disable(desk: Desk, name: str) -> None:
    """Let nothing prove a user, and end their connections; what runs sleeps in its time."""
    changed = desk.client.call("POST", f"/users/{part(name)}/disable")
    told = f"Nothing proves {name} any more, until: deskctl user enable {name}."
    desk.out.done(changed, told, ident=name)


@verb(user, "enable")
@USER
def enable(desk: Desk, name: str) -> None:
    """Let a disabled user in again."""
    changed = desk.client.call("POST", f"/users/{part(name)}/enable")
    desk.out.done(changed, f"What {name} has proves them again.", ident=name)


@verb(user, "unbind")
@USER
def unbind(desk: Desk, name: str) -> None:
    """Let another account of the provider of sign-ins be that user."""
    desk.client.call("DELETE", f"/users/{part(name)}/provider")
    told = f"The next one whom the provider calls {name} is that user."
    desk.out.done({"name": name}, told, ident=name)


@verb(user, "policy")
@USER
@WATCH
def policy(desk: Desk, name: str, *, watched: bool) -> None:
    """Show what holds for a user, and which group or the configuration says so."""
    desk.list(f"/users/{part(name)}/policy", _VALUES, watched=watched)


@verb(user, "invite")
@USER
@VALID
@HOST
def invite_user(desk: Desk, name: str, valid: str | None, host: str) -> None:
    """Print, once, a command by which a user's own key is bound to their account."""
    answer = desk.client.call("POST", f"/users/{part(name)}/invites", body={"valid": valid})
    desk.out.text(answer, invited(answer, host), ident=answer["login"])


@verb(user, "recover")
@USER
@click.option("--admin", is_flag=True, help="Make the user an admin.")
@VALID
@HOST
def recover_user(desk: Desk, name: str, valid: str | None, host: str, *, admin: bool) -> None:
    """Let a user in again who lost every way: enable them, lift their blocks, print an invite."""
    body = {"admin": admin, "valid": valid}
    answer = desk.client.call("POST", f"/users/{part(name)}/recover", body=body)
    desk.out.text(answer, invited(answer, host), ident=answer["login"])


for _credential in (key, password, code):
    user.add_command(_credential)
