"""deskctl user key, password, code: what proves a user."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from broker.cli.ctl import WATCH, Desk, part, verb
from broker.cli.ctl_names import KEY, USER
from broker.cli.output import Sheet
from broker.core.errors import BadRequest

#: Characters that are read as a password at most: more than any can have.
_LONGEST = 4096

_KEYS = Sheet(
    (
        "fingerprint",
        "type",
        "name",
        "added_at",
        "expires_at",
        "sources",
        "last_used_at",
        "last_used_from",
    ),
    cells={"sources": lambda item: ", ".join(item["sources"]) or "anywhere"},
    told=True,
)


@click.group()
def key() -> None:
    """The keys that prove a user."""


@verb(key, "add")
@USER
@click.option(
    "--key", "key_file", required=True, help="A public key's file, or '-' for standard input."
)
def add_key(desk: Desk, name: str, key_file: str) -> None:
    """Add each key of a file to a user; from=, expiry-time= and verify-required are kept."""
    made = [
        desk.client.call("POST", f"/users/{part(name)}/keys", body={"key": line})
        for line in key_lines(key_file)
    ]
    told = ", ".join(key["fingerprint"] for key in made)
    idents = "\n".join(key["fingerprint"] for key in made)
    desk.out.done({"items": made}, f"{told} now proves {name}.", ident=idents)


@verb(key, "ls")
@USER
@WATCH
def list_keys(desk: Desk, name: str, *, watched: bool) -> None:
    """List a user's keys: until when and from where each counts, and when it was last used."""
    desk.list(f"/users/{part(name)}/keys", _KEYS, watched=watched)


@verb(key, "rm")
@USER
@KEY
def remove_key(desk: Desk, name: str, key_named: str) -> None:
    """Take a key away and end what it opened; KEY is its name or fingerprint."""
    desk.client.call("DELETE", f"/users/{part(name)}/keys/{part(key_named)}")
    desk.out.done({"key": key_named}, f"{key_named} proves nobody any more.", ident=key_named)


@verb(key, "rename")
@USER
@KEY
@click.argument("new")
def rename_key(desk: Desk, name: str, key_named: str, new: str) -> None:
    """Give a key another name; KEY is its name or fingerprint."""
    path = f"/users/{part(name)}/keys/{part(key_named)}"
    renamed = desk.client.call("PATCH", path, body={"name": new})
    fingerprint = renamed["fingerprint"]
    desk.out.done(renamed, f"{fingerprint} is now called {new}.", ident=fingerprint)


@click.group()
def password() -> None:
    """The password of a user."""


@verb(password, "set")
@USER
def set_password(desk: Desk, name: str) -> None:
    """Set a password, asked for twice at a terminal and else the first line of standard input; end
    what the one before opened.
    """
    desk.client.call("PUT", f"/users/{part(name)}/password", body={"password": _asked()})
    desk.out.done({"name": name}, f"The new password proves {name}.", ident=name)


def _asked() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        line = sys.stdin.readline(_LONGEST)
    except UnicodeDecodeError:
        raise BadRequest(public="Standard input: a password is text in UTF-8.") from None
    return line.rstrip("\r\n")


@verb(password, "rm")
@USER
def remove_password(desk: Desk, name: str) -> None:
    """Take the password away and end what it opened."""
    desk.client.call("DELETE", f"/users/{part(name)}/password")
    desk.out.done({"name": name}, f"{name} has no password any more.", ident=name)


@click.group()
def code() -> None:
    """The one-time codes of a user."""


@verb(code, "rm")
@USER
def remove_code(desk: Desk, name: str) -> None:
    """Take one-time and recovery codes away, as of a lost phone; they can be set up anew."""
    desk.client.call("DELETE", f"/users/{part(name)}/code")
    desk.out.done({"name": name}, f"{name} has no one-time codes any more.", ident=name)


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
