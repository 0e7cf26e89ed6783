"""How a web socket of a browser ends: by a code that its page knows, and a sentence for people."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from broker.core.errors import (
    AccessDenied,
    CapacityExhausted,
    Conflict,
    DeskError,
    HeldBack,
    HomeMissing,
    HomeUnbounded,
    ImageMissing,
    NotFound,
    SessionEnded,
    ShuttingDown,
    StartFailed,
    Unauthenticated,
)
from broker.door.answers import problem

if TYPE_CHECKING:
    from aiohttp import web

#: Bytes of a sentence that a close frame has room for.
_ROOM = 120


class Code(IntEnum):
    """Pages come back by themselves after the last two, and after nothing else that is here."""

    VIOLATION = 4400
    """The browser broke the protocol."""
    SIGN_IN = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    ENDED = 4409
    """Somebody ended it."""
    ASLEEP = 4410
    """The desktop went to sleep or was stopped."""
    TOO_MANY = 4429
    UNREACHABLE = 1011
    AGAIN = 1012
    """The screen went away, or the door does."""


class Ended(Exception):
    """It is over, for that reason."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    @property
    def reason(self) -> bytes:
        """The sentence, as far as there is room for it."""
        text = self.sentence.encode()
        if len(text) <= _ROOM:
            return text
        end = "…".encode()
        return text[: _ROOM - len(end)].decode(errors="ignore").encode() + end


#: What the ends that can befall a request are called in HTTP, by their status.
_IN_HTTP = {
    Code.SIGN_IN: (401, Unauthenticated.code),
    Code.ENDED: (403, AccessDenied.code),
    Code.ASLEEP: (409, SessionEnded.code),
    Code.UNREACHABLE: (503, StartFailed.code),
    Code.AGAIN: (503, ShuttingDown.code),
}


def in_http(ended: Ended) -> web.Response:
    """The same, told to a request."""
    status, code = _IN_HTTP[ended.code]
    return problem(status, code, ended.sentence, again=ended.code is Code.AGAIN)


def ending(error: DeskError) -> Ended:
    """One of the places where errors become words."""
    match error:
        case Unauthenticated():
            code = Code.SIGN_IN
        case AccessDenied():
            code = Code.FORBIDDEN
        case NotFound():
            code = Code.NOT_FOUND
        case CapacityExhausted():
            code = Code.TOO_MANY
        case SessionEnded() | Conflict():  # it does not run, and was not to be started
            code = Code.ASLEEP
        case HeldBack() | HomeMissing() | HomeUnbounded() | ImageMissing() | StartFailed():
            # Who came back by themselves would only try it again and again.
            code = Code.ENDED
        case _:
            code = Code.UNREACHABLE
    return Ended(code, error.public)
