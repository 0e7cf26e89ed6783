"""The messages between a front door and the broker: the calls of `core.gateway`, as values."""

import re
from dataclasses import dataclass, field

from broker.core import errors
from broker.core.codec import Codec
from broker.core.gateway import (
    Activity,
    Attachment,
    CodeWanted,
    Holdings,
    HttpReply,
    Identity,
    Invited,
    Load,
    Login,
    OfferedKey,
    Penalty,
    Route,
    Seat,
    WordReply,
)

#: The name of these messages, one and the same on both sides of a connection. Whoever changes
#: anything of them counts on: an older door must not take a newer broker's words for its own.
PROTOCOL = "desk-gateway-5"

#: Characters of one message: 4096 clients, each with the longest name that it can have, are told
#: of in less.
MESSAGE = 8 << 20

#: Characters of one message of a door, other than `Hello` and a `Report`.
CALL = 16 << 10

#: Characters that wait to be written to one peer: one that does not read is let go.
WAITING = 2 * MESSAGE


# ------------------------------------------------------------------------ from door to broker


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a door."""

    door: str
    holdings: Holdings


@dataclass(frozen=True, slots=True)
class Identify:
    login: Login
    key: OfferedKey
    address: str


@dataclass(frozen=True, slots=True)
class Redeem:
    login: Login
    key: OfferedKey
    address: str


@dataclass(frozen=True, slots=True)
class CheckPassword:
    login: Login
    password: str = field(repr=False)
    address: str


@dataclass(frozen=True, slots=True)
class CheckCode:
    ticket: str = field(repr=False)
    code: str = field(repr=False)
    address: str


@dataclass(frozen=True, slots=True)
class Proven:
    identity: Identity


@dataclass(frozen=True, slots=True)
class FindRoute:
    identity: Identity
    display: int | None


@dataclass(frozen=True, slots=True)
class FindSeat:
    secret: str = field(repr=False)
    address: str
    desktop_id: str | None
    look: bool
    wake: bool


@dataclass(frozen=True, slots=True)
class Lost:
    session_id: str


@dataclass(frozen=True, slots=True)
class SayWord:
    identity: Identity
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attached:
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class Detached:
    attachment_id: str


@dataclass(frozen=True, slots=True)
class Report:
    activities: tuple[Activity, ...]


@dataclass(frozen=True, slots=True)
class Carries:
    load: Load


@dataclass(frozen=True, slots=True)
class Penalise:
    """Also from broker to door."""

    penalty: Penalty


@dataclass(frozen=True, slots=True)
class GetHttp:
    method: str
    path: str


Noted = Proven | Attached | Detached | Report | Carries | Penalise
"""What a door says of others; no broker that is away is waited for to say it."""

Sought = FindRoute | FindSeat

Asked = Identify | Redeem | CheckPassword | CheckCode | Sought | Lost | SayWord | GetHttp | Noted
"""The calls of the gateway. Which door calls is what it said in its `Hello`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call, by a number that no other call of this connection has."""

    number: int
    what: Asked


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for the answer any more. It may have been sent already."""

    number: int


ToBroker = Hello | Ask | Cancel

#: How a long message begins. What comes of the rest, `is_long` tells: a name can stand in it twice.
_LONG = re.compile(r'\{"is":"(?:Hello"|Ask","number":\d{1,16},"what":\{"is":"Report")')


def looks_long(text: str) -> bool:
    """Whether what a door sent may have more characters than `CALL`, before it is read."""
    return _LONG.match(text) is not None


def is_long(message: ToBroker) -> bool:
    """Whether that message may have more characters than `CALL`."""
    return isinstance(message, Hello) or (
        isinstance(message, Ask) and isinstance(message.what, Report)
    )


def longest(message: ToBroker) -> int:
    """Characters that a door may send of that message."""
    return MESSAGE if is_long(message) else CALL


# ------------------------------------------------------------------------ from broker to door


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to `Hello`: calls may come."""


Value = Identity | CodeWanted | Invited | Route | Seat | WordReply | HttpReply | None
"""What a call gives."""


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    value: Value


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call raised a `DeskError`, of which the door learns what the user may."""

    number: int
    code: str
    sentence: str
    retry_after: float | None

    @classmethod
    def of(cls, number: int, error: errors.DeskError) -> "Refusal":
        retry_after = error.retry_after if isinstance(error, _LATER) else None
        return cls(number, error.code, error.public, retry_after)

    @property
    def error(self) -> errors.DeskError:
        """What it stands for."""
        kind = _KINDS.get(self.code, errors.DeskError)
        error = kind.__new__(kind)  # the arguments of some are what their sentence was made of
        errors.DeskError.__init__(error, public=self.sentence)
        if isinstance(error, _LATER):
            error.retry_after = self.retry_after
        return error


@dataclass(frozen=True, slots=True)
class Progress:
    number: int
    sentence: str


@dataclass(frozen=True, slots=True)
class EndSession:
    session_id: str
    sentence: str
    sleeps: bool


@dataclass(frozen=True, slots=True)
class EndUser:
    user_id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class EndCredential:
    credential: str
    sentence: str


Told = EndSession | EndUser | EndCredential | Penalise
"""What the broker tells a door unasked: the calls of `DoorControl`."""

ToDoor = Welcome | Answer | Refusal | Progress | EndSession | EndUser | EndCredential | Penalise


_LATER = (errors.Blocked, errors.CapacityExhausted, errors.HeldBack)

_KINDS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DeskError)
}

TO_BROKER: Codec[ToBroker] = Codec(ToBroker)
TO_DOOR: Codec[ToDoor] = Codec(ToDoor)
