"""How channels end whose desktop is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.door import actions, messages
from broker.door.channels import Channel, ChannelTable, Stage
from broker.door.messages import OpenFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.door.actions import Action
    from broker.door.sessions import Sessions


class Ends:
    """Ends channels in such a way that a client drains what it got, and learns why."""

    def __init__(
        self, table: ChannelTable, sessions: Sessions, emit: Callable[[Action], None]
    ) -> None:
        self._table = table
        self._sessions = sessions
        self._emit = emit

    def _say(self, payload: bytes) -> None:
        self._emit(actions.ReplyToClient(payload))

    def abandon(self, channel: Channel, sentence: str, *, retry: bool) -> None:
        """A channel that the lost inner served, or was about to."""
        match channel.stage:
            case Stage.BOUND:
                self.orphan(channel, sentence)
            case Stage.OPENING if not channel.is_session:
                self.fail_open(channel, sentence)
            case Stage.OPENING if retry:
                self._sessions.wait_again(channel)
            case _:
                self._sessions.refuse(channel, sentence)

    def orphan(self, channel: Channel, sentence: str) -> None:
        """End one that was open; packets that the client still sends on it are dropped."""
        channel.stage = Stage.ORPHANED
        if channel.closed_to_client:
            return
        if channel.is_session:
            self._say(messages.eof(channel.client))
            self._say(messages.exit_signal(channel.client, b"KILL", sentence))
        self._say(messages.close(channel.client))
        self._table.closed_to_client(channel)

    def fail_open(self, channel: Channel, sentence: str) -> None:
        """End one that the inner has not confirmed."""
        self._table.remove(channel)
        reason = OpenFailure.CONNECT_FAILED
        self._say(messages.open_failure(channel.client, reason, sentence))
