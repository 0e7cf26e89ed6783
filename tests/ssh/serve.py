"""The process that holds a door: told by JSON lines on stdin, answers by JSON lines on stdout."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from dataclasses import asdict
from typing import Any, TextIO

import asyncssh
from gateway import StaticGateway

from broker import telemetry
from broker.core.gateway import Penalty
from broker.door import feed
from broker.door.app import Door
from broker.door.limits import Limits


async def main(replies: TextIO) -> None:
    telemetry.configure("json")
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 20)
    stdin, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    spec = json.loads(await lines.readline())
    gateway = StaticGateway(spec["inner"])
    door = Door(
        gateway,
        host_key=asyncssh.import_private_key(spec["host_key"]),
        limits=Limits(**spec["limits"]),
        fast=spec["fast"],
    )
    await door.start("127.0.0.1", 0)
    _say(replies, {"port": door.port})
    while line := await lines.readline():
        _say(replies, _do(door, gateway, json.loads(line)))
    await door.close(0.5)
    stdin.close()
    await asyncio.sleep(0)


def _say(replies: TextIO, value: Any) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


def _do(door: Door, gateway: StaticGateway, order: dict[str, Any]) -> Any:
    match order.pop("do"):
        case "add":
            gateway.add(**order)
        case "plan":
            gateway.plan(**order)
        case "open":
            gateway.gate(order["gate"]).set()
        case "calls":
            return gateway.calls
        case "activity":
            return {"reports": gateway.reported, "now": gateway.present, "seen": gateway.seen}
        case "end_session":
            door.end_session(order["session"], order["sentence"], sleeps=order.get("sleeps", False))
        case "stats":
            return asdict(door.stats())
        case "penalise":
            door.penalise(Penalty(**order))
        case "settle":
            gc.collect()
    return None


with os.fdopen(os.dup(1), "w") as answers:
    os.dup2(2, 1)
    feed.run(main(answers))
