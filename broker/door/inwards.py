"""The way to the desktop: whether it is there, and what waits until it is."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.door import actions
from broker.door.channels import Channel, ChannelTable, Stage
from broker.door.messages import Message
from broker.door.policy import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.door.actions import Action
    from broker.door.replies import GlobalReplies
    from broker.door.sessions import Sessions


class State(Enum):
    """Whether there is a connection to the desktop."""

    ABSENT = auto()
    BINDING = auto()
    BOUND = auto()
    OVER = auto()
    """There was, the broker ended it, and this client gets no other."""


class Inwards:
    """Binds when something needs the desktop, and not before."""

    def __init__(
        self,
        table: ChannelTable,
        sessions: Sessions,
        replies: GlobalReplies,
        emit: Callable[[Action], None],
    ) -> None:
        self._table = table
        self._sessions = sessions
        self._replies = replies
        self._emit = emit
        self._state = State.ABSENT
        self._displays: set[int | None] = {None}
        """Displays known to be the bound desktop's; none named is any desktop's."""
        self.waiting: list[bytes] = []
        """Opens and global requests of the client that the inner has yet to get."""
        self.size = 0
        """Their bytes."""
        self.grants = Grant.NONE
        self.opens: dict[int, bool] = {}
        """Opens of the inner that the client has yet to answer; False: that inner is gone."""

    @property
    def absent(self) -> bool:
        return self._state in (State.ABSENT, State.OVER)

    @property
    def over(self) -> bool:
        return self._state is State.OVER

    def send(self, payload: bytes) -> None:
        """One of the client's opens or global requests, now or when the desktop is there."""
        if self._state is State.BOUND:
            self._forward(payload)
            return
        self.waiting.append(payload)
        self.size += len(payload)
        self.need()

    def _forward(self, payload: bytes) -> None:
        if payload[0] == Message.GLOBAL_REQUEST:
            self.grants |= self._replies.asked(payload)
        self._emit(actions.ToInner(payload))

    def need(self) -> None:
        """Something waits: let it through, or find the desktop."""
        match self._state:
            case State.BOUND:
                self._flush()
            case State.ABSENT if not self._draining:
                self._state = State.BINDING
                wanted = self._sessions.wanted_display()
                self._displays = {None, wanted}
                self._emit(actions.Bind(wanted))

    def drained(self) -> None:
        """A number of a lost inner may have become free, and somebody may wait for that."""
        if self._state is State.ABSENT and (self.waiting or self._sessions.waiting()):
            self.need()

    @property
    def _draining(self) -> bool:
        """Whether the client still has numbers of an inner that is gone."""
        return bool(self.opens) or any(channel.stage is Stage.ORPHANED for channel in self._table)

    def bound(self, display: int | None) -> None:
        """There is a connection to the desktop that has the display."""
        self._state = State.BOUND
        self._displays.add(display)
        self._flush()

    def _flush(self) -> None:
        for payload in self.take_waiting():
            self._forward(payload)
        for channel in self._sessions.waiting():
            if channel.display in self._displays:
                self._sessions.open_inside(channel)
            else:
                channel.stage = Stage.RESOLVING
                assert channel.display is not None
                self._emit(actions.ResolveDisplay(channel.number, channel.display))

    def take_waiting(self) -> list[bytes]:
        """What waited, which no longer does."""
        waiting, self.waiting = self.waiting, []
        self.size = 0
        return waiting

    def resolved(self, channel: Channel, *, same: bool) -> bool:
        """Let the channel in when its display is the bound desktop's, or when nothing keeps the
        connection at that desktop; False when it cannot be had here.
        """
        if same:
            self._displays.add(channel.display)
        elif self._state is State.BOUND and self._unused:
            self._emit(actions.Unbind())
            self.forget()
        else:
            return False
        channel.stage = Stage.WAITING
        self.need()
        return True

    @property
    def _unused(self) -> bool:
        """Whether nothing of the client hangs on the inner connection."""
        if self.grants or self.opens or self._replies.inner_owes:
            return False
        idle = (Stage.UNDECIDED, Stage.RESOLVING, Stage.ANSWERED)
        return all(channel.stage in idle for channel in self._table)

    def unbindable(self) -> None:
        """There is no desktop to be had."""
        self._state = State.ABSENT

    def lost(self) -> None:
        """The connection is gone; numbers that the client has of it are dead."""
        self.opens = dict.fromkeys(self.opens, False)
        self.forget()

    def end(self) -> None:
        """The same, and nobody is bound again."""
        self.lost()
        self.take_waiting()
        self._state = State.OVER

    def forget(self) -> None:
        """No connection, no routes, nothing granted."""
        self._state = State.ABSENT
        self._replies.forget_inner()
        self.grants = Grant.NONE
        self._table.unroute()
