"""Front doors that systemd keeps, replaced by their successors: who comes meets the new ones, and who is
there stays with the old ones until they leave.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The unit that wants as many doors as there are to be, and their names.
WANTING, DOORS = "desk-doors.service", "desk-door@{}.service"

#: What a door says of itself once another has taken its place begins with this.
_DRAINING = "Drains"

#: Doors that were replaced and still carry connections; beyond that the oldest are sent home.
_MOST_DRAINING = 32


class _Failed(Exception):
    """systemctl said no, and why."""


@dataclass(frozen=True, slots=True)
class _Door:
    unit: str
    state: str
    draining: bool
    since: int

    @property
    def there(self) -> bool:
        return self.state not in {"inactive", "failed"}


def roll(systemctl: Sequence[str] = ("systemctl",)) -> int:
    """Replace every door that runs, as many as `WANTING` wants; none runs, none is started. Returns
    the exit status: not 0 when a new one did not start, and then the old ones stay.
    """
    try:
        _roll(systemctl)
    except _Failed as failed:
        sys.stderr.write(f"The front doors were not replaced: {failed}\n")
        return 1
    return 0


def _roll(systemctl: Sequence[str]) -> None:
    before = [door for door in _doors(systemctl) if door.there]
    old = [door for door in before if not door.draining]
    if not old:
        return
    wanted = [unit for unit in _wanted(systemctl) if _is_door(unit)]
    taken = {door.unit for door in before}
    free = (unit for number in count(1) if (unit := DOORS.format(number)) not in taken)
    for unit in [next(free) for _ in range(max(1, len(wanted)))]:
        try:
            _run(systemctl, "start", unit)
        except _Failed:
            _run(systemctl, "stop", unit)
            raise
    for door in old:
        if door.state == "active":
            _run(systemctl, "kill", "--signal=SIGUSR1", door.unit)
        else:
            _run(systemctl, "stop", door.unit)
    draining = sorted((door for door in before if door.draining), key=lambda door: door.since)
    crowd = len(draining) + len(old) - _MOST_DRAINING
    for door in draining[: max(0, crowd)]:
        _run(systemctl, "stop", "--no-block", door.unit)


def _wanted(systemctl: Sequence[str]) -> list[str]:
    return _run(systemctl, "show", "--property=Wants", "--value", WANTING).split()


def _is_door(unit: str) -> bool:
    head, tail = DOORS.split("{}")
    return unit.startswith(head) and unit.endswith(tail)


def _doors(systemctl: Sequence[str]) -> Iterator[_Door]:
    properties = "Id,ActiveState,StatusText,ActiveEnterTimestampMonotonic"
    told = _run(systemctl, "show", f"--property={properties}", DOORS.format("*"))
    for block in told.split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if facts:
            yield _Door(
                unit=facts["Id"],
                state=facts["ActiveState"],
                draining=facts.get("StatusText", "").startswith(_DRAINING),
                since=int(facts.get("ActiveEnterTimestampMonotonic") or 0),
            )


def _run(systemctl: Sequence[str], *words: str) -> str:
    done = subprocess.run([*systemctl, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[0]
        raise _Failed(f"'systemctl {' '.join(words)}' failed: {said}")
    return done.stdout
