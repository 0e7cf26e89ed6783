"""Every error that Desk raises on purpose: one root, a stable code, one sentence for people.

`str(error)` is for the operator's log; `public` is what a user or a caller of the API may read.
They are translated at exactly three places: the front door, the HTTP layer, the command line.
`docs/errors.md` lists every code.
"""

from __future__ import annotations

import math
from typing import ClassVar

from broker.core.words import spoken


class DeskError(Exception):
    """The root. Subclasses set `code` (stable, snake case) and `default` (the public sentence)."""

    code: ClassVar[str] = "internal"
    default: ClassVar[str] = "Desk met an unexpected problem; the administrator's log tells more."

    def __init__(self, detail: str | None = None, *, public: str | None = None) -> None:
        """`detail` is for the operator, `public` for the user; each falls back to the class's."""
        self.public = public or self.default
        super().__init__(detail or self.public)

    @property
    def told(self) -> str:
        """What a user at a terminal reads: the sentence and its code."""
        return f"{self.public} ({self.code})"


class ConfigError(DeskError):
    """The configuration cannot be used; the sentence names file, line, key, found, allowed."""

    code = "config"
    default = "The configuration cannot be used."


class BadRequest(DeskError):
    """What was asked cannot be understood or is out of bounds."""

    code = "bad_request"
    default = "The request cannot be understood."


class AccessDenied(DeskError):
    """Who asks may not do that, or is not known."""

    code = "access_denied"
    default = "You may not do that here."


class Unauthenticated(DeskError):
    """Who asks the API shows no token and no cookie, or one that is unknown, over or taken back; or
    tried to sign in with what is wrong.
    """

    code = "unauthenticated"
    default = "Show a token that counts: 'Authorization: Bearer desk_…'."


class NotFound(DeskError):
    """The named thing does not exist, or is not the caller's."""

    code = "not_found"
    default = "There is no such thing here."


class Conflict(DeskError):
    """The change collides with what is there: a name taken, a key that is somebody's."""

    code = "conflict"
    default = "That collides with what is already there."


class Unsupported(DeskError):
    """A kind of access that Desk cannot give anybody."""

    code = "unsupported"
    default = "Desk does not offer that."


