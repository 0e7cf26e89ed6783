"""Global requests of both sides and the order of their replies, which carry no number."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from broker.door import actions, messages, policy
from broker.door.messages import Message, ProtocolViolation
from broker.door.policy import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.door.actions import Action


class GlobalReplies:
    """What the client is owed, and what the inner owes."""

    def __init__(self, emit: Callable[[Action], None]) -> None:
        self._emit = emit
        self._client: deque[bytes | None] = deque()
        """Replies that the client has yet to get; None: the inner's next one."""
        self._inner: deque[Grant | None] = deque()
        """What each reply of the inner will grant; None: it answers a keepalive of the door's."""

    def __len__(self) -> int:
        return len(self._client)

    @property
    def inner_owes(self) -> bool:
        """Whether the inner has a request of the client's to answer."""
        return any(grants is not None for grants in self._inner)

    def owe(self, reply: bytes | None) -> None:
        """The client asked; the reply is known, or (None) will be the inner's."""
        self._client.append(reply)
        self._send_ready()

    def keepalives_sent(self, count: int = 1) -> None:
        """The door itself asked the inner."""
        self._inner.extend([None] * count)

    def asked(self, request: bytes) -> Grant:
        """A request of the client goes inwards; return what it grants without a reply."""
        name, offset = messages.string(request, 1)
        grants = policy.GLOBAL_REQUESTS[name]
        if not messages.boolean(request, offset):
            return grants
        self._inner.append(grants)
        return Grant.NONE

    def answered(self, reply: bytes) -> Grant:
        """The inner replied; return what that grants."""
        if not self._inner:
            raise ProtocolViolation("reply to no request")
        grants = self._inner.popleft()
        if grants is None:
            self._emit(actions.KeepaliveAnswered(reply))
            return Grant.NONE
        self.pass_on(reply)
        return grants if reply[0] == Message.REQUEST_SUCCESS else Grant.NONE

    def pass_on(self, reply: bytes) -> None:
        """The reply that the client waits for from the inner."""
        if not self._client or self._client[0] is not None:
            raise ProtocolViolation("reply to no request")
        self._client.popleft()
        self._emit(actions.ToClient(reply))
        self._send_ready()

    def fail_request(self, request: bytes) -> None:
        """The client's request cannot go inwards."""
        _, offset = messages.string(request, 1)
        if messages.boolean(request, offset):
            self.pass_on(messages.global_reply(granted=False))

    def forget_inner(self) -> None:
        """The inner is gone."""
        self._inner.clear()

    def fail_all(self) -> None:
        """Whatever it owed is refused."""
        while self._client:
            self.pass_on(messages.global_reply(granted=False))

    def _send_ready(self) -> None:
        while self._client and (reply := self._client[0]) is not None:
            self._client.popleft()
            self._emit(actions.ReplyToClient(reply))
