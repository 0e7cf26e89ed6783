"""`ssh … true`: to a desktop with and without a spare, a broker's word, and to a host's sshd."""

from __future__ import annotations

import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

from bench.peers import host_sshd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.desk import Instance

#: Seconds: longer than the door takes to have another spare ready.
_SPARE = 0.3


def run(desk: Instance, directory: Path, rounds: int) -> dict[str, float]:
    """Medians in milliseconds of interleaved rounds, and their ratios to the host's sshd."""
    person = desk.person("bench")
    desk.ok(person, "true")
    door = desk.ssh_command(person)
    with host_sshd(directory / "peer") as host:
        ways: dict[str, Callable[[], float]] = {
            "OpenSSH to a host's sshd": lambda: _once([*host, "true"]),
            "desk, a spare is ready": lambda: (time.sleep(_SPARE), _once([*door, "true"]))[1],
            "desk, no spare": lambda: _without_spare(door),
            "desk, a word of the broker": lambda: _once([*door, "desk help"]),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way())
    return {name: median(values) for name, values in taken.items()}


def _once(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def _without_spare(door: list[str]) -> float:
    """Right behind another connect, that took the spare: the next one is not made yet."""
    time.sleep(_SPARE)
    first = subprocess.Popen([*door, "exec sleep 1"], stdin=subprocess.DEVNULL)
    second = subprocess.Popen([*door, "exec sleep 1"], stdin=subprocess.DEVNULL)
    time.sleep(0.015)
    took = _once([*door, "true"])
    first.wait()
    second.wait()
    return took
