"""A door and the real authentication behind it, each in a process of its own, that tell how long
their loops were held: `python -m tests.ssh.flooded KEY` lets in whoever has that public key, as ada.

It prints the door's port; each line that it reads ends a measurement and begins another, and its
figures are printed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncssh

from broker import telemetry
from broker.door.app import Door
from broker.door.gateway import RemoteGateway
from broker.door.limits import Limits
from broker.system.peer import child_of
from tests.contract.gateways import Pair
from tests.scratch import new_directory
from tests.service.harness import World

#: Seconds between two looks at the clocks.
TICK = 0.002


class Meter:
    """How late the loop comes, and how much of the processor it took in one go: the first counts
    what else runs on the machine, the second does not.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.held = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began, cpu = loop.time(), time.thread_time()
            await asyncio.sleep(TICK)
            self.late.append(loop.time() - began - TICK)
            self.held = max(self.held, time.thread_time() - cpu)

    async def tell(self, **more) -> None:
        """Whenever it is asked, until nobody can ask any more."""
        gc.collect()
        gc.freeze()  # as doors and brokers do once they stand
        running = asyncio.get_running_loop().create_task(self.run())
        while await asyncio.to_thread(sys.stdin.readline):
            late = sorted(self.late)
            found = {"late": late[-1], "late, 99 of 100": late[len(late) * 99 // 100]}
            found |= {"held": self.held} | {name: measure() for name, measure in more.items()}
            print(json.dumps(found), flush=True)
            self.late, self.held = [], 0.0
        running.cancel()


async def door(socket: str) -> None:
    gateway = RemoteGateway(Path(socket), wait=20.0)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    made = Door(gateway, host_key, limits=Limits(silence=20.0))
    speaking = asyncio.get_running_loop().create_task(gateway.run(made))
    await made.start()
    print(made.port, flush=True)
    await Meter().tell()
    await made.close(0.5)
    speaking.cancel()


async def broker(key: str) -> None:
    world = await World.create(new_directory())
    made = await world.broker()
    await made.accounts.add_user("ada", admin=False, keys=[key], actor="uid:0")
    await made.accounts.set_password("ada", "correct horse battery", actor="uid:0")
    checked = []
    check = made.passwords._check
    made.passwords._check = lambda *args: checked.append(0) or check(*args)
    pair = Pair(world.directory, made.gateway)
    await pair.open(door_of=child_of(os.getpid()))
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.ssh.flooded", "--door", str(pair.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = await asyncio.to_thread(other.stdout.readline)
    assert port, "the door did not open"
    print(port, end="", flush=True)

    def asked() -> dict[str, float]:
        other.stdin.write("\n")
        other.stdin.flush()
        return json.loads(other.stdout.readline())

    def so_far() -> int:
        count = len(checked)
        checked.clear()
        return count

    await Meter().tell(door=asked, checked=so_far)
    await asyncio.to_thread(other.communicate)
    await pair.shut()
    await pair.close()
    await world.close()
    shutil.rmtree(world.directory)


if __name__ == "__main__":
    telemetry.configure("json")
    asyncio.run(door(sys.argv[2]) if sys.argv[1] == "--door" else broker(sys.argv[1]))
