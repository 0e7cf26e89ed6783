"""What a wire's owner gives it to talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from broker.door.wire import Wire


class Receiver(Protocol):
    """Who gets what a wire receives."""

    def packet_received(self, wire: Wire, payload: bytes) -> None:
        """A connection-protocol packet. Raises `ProtocolViolation` to have the wire cut."""

    def keepalive_sent(self, wire: Wire) -> None:
        """A global request of the door's own went out on the wire."""

    def wire_lost(self, wire: Wire, error: Exception | None) -> None:
        """The wire is gone; called once."""
