"""From `ssh` to a shell's first answer: in a desktop that has to start, in one that sleeps, and in
one that is awake, which is what is left of the wait when the broker does nothing.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench.figures import Bar, Measure

if TYPE_CHECKING:
    from bench.stage import Stage
    from tests.e2e.desk import Instance, Person

ROUNDS = 7

#: What people who come back may wait, as a part of what a start takes.
_BAR = 0.15

_STOPPED, _FROZEN, _AWAKE = "a stopped desktop", "a frozen desktop", "one that is awake"
_ASK, _ANSWER = b"echo answer-$((40+2))\n", b"answer-42"


def run(stage: Stage, rounds: int) -> list[Measure]:
    """The order is the life of a desktop: no round can begin elsewhere."""
    desk = stage.desk
    person = desk.person("wake")
    taken: dict[str, list[float]] = {_STOPPED: [], _FROZEN: [], _AWAKE: []}
    for _ in range(rounds):
        if desk.ssh(person, "desk status").returncode == 0:  # from the first round on
            desk.ok(person, "desk stop")
        taken[_STOPPED].append(_first_answer(desk, person))
        desk.ok(person, "desk sleep")
        taken[_FROZEN].append(_first_answer(desk, person))
        taken[_AWAKE].append(_first_answer(desk, person))
    desk.ok(person, "desk stop")
    bars = [Bar(_FROZEN, _BAR, _STOPPED)]
    return [Measure("wake", "ssh to the first answer of a shell", "ms", taken, bars)]


def _first_answer(desk: Instance, person: Person) -> float:
    """A terminal's: the question waits in the line before there is a prompt."""
    began = time.perf_counter()
    client = subprocess.Popen(
        desk.ssh_command(person, "-tt"),
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(_ASK)
    client.stdin.flush()
    while _ANSWER not in (line := client.stdout.readline()):
        if not line:
            raise RuntimeError("the desktop gave no answer")
    took = (time.perf_counter() - began) * 1000
    client.stdin.write(b"exit\n")
    client.stdin.close()
    client.stdout.read()
    client.wait()
    return took
