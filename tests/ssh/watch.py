"""A door under attack, watched: what it costs in memory, and what it costs the others."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .clients import DoorProcess, Person

GROWTH = 8 << 20
SLOWEST = 1.0


_OTHERS = """\
login() {
    begin=${EPOCHREALTIME/./}
    "${@:2}" < /dev/null
    echo $1 $? $((${EPOCHREALTIME/./} - begin))
}
for _ in $(seq 1000); do
    login door ssh -F "$1" desk true
    login beside ssh -F "$2" inner true
    if [ -e "$0" ] && [ $((count += 1)) -ge 3 ]; then exit; fi
done
"""
"""Logins one after the other, through the door and past it, until the file is there, and three
more; each with its status and its microseconds.
"""


class Watch:
    """A door under attack: its memory, and somebody else's logins."""

    def __init__(self, door: DoorProcess, attacker: Person, canary: Person) -> None:
        self.door = door
        self.attacker = attacker
        self.canary = canary
        self.peak = 0

    def warm(self) -> None:
        """Let every part of the door have run, so that what grows later grew by the attack."""
        data = bytes(4 << 20)
        for person in (self.canary, self.attacker):
            for _ in range(3):
                assert person.ssh("cat", stdin=data).out == data
        assert self.canary.ssh("desk big 1000000").status == 3

    @contextlib.asynccontextmanager
    async def attack(self, growth: int = GROWTH) -> AsyncIterator[None]:
        """Watch while the block runs: others' logins one after the other, and the memory."""
        before = self.peak = self.door.memory()
        over = self.canary.folder / "over"
        others = subprocess.Popen(
            ["bash", "-c", _OTHERS, str(over), str(self.canary.config), self.canary.beside()[2]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.canary.env,
        )
        watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            async with asyncio.timeout(60):
                yield
        finally:
            self.peak = max(self.peak, self.door.memory())
            watching.cancel()
            over.touch()
            told, _ = await asyncio.to_thread(others.communicate, timeout=60)
        self._judge(told)
        grown = self.peak - before
        assert grown <= growth, f"the door grew by {grown / 2**20:.1f} MiB"

    def _judge(self, told: str) -> None:
        """Nobody else waited for a second, unless logins past the door are slow as well."""
        slowest = {"door": 0.0, "beside": 0.0}
        for line in told.splitlines():
            way, status, took = line.split()
            assert status == "0", f"somebody else could not log in: {told}"
            slowest[way] = max(slowest[way], int(took) / 1e6)
        assert slowest["door"] <= max(SLOWEST, 2 * slowest["beside"]), f"logins took {slowest}"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.peak = max(self.peak, self.door.memory())
