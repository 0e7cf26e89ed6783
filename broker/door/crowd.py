"""How many HTTP connections may be open, and how many may come in a second."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from broker.core.bucket import Bucket

if TYPE_CHECKING:
    from broker.door.source import Source
    from broker.door.websettings import WebSettings

#: Sources whose arrivals are remembered, and what each may have at once beyond a second's.
_REMEMBERED, _BURST = 4096, 2


class Crowd:
    """Times are of any clock that only goes forward, the same in each call."""

    def __init__(self, settings: WebSettings, now: float) -> None:
        self._settings = settings
        self._open: Counter[Source] = Counter()
        self._count = 0
        self._arrivals = Bucket(_BURST * settings.arrivals, settings.arrivals, now)
        self._by_source: OrderedDict[Source, Bucket] = OrderedDict()

    def enter(self, source: Source, now: float, *, is_proxy: bool) -> float | None:
        """Seconds until it is its turn; None when it cannot come. A proxy stands for many, and so
        its connections count in all alone.
        """
        limits = self._settings
        if self._count >= limits.connections:
            return None
        pause = 0.0
        if not is_proxy:
            if self._open[source] >= limits.connections_per_address:
                return None
            pause = self._bucket(source, now).owe(1, now)
        self._open[source] += 1
        self._count += 1
        return max(pause, self._arrivals.owe(1, now))

    def leave(self, source: Source) -> None:
        self._count -= 1
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]

    def _bucket(self, source: Source, now: float) -> Bucket:
        if source not in self._by_source:
            rate = self._settings.arrivals_per_address
            self._by_source[source] = Bucket(_BURST * rate, rate, now)
            if len(self._by_source) > _REMEMBERED:
                self._by_source.popitem(last=False)
        self._by_source.move_to_end(source)
        return self._by_source[source]
