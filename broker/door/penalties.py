"""For how long a source is turned away for what it did: OpenSSH's PerSourcePenalties, adapted.

Each offence has a price in seconds. Prices of a source add up while time pays them off, second by
second; nothing comes of them below a minimum, and no more than a maximum. Whoever is above the
minimum once is turned away until all is paid.

Many people can be behind one address. So what one misses now and then never adds up (one failure
every three seconds is paid off before the next), and where somebody has proven who they are within
the last hour, an offence counts a tenth and nobody is turned away for longer than the minimum: one
bad machine beside them must fail more than three times a second to have the others wait, for a
quarter of a minute at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.gateway import Offence
from broker.door.source import Source

if TYPE_CHECKING:
    from broker.door.limits import Limits

#: For how long, and for how many sources, it counts that somebody there proved who they are.
_TRUST, _TRUSTED = 3600.0, 4096

#: What an offence counts there.
_TRUSTED_SHARE = 0.1

#: Of the sources that are remembered, the part that is forgotten when there are too many.
_FORGOTTEN = 8

#: Seconds between two looks for those that owe nothing any more, where none else is forgotten.
_CLEAR_EVERY = 1.0


@dataclass(slots=True)
class _Record:
    until: float
    """When all is paid."""
    active: bool
    """Whether the source is turned away until then."""


class Penalties:
    """What sources owe. Times are of any clock that only goes forward, the same in each call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._prices = {offence: getattr(limits, f"penalty_{offence}") for offence in Offence}
        self._exempt = [Source.read(text) for text in limits.penalty_exempt]
        self._records: dict[int, dict[Source, _Record]] = {4: {}, 6: {}}
        self._cleared = dict.fromkeys(self._records, float("-inf"))
        """When all that were paid up were last forgotten for want of room."""
        self._trusted: OrderedDict[Source, float] = OrderedDict()

    def refuses(self, source: Source, now: float) -> bool:
        """Whether it is to be turned away."""
        records = self._records[source.version]
        record = records.get(source)
        if record is None:
            return len(records) >= self._limits.penalty_sources and self._shut(source, now)
        if record.until <= now:
            del records[source]
            return False
        return record.active

    def offend(self, source: Source, offence: Offence, now: float) -> float:
        """Write it down. The seconds for which the source is turned away when that begins with
        this or becomes longer, else 0.
        """
        if self._is_exempt(source):
            return 0.0
        price, most = self._prices[offence], self._limits.penalty_max
        if self._trusts(source, now):
            price, most = price * _TRUSTED_SHARE, min(most, self._limits.penalty_min)
        record = self._record(source, now)
        if record is None:
            return 0.0
        record.until = max(record.until, min(max(record.until, now) + price, now + most))
        owed = record.until - now
        if owed < self._limits.penalty_min and not record.active:
            return 0.0
        record.active = True
        return owed

    def impose(self, source: Source, seconds: float, now: float) -> None:
        """Turn it away for as long, as another door does."""
        if self._is_exempt(source) or seconds <= 0:
            return
        record = self._record(source, now)
        if record is not None:
            trusted = self._trusts(source, now)
            most = self._limits.penalty_min if trusted else self._limits.penalty_max
            owed = min(seconds, most)
            record.until, record.active = max(record.until, now + owed), True

    def prove(self, source: Source, now: float) -> None:
        """Somebody there has proven who they are."""
        self._trusted[source] = now
        self._trusted.move_to_end(source)
        if len(self._trusted) > _TRUSTED:
            self._trusted.popitem(last=False)
        record = self._records[source.version].get(source)
        if record is not None:
            record.until = min(record.until, now + self._limits.penalty_min)

    def _trusts(self, source: Source, now: float) -> bool:
        since = self._trusted.get(source)
        return since is not None and now - since < _TRUST

    def _is_exempt(self, source: Source) -> bool:
        return not self._limits.penalties or any(map(source.overlaps, self._exempt))

    def _record(self, source: Source, now: float) -> _Record | None:
        """The source's own, paid up or made where that is so; None when there is no room."""
        records = self._records[source.version]
        record = records.get(source)
        if record is not None:
            if record.until <= now:
                record.until, record.active = now, False
            return record
        if len(records) >= self._limits.penalty_sources:
            self._make_room(source.version, now)
            if len(records) >= self._limits.penalty_sources:
                return None
        records[source] = made = _Record(now, active=False)
        return made

    def _make_room(self, version: int, now: float) -> None:
        records = self._records[version]
        permissive = self._limits.penalty_overflow == "permissive"
        if not permissive and now - self._cleared[version] < _CLEAR_EVERY:
            return
        self._cleared[version] = now
        soonest = sorted(records, key=lambda source: records[source].until)
        gone = sum(record.until <= now for record in records.values())
        if permissive:
            gone = max(gone, len(records) // _FORGOTTEN, 1)
        for source in soonest[:gone]:
            del records[source]

    def _shut(self, source: Source, now: float) -> bool:
        """Whether nobody new is let in because too many others are remembered."""
        if (
            self._limits.penalty_overflow == "permissive"
            or self._is_exempt(source)
            or self._trusts(source, now)
        ):
            return False
        self._make_room(source.version, now)
        return len(self._records[source.version]) >= self._limits.penalty_sources
