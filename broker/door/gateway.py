"""The door's side of the Gateway: one web socket to the broker, kept for as long as the door lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.gateway import DoorControl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.core.gateway import (
        Activity,
        Attachment,
        Holdings,
        HttpReply,
        Identity,
        Login,
        OfferedKey,
        Penalty,
        Route,
        WordReply,
    )


class FrontDoor(DoorControl, Protocol):
    """The door, as its end of the gateway sees it."""

    @property
    def id(self) -> str:
        """Its name towards the broker, new with each start."""

    def holdings(self) -> Holdings:
        """What it has open now."""

    def report_now(self) -> None:
        """A broker is there that may know nothing: tell it at once who is attached."""


class RemoteGateway:
    """Implements `core.gateway.Gateway` over the broker's socket. While the broker is away, what
    can be asked twice waits for it at most `wait` seconds; then it raises `BrokerUnavailable`.
    """

    def __init__(self, path: Path, *, wait: float) -> None:
        self._path = path
        self._wait = wait

    async def run(self, door: FrontDoor) -> None:
        """Keep the connection until cancelled, and do what the broker tells the door. The calls
        of the gateway wait until this runs.
        """
        raise NotImplementedError

    async def identify(self, login: Login, key: OfferedKey) -> Identity | None:
        raise NotImplementedError

    async def route(
        self, identity: Identity, *, display: int | None, progress: Callable[[str], None]
    ) -> Route:
        raise NotImplementedError

    async def lost(self, session_id: str) -> None:
        raise NotImplementedError

    async def word(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        raise NotImplementedError

    async def attached(self, door: str, attachment: Attachment) -> None:
        raise NotImplementedError

    async def detached(self, door: str, attachment_id: str) -> None:
        raise NotImplementedError

    async def report(self, door: str, activities: Sequence[Activity]) -> None:
        raise NotImplementedError

    async def penalise(self, door: str, penalty: Penalty) -> None:
        raise NotImplementedError

    async def http(self, method: str, path: str) -> HttpReply:
        raise NotImplementedError
