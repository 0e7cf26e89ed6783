"""How channels end whose desktop is gone, and when their client has to go with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.door import actions, messages
from broker.door.channels import Channel, ChannelTable, Stage
from broker.door.messages import Message, OpenFailure
from broker.door.policy import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.door.actions import Action
    from broker.door.inwards import Inwards
    from broker.door.replies import GlobalReplies
    from broker.door.sessions import Sessions

_LIVE = frozenset({Stage.RESOLVING, Stage.WAITING, Stage.OPENING, Stage.BOUND})

#: Those on which the client has yet to take what it gets.
_LAST = frozenset({Stage.ORPHANED, Stage.ANSWERED})


class Ends:
    """Ends channels in such a way that a client drains what it got, and learns why."""

    def __init__(
        self,
        table: ChannelTable,
        sessions: Sessions,
        inwards: Inwards,
        replies: GlobalReplies,
        emit: Callable[[Action], None],
    ) -> None:
        self._table = table
        self._sessions = sessions
        self._inwards = inwards
        self._replies = replies
        self._emit = emit
        self._text = ""
        """What the client is told at last."""
        self.retried = False
        """A desktop was lost since one last confirmed a channel."""

    def _say(self, payload: bytes) -> None:
        self._emit(actions.ReplyToClient(payload))

    def _bound(self) -> list[Channel]:
        return [channel for channel in self._table if channel.stage is Stage.BOUND]

    def _live(self) -> list[Channel]:
        return [channel for channel in self._table if channel.stage in _LIVE]

    # ---------------------------------------------------------------------------------- events

    def unbindable(self, sentence: str) -> None:
        """There is no desktop to be had."""
        self._inwards.unbindable()
        self._sessions.progress = None
        self._fail_waiting(sentence)
        for channel in self._sessions.waiting():
            self._sessions.refuse(channel, sentence)

    def lost(self, sentence: str) -> None:
        """The inner connection broke; the client may get another."""
        live, bound = self._live(), self._bound()
        forwarding = bool(self._inwards.grants & (Grant.TCP | Grant.STREAMLOCAL))
        forwarding |= len(self._replies) > 0
        self._text = f"desk: {sentence}"
        self._inwards.lost()
        if any(channel.pty for channel in bound) or (not live and forwarding):
            self._emit(actions.Disconnect(self._text))
            return
        for channel in live:
            self._abandon(channel, sentence, retry=not self.retried)
        self._replies.fail_all()
        if bound:
            self._emit(actions.ArmOrphaned())
        self.retried = True
        self._inwards.drained()

    def over(self, sentence: str) -> None:
        """The broker ended the session; the client gets no other, and time to take what was
        written unless it has a terminal.
        """
        self._text = f"desk: {sentence}"
        if any(channel.pty for channel in self._bound()):
            self._inwards.end()
            self._emit(actions.Disconnect(self._text))
            return
        self._inwards.end()
        for channel in self._live():
            if channel.stage is Stage.BOUND:
                self._sessions.tell_end(channel, sentence)
            self._abandon(channel, sentence, retry=False)
        self._replies.fail_all()
        self._emit(actions.ArmOrphaned())
        self.leave_when_drained()

    def leave_when_drained(self) -> None:
        """Once the session is over, go as soon as the client has taken all that it gets."""
        if self._inwards.over and not any(channel.stage in _LAST for channel in self._table):
            self._emit(actions.Disconnect(self._text))

    def due(self) -> None:
        """The client had its time."""
        if self._inwards.absent:
            self._emit(actions.Disconnect(self._text))

    # -------------------------------------------------------------------------------- channels

    def _fail_waiting(self, sentence: str) -> None:
        for payload in self._inwards.take_waiting():
            if payload[0] == Message.GLOBAL_REQUEST:
                self._replies.fail_request(payload)
            else:
                _, offset = messages.string(payload, 1)
                channel = self._table.of_inner(messages.uint32(payload, offset))
                self._fail_open(channel, sentence)

    def _abandon(self, channel: Channel, sentence: str, *, retry: bool) -> None:
        """A channel that the lost inner served, or was about to."""
        match channel.stage:
            case Stage.BOUND:
                self._orphan(channel, sentence)
            case Stage.OPENING if not channel.is_session:
                self._fail_open(channel, sentence)
            case Stage.OPENING if retry:
                self._sessions.wait_again(channel)
            case _:
                self._sessions.refuse(channel, sentence)

    def orphan(self, channel: Channel) -> None:
        """End one that the client took after its desktop was gone."""
        self._orphan(channel, self._text)

    def _orphan(self, channel: Channel, sentence: str) -> None:
        """End one that was open; packets that the client still sends on it are dropped."""
        channel.stage = Stage.ORPHANED
        if channel.closed_to_client:
            return
        if channel.is_session:
            if not channel.spoken:
                self._say(messages.eof(channel.client))
            self._say(messages.exit_signal(channel.client, b"KILL", sentence))
        self._say(messages.close(channel.client))
        self._table.closed_to_client(channel)

    def _fail_open(self, channel: Channel, sentence: str) -> None:
        """End one that the inner has not confirmed."""
        self._table.remove(channel)
        reason = OpenFailure.CONNECT_FAILED
        self._say(messages.open_failure(channel.client, reason, sentence))
