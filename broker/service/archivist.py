"""Packs the homes of desktops that nobody used for long, and fetches them back for a start.

The order of the steps is what keeps homes: a volume goes once a proven file is on the disk and the
record says so; a file goes once the record has said for a while that the volume is back.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog

from broker.core.errors import Conflict, DeskError, EngineUnavailable, NotFound
from broker.core.spec import home_volume
from broker.core.words import spoken_size
from broker.service.archives import NoRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Desktop, DesktopId, HomeArchive
    from broker.service.archives import Archives, Packed, Packing

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds for which this process itself must have seen a home due. The records' time is that of a
#: wall clock, and one that was set forward makes all of them old at once.
GRACE = 3600.0

#: Seconds before a home is tried again that could not be packed, and before any is when the disk
#: had no room.
_AGAIN, _NO_ROOM = 6 * 3600.0, 3600.0

#: Seconds for which a file outlives the return of its home: by then a host that loses its power
#: has the volume on its disk.
_SETTLED = 300.0

#: Homes that one pass looks at.
_MANY = 1000

#: Seconds between two signs of life while a home is packed.
_BEAT_EVERY = 20.0

#: Of a home that is fetched: seconds that it may take in any case, and bytes in each further one.
_AT_LEAST, _PER_SECOND = 120.0, 4 << 20

_BROKER = "broker"


@dataclass(slots=True, eq=False)
class _Work:
    """The one desktop that the archivist is at."""

    desktop_id: DesktopId
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody wants it: what can be given up is."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Archivist:
    """One home at a time, and none that somebody wants."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        archives: Archives,
        clock: Clock,
        after: float | None,
        image: str,
    ) -> None:
        """`after` is in seconds, None for never: then nothing is packed, and what was packed before
        is fetched and tidied up all the same. `image` has to be on the engine, nothing more.
        """
        self._store = store
        self._engine = engine
        self._archives = archives
        self._clock = clock
        self._after = after
        self._image = image
        self._work: _Work | None = None
        self._passing = asyncio.Lock()
        self._due_since: dict[DesktopId, float] = {}
        self._not_before: dict[DesktopId, float] = {}
        self._no_room_until = 0.0
        self._back_since: dict[DesktopId, float] = {}

    # -------------------------------------------------------------------------------- for starts

    async def give_way(self, desktop_id: DesktopId) -> None:
        """Somebody wants the desktop: return once nothing of it is packed any more. What is past
        the point of return is brought to its end. The caller has the desktop's live session, or
        takes the desktop away.
        """
        work = self._work
        if work is not None and work.desktop_id == desktop_id:
            work.wanted.set()
            await work.over.wait()

    def allowance(self, archive: HomeArchive) -> float:
        """Seconds that fetching it may take."""
        return _AT_LEAST + archive.unpacked / _PER_SECOND

    async def fetch(self, desktop: Desktop, *, image: str) -> None:
        """Bring the home of a packed desktop back. Repeated, it begins afresh. Raises `HomeMissing`
        when the file is gone or damaged, and then touches nothing; `DeskError`.
        """
        if desktop.archive is None:
            return
        began = self._clock.monotonic()
        await asyncio.to_thread(self._archives.check, desktop.id, desktop.archive)
        await self._engine.import_home(
            home_volume(desktop.id),
            desktop_id=desktop.id,
            image=image,
            source=self._archives.unpack(desktop.id),
        )
        await self._store.note_restored(desktop.id, actor=_BROKER)
        took = round(self._clock.monotonic() - began, 3)
        log.info("home fetched", desktop=desktop.id, bytes=desktop.archive.unpacked, took=took)

    async def forget(self, desktop_id: DesktopId) -> None:
        """Delete its file for good; gone already is success. The caller has told the audit."""
        await asyncio.to_thread(self._archives.remove, desktop_id)

    # ---------------------------------------------------------------------------------- the pass

    def rebound(self, after: float | None) -> None:
        """Pack homes after so many seconds from now on."""
        self._after = after

    async def pass_once(self, beat: Callable[[], None] = lambda: None) -> None:
        """Tidy up, then pack what is due, one after the other, with a `beat` now and then. A home
        that cannot be packed is told, kept, and tried again later. Raises `DeskError`.
        """
        async with self._passing:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(self._beat(beat))
                outcome = await _caught(self._pass())
                beating.cancel()
            if outcome is not None:
                raise outcome

    async def _beat(self, beat: Callable[[], None]) -> None:
        while True:
            beat()
            await self._clock.sleep(_BEAT_EVERY)

    async def _pass(self) -> None:
        await self._tidy()
        ripe = await self._ripe()
        image = await self._engine.image_id(self._image) if ripe else ""
        for desktop in ripe:
            if self._clock.monotonic() < self._no_room_until:
                return
            await self._archive(desktop, image)

    async def _ripe(self) -> list[Desktop]:
        """What is due by its record, and has been before this process's eyes for long enough."""
        if self._after is None:
            return []
        since = self._clock.now() - timedelta(seconds=self._after)
        due = await self._store.unused_desktops(since, limit=_MANY)
        now, grace = self._clock.monotonic(), min(self._after, GRACE)
        self._due_since = {d.id: self._due_since.get(d.id, now) for d in due}
        self._not_before = {d: at for d, at in self._not_before.items() if at > now}
        return [
            d for d in due if now - self._due_since[d.id] >= grace and d.id not in self._not_before
        ]

    async def _archive(self, desktop: Desktop, image: str) -> None:
        with self._at(desktop.id) as work:
            try:
                await self._pack(desktop, image, work)
            except DeskError as error:
                if isinstance(error, EngineUnavailable):
                    await self._engine.ping()  # an outage is nothing that is wrong with this home
                now = self._clock.monotonic()
                self._not_before[desktop.id] = now + _AGAIN
                if isinstance(error, NoRoom):
                    self._no_room_until = now + _NO_ROOM
                log.warning(
                    "home not archived", desktop=desktop.id, code=error.code, reason=str(error)
                )

    async def _pack(self, desktop: Desktop, image: str, work: _Work) -> None:
        if await self._store.live_session(desktop.id) is not None:
            return
        began = self._clock.monotonic()
        packing = await asyncio.to_thread(self._archives.begin, desktop.id)
        try:
            packed = await self._unless_wanted(work, self._written(desktop, image, packing))
            if packed is None or work.wanted.is_set():
                log.info("archiving given up: somebody wants it", desktop=desktop.id)
                return
            # From here on nothing is given up: a start waits for the little that is left.
            await asyncio.to_thread(self._archives.commit, desktop.id)
        finally:
            await asyncio.to_thread(packing.give_up)
        await self._record(desktop, packed)
        try:
            await self._engine.remove_home(home_volume(desktop.id))
        except DeskError as error:
            log.warning("volume left for the next pass", desktop=desktop.id, reason=str(error))
        log.info(
            "home archived",
            desktop=desktop.id,
            members=packed.members,
            unpacked=spoken_size(packed.unpacked),
            size=spoken_size(packed.size),
            took=round(self._clock.monotonic() - began, 3),
        )

    async def _record(self, desktop: Desktop, packed: Packed) -> None:
        try:
            await self._store.note_archived(
                desktop.id,
                size=packed.size,
                unpacked=packed.unpacked,
                sha256=packed.sha256,
                actor=_BROKER,
            )
        except (Conflict, NotFound):  # it was started or deleted at the last moment
            await asyncio.to_thread(self._archives.remove, desktop.id)
            raise

    async def _written(self, desktop: Desktop, image: str, packing: Packing) -> Packed:
        await self._engine.export_home(home_volume(desktop.id), image=image, sink=packing.write)
        return await asyncio.to_thread(packing.seal)

    async def _unless_wanted(self, work: _Work, doing: Coroutine[object, object, T]) -> T | None:
        """What comes of it; None when somebody wants the desktop first."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_tried(doing))
            wanted = group.create_task(work.wanted.wait())
            done, _ = await asyncio.wait({task, wanted}, return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            wanted.cancel()
        if task not in done:
            return None
        outcome = task.result()
        if isinstance(outcome, DeskError):
            raise outcome
        return outcome

    # -------------------------------------------------------------------------------- what is left

    async def _tidy(self) -> None:
        """Carry on what a crash or an engine that was away cut off."""
        await asyncio.to_thread(self._archives.sweep)
        homes = set(await self._engine.homes())
        archived = {desktop.id: desktop for desktop in await self._store.archived_desktops()}
        for desktop in archived.values():
            if home_volume(desktop.id) in homes:
                await self._drop_volume(desktop)
        files = await asyncio.to_thread(self._archives.existing)
        await self._drop_files([d for d in files if d not in archived], homes)

    async def _drop_volume(self, desktop: Desktop) -> None:
        """Of a home that is packed: it is whole but unused, or was unpacked half-way."""
        with self._at(desktop.id):
            current = await self._store.desktop(desktop.id)
            live = await self._store.live_session(desktop.id)
            if live is not None or current is None or current.archive is None:
                return
            try:
                await asyncio.to_thread(self._archives.check, desktop.id, current.archive)
                await self._engine.remove_home(home_volume(desktop.id))
            except DeskError as error:
                # A volume may be the last copy of a home whose file is gone.
                log.warning(
                    "volume of an archived home is kept", desktop=desktop.id, reason=str(error)
                )
            else:
                log.info("volume of an archived home removed", desktop=desktop.id)

    async def _drop_files(self, desktops: Sequence[DesktopId], homes: set[str]) -> None:
        """Of homes that are back. One whose home is not here may be its last copy, as after an old
        backup of the database: it stays.
        """
        now = self._clock.monotonic()
        back = [d for d in desktops if home_volume(d) in homes]
        self._back_since = {d: self._back_since.get(d, now) for d in back}
        for desktop_id, since in self._back_since.items():
            current = await self._store.desktop(desktop_id)
            if now - since >= _SETTLED and current is not None and current.archive is None:
                await asyncio.to_thread(self._archives.remove, desktop_id)
                log.info("archive of a fetched home deleted", desktop=desktop_id)

    @contextmanager
    def _at(self, desktop_id: DesktopId) -> Iterator[_Work]:
        """Be at this desktop: a start of it waits, and one that came first has its session."""
        work = self._work = _Work(desktop_id)
        try:
            yield work
        finally:
            self._work = None
            work.over.set()


async def _tried(doing: Coroutine[object, object, T]) -> T | DeskError:
    """An error of ours as a value: a raising task would turn the group's into an exception group."""
    try:
        return await doing
    except DeskError as error:
        return error


async def _caught(doing: Coroutine[object, object, None]) -> Exception | None:
    """Whatever it raises, for after the group."""
    try:
        await doing
    except Exception as error:  # noqa: BLE001 - raised again
        return error
    return None
