"""deskctl user key, password, code: what proves a user."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import JSON, Desk, part
from broker.cli.errors import plain_errors
from broker.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Characters that are read as a password at most: more than any can have.
_LONGEST = 4096


@click.group()
def key() -> None:
    """The keys that prove a user."""


@key.command("add")
@click.argument("name")
@click.option(
    "--key", "key_file", required=True, help="A public key's file, or '-' for standard input."
)
@JSON
@click.pass_obj
@plain_errors
def add_key(desk: Desk, name: str, key_file: str) -> None:
    """Add each key of a file to a user; from=, expiry-time= and verify-required are kept."""
    made = [
        desk.client.call("POST", f"/users/{part(name)}/keys", body={"key": line})
        for line in key_lines(key_file)
    ]
    told = ", ".join(key["fingerprint"] for key in made)
    desk.out.done({"items": made}, f"{told} now proves {name}.")


@key.command("ls")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def list_keys(desk: Desk, name: str) -> None:
    """List a user's keys: until when and from where each counts, and when it was last used."""
    columns = ("fingerprint", "type", "name", "added_at", "expires_at", "sources", "last_used_at")
    cells = {"sources": _sources}
    found = desk.client.call("GET", f"/users/{part(name)}/keys")
    desk.out.table(found, (*columns, "last_used_from"), cells)


def _sources(item: Mapping[str, Any]) -> str:
    return ", ".join(item["sources"]) or "anywhere"


@key.command("rm")
@click.argument("name")
@click.argument("key_named", metavar="KEY")
@JSON
@click.pass_obj
@plain_errors
def remove_key(desk: Desk, name: str, key_named: str) -> None:
    """Take a key away and end what it opened; KEY is its name or fingerprint."""
    desk.client.call("DELETE", f"/users/{part(name)}/keys/{part(key_named)}")
    desk.out.done({"key": key_named}, f"{key_named} proves nobody any more.")


@key.command("rename")
@click.argument("name")
@click.argument("key_named", metavar="KEY")
@click.argument("new")
@JSON
@click.pass_obj
@plain_errors
def rename_key(desk: Desk, name: str, key_named: str, new: str) -> None:
    """Give a key another name; KEY is its name or fingerprint."""
    path = f"/users/{part(name)}/keys/{part(key_named)}"
    renamed = desk.client.call("PATCH", path, body={"name": new})
    desk.out.done(renamed, f"{renamed['fingerprint']} is now called {new}.")


@click.group()
def password() -> None:
    """The password of a user."""


@password.command("set")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def set_password(desk: Desk, name: str) -> None:
    """Set a password, asked for twice at a terminal and else the first line of standard input; end
    what the one before opened.
    """
    desk.client.call("PUT", f"/users/{part(name)}/password", body={"password": _asked()})
    desk.out.done({"name": name}, f"The new password proves {name}.")


def _asked() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        line = sys.stdin.readline(_LONGEST)
    except UnicodeDecodeError:
        raise BadRequest(public="Standard input: a password is text in UTF-8.") from None
    return line.rstrip("\r\n")


@password.command("rm")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def remove_password(desk: Desk, name: str) -> None:
    """Take the password away and end what it opened."""
    desk.client.call("DELETE", f"/users/{part(name)}/password")
    desk.out.done({"name": name}, f"{name} has no password any more.")


@click.group()
def code() -> None:
    """The one-time codes of a user."""


@code.command("rm")
@click.argument("name")
@JSON
@click.pass_obj
@plain_errors
def remove_code(desk: Desk, name: str) -> None:
    """Take one-time and recovery codes away, as of a lost phone; they can be set up anew."""
    desk.client.call("DELETE", f"/users/{part(name)}/code")
    desk.out.done({"name": name}, f"{name} has no one-time codes any more.")


def key_lines(file: str) -> list[str]:
    """The lines of a file that are to be keys. Raises `BadRequest`."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(public=f"{file}: cannot be read as a public key: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BadRequest(public=f"{file}: there is no key in it.")
    return keys if "PRIVATE KEY" not in text else [keys[0]]
