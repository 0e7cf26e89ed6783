"""What the time until a refusal tells of an account: nothing, or the rank test would see it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from statistics import NormalDist
from typing import TYPE_CHECKING

import paramiko
import pyotp

from bench.figures import Bar, Measure
from tests.e2e.desk import HOST, Instance
from tests.ssh.guessers import flooded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.stage import Stage
    from tests.ssh.guessers import Flooded

ROUNDS = 1000

#: Accounts of each kind: with the rule below none of them has to wait within the rounds.
_EACH = 20
_BLOCKS = {"after": 100, "first": "1s", "longest": "1s"}

_NOBODY = "a name that nobody has"
_PASSWORD, _WRONG = "the right one 4711", "a wrong one 0815"

_GUESSERS = 40
_QUIET, _FLOOD = "beside logins by key", f"the same, while {_GUESSERS} guess passwords"

#: How likely such ranks must be where the times do not differ.
_BAR = 0.01


def run(stage: Stage, rounds: int) -> list[Measure]:
    """One connection for each round, with one guess of each kind in a random order."""
    desk = stage.own_desk("guesses", login={"blocks": _BLOCKS})
    kinds: dict[str, Callable[[str], None]] = {
        _NOBODY: lambda _: None,
        "a wrong password": lambda name: _known(desk, name),
        "an account without a password": desk.person,
        "a wrong password before a code": lambda name: _with_codes(desk, name),
    }
    names = {
        kind: [f"g{number}-{account}" for account in range(_EACH)]
        for number, kind in enumerate(kinds)
    }
    for kind, make in kinds.items():
        for name in names[kind]:
            make(name)
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    dice = random.Random(4711)
    for number in range(-1, rounds):
        guesses = [(kind, names[kind][number % _EACH]) for kind in kinds]
        dice.shuffle(guesses)
        for kind, took in _guesses(desk.ssh_port, guesses).items():
            if number >= 0:  # the one before does not count
                taken[kind].append(took * 1000)
    times = Measure("guesses", "until a guess is refused", "ms", taken, digits=2)
    others = [kind for kind in kinds if kind != _NOBODY]
    alike = Measure(
        "guesses",
        f"how likely such ranks are beside {_NOBODY}, were the times alike",
        "p (Mann-Whitney)",
        {kind: [rank_test(taken[_NOBODY], taken[kind])] for kind in others},
        [Bar(kind, _BAR, least=True) for kind in others],
        digits=3,
    )
    return [times, alike, _flooded(stage)]


def _flooded(stage: Stage) -> Measure:
    """How late the broker's loop is, as its process sees it, door and broker in one each."""
    folder = stage.directory / "flooded"
    folder.mkdir()
    late, ways = {}, {_QUIET: 0, _FLOOD: _GUESSERS}
    with flooded(folder) as door:
        for way, connections in ways.items():
            late[way] = asyncio.run(_late(door, connections)) * 1000
    title = "the latest that the broker's loop came in five seconds"
    bars = [Bar(_FLOOD, 50)]
    return Measure("guesses", title, "ms", {way: [ms] for way, ms in late.items()}, bars)


async def _late(door: Flooded, connections: int) -> float:
    over = asyncio.Event()
    flood = asyncio.get_running_loop().create_task(door.flood(connections, over))
    await door.log_in()
    door.figures()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        await door.log_in()
    found = door.figures()
    over.set()
    await flood
    return float(found["late"])


def _known(desk: Instance, name: str) -> None:
    desk.person(name)
    desk.api("PUT", f"/users/{name}/password", body={"password": _PASSWORD})


def _with_codes(desk: Instance, name: str) -> None:
    _known(desk, name)
    person = desk.people[name]
    secret = json.loads(desk.ok(person, "desk code enrol --json"))["secret"]
    desk.ok(person, f"desk code confirm {pyotp.TOTP(secret).now()}")


def _guesses(port: int, guesses: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Seconds until each is refused, by kind."""
    taken = {}
    transport = paramiko.Transport((HOST, port))
    try:
        transport.start_client(timeout=30)
        for kind, name in guesses:
            began = time.perf_counter()
            try:
                transport.auth_password(name, _WRONG, fallback=False)
            except paramiko.AuthenticationException:
                taken[kind] = time.perf_counter() - began
    finally:
        transport.close()
    return taken


def rank_test(some: Sequence[float], others: Sequence[float]) -> float:
    """How likely it is that the ranks of the two differ at least so much, were both drawn from the
    same: Mann and Whitney's U, two-sided, by its normal approximation.
    """
    ranked = sorted((value, side) for side, values in enumerate((some, others)) for value in values)
    sums, tied, first = [0.0, 0.0], 0, 0
    while first < len(ranked):
        last = first
        while last + 1 < len(ranked) and ranked[last + 1][0] == ranked[first][0]:
            last += 1
        for _, side in ranked[first : last + 1]:
            sums[side] += (first + last) / 2 + 1
        tied += (last - first + 1) ** 3 - (last - first + 1)
        first = last + 1
    n, m = len(some), len(others)
    u = sums[0] - n * (n + 1) / 2
    variance = n * m / 12 * (n + m + 1 - tied / ((n + m) * (n + m - 1)))
    if variance == 0:
        return 1.0
    deviation = max(0.0, abs(u - n * m / 2) - 0.5) / variance**0.5
    return 2 * (1 - NormalDist().cdf(deviation))
