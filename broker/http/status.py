"""How the broker itself is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from typing_extensions import TypedDict

from broker import __version__
from broker.core.model import LeaseKind  # noqa: TC001 - pydantic reads the annotation
from broker.core.tokens import Scope
from broker.http.kinds import Time, time, time_or_none
from broker.http.routes import Noun, Route

if TYPE_CHECKING:
    from broker.service.services import Services
    from broker.service.status import DoorStatus, LoopStatus


class LoopOut(TypedDict):
    """A loop of the broker."""

    name: str
    every: float
    """Seconds between two passes."""
    last_at: Time | None
    """When a pass last went through."""
    check: str
    """`ok`, or one sentence."""


class EngineOut(TypedDict):
    """The container engine."""

    up: bool
    version: str | None
    since: Time | None
    """Since when its events are heard without a break."""
    problem: str | None


class StartsOut(TypedDict):
    """Starts of desktops."""

    under_way: int
    at_once: int
    waiting: int
    waiting_most: int


class DoorOut(TypedDict):
    """A front door, and what it carries."""

    door: str
    heard_at: Time
    attachments: int
    connections: int | None
    """Of clients, proven or not; null until it told."""
    authenticated: int | None
    lag: float | None
    """Seconds that its event loop was late at most, lately."""


class PoolOut(TypedDict):
    """Numbers of one kind that are leased, and how many there are."""

    kind: LeaseKind
    used: int
    of: int


class StatusOut(TypedDict):
    """How the broker is."""

    version: str
    since: Time
    """When this broker began."""
    loops: list[LoopOut]
    engine: EngineOut
    network: str
    """Of the rules that keep desktops apart: `ok`, or one sentence."""
    starts: StartsOut
    doors: list[DoorOut]
    leases: list[PoolOut]


class StatusRoutes:
    """The handler raises `DeskError`."""

    def __init__(self, *, services: Services) -> None:
        self._board = services.status

    async def show(self, request: web.Request) -> web.Response:
        """What does not answer is no refusal: that is what is told."""
        del request
        now = await self._board.now()
        told: StatusOut = {
            "version": __version__,
            "since": time(now.since),
            "loops": [_loop(loop) for loop in now.loops],
            "engine": {
                "up": now.engine.version is not None,
                "version": now.engine.version,
                "since": time_or_none(now.engine.since),
                "problem": now.engine.problem,
            },
            "network": now.network,
            "starts": {
                "under_way": now.starting,
                "at_once": now.starting_most,
                "waiting": now.waiting,
                "waiting_most": now.waiting_most,
            },
            "doors": [_door(door) for door in now.doors],
            "leases": [{"kind": one.kind, "used": one.used, "of": one.of} for one in now.leases],
        }
        return web.json_response(told)


def _loop(loop: LoopStatus) -> LoopOut:
    return {
        "name": loop.name,
        "every": loop.every,
        "last_at": time_or_none(loop.last_at),
        "check": loop.check,
    }


def _door(door: DoorStatus) -> DoorOut:
    load = door.load
    return {
        "door": door.door,
        "heard_at": time(door.heard_at),
        "attachments": door.attachments,
        "connections": None if load is None else load.connections,
        "authenticated": None if load is None else load.authenticated,
        "lag": None if load is None else round(load.lag, 3),
    }


STATUS = Noun(
    name="status",
    summary="How the broker itself is.",
    routes=(
        Route(
            method="GET",
            path="/status",
            handler=StatusRoutes.show,
            name="get_status",
            summary="Tell how loops, engine, starts, front doors and pools are.",
            needs=Scope.READ,
            whose=None,
            answers={200: StatusOut},
        ),
    ),
)
