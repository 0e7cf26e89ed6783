"""How many HTTP connections may be open, and how often something may come, from one source and in all."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from broker.core.bucket import Bucket

if TYPE_CHECKING:
    from broker.door.source import Source
    from broker.door.websettings import WebSettings

#: Sources that are remembered, and what each may have at once, in seconds of its rate.
_REMEMBERED, _BURST = 4096, 2


class Pace:
    """So many in a second. Times are of any clock that only goes forward, the same in each call."""

    def __init__(self, rate: float, each: float, now: float) -> None:
        """`each` is the rate of one source."""
        self._each = each
        self._all = Bucket(_BURST * rate, rate, now)
        self._by_source: OrderedDict[Source, Bucket] = OrderedDict()

    def pause(self, source: Source | None, now: float) -> float:
        """One more comes: seconds until it is its turn. None stands for many, and counts in all
        alone.
        """
        pause = self._all.owe(1, now)
        return pause if source is None else max(pause, self._bucket(source, now).owe(1, now))

    def _bucket(self, source: Source, now: float) -> Bucket:
        if source not in self._by_source:
            self._by_source[source] = Bucket(_BURST * self._each, self._each, now)
            if len(self._by_source) > _REMEMBERED:
                self._by_source.popitem(last=False)
        self._by_source.move_to_end(source)
        return self._by_source[source]


class Crowd:
    """The connections of one door."""

    def __init__(self, settings: WebSettings, now: float) -> None:
        self._most = settings.connections
        self._each = settings.connections_per_address
        self._open: Counter[Source] = Counter()
        self._arrivals = Pace(settings.arrivals, settings.arrivals_per_address, now)

    @property
    def size(self) -> int:
        return self._open.total()

    def enter(self, source: Source, now: float, *, is_proxy: bool) -> float | None:
        """Seconds until it is its turn; None when it cannot come. A proxy stands for many, and so
        its connections count in all alone.
        """
        if self.size >= self._most or (not is_proxy and self._open[source] >= self._each):
            return None
        self._open[source] += 1
        return self._arrivals.pause(None if is_proxy else source, now)

    def leave(self, source: Source) -> None:
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]
