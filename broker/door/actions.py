"""What the splice tells its surroundings to do: plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToClient:
    """Pass on what the desktop sent."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ReplyToClient:
    """Send what the door itself says: it counts against what a client leaves unread."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ToInner:
    """Pass on what the client sent."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ReplyToInner:
    """Send what the door itself says to the desktop."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class KeepaliveAnswered:
    """The sender of this global reply answered a keepalive of the door's own."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Bind:
    """Find the desktop and an inner connection to it."""

    display: int | None


@dataclass(frozen=True, slots=True)
class Unbind:
    """End the inner connection: nothing of the client uses it, and it wants another desktop."""


@dataclass(frozen=True, slots=True)
class ResolveDisplay:
    """Find out whether the display is the bound desktop's."""

    channel: int
    display: int


@dataclass(frozen=True, slots=True)
class RunWord:
    """Ask the broker for the answer to `desk …`."""

    channel: int
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArmOptimistic:
    """Start the timer of the optimistic replies afresh."""


@dataclass(frozen=True, slots=True)
class ArmOrphaned:
    """Start the timer after which a client with orphaned channels is disconnected."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop reading from the client: too much waits for the inner connection."""


@dataclass(frozen=True, slots=True)
class Release:
    """Go on reading."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Tell the client the sentence and end its connection."""

    text: str


Action = (
    ToClient
    | ReplyToClient
    | ToInner
    | ReplyToInner
    | KeepaliveAnswered
    | Bind
    | Unbind
    | ResolveDisplay
    | RunWord
    | ArmOptimistic
    | ArmOrphaned
    | Hold
    | Release
    | Disconnect
)
