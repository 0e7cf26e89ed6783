"""deskctl session, attachment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import OF_USER, SESSION, SESSIONS
from broker.cli.output import Sheet, moment, span
from broker.core.errors import BadRequest
from broker.core.words import seconds, spoken, spoken_size

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds that one call waits for a start: so often the terminal hears how it is.
_LOOK = "5"

_STATES = ("starting", "ready", "frozen", "stopping")


def _next(item: Mapping[str, Any]) -> str | None:
    if item["next"] is None:
        return None
    if item["next_in"] == 0:
        return f"{item['next']} now"
    return f"{item['next']} in {span(item['next_in'])}"


def _memory(item: Mapping[str, Any]) -> str | None:
    return None if item["memory"] is None else spoken_size(item["memory"])


_CELLS = {"idle": lambda item: span(item["idle"]), "next": _next, "memory": _memory}
_SESSIONS = Sheet(
    ("id", "user", "desktop", "state", "display", "attached", "kinds", "idle", "next"),
    cells=_CELLS,
)
_SESSION = Sheet(
    (
        *_SESSIONS.columns,
        "kept_until",
        "cpu",
        "memory",
        "reason",
        "desktop_id",
        "address",
        "port",
        "created_at",
        "changed_at",
    ),
    cells=_CELLS,
)
_ATTACHMENTS = Sheet(
    ("user", "desktop", "session", "kinds", "since", "from", "client", "idle"),
    ident="session",
    cells={"idle": lambda item: span(item["idle"])},
)


@click.group()
def session() -> None:
    """Runs of desktops."""


@verb(session, "ls")
@OF_USER
@click.option("--state", type=click.Choice(_STATES), help="Those that are so.")
@WATCH
def session_ls(desk: Desk, user: str | None, state: str | None, *, watched: bool) -> None:
    """List live sessions. IDLE and NEXT are what is known without asking a desktop: its keyboard
    and mouse are looked at when its sleep is near, and by 'session why'.
    """
    desk.list("/sessions", _SESSIONS, query=filters(user=user, state=state), watched=watched)


@verb(session, "show")
@SESSION
def session_show(desk: Desk, session_id: str) -> None:
    """Show a session, an ended one too."""
    desk.show(desk.client.call("GET", f"/sessions/{part(session_id)}"), _SESSION)


@verb(session, "why")
@SESSION
def session_why(desk: Desk, session_id: str) -> None:
    """Tell what keeps a session's desktop awake, and what happens next; asks the desktop."""
    found = desk.client.call("GET", f"/sessions/{part(session_id)}/why")
    desk.out.text(found, f"Of {found['user']}: {found['text']}", ident=session_id)


@verb(session, "stop")
@SESSION
def session_stop(desk: Desk, session_id: str) -> None:
    """Stop a session; its home is kept."""
    with desk.out.working(f"Stopping {session_id}"):
        ended = desk.client.call("POST", f"/sessions/{part(session_id)}/stop")
    _ended(desk, ended)


@verb(session, "kill")
@SESSION
@click.option(
    "--force",
    is_flag=True,
    help="End its record even when the engine does not answer; should the container be there"
    " still, it is removed once the engine is back.",
)
def session_kill(desk: Desk, session_id: str, *, force: bool) -> None:
    """End a session that does not stop: at once, without asking its programs; its home is kept."""
    with desk.out.working(f"Ending {session_id}"):
        ended = desk.client.call(
            "POST", f"/sessions/{part(session_id)}/kill", body={"force": force}
        )
    _ended(desk, ended)


def _ended(desk: Desk, ended: dict[str, Any]) -> None:
    told = f"Session {ended['id']} ended; the home of {ended['user']} is kept."
    desk.out.done(ended, told, ident=ended["id"])


@verb(session, "extend")
@SESSION
@click.argument("time")
def session_extend(desk: Desk, session_id: str, time: str) -> None:
    """Keep a session for so long from now: 4h; 0 ends that."""
    kept = desk.client.call("POST", f"/sessions/{part(session_id)}/extend", body={"time": time})
    if kept["kept_until"] is None:
        told = f"Session {session_id} is no longer kept"
    else:
        told = f"Session {session_id} is kept for {spoken(seconds(time))}"
    step = _next(kept)
    desk.out.done(kept, f"{told}; next: {step}." if step else f"{told}.", ident=session_id)


@verb(session, "freeze")
@SESSION
def session_freeze(desk: Desk, session_id: str) -> None:
    """Let a session sleep now: who is in it is sent away, programs stay, a connect wakes it."""
    frozen = desk.client.call("POST", f"/sessions/{part(session_id)}/freeze")
    told = f"Session {session_id} sleeps; the next connect of {frozen['user']} wakes it."
    desk.out.done(frozen, told, ident=session_id)


@verb(session, "thaw")
@SESSION
def session_thaw(desk: Desk, session_id: str) -> None:
    """Wake a session that sleeps."""
    awake = started(desk, f"/sessions/{part(session_id)}/thaw", f"Waking {session_id}")
    desk.out.done(awake, f"Session {session_id} is awake.", ident=session_id)


@verb(session, "keep")
@SESSION
def session_keep(desk: Desk, session_id: str) -> None:
    """Keep a session for as long as its user may."""
    kept = desk.client.call("POST", f"/sessions/{part(session_id)}/keep")
    until = kept["kept_until"]
    told = "is not kept: its user may not" if until is None else f"is kept until {moment(until)}"
    desk.out.done(kept, f"Session {session_id} {told}.", ident=session_id)


@verb(session, "resize")
@SESSION
@click.argument("size")
def session_resize(desk: Desk, session_id: str, size: str) -> None:
    """Give a session's desktop another SIZE, in pixels: 1920x1080."""
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise BadRequest(public="size: allowed is WIDTHxHEIGHT, as in 1920x1080.")
    body = {"width": int(width), "height": int(height)}
    given = desk.client.call("PUT", f"/sessions/{part(session_id)}/size", body=body)
    desk.out.done(given, f"The desktop of {session_id} has {size} pixels.", ident=session_id)


@verb(session, "message")
@SESSION
@click.argument("text")
def session_message(desk: Desk, session_id: str, text: str) -> None:
    """Show a sentence in a session's desktop, and on every terminal inside."""
    told = desk.client.call("POST", f"/sessions/{part(session_id)}/message", body={"text": text})
    came = f"It is shown in {session_id}." if told["seen"] else "Nobody is there who could see it."
    desk.out.done(told, came, ident=session_id)


def started(desk: Desk, path: str, sentence: str) -> dict[str, Any]:
    """The session, once it is ready. Raises `DeskError`."""
    with desk.out.working(sentence) as say:
        # What is under way is a desktop still, which names its session.
        while "session" in (answer := desk.client.call("POST", path, query={"wait": _LOOK})):
            say(f"{sentence}: {answer['state']}")
    found: dict[str, Any] = answer
    return found


@click.group()
def attachment() -> None:
    """Clients that are in a session now."""


@verb(attachment, "ls")
@OF_USER
@click.option("--session", help="Those in that session.", shell_complete=SESSIONS)
@WATCH
def attachment_ls(desk: Desk, user: str | None, session: str | None, *, watched: bool) -> None:
    """List attachments, the longest first. IDLE is since their client last did something that
    keeps a desktop awake.
    """
    query = filters(user=user, session=session)
    desk.list("/attachments", _ATTACHMENTS, query=query, watched=watched)