class CapacityExhausted(DeskError):
    """A pool or a bound is used up; asking again later may work.

    `retry_after` is in how many seconds, where that is known: then the sentence ends with it.
    """

    code = "full"
    default = "All places are taken just now. Try again in a minute."

    def __init__(
        self,
        detail: str | None = None,
        *,
        public: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            stem = public or "All places are taken just now."
            public = f"{stem} Try again in about {_about(retry_after)}."
        super().__init__(detail, public=public)


class HeldBack(DeskError):
    """What is asked for failed several times in a row and is tried again after a while.

    `retry_after` is in how many seconds: then `public`, without its full stop, is what goes before.
    """

    code = "held_back"
    default = "Your desktop failed to start several times in a row. Try again in some minutes."

    def __init__(
        self,
        detail: str | None = None,
        *,
        public: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            stem = public or "Your desktop failed to start several times in a row"
            public = f"{stem}: the next try is possible in about {_about(retry_after)}."
        super().__init__(detail, public=public)


class Blocked(DeskError):
    """Too many wrong passwords or codes for one account, known or not; `retry_after` is in how
    many seconds the next one is taken.
    """

    code = "blocked"
    default = "Too many wrong passwords or codes for this account. Try again later."

    def __init__(
        self,
        detail: str | None = None,
        *,
        public: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            stem = public or "Too many wrong passwords or codes for this account."
            public = f"{stem} Try again in about {_about(retry_after)}."
        super().__init__(detail, public=public)


class EngineUnavailable(DeskError):
    """The container engine does not answer, or answered with an error of its own."""

    code = "engine_unavailable"
    default = "Desktops cannot be reached just now: the container engine does not answer. Try again in a minute."


class FirewallFailed(DeskError):
    """The rules that keep desktops off this host cannot be put in place, read or taken away."""

    code = "firewall_failed"
    default = (
        "The rules that keep desktops apart are not in place just now, so none is started."
        " Try again in a minute; if it stays so, tell your administrator."
    )


class HomeUnbounded(DeskError):
    """The bound of a home that the template asks for cannot be set; the detail says why."""

    code = "home_unbounded"
    default = (
        "Your home cannot be bounded here as it is meant to be, so your desktop is not started."
        " Tell your administrator."
    )


class ImageMissing(DeskError):
    """The template's image is not on the engine's host."""

    code = "image_missing"
    default = (
        "Your desktop's image is not installed here yet. Tell your administrator: 'deskctl image"
        " build' makes it, 'deskctl image load FILE' takes it."
    )


class PortTaken(DeskError):
    """Something else on the host holds the published port. Handled inside; never reaches users."""

    code = "port_taken"
    default = "A host port was taken by somebody else."

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(f"host port {port} is held by something else")


class AddressTaken(DeskError):
    """A container that is not ours holds the bridge address. Handled inside."""

    code = "address_taken"
    default = "A bridge address was taken by somebody else."

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"bridge address {address} is held by another container")


class HomeMissing(DeskError):
    """The home of a desktop is gone though nobody deleted it through Desk: an alarm."""

    code = "home_missing"
    default = (
        "Your home is missing on this host, so your desktop was not started in an empty one."
        " Tell your administrator."
    )


class StartFailed(DeskError):
    """The desktop's container was made but died, or never answered in time."""

    code = "start_failed"
    default = (
        "Your desktop could not be started. Try again; if it fails again, tell your administrator."
    )


class SessionEnded(DeskError):
    """The session was stopped while somebody waited for it."""

    code = "session_ended"
    default = "Your desktop was stopped while it started. Connect again to start it afresh."


class ShuttingDown(DeskError):
    """The broker is on its way out and starts nothing new."""

    code = "shutting_down"
    default = "Desk is restarting. Try again in a few seconds."


class InMaintenance(DeskError):
    """An administrator had nothing start any more; the sentence has the date, if there is one."""

    code = "maintenance"
    default = "No desktop starts just now: Desk is being prepared for maintenance."


class LoopDied(DeskError):
    """One of the broker's loops ended though nobody stopped it: the broker goes with it, and is
    started afresh by whoever supervises it.
    """

    code = "loop_died"
    default = "A part of the broker died, so it stopped; desktops go on. Its log tells more."


class StateUnusable(DeskError):
    """The state directory or database cannot be used: another broker, a newer schema, damage."""

    code = "state_unusable"
    default = "The state cannot be used."


class BackupUnusable(DeskError):
    """A file is no backup, or not whole, or made by a newer Desk."""

    code = "backup_unusable"
    default = "The backup cannot be used."


class BrokerUnavailable(DeskError):
    """The broker cannot be reached: by an admin's tool, or by a front door for too long."""

    code = "broker_unavailable"
    default = "The broker does not answer. Try again in a few seconds."


class Interrupted(DeskError):
    """The connection to the broker broke while it worked on what must not be asked twice."""

    code = "interrupted"
    default = (
        "Desk restarted in the middle of this: it may be done or not. Look with 'desk list' before"
        " you ask again."
    )


class SourceUnavailable(DeskError):
    """An outside source of passwords answered neither yes nor no."""

    code = "source_unavailable"
    default = (
        "The service that checks passwords does not answer just now."
        " Try again later, or use your key."
    )


class StaleState(DeskError):
    """A compare-and-set lost: somebody else moved the record first. Reload and decide again."""

    code = "stale_state"
    default = "Somebody else changed this at the same moment. Try again."


class IllegalTransition(DeskError):
    """The session's life has no such step: a programming error that must not be papered over."""

    code = "illegal_transition"
    default = "The desktop is not in a state that allows this."


class AlreadyLive(DeskError):
    """The desktop has a live session already: the database refused a second one."""

    code = "already_live"
    default = "The desktop is running already."


def _about(seconds: float) -> str:
    """In words, rounded up: nobody shall come too early."""
    return spoken(max(1, math.ceil(seconds)))
