"""A flood of wrong passwords: the loop goes on, and others come in by their keys meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.ssh.guessers import flooded

#: Connections that guess at once, and for how many seconds.
GUESSERS, SECONDS = 40, 5.0

#: Seconds of the processor that the loop may be held in one go: what else the machine does is not
#: in it. `python -m bench --only guesses` tells how late the loop was.
HELD = 0.05


@pytest.mark.alone
async def test_a_flood_of_wrong_passwords_holds_nobody_up(tmp_path):
    with flooded(tmp_path) as door:
        await door.log_in()
        door.figures()
        over, logins = asyncio.Event(), 0
        flood = asyncio.get_running_loop().create_task(door.flood(GUESSERS, over))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await door.log_in()
            logins += 1
        found = door.figures() | {"logins": logins}
        over.set()
        found["guesses"] = await flood
        log = (tmp_path / "flooded.log").read_text()
    assert found["checked"] >= 10, "the flood did not take place"
    assert found["guesses"] > found["checked"], "who is too many is refused"
    assert max(found["held"], found["door"]["held"]) < HELD, found
    assert logins >= 2, found
    told = [line for line in log.splitlines() if '"user": "ada"' not in line]
    assert len(told) < 100, "what a door may cause in the log has a bound"
