"""From `ssh` to a shell's first answer: in a desktop that has to start, in one that sleeps, and in
one that is awake, which is what is left of the wait when the broker does nothing.
"""

from __future__ import annotations

import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.desk import Instance, Person

#: What people who come back may wait, as a part of what a start takes.
BAR = 0.15

_ASK, _ANSWER = b"echo answer-$((40+2))\n", b"answer-42"


def run(desk: Instance, rounds: int) -> dict[str, float]:
    """Medians in milliseconds of interleaved rounds; the cold start is the first."""
    person = desk.person("wake")
    taken: dict[str, list[float]] = {
        "a stopped desktop": [],
        "a frozen desktop": [],
        "one that is awake": [],
    }
    for _ in range(rounds):
        if desk.ssh(person, "desk status").returncode == 0:  # from the first round on
            desk.ok(person, "desk stop")
        taken["a stopped desktop"].append(_first_answer(desk, person))
        desk.ok(person, "desk sleep")
        taken["a frozen desktop"].append(_first_answer(desk, person))
        taken["one that is awake"].append(_first_answer(desk, person))
    return {name: median(values) for name, values in taken.items()}


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
