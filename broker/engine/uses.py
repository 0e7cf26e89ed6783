"""What containers use, read from the kernel: the engine is asked where each of them is, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.interfaces import Usage
from broker.engine.cgroups import cpu_seconds, memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: The engine's id of a container, and its first process.
    Place = tuple[str, int]

#: Containers of which the engine is asked where they are in one call: what is left is asked for
#: by the next one, and nobody waits for a thousand answers.
ASKED = 32

#: Places that are remembered: more than a host has desktops.
_MOST = 4096


class Uses:
    """Blocking. `find` asks the engine where a container is; None when it does not run."""

    def __init__(self, find: Callable[[str], Place | None]) -> None:
        self._find = find
        self._places: dict[str, Place] = {}

    def of(self, names: Sequence[str]) -> dict[str, Usage]:
        """As `Engine.usage`."""
        if len(self._places) > _MOST:
            self._places = {name: self._places[name] for name in names if name in self._places}
        found, asked = {}, 0
        for name in names:
            usage = self._read(name)
            if usage is None and asked < ASKED:
                asked += 1
                place = self._find(name)
                if place is not None:
                    self._places[name] = place
                    usage = self._read(name)
            if usage is not None:
                found[name] = usage
        return found

    def _read(self, name: str) -> Usage | None:
        """None for one that ended: its process is gone, or is another container's by now."""
        place = self._places.get(name)
        if place is None:
            return None
        cpu, memory = cpu_seconds(*place), memory_bytes(*place)
        return None if cpu is None or memory is None else Usage(cpu=cpu, memory=memory)
