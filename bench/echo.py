"""How long a byte takes to come back: with nothing else, and beside the bulk data of others."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bench import doors, streams
from bench.figures import Bar, Measure, interleaved
from bench.peers import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from bench.stage import Stage

ROUNDS = 5
_IDLE, _BESIDE = 500, 200
_STREAMS = 3

#: Seconds for bulk streams to reach their speed.
_RAMP = 0.3

#: Connections that are tried until enough of them are in other doors.
_TRIES = 40

_DESK, _RELAY, _DIRECT = "desk", "C relay", "OpenSSH direct"


def run(stage: Stage, rounds: int) -> list[Measure]:
    return [*_in_one_door(stage, rounds), _in_other_doors(stage, rounds)]


def _in_one_door(stage: Stage, rounds: int) -> list[Measure]:
    try:
        port = stage.inner.port
    except Unavailable as why:
        return [Measure("echo", "an sshd on the host", "ms", {}, notes=[str(why)])]
    direct = stage.inner_command("direct-echo", port)
    # The echo's command line, then those of the others.
    commands = {_DIRECT: [direct] * 4, _DESK: stage.visitors}
    notes: list[str] = []
    try:
        relayed = stage.inner_command("relayed-echo", stage.relay("127.0.0.1", port).port)
        commands[_RELAY] = [relayed] * 4
    except Unavailable as why:
        notes.append(str(why))
    with ExitStack() as stack:
        clients = {name: stack.enter_context(streams.echo(c[0])) for name, c in commands.items()}
        idle = interleaved({name: _quiet(client) for name, client in clients.items()}, rounds)
        beside = interleaved(
            {name: _busy(clients[name], others[1:]) for name, others in commands.items()}, rounds
        )
    title = "a byte there and back, p50"
    return [
        Measure("echo", title, "ms", idle, [Bar(_DESK, 2.2, _DIRECT)], notes, digits=3),
        Measure(
            "echo",
            f"{title}, beside {_STREAMS} bulk streams of others in the same door",
            "ms",
            beside,
            [Bar(_DESK, 5)],
            digits=2,
        ),
    ]


def _in_other_doors(stage: Stage, rounds: int) -> Measure:
    """In a Desk whose doors are several processes, all bulk data in others than the echo."""
    title = f"a byte there and back, p50, beside {_STREAMS} bulk streams in other doors"
    measure = Measure("echo", title, "ms", {}, [Bar(_DESK, 1.5)], digits=2)
    count = len(doors.of(stage.desk))
    if count < 2:
        measure.notes.append("one door: there are no others.")
        return measure
    person, *others = [stage.inside(f"echo{number}") for number in range(_STREAMS + 1)]
    command = stage.visit(person)
    direct = stage.published("published-echo", stage.container(person))
    with ExitStack() as stack:
        own, client = stack.enter_context(_placed(stage, streams.echo(command)))
        beside = stack.enter_context(streams.echo(direct))
        idle = interleaved({_DESK: _quiet(client)}, rounds)[_DESK]
        busy = _elsewhere(stage, own, [stage.visit(other) for other in others])
        with busy as elsewhere:
            found = interleaved(
                {
                    "published port": lambda: streams.round_trips(beside, _BESIDE),
                    _DESK: lambda: streams.round_trips(client, _BESIDE),
                },
                rounds,
            )
    measure.samples = found
    quiet = sorted(idle)[len(idle) // 2]
    measure.notes.append(f"{count} doors; without bulk data {quiet:.2f} ms; bulk in {elsewhere}.")
    for other in [person, *others]:
        stage.desk.ssh(other, "desk stop")
    return measure


def _quiet(client: Popen[bytes]) -> Callable[[], float]:
    return lambda: streams.round_trips(client, _IDLE)


def _busy(client: Popen[bytes], others: list[list[str]]) -> Callable[[], float]:
    def way() -> float:
        with ExitStack() as stack:
            for other in others:
                stack.enter_context(streams.endless(other))
            time.sleep(_RAMP)
            return streams.round_trips(client, _BESIDE)

    return way


@contextmanager
def _placed(stage: Stage, connection) -> Iterator[tuple[int, object]]:
    """A connection, with the door that has it."""
    before = doors.connections(stage.desk)
    with connection as made:
        after = doors.connections(stage.desk)
        grown = [pid for pid in after if after[pid] > before.get(pid, 0)]
        yield (grown[0] if len(grown) == 1 else 0), made


@contextmanager
def _elsewhere(stage: Stage, own: int, commands: list[list[str]]) -> Iterator[str]:
    """A bulk stream for each command, none of them in that door; tells in how many they are."""
    used = set()
    with ExitStack() as stack:
        for command in commands:
            for _ in range(_TRIES):
                with ExitStack() as attempt:
                    pid, _ = attempt.enter_context(_placed(stage, streams.endless(command)))
                    if pid not in {0, own}:
                        stack.push(attempt.pop_all())
                        used.add(pid)
                        break
            else:
                raise RuntimeError("the doors do not share connections among them")
        time.sleep(_RAMP)
        yield f"{len(used)} of them"
