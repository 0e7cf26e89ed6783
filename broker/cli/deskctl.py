"""deskctl: the admin's tool, nouns first."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from broker import __version__
from broker.cli.client import Client
from broker.cli.errors import plain_errors
from broker.cli.output import Output, span
from broker.core.errors import BadRequest, NotFound
from broker.core.words import seconds, spoken, spoken_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY_FILE = click.option(
    "--key", "key_file", required=True, help="A public key's file, or '-' for standard input."
)


def _json_here(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.obj = replace(context.obj, out=Output(as_json=True))


#: `--json` stands before the noun or behind the command, as one's fingers have it.
_JSON = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_json_here,
    help="Print JSON, for programs.",
)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command works with."""

    client: Client
    out: Output


@click.group()
@click.version_option(__version__, prog_name="deskctl")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/desk/admin.sock"),
    show_default=True,
    envvar="DESK_SOCKET",
    help="The broker's admin socket.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def main(context: click.Context, socket: Path, *, as_json: bool) -> None:
    """Manage users, desktops and sessions of a running broker."""
    context.obj = Desk(Client(socket), Output(as_json=as_json))


# ---------------------------------------------------------------------------------------- user


@main.group()
def user() -> None:
    """People with an account."""


@user.command("add")
@click.argument("name")
@click.option(
    "--key", "key_file", multiple=True, help="A public key's file, or '-' for standard input."
)
@click.option("--admin", is_flag=True, help="Make the user an admin.")
@_JSON
@click.pass_obj
@plain_errors
def user_add(desk: Desk, name: str, key_file: tuple[str, ...], *, admin: bool) -> None:
    """Make a user."""
    keys = [line for file in key_file for line in _key_lines(file)]
    made = desk.client.call("POST", "/users", body={"name": name, "admin": admin, "keys": keys})
    hint = "" if keys else f"; give a key with: deskctl user key add {name} --key FILE"
    desk.out.done(made, f"User {name} is there, with {len(keys)} keys{hint}.")


@user.command("ls")
@_JSON
@click.pass_obj
@plain_errors
def user_ls(desk: Desk) -> None:
    """List users."""
    desk.out.table(
        desk.client.call("GET", "/users"), ("name", "admin", "enabled", "keys", "created_at")
    )


@user.command("rm")
@click.argument("name")
@_JSON
@click.pass_obj
@plain_errors
def user_rm(desk: Desk, name: str) -> None:
    """Stop what a user runs and take the account away; homes are kept."""
    desk.client.call("DELETE", f"/users/{_part(name)}")
    desk.out.done(
        {"name": name},
        f"User {name} is gone. Homes are kept: deskctl desktop ls --all lists them.",
    )


@user.group("key")
def user_key() -> None:
    """The keys that prove a user."""


@user_key.command("add")
@click.argument("name")
@_KEY_FILE
@_JSON
@click.pass_obj
@plain_errors
def key_add(desk: Desk, name: str, key_file: str) -> None:
    """Add each key of a file to a user."""
    lines = _key_lines(key_file)
    made = [
        desk.client.call("POST", f"/users/{_part(name)}/keys", body={"key": line}) for line in lines
    ]
    told = ", ".join(key["fingerprint"] for key in made)
    desk.out.done({"items": made}, f"{told} now proves {name}.")


@user_key.command("ls")
@click.argument("name")
@_JSON
@click.pass_obj
@plain_errors
def key_ls(desk: Desk, name: str) -> None:
    """List a user's keys."""
    found = desk.client.call("GET", f"/users/{_part(name)}/keys")
    desk.out.table(found, ("fingerprint", "type", "name", "added_at"))


@user_key.command("rm")
@click.argument("name")
@click.argument("fingerprint")
@_JSON
@click.pass_obj
@plain_errors
def key_rm(desk: Desk, name: str, fingerprint: str) -> None:
    """Take a key away; FINGERPRINT as 'user key ls' shows it."""
    desk.client.call("DELETE", f"/users/{_part(name)}/keys/{_part(fingerprint)}")
    desk.out.done({"fingerprint": fingerprint}, f"{fingerprint} proves nobody any more.")


# ------------------------------------------------------------------------- session, attachment


@main.group()
def session() -> None:
    """Runs of desktops."""


@session.command("ls")
@_JSON
@click.pass_obj
@plain_errors
def session_ls(desk: Desk) -> None:
    """List live sessions. IDLE and NEXT are what is known without asking a desktop: its keyboard
    and mouse are looked at when its sleep is near, and by 'session why'.
    """
    columns = (
        "id",
        "user",
        "desktop",
        "state",
        "display",
        "attached",
        "kinds",
        "idle",
        "next",
    )
    cells = {"idle": lambda item: span(item["idle"]), "next": _next}
    desk.out.table(desk.client.call("GET", "/sessions"), columns, cells)


def _next(item: Mapping[str, Any]) -> str | None:
    if item["next"] is None:
        return None
    if item["next_in"] == 0:
        return f"{item['next']} now"
    return f"{item['next']} in {span(item['next_in'])}"


@session.command("why")
@click.argument("session_id", metavar="ID")
@_JSON
@click.pass_obj
@plain_errors
def session_why(desk: Desk, session_id: str) -> None:
    """Tell what keeps a session's desktop awake, and what happens next; asks the desktop."""
    found = desk.client.call("GET", f"/sessions/{_part(session_id)}/why")
    desk.out.text(found, f"Of {found['user']}: {found['text']}")


@session.command("stop")
@click.argument("session_id", metavar="ID")
@_JSON
@click.pass_obj
@plain_errors
def session_stop(desk: Desk, session_id: str) -> None:
    """Stop a session; its home is kept."""
    ended = desk.client.call("POST", f"/sessions/{_part(session_id)}/stop")
    desk.out.done(ended, f"Session {session_id} ended; the home of {ended['user']} is kept.")


