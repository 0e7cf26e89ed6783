"""The channels of one client: under which numbers they are known, and how far they have come."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.door import messages
from broker.door.activity import Carried, Kind
from broker.door.messages import ProtocolViolation
from broker.door.policy import Environment, Grant

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Numbers from here up are the door's; a desktop's sshd counts from zero.
DOOR_NUMBERS = 1 << 30


class Stage(Enum):
    """How far a channel has come."""

    UNDECIDED = auto()
    """A session of which shell, exec or subsystem has not been asked."""
    RESOLVING = auto()
    """Decided, but it has yet to be seen whether its display is the bound desktop's."""
    WAITING = auto()
    """Decided; there is no inner connection yet."""
    OPENING = auto()
    """Its open was sent inwards."""
    BOUND = auto()
    """Packets pass."""
    ANSWERED = auto()
    """The door itself answers it."""
    ORPHANED = auto()
    """Its desktop went away; the client has yet to close it."""


@dataclass(slots=True)
class Expected:
    """A reply that the inner owes, in the order of its requests."""

    swallow: bool
    """The client was given an optimistic one."""
    grants: Grant


@dataclass(slots=True, eq=False)
class Channel:
    """One channel. `window` and `packet` are the client's, as its open and adjusts gave them."""

    client: int
    stage: Stage
    window: int = 0
    packet: int = 0
    door: int | None = None
    """The door-made number that the client knows a session by."""
    inner: int | None = None

    queue: list[bytes] = field(default_factory=list)
    """Requests, EOF and CLOSE that the inner has yet to get."""
    queued: int = 0
    """Their size."""
    owed: int = 0
    """Replies to queued requests that the client has not got."""
    forestalled: int = 0
    """Replies to queued requests that the client got before the inner was asked."""
    expected: deque[Expected] = field(default_factory=deque)
    offered: int = 0
    """Window that the open inside carried."""
    granted: int = 0
    """All the window that the desktop was given by the door; the client itself gives more later."""
    taken: int = 0
    """What the desktop is known to have used of it."""
    spoken: bool = False
    """The desktop sent EOF: nothing more may be said on the channel."""

    environment: Environment = field(default_factory=Environment)
    kind: Kind | None = None
    """What it is for; None until that is known."""
    pty: bool = False
    display: int | None = None

    output: deque[tuple[int, bytes]] = field(default_factory=deque)
    """What the door itself has to say: message number and text."""
    status: int | None = None
    """The exit status behind it."""
    closed_by_client: bool = False
    closed_to_client: bool = False

    @property
    def is_session(self) -> bool:
        return self.door is not None

    @property
    def number(self) -> int:
        """The number under which the client addresses it."""
        number = self.inner if self.door is None else self.door
        assert number is not None
        return number


class ChannelTable:
    """Channels by each of their numbers, and the two maps by which bulk packets are switched."""

    def __init__(self) -> None:
        self.client_routes: dict[int, bytes] = {}
        """From the number that a client writes to the packed one that the inner knows; for
        bound channels alone."""
        self.inner_routes: dict[int, bytes] = {}
        """The same for the inner: the client's own number, packed."""
        self.client_bytes: dict[bytes, int] = defaultdict(int)
        """Data of the client since the last look, by the packed number that the inner knows."""
        self.inner_bytes: dict[bytes, int] = defaultdict(int)
        """The same of the inner, by the client's."""
        self._carried: dict[tuple[Kind, bool], list[int]] = {}
        """What was counted for the next look, of channels that are gone too: by kind and whether
        there is a terminal, the client's bytes and the inner's."""
        self._by_client: dict[int, Channel] = {}
        self._by_door: dict[int, Channel] = {}
        self._by_inner: dict[int, Channel] = {}
        self._next_door = DOOR_NUMBERS

    def __len__(self) -> int:
        return len(self._by_client)

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._by_client.values()))

    def add(self, channel: Channel) -> None:
        """Take up a channel under the client's number."""
        if channel.client in self._by_client:
            raise ProtocolViolation("channel number in use")
        self._by_client[channel.client] = channel

    def add_session(self, channel: Channel) -> None:
        """The same for a session, which gets a number of the door's."""
        self.add(channel)
        channel.door = self._next_door
        self._by_door[channel.door] = channel
        self._next_door = DOOR_NUMBERS | ((self._next_door + 1) & (DOOR_NUMBERS - 1))

    def bind(self, channel: Channel, inner: int) -> None:
        """The inner confirmed the channel, or opened it, under a number of its own."""
        if inner in self._by_inner or inner >= DOOR_NUMBERS:
            raise ProtocolViolation("channel number in use")
        channel.inner = inner
        channel.stage = Stage.BOUND
        self._by_inner[inner] = channel
        self.client_routes[channel.number] = messages.pack(inner)
        self.inner_routes[channel.client] = messages.pack(channel.client)

    def of_client(self, number: int) -> Channel:
        """The channel that a client's packet is for."""
        table = self._by_door if number >= DOOR_NUMBERS else self._by_inner
        channel = table.get(number)
        if channel is None:
            raise ProtocolViolation("unknown channel")
        return channel

    def of_door(self, number: int) -> Channel | None:
        return self._by_door.get(number)

    def of_inner(self, number: int) -> Channel:
        """The channel that an inner packet is for."""
        channel = self._by_client.get(number)
        if channel is None:
            raise ProtocolViolation("unknown channel")
        return channel

    def client_closed(self, channel: Channel) -> None:
        """The client sends nothing more on it."""
        channel.closed_by_client = True
        if channel.stage is Stage.BOUND:
            self.client_routes.pop(channel.number, None)
        self._forget_if_done(channel)

    def closed_to_client(self, channel: Channel) -> None:
        """Nothing more is sent to the client on it."""
        channel.closed_to_client = True
        self.inner_routes.pop(channel.client, None)
        self._forget_if_done(channel)

    def remove(self, channel: Channel) -> None:
        """Forget it under every number."""
        self.count(channel)
        self._by_client.pop(channel.client, None)
        if channel.door is not None:
            self._by_door.pop(channel.door, None)
        if channel.inner is not None:
            self._by_inner.pop(channel.inner, None)
            self.client_routes.pop(channel.number, None)
        self.inner_routes.pop(channel.client, None)

    def unroute(self) -> None:
        """No packet may pass any more: the inner is gone."""
        self.client_routes.clear()
        self.inner_routes.clear()

    # ------------------------------------------------------------------------------ activity

    def count(self, channel: Channel) -> None:
        """Take up what the channel carried since it was last counted."""
        if channel.inner is None:
            return
        up = self.client_bytes.pop(messages.pack(channel.inner), 0)
        down = self.inner_bytes.pop(messages.pack(channel.client), 0)
        channel.taken += down
        if channel.kind is not None and (up or down):
            carried = self._carried.setdefault((channel.kind, channel.pty), [0, 0])
            carried[0] += up
            carried[1] += down

    def look(self) -> list[Carried]:
        """What was carried since the last look."""
        for channel in self._by_client.values():
            self.count(channel)
        carried, self._carried = self._carried, {}
        return [Carried(kind, pty, up, down) for (kind, pty), (up, down) in carried.items()]

    def kinds(self) -> tuple[str, ...]:
        """What the open channels are for, sorted, each once."""
        bound = (c.kind for c in self._by_client.values() if c.stage is Stage.BOUND)
        return tuple(sorted({kind.told for kind in bound if kind is not None}))

    def _forget_if_done(self, channel: Channel) -> None:
        if channel.closed_by_client and channel.closed_to_client:
            self.remove(channel)
