"""Bulk data, down and up: what a client gets, and what a gigabyte costs the door."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench import doors, streams
from bench.figures import Bar, Measure, interleaved
from bench.peers import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.stage import Stage

ROUNDS = 7
_SIZE = 256 << 20

_DESK, _RELAY, _JUMP = "desk", "C relay", "ProxyJump"
_CHOOSES = "the cipher of the client's choice"
_DIRECT, _PUBLISHED = "OpenSSH direct", "published port"
_WAYS = {"download": streams.download, "upload": streams.upload}


class _Road:
    """One way of a client, and the processes in the middle of it whose time is told."""

    def __init__(self, command: list[str], middle: Callable[[], list[int]] | None = None) -> None:
        self.command = command
        self._middle = middle
        self.cost: list[float] = []

    def speed(self, transfer: Callable[[list[str], int], float]) -> float:
        """Megabytes in a second; what a gigabyte cost the middle is noted."""
        pids = self._middle() if self._middle else []
        before = doors.cpu(pids)
        took = transfer(self.command, _SIZE)
        self.cost.append((doors.cpu(pids) - before) / (_SIZE / 1e9))
        return _SIZE / 1e6 / took

    @property
    def told(self) -> bool:
        return self._middle is not None


def run(stage: Stage, rounds: int) -> list[Measure]:
    return [*_in_a_container(stage, rounds), *_on_the_host(stage, rounds)]


def _in_a_container(stage: Stage, rounds: int) -> list[Measure]:
    person = stage.inside("bulk")
    container = stage.container(person)
    inside = container.address, 2222
    _ = stage.host_command
    roads = {
        _PUBLISHED: _Road(stage.published("published", container)),
        _JUMP: _Road(stage.container_command("jumped", container, *inside, jump="host")),
        _DESK: _Road(stage.visit(person), lambda: doors.of(stage.desk)),
    }
    notes: list[str] = []
    try:
        relay = stage.relay(*inside)
        command = stage.container_command("relayed", container, "127.0.0.1", relay.port)
        roads[_RELAY] = _Road(command, lambda: [relay.pid])
    except Unavailable as why:
        notes.append(str(why))
    bars = [Bar(_DESK, 0.9, _PUBLISHED, least=True), Bar(_DESK, 1.25, _JUMP, least=True)]
    both = {"download": bars, "upload": bars}
    return _measures("a desktop in a container", roads, rounds, both, notes)


def _on_the_host(stage: Stage, rounds: int) -> list[Measure]:
    where = "an sshd on the host"
    try:
        port = stage.inner.port
    except Unavailable as why:
        return [Measure("bulk", where, "MB/s", {}, notes=[str(why)])]
    _ = stage.host_command
    roads = {
        _DIRECT: _Road(stage.inner_command("direct", port)),
        _JUMP: _Road(stage.inner_command("jumped-host", port, jump="host")),
        _DESK: _Road(stage.visitors[0], lambda: [stage.door.process.pid]),
        f"{_DIRECT}, {_CHOOSES}": _Road(stage.inner_command("chosen", port, cipher=None)),
        f"{_DESK}, {_CHOOSES}": _Road([*stage.people[0].argv, "desk"]),
    }
    notes: list[str] = []
    try:
        relay = stage.relay("127.0.0.1", port)
        roads[_RELAY] = _Road(stage.inner_command("relayed-host", relay.port), lambda: [relay.pid])
    except Unavailable as why:
        notes.append(str(why))
    bars = {
        "download": [Bar(_DESK, 0.6, _DIRECT, least=True)],
        "upload": [Bar(_DESK, 0.7, _DIRECT, least=True)],
    }
    return _measures(where, roads, rounds, bars, notes)


def _measures(
    where: str, roads: dict[str, _Road], rounds: int, bars: dict[str, list[Bar]], notes: list[str]
) -> list[Measure]:
    found = []
    for direction, transfer in _WAYS.items():
        for road in roads.values():
            road.cost.clear()
        speeds = interleaved(
            {name: partial(r.speed, transfer) for name, r in roads.items()}, rounds
        )
        found.append(
            Measure(
                "bulk", f"{direction}, {where}", "MB/s", speeds, bars[direction], notes, digits=0
            )
        )
        costs = {name: road.cost[1:] for name, road in roads.items() if road.told}
        costs = dict(sorted(costs.items()))  # the relay first
        bar = Bar(_DESK, 1.3, _RELAY)
        title = f"processor of the door, {direction}, {where}"
        found.append(Measure("bulk", title, "s/GB", costs, [bar], digits=2))
    return found
