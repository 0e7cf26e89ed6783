"""Who is in which session now, as the doors tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CapacityExhausted
from broker.core.idle import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.gateway import Activity, Attachment, Load
    from broker.core.interfaces import Clock

log = structlog.get_logger()

#: Seconds without a word of a door after which its clients are taken for gone with it.
DOOR_SILENCE = 60.0

#: Seconds for which somebody who is told of is new: who was there already when the broker began is
#: not.
LATELY = 10.0

#: What an attachment is for that is a browser's, of somebody who signed in there.
_BROWSER = "browser"

#: Attachments that one door may have: more than it has connections.
ATTACHMENTS = 16_384


@dataclass(slots=True)
class Present:
    """An attachment; times are monotonic."""

    attachment: Attachment
    since: float
    kinds: tuple[str, ...] = ()
    last_input: float | None = None
    """When its client last did something that counts."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one door."""

    door: str
    heard: float
    """When it last said something, in monotonic time."""
    load: Load | None
    """As it told last."""
    attachments: int


@dataclass(slots=True)
class _Door:
    heard: float
    present: dict[str, Present] = field(default_factory=dict)
    load: Load | None = None
    """As it told last."""


class Presence:
    """The attachments of all doors. Each door tells its own whole every few seconds, so that one
    is counted once, and nobody is lost, whatever happened to a message or to this process.
    """

    def __init__(
        self,
        clock: Clock,
        saw: Callable[[str, Signal, float], None],
        *,
        came: Callable[[], None] = lambda: None,
        did: Callable[[Load, Load], None] = lambda _before, _now: None,
    ) -> None:
        """`saw` is told of each sign of life: session, signal and its age in seconds. `came` is
        called for each attachment that is new, and `did` gets two loads that a door told one after the other:
        what it did before the first belongs to a broker that was before this one.
        """
        self._clock = clock
        self._saw = saw
        self._came, self._did = came, did
        self._doors: dict[str, _Door] = {}
        self._unheard: float | None = None

    def attached(self, door: str, attachment: Attachment, *, ago: float = 0.0) -> None:
        """Telling one twice changes nothing. Raises `CapacityExhausted`."""
        present = self._door(door).present
        if attachment.id not in present:
            if len(present) >= ATTACHMENTS:
                raise CapacityExhausted(f"the door has {ATTACHMENTS} attachments already")
            present[attachment.id] = Present(attachment, self._clock.monotonic() - ago)
            if ago < LATELY:
                self._came()
            self._saw(attachment.session_id, Signal.ARRIVED, ago)

    def detached(self, door: str, attachment_id: str) -> None:
        self._door(door).present.pop(attachment_id, None)

    def report(self, door: str, activities: Sequence[Activity]) -> None:
        """All of a door: what is not named has left. Raises `CapacityExhausted`."""
        now = self._clock.monotonic()
        present = self._door(door).present
        named = {activity.attachment.id for activity in activities}
        for gone in present.keys() - named:
            del present[gone]
        for activity in activities:
            self.attached(door, activity.attachment, ago=activity.attached_for)
            one = present[activity.attachment.id]
            one.kinds = activity.kinds
            if activity.ages:
                one.last_input = now - min(activity.ages.values())
            for signal, age in activity.ages.items():
                self._saw(activity.attachment.session_id, signal, age)

    def gone(self, door: str) -> None:
        """The door is no more, and all of its clients with it."""
        self._doors.pop(door, None)

    def unheard(self) -> None:
        """There is a door that cannot be understood."""
        if self.complete:
            log.warning("a door cannot be understood; while it is there, nobody counts as away")
        self._unheard = self._clock.monotonic()

    @property
    def complete(self) -> bool:
        """Whether all are known that are attached: no door is there that cannot be understood."""
        now = self._clock.monotonic()
        return self._unheard is None or now - self._unheard > DOOR_SILENCE

    def carries(self, door: str, load: Load) -> None:
        known = self._door(door)
        self._did(known.load or load, load)
        known.load = load

    @property
    def doors(self) -> int:
        """Those that are heard."""
        return len(self._doors)

    def loads(self) -> list[Load]:
        """Of each door that told."""
        return [door.load for door in self._doors.values() if door.load is not None]

    def told(self) -> list[Told]:
        """Of each door that is heard, by name."""
        return [
            Told(name, door.heard, door.load, len(door.present))
            for name, door in sorted(self._doors.items())
        ]

    def channels(self) -> Counter[str]:
        """Attachments by what they have open; one with several counts for each."""
        present = (one for door in self._doors.values() for one in door.present.values())
        return Counter(kind for one in present for kind in one.kinds or ("none",))

    def _door(self, door: str) -> _Door:
        now = self._clock.monotonic()
        found = self._doors.setdefault(door, _Door(now))
        found.heard = now
        return found

    def expire(self) -> None:
        """Forget doors that say nothing any more."""
        silent = self._clock.monotonic() - DOOR_SILENCE
        for name in [name for name, door in self._doors.items() if door.heard < silent]:
            del self._doors[name]

    def in_browsers(self) -> set[str]:
        """The names of those who are in a desktop by a browser."""
        return {one.attachment.user for one in self.everybody() if _BROWSER in one.kinds}

    def everybody(self) -> list[Present]:
        """The longest there first."""
        found = [one for door in self._doors.values() for one in door.present.values()]
        return sorted(found, key=lambda one: one.since)

    def of(self, session_id: str) -> list[Present]:
        return [one for one in self.everybody() if one.attachment.session_id == session_id]

    def anybody(self, session_id: str) -> bool:
        """Whether somebody is in that session."""
        doors = self._doors.values()
        return any(
            one.attachment.session_id == session_id
            for door in doors
            for one in door.present.values()
        )

    def counts(self) -> Counter[str]:
        """Attachments by session id."""
        doors = self._doors.values()
        return Counter(one.attachment.session_id for door in doors for one in door.present.values())