@session.command("kill")
@click.argument("session_id", metavar="ID")
@click.option(
    "--force",
    is_flag=True,
    help="End its record even when the engine does not answer; should the container be there"
    " still, it is removed once the engine is back.",
)
@_JSON
@click.pass_obj
@plain_errors
def session_kill(desk: Desk, session_id: str, *, force: bool) -> None:
    """End a session that does not stop: at once, without asking its programs; its home is kept."""
    ended = desk.client.call("POST", f"/sessions/{_part(session_id)}/kill", body={"force": force})
    desk.out.done(ended, f"Session {session_id} ended; the home of {ended['user']} is kept.")


@session.command("extend")
@click.argument("session_id", metavar="ID")
@click.argument("time")
@_JSON
@click.pass_obj
@plain_errors
def session_extend(desk: Desk, session_id: str, time: str) -> None:
    """Keep a session for so long from now: 4h; 0 ends that."""
    kept = desk.client.call("POST", f"/sessions/{_part(session_id)}/extend", body={"time": time})
    if kept["kept_until"] is None:
        told = f"Session {session_id} is no longer kept"
    else:
        told = f"Session {session_id} is kept for {spoken(seconds(time))}"
    step = _next(kept)
    desk.out.done(kept, f"{told}; next: {step}." if step else f"{told}.")


@session.command("freeze")
@click.argument("session_id", metavar="ID")
@_JSON
@click.pass_obj
@plain_errors
def session_freeze(desk: Desk, session_id: str) -> None:
    """Let a session sleep now: who is in it is sent away, programs stay, a connect wakes it."""
    frozen = desk.client.call("POST", f"/sessions/{_part(session_id)}/freeze")
    desk.out.done(
        frozen, f"Session {session_id} sleeps; the next connect of {frozen['user']} wakes it."
    )


@main.group()
def attachment() -> None:
    """Clients that are in a session now."""


@attachment.command("ls")
@_JSON
@click.pass_obj
@plain_errors
def attachment_ls(desk: Desk) -> None:
    """List attachments, the longest first. IDLE is since their client last did something that
    keeps a desktop awake.
    """
    columns = ("user", "desktop", "session", "kinds", "since", "from", "client", "idle")
    cells = {"idle": lambda item: span(item["idle"])}
    desk.out.table(desk.client.call("GET", "/attachments"), columns, cells)


# --------------------------------------------------------------------------- desktop, lease


@main.group()
def desktop() -> None:
    """What users own and keep."""


@desktop.command("ls")
@click.option("--all", "every", is_flag=True, help="Removed ones too, whose homes are kept.")
@_JSON
@click.pass_obj
@plain_errors
def desktop_ls(desk: Desk, *, every: bool) -> None:
    """List desktops."""
    found = desk.client.call("GET", "/desktops", query={"all": "1"} if every else None)
    columns = ("id", "user", "name", "state", "removed", "uid", "created_at", "archived_at", "size")
    # Few installations archive: the others need no two columns of dashes.
    archives = any(item.get("archived_at") for item in found["items"])
    left_out = {*(() if every else ("removed",)), *(() if archives else ("archived_at", "size"))}
    desk.out.table(found, tuple(c for c in columns if c not in left_out), {"size": _archive_size})


def _archive_size(item: Mapping[str, Any]) -> str | None:
    size = item.get("archive_size")
    return None if size is None else spoken_size(size)


@desktop.command("rm")
@click.argument("desktop_id", metavar="ID")
@click.option("--with-home", is_flag=True, help="Delete its home for good; asks twice.")
@click.option("--yes", is_flag=True, help="Answer both questions beforehand, for programs.")
@_JSON
@click.pass_obj
@plain_errors
def desktop_rm(desk: Desk, desktop_id: str, *, with_home: bool, yes: bool) -> None:
    """Remove a desktop. Its home is kept, and the user's next desktop of the name gets it back."""
    if with_home and not yes:
        _ask_twice(desk, desktop_id)
    query = {"with_home": desktop_id} if with_home else None
    desk.client.call("DELETE", f"/desktops/{_part(desktop_id)}", query=query)
    end = "its home is deleted" if with_home else "its home is kept"
    desk.out.done({"id": desktop_id, "home": end}, f"Desktop {desktop_id} is removed; {end}.")


def _ask_twice(desk: Desk, desktop_id: str) -> None:
    if not sys.stdin.isatty():
        raise BadRequest(public="--with-home asks twice at a terminal; programs add --yes.")
    every = desk.client.call("GET", "/desktops", query={"all": "1"})["items"]
    found = next((item for item in every if item["id"] == desktop_id), None)
    if found is None:
        raise NotFound(public=f"There is no desktop {desktop_id}.")
    click.confirm(
        f"Delete the home of {found['user']}'s desktop {found['name']} for good?", abort=True
    )
    if click.prompt(f"Type its id {desktop_id} to delete it") != desktop_id:
        raise BadRequest(public="That was not its id; nothing was deleted.")


@main.group()
def lease() -> None:
    """Ports, displays, addresses and uids that are held."""


@lease.command("ls")
@_JSON
@click.pass_obj
@plain_errors
def lease_ls(desk: Desk) -> None:
    """List leases."""
    columns = ("kind", "value", "desktop_id", "session_id", "since")
    desk.out.table(desk.client.call("GET", "/leases"), columns)


def _key_lines(file: str) -> list[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(public=f"{file}: cannot be read as a public key: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BadRequest(public=f"{file}: there is no key in it.")
    return keys if "PRIVATE KEY" not in text else [keys[0]]


def _part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")


if __name__ == "__main__":
    sys.exit(main())
