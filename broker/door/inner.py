"""The connection to a desktop, until a client has it and after."""

from __future__ import annotations

from asyncssh.connection import SSHClientConnection

from broker.door import messages, policy
from broker.door.messages import Message, ProtocolViolation
from broker.door.traffic import Sender
from broker.door.wire import Wire


class InnerWire(Wire, SSHClientConnection):
    """The connection to the sshd in a desktop."""

    sender = Sender.DESKTOP

    @property
    def unanswered(self) -> int:
        """Global requests of the door's own that the sshd has yet to answer."""
        return len(self._global_request_waiters)

    def take_unbound(self, payload: bytes) -> None:
        """A spare's: its host keys, and answers to keepalives."""
        kind = payload[0]
        if kind in (Message.REQUEST_SUCCESS, Message.REQUEST_FAILURE):
            self.keepalive_answered(payload)
        elif kind == Message.GLOBAL_REQUEST:
            name, offset = messages.string(payload, 1)
            if messages.boolean(payload, offset):
                granted = name == policy.KEEPALIVE
                self.reply(messages.global_reply(granted=granted))
        else:
            raise ProtocolViolation("unexpected message")
