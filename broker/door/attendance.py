"""Who is attached by this door and what they do, told to the broker as it changes and again every
few seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from broker.core.errors import DeskError
from broker.core.gateway import Activity
from broker.core.model import new_id
from broker.door.activity import Pulse
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.core.gateway import Attachment, Gateway, Load
    from broker.door.activity import Carried
    from broker.door.limits import Limits

log = structlog.get_logger()


class Carrier(Protocol):
    """The channels of an attachment."""

    def look(self) -> Iterable[Carried]:
        """What they carried since the last look."""

    def kinds(self) -> tuple[str, ...]:
        """What they are for now, sorted, each once."""


class Visit:
    """One attachment, from its coming until the broker knows that it left."""

    def __init__(self, attachment: Attachment, carrier: Carrier, bound: int, now: float) -> None:
        self.attachment = attachment
        self.attached: asyncio.Task[None] | None = None
        """Tells the broker that it came."""
        self.settled = asyncio.Event()
        """Set when it left and no report will name it any more."""
        self._carrier: Carrier | None = carrier
        self._pulse = Pulse(bound, now)
        self._came = self._told = now

    @property
    def left(self) -> bool:
        return self._carrier is None

    def activity(self, now: float) -> Activity:
        """What there is to report of it."""
        kinds: tuple[str, ...] = ()
        if self._carrier is not None:
            self._pulse.look(self._carrier.look(), now)
            kinds = self._carrier.kinds()
        return Activity(
            attachment=self.attachment,
            attached_for=now - self._came,
            kinds=kinds,
            ages=self._pulse.ages(now),
        )

    def told(self, now: float) -> None:
        """The broker knows what it did until then."""
        self._told = now

    def leave(self, now: float) -> bool:
        """Whether it did something that the broker does not know yet."""
        assert self._carrier is not None
        self._pulse.look(self._carrier.look(), now)
        self._carrier = None
        return self._pulse.newer_than(self._told)


class Attendance:
    """All attachments of one door."""

    def __init__(
        self, gateway: Gateway, limits: Limits, background: Tasks, load: Callable[[], Load]
    ) -> None:
        """`load` is how much the door carries at the moment of a report."""
        self.door = new_id()
        self._load = load
        self._gateway = gateway
        self._limits = limits
        self._background = background
        self._here: set[Visit] = set()
        self._loop = Tasks()
        self._running = False
        self._failing = False
        self._hurry = asyncio.Event()
        """Somebody left who did something."""
        self._afresh = asyncio.Event()
        """The broker knows nothing."""
        self._quiet = asyncio.Event()
        """No report is under way."""
        self._quiet.set()

    def start(self) -> None:
        """Report from now on."""
        self._running = True
        self._loop.start(self._run(), name="attendance")

    async def close(self) -> None:
        """Report no more; who leaves from now on is told of without one."""
        self._running = False
        await self._loop.close()
        for visit in [visit for visit in self._here if visit.left]:
            self._settle(visit)

    def enter(self, attachment: Attachment, carrier: Carrier) -> Visit:
        """A client is in a session."""
        visit = Visit(attachment, carrier, self._limits.activity_bytes, _now())
        self._here.add(visit)
        visit.attached = self._background.start(self._tell_attached(attachment), name="attached")
        return visit

    def leave(self, visit: Visit) -> None:
        """It left. What it did since the last report is reported before the broker hears so: a
        copy of one file is often all that a connection is for.
        """
        if visit.leave(_now()) and self._running:
            self._hurry.set()
        else:
            self._settle(visit)
        self._background.start(self._tell_detached(visit), name="detached")

    def report_now(self) -> None:
        """Tell all at once: the broker that is there now may know nothing of it."""
        self._afresh.set()
        self._hurry.set()

    def _settle(self, visit: Visit) -> None:
        self._here.discard(visit)
        visit.settled.set()

    async def _tell_attached(self, attachment: Attachment) -> None:
        try:
            await self._gateway.attached(self.door, attachment)
        except DeskError as error:
            _unavailable(attachment, error)

    async def _tell_detached(self, visit: Visit) -> None:
        """Never before the broker was told of the attachment, nor while a report names it."""
        assert visit.attached is not None
        await visit.attached
        await visit.settled.wait()
        await self._quiet.wait()
        try:
            await self._gateway.detached(self.door, visit.attachment.id)
        except DeskError as error:
            _unavailable(visit.attachment, error)

    # ----------------------------------------------------------------------------------- reports

    async def _run(self) -> None:
        while True:
            await self._next()
            await self._report()

    async def _next(self) -> None:
        """The moment of the next report: soon when somebody waits to have left."""
        gap = self._limits.report_gap
        await _either(self._afresh, gap)
        await _either(self._hurry, self._limits.report_every - gap)
        self._afresh.clear()
        self._hurry.clear()

    async def _report(self) -> None:
        now = _now()
        visits = list(self._here)
        leaving = [visit for visit in visits if visit.left]
        activities = [visit.activity(now) for visit in visits]
        self._quiet.clear()
        try:
            await self._gateway.report(self.door, activities)
            await self._gateway.carries(self.door, self._load())
        except DeskError as error:
            self._failed(code=error.code, problem=str(error))
        except Exception as error:  # noqa: BLE001 - a loop that ended would put desktops to sleep
            self._failed(exc_info=error)
        else:
            self._failing = False
            for visit in visits:
                visit.told(now)
        finally:
            self._quiet.set()
            for visit in leaving:
                self._settle(visit)

    def _failed(self, **problem: object) -> None:
        """Once for each time that the broker does not listen."""
        if not self._failing:
            log.warning("activity untold", door=self.door, **problem)
        self._failing = True


def _unavailable(attachment: Attachment, error: DeskError) -> None:
    log.warning(
        "gateway unavailable",
        attachment=attachment.id,
        session=attachment.session_id,
        user=attachment.user,
        code=error.code,
        problem=str(error),
    )


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until one of the two."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
