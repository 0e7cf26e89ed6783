"""`ssh … true`: to a desktop with and without a spare, a broker's word, and to a host's sshd."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench.figures import Bar, Measure, interleaved
from tests.ssh.clients import environment

if TYPE_CHECKING:
    from bench.stage import Stage

ROUNDS = 15

#: Seconds: longer than the door takes to have another spare ready.
_SPARE = 0.3

_HOST, _READY, _WORD = "OpenSSH to a host's sshd", "desk, a spare is ready", "desk, a broker's word"


def run(stage: Stage, rounds: int) -> list[Measure]:
    person = stage.inside("connect")
    door, host = stage.desk.ssh_command(person), stage.host_command
    ways = {
        _HOST: lambda: once([*host, "true"]),
        _READY: lambda: (time.sleep(_SPARE), once([*door, "true"]))[1],
        "desk, no spare": lambda: _without_spare(door),
        _WORD: lambda: once([*door, "desk help"]),
    }
    bars = [Bar(_READY, 0.12, _HOST), Bar(_WORD, 0.1, _HOST)]
    return [Measure("connect", "ssh … true", "ms", interleaved(ways, rounds), bars)]


def once(command: list[str]) -> float:
    """Milliseconds of one run of it."""
    began = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment(),
    )
    return (time.perf_counter() - began) * 1000


def _without_spare(door: list[str]) -> float:
    """Right behind another connect, that took the spare: the next one is not made yet."""
    time.sleep(_SPARE)
    first = subprocess.Popen([*door, "exec sleep 1"], stdin=subprocess.DEVNULL)
    second = subprocess.Popen([*door, "exec sleep 1"], stdin=subprocess.DEVNULL)
    time.sleep(0.015)
    took = once([*door, "true"])
    first.wait()
    second.wait()
    return took
