"""deskctl session, attachment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import JSON, Desk, part
from broker.cli.errors import plain_errors
from broker.cli.output import span
from broker.core.words import seconds, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def session() -> None:
    """Runs of desktops."""


@session.command("ls")
@JSON
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
@JSON
@click.pass_obj
@plain_errors
def session_why(desk: Desk, session_id: str) -> None:
    """Tell what keeps a session's desktop awake, and what happens next; asks the desktop."""
    found = desk.client.call("GET", f"/sessions/{part(session_id)}/why")
    desk.out.text(found, f"Of {found['user']}: {found['text']}")


@session.command("stop")
@click.argument("session_id", metavar="ID")
@JSON
@click.pass_obj
@plain_errors
def session_stop(desk: Desk, session_id: str) -> None:
    """Stop a session; its home is kept."""
    ended = desk.client.call("POST", f"/sessions/{part(session_id)}/stop")
    desk.out.done(ended, f"Session {session_id} ended; the home of {ended['user']} is kept.")


@session.command("kill")
@click.argument("session_id", metavar="ID")
@click.option(
    "--force",
    is_flag=True,
    help="End its record even when the engine does not answer; should the container be there"
    " still, it is removed once the engine is back.",
)
@JSON
@click.pass_obj
@plain_errors
def session_kill(desk: Desk, session_id: str, *, force: bool) -> None:
    """End a session that does not stop: at once, without asking its programs; its home is kept."""
    ended = desk.client.call("POST", f"/sessions/{part(session_id)}/kill", body={"force": force})
    desk.out.done(ended, f"Session {session_id} ended; the home of {ended['user']} is kept.")


@session.command("extend")
@click.argument("session_id", metavar="ID")
@click.argument("time")
@JSON
@click.pass_obj
@plain_errors
def session_extend(desk: Desk, session_id: str, time: str) -> None:
    """Keep a session for so long from now: 4h; 0 ends that."""
    kept = desk.client.call("POST", f"/sessions/{part(session_id)}/extend", body={"time": time})
    if kept["kept_until"] is None:
        told = f"Session {session_id} is no longer kept"
    else:
        told = f"Session {session_id} is kept for {spoken(seconds(time))}"
    step = _next(kept)
    desk.out.done(kept, f"{told}; next: {step}." if step else f"{told}.")


@session.command("freeze")
@click.argument("session_id", metavar="ID")
@JSON
@click.pass_obj
@plain_errors
def session_freeze(desk: Desk, session_id: str) -> None:
    """Let a session sleep now: who is in it is sent away, programs stay, a connect wakes it."""
    frozen = desk.client.call("POST", f"/sessions/{part(session_id)}/freeze")
    desk.out.done(
        frozen, f"Session {session_id} sleeps; the next connect of {frozen['user']} wakes it."
    )


@click.group()
def attachment() -> None:
    """Clients that are in a session now."""


@attachment.command("ls")
@JSON
@click.pass_obj
@plain_errors
def attachment_ls(desk: Desk) -> None:
    """List attachments, the longest first. IDLE is since their client last did something that
    keeps a desktop awake.
    """
    columns = ("user", "desktop", "session", "kinds", "since", "from", "client", "idle")
    cells = {"idle": lambda item: span(item["idle"])}
    desk.out.table(desk.client.call("GET", "/attachments"), columns, cells)
