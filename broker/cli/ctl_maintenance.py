"""deskctl maintenance, broadcast: before a host is worked on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, verb
from broker.cli.output import Sheet
from broker.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def maintenance() -> None:
    """Nothing starts any more, and everybody knows."""


@verb(maintenance, "drain")
@click.option("--at", help="When it is planned for: '2030-01-31 22:00', in this machine's time.")
@click.option("--message", default="", help="What people are told beside the date.")
def drain(desk: Desk, at: str | None, message: str) -> None:
    """Start nothing from now on, and tell everybody so. What runs goes on, what sleeps wakes still;
    a restart of Desk changes nothing of it.
    """
    body = {"at": None if at is None else _moment(at), "message": message}
    answer = desk.client.call("PUT", "/maintenance", body=body)
    desk.out.text(answer, f"{_standing(answer)}\n{_told(answer)}")


@verb(maintenance, "resume")
def resume(desk: Desk) -> None:
    """Start desktops again."""
    desk.client.call("DELETE", "/maintenance")
    desk.out.done({"draining": False}, "Desktops start again.")


@verb(maintenance, "status")
def status(desk: Desk) -> None:
    """Tell whether desktops start, and what is under way still."""
    answer = desk.client.call("GET", "/maintenance")
    desk.out.text(answer, _standing(answer))


def add_broadcast(main: click.Group) -> None:
    """The verb without a noun."""

    @verb(main, "broadcast")
    @click.argument("text")
    def broadcast(desk: Desk, text: str) -> None:
        """Show TEXT in every desktop that runs, and on every terminal inside."""
        answer = desk.client.call("POST", "/broadcast", body={"text": text})
        desk.out.done(answer, _told(answer))


def add_outdated(desktop: click.Group) -> None:
    """The verb of the noun `desktop`."""

    @verb(desktop, "outdated")
    @WATCH
    def outdated(desk: Desk, *, watched: bool) -> None:
        """List desktops that run another image than their next start takes."""
        desk.list("/maintenance/outdated", _OUTDATED, watched=watched)


def _moment(text: str) -> str:
    """Raises `BadRequest`."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise BadRequest(
            public="--at: allowed is a date with its time: '2030-01-31 22:00'."
        ) from None


def _standing(answer: Mapping[str, Any]) -> str:
    rest = f"{answer['live']} sessions live, {answer['starting']} starts under way."
    if not answer["draining"]:
        return f"Desktops start. {rest}"
    when = "" if answer["at"] is None else f", planned for {_written(answer['at'])}"
    message = "" if answer["message"] is None else f" {answer['message']}"
    since = f"since {_written(answer['since'])} by {answer['by']}"
    return f"Nothing starts, {since}: maintenance{when}.{message} {rest}"


def _written(moment: str) -> str:
    return f"{moment[:16].replace('T', ' ')}Z"


def _told(answer: Mapping[str, Any]) -> str:
    missed = f"; {answer['missed']} could not show it" if answer["missed"] else ""
    return f"{answer['told']} desktops showed it{missed}."


_OUTDATED = Sheet(
    ("desktop", "user", "name", "state", "since", "image", "next_image"),
    cells={
        "image": lambda item: item["image"].removeprefix("sha256:")[:12],
        "next_image": lambda item: item["next_image"].removeprefix("sha256:")[:12],
    },
)
