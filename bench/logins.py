"""Logins in a second, eight at a time, and what one costs the door."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import doors
from bench.figures import Bar, Measure, interleaved
from bench.peers import Unavailable
from tests.ssh.clients import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.stage import Stage

ROUNDS = 3
_AT_A_TIME = 8
_SECONDS = 4.0

_HOST, _DESK, _INNER = "OpenSSH to a host's sshd", "desk", "desk, an sshd on the host"


def run(stage: Stage, rounds: int) -> list[Measure]:
    """Stock clients that say `true`; a door of its own process tells what of it is the door's."""
    person = stage.inside("logins")
    desk, host = stage.desk.ssh_command(person), stage.host_command
    cost: dict[str, list[float]] = {_DESK: [], _INNER: []}
    ways = {
        _HOST: lambda: _rate(host),
        _DESK: lambda: _priced(desk, lambda: doors.of(stage.desk), cost[_DESK]),
    }
    notes = []
    try:
        visitor, pid = stage.visitors[0], stage.door.process.pid
        ways[_INNER] = lambda: _priced(visitor, lambda: [pid], cost[_INNER])
    except Unavailable as why:
        notes.append(str(why))
    rates = interleaved(ways, rounds)
    count = len(doors.of(stage.desk))
    told = (
        "the desk's one door is in the broker's process: its figure holds the broker's work, too"
        if doors.of(stage.desk) == [stage.desk.process.pid]
        else f"the desk has {count} doors in processes of their own"
    )
    return [
        Measure(
            "logins",
            f"logins in a second, {_AT_A_TIME} at a time",
            "1/s",
            rates,
            [Bar(_DESK, 3, _HOST, least=True), Bar(_INNER, 3, _HOST, least=True)],
            notes,
        ),
        Measure(
            "logins",
            "processor of the door for a login",
            "ms",
            {name: values[1:] for name, values in cost.items()},
            [Bar(_DESK, 7), Bar(_INNER, 7)],
            [f"{told}."],
        ),
    ]


def _priced(command: list[str], middle: Callable[[], list[int]], cost: list[float]) -> float:
    pids = middle()
    before, began = doors.cpu(pids), time.perf_counter()
    rate = _rate(command)
    count = rate * (time.perf_counter() - began)
    cost.append((doors.cpu(pids) - before) * 1000 / count)
    return rate


def _rate(command: list[str]) -> float:
    began = time.perf_counter()

    def visit(_: int) -> int:
        done = 0
        while time.perf_counter() - began < _SECONDS:
            subprocess.run(
                [*command, "true"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment(),
                check=True,
            )
            done += 1
        return done

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        count = sum(pool.map(visit, range(_AT_A_TIME)))
    return count / (time.perf_counter() - began)
