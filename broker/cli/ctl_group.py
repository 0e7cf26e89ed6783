"""deskctl group: users for whom something else holds."""

from __future__ import annotations

from typing import Any

import click

from broker.cli.ctl import WATCH, YES, Desk, part, sure, verb
from broker.cli.ctl_names import GROUP, MEMBER, VALUES
from broker.cli.output import Sheet
from broker.core.errors import BadRequest
from broker.core.model import shown
from broker.core.policy import typed

_GROUPS = Sheet(
    ("name", "priority", "members", "policy"),
    cells={
        "members": lambda item: str(len(item["members"])),
        "policy": lambda item: _said(item["policy"]) or None,
    },
    told=True,
)


@click.group()
def group() -> None:
    """Groups of users, and what holds for them instead of the configuration."""


@verb(group, "add")
@click.argument("name")
@VALUES
@click.option("--priority", type=int, default=0, show_default=True, help="The higher one counts.")
def add(desk: Desk, name: str, values: tuple[str, ...], priority: int) -> None:
    """Make a group that says what KEY=VALUE… say."""
    body = {"name": name, "priority": priority, "policy": _policy(values)}
    made = desk.client.call("POST", "/groups", body=body)
    desk.out.done(made, f"Group {name} is there.", ident=name)


@verb(group, "set")
@GROUP
@VALUES
@click.option("--priority", type=int, help="The higher one counts.")
def change(desk: Desk, name: str, values: tuple[str, ...], priority: int | None) -> None:
    """Change what a group says; KEY= without a value leaves that to others again."""
    if not values and priority is None:
        raise BadRequest(public="There is nothing to set: write KEY=VALUE or --priority N.")
    body = {"priority": priority, "policy": _policy(values)}
    changed = desk.client.call("PATCH", f"/groups/{part(name)}", body=body)
    told = f"Group {name} says now: {_said(changed['policy']) or 'nothing'}."
    desk.out.done(changed, told, ident=name)


@verb(group, "ls")
@WATCH
def ls(desk: Desk, *, watched: bool) -> None:
    """List groups, the one that counts before others first."""
    desk.list("/groups", _GROUPS, watched=watched)


@verb(group, "show")
@GROUP
def show(desk: Desk, name: str) -> None:
    """Show what a group says, and who is in it."""
    found = desk.client.call("GET", f"/groups/{part(name)}")
    lines = [f"{key}={_value(value)}" for key, value in sorted(found["policy"].items())]
    members = ", ".join(found["members"]) or "nobody"
    told = [f"priority {found['priority']}", *lines, f"members: {members}"]
    desk.out.text(found, "\n".join(told), ident=name)


@verb(group, "rm")
@GROUP
@YES
def rm(desk: Desk, name: str, *, yes: bool) -> None:
    """Take a group away; its members stay users."""
    sure(f"Take away the group {name}, with what it says?", yes=yes)
    desk.client.call("DELETE", f"/groups/{part(name)}")
    desk.out.done({"name": name}, f"Group {name} is gone.", ident=name)


@verb(group, "join")
@GROUP
@MEMBER
def join(desk: Desk, name: str, user: str) -> None:
    """Put a user into a group; connections that are open keep what they were let in with."""
    desk.client.call("PUT", f"/groups/{part(name)}/members/{part(user)}")
    desk.out.done({"group": name, "user": user}, f"{user} is in {name}.", ident=user)


@verb(group, "leave")
@GROUP
@MEMBER
def leave(desk: Desk, name: str, user: str) -> None:
    """Take a user out of a group; what an outside source says of them stays."""
    desk.client.call("DELETE", f"/groups/{part(name)}/members/{part(user)}")
    told = f"{user} was taken out of {name}."
    desk.out.done({"group": name, "user": user}, told, ident=user)


def _policy(values: tuple[str, ...]) -> dict[str, Any]:
    """By flat key; None for what is to be left to others. Raises `BadRequest`."""
    found: dict[str, Any] = {}
    for pair in values:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise BadRequest(public=f"{shown(pair)} is no KEY=VALUE, as in allow.sftp=false.")
        found[key] = typed(key, text) if text else None
    return found


def _said(policy: dict[str, Any]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in sorted(policy.items()))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
