"""What a connection that is attached and does nothing holds of the door's memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

from bench import doors
from bench.figures import Bar, Measure
from bench.peers import Unavailable

if TYPE_CHECKING:
    from bench.stage import Stage
    from tests.ssh.clients import Person

ROUNDS = 1

#: Connections before the first look, and those that are counted.
_BEFORE, _COUNTED = 20, 200
_AT_A_TIME = 8
_KIB = 1024


def run(stage: Stage, rounds: int) -> list[Measure]:
    del rounds
    title = f"memory of the door for an idle attached connection, {_COUNTED} of them"
    measure = Measure("memory", title, "KiB", {}, [Bar("desk", 64)])
    try:
        people, pid = stage.people, stage.door.process.pid
    except Unavailable as why:
        measure.notes.append(str(why))
        return [measure]
    measure.samples = {"desk": [asyncio.run(_slope(people, pid))]}
    return [measure]


async def _slope(people: list[Person], pid: int) -> float:
    keys = [await asyncio.to_thread(asyncssh.read_private_key, p.key_file) for p in people]
    options = {"known_hosts": None, "config": None, "username": "desk", "agent_path": None}
    options |= {"encryption_algs": ["aes128-gcm@openssh.com"], "compression_algs": None}
    connections: list[asyncssh.SSHClientConnection] = []

    async def attach(number: int) -> None:
        key = keys[number % len(keys)]
        connection = await asyncssh.connect(
            "127.0.0.1", people[0].door.port, client_keys=[key], **options
        )
        connections.append(connection)
        process = await connection.create_process("echo; exec sleep 600")
        await process.stdout.readline()

    async def grow(to: int) -> int:
        while len(connections) < to:
            many = min(_AT_A_TIME, to - len(connections))
            await asyncio.gather(*(attach(len(connections) + n) for n in range(many)))
        await asyncio.sleep(1)  # the next spares are made meanwhile
        return doors.memory(pid)

    try:
        before = await grow(_BEFORE)
        after = await grow(_BEFORE + _COUNTED)
    finally:
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(c.wait_closed() for c in connections), return_exceptions=True)
    return (after - before) / _COUNTED / _KIB
