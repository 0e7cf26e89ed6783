"""The broker's loops: what fails is repeated, what stands still is seen, what dies is no secret."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from broker.app import Broker
from broker.core.errors import EngineUnavailable
from broker.service.loops import RETRY_AFTER, Loop
from broker.telemetry import Metrics
from tests.clocks import ManualClock
from tests.service.harness import PATIENCE, _migrated

EVERY = 30.0


class Running:
    """A loop whose passes a test counts, fails and holds up."""

    def __init__(self, *, wake: asyncio.Event | None = None) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.passes: list[float] = []
        self.error: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.wake = wake
        self.stop = asyncio.Event()
        self.loop = Loop(
            "test",
            self._step,
            every=EVERY,
            overdue=3 * EVERY,
            clock=self.clock,
            metrics=self.metrics,
            wake=wake,
        )
        self.task: asyncio.Task | None = None

    async def _step(self) -> None:
        self.passes.append(self.clock.monotonic())
        if self.wake is not None:
            self.wake.clear()
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.loop.run(self.stop))
        await self.rest()

    async def rest(self) -> None:
        """Until it waits for time to go on, or for the end of its pass, or is over."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(20):
                await asyncio.sleep(0)
            while not self.clock.sleepers and self.open.is_set() and not self.task.done():
                await asyncio.sleep(0)

    async def after(self, seconds: float) -> int:
        """How many passes there were once so much time has gone."""
        self.clock.advance(seconds)
        await self.rest()
        return len(self.passes)

    def failures(self) -> float:
        return self.metrics.loop_failures.labels("test")._value.get()


@pytest.fixture
async def running():
    made = Running()
    yield made
    made.stop.set()
    made.open.set()
    if made.task is not None:
        await asyncio.gather(made.task, return_exceptions=True)


async def test_a_pass_follows_the_other_after_its_period(running):
    """The first at once."""
    await running.start()
    assert await running.after(EVERY - 1) == 1
    assert await running.after(1) == 2
    assert running.loop.check() == "ok"
    assert running.failures() == 0


async def test_a_first_pass_ahead_of_the_loop_is_not_repeated_at_once(running):
    """The broker reconciles before it listens."""
    await running.loop.once()
    await running.start()
    assert len(running.passes) == 1
    assert await running.after(EVERY) == 2


async def test_what_fails_is_counted_told_and_repeated_ever_later(running):
    """Twice as late each time, up to the period."""
    running.error = EngineUnavailable("no engine")
    with capture_logs() as logs:
        await running.start()
        for number, pause in enumerate((2, 4, 8, 16, EVERY, EVERY), 1):
            assert await running.after(pause - 0.5) == number
            assert await running.after(0.5) == number + 1
    assert pause == EVERY
    assert running.failures() == 7
    assert {(e["event"], e["log_level"], e["code"]) for e in logs} == {
        ("a pass failed", "warning", "engine_unavailable")
    }


async def test_a_success_ends_the_back_off(running):
    """The next failure is repeated soon again."""
    running.error = EngineUnavailable("no engine")
    await running.start()
    await running.after(RETRY_AFTER)
    running.error = None
    await running.after(2 * RETRY_AFTER)
    assert running.loop.check() == "ok"
    running.error = EngineUnavailable("again")
    count = await running.after(EVERY)
    assert await running.after(RETRY_AFTER) == count + 1


async def test_a_defect_in_a_pass_is_told_with_its_place_and_repeated(running):
    """Nobody foresaw it, and the loop goes on."""
    running.error = ZeroDivisionError("defect")
    with capture_logs() as logs:
        await running.start()
    assert logs[0]["log_level"] == "error"
    assert logs[0]["exc_info"]
    running.error = None
    assert await running.after(RETRY_AFTER) == 2
    assert running.loop.check() == "ok"


async def test_a_loop_that_never_succeeded_says_so(running):
    """From the first moment."""
    assert running.loop.check() == "the loop 'test' has not succeeded yet"


async def test_a_pass_that_never_ends_is_seen(running):
    """After three periods without a success, with the time since the last."""
    await running.start()
    running.open.clear()
    await running.after(EVERY)
    assert await running.after(2 * EVERY) == 2
    assert running.loop.check() == "ok"
    await running.after(5)
    assert running.loop.check() == "the loop 'test' last succeeded 95 s ago"


async def test_a_pass_that_never_ends_may_tell_that_it_lives(running):
    """One that listens beats; the metric tells when it last did."""
    await running.start()
    running.open.clear()
    await running.after(EVERY)
    for _ in range(10):
        await running.after(EVERY)
        running.loop.beat()
    assert running.loop.check() == "ok"
    seen = running.metrics.loop_success.labels("test")._value.get()
    assert seen == running.clock.now().timestamp()


async def test_a_loop_can_be_woken():
    """Ahead of its period, and once for each time."""
    running = Running(wake=asyncio.Event())
    await running.start()
    running.wake.set()
    await running.rest()
    assert len(running.passes) == 2
    assert await running.after(EVERY) == 3
    running.stop.set()
    await running.task


async def test_a_loop_that_fails_is_not_woken_into_a_storm():
    """What wakes it may come a thousand times a second."""
    running = Running(wake=asyncio.Event())
    running.error = EngineUnavailable("no engine")
    await running.start()
    for _ in range(10):
        running.wake.set()
        await running.rest()
    assert len(running.passes) == 1
    running.error = None
    assert await running.after(RETRY_AFTER) == 2
    running.stop.set()
    await running.task


async def test_a_stop_does_not_cut_the_pass_under_way_and_begins_no_other(running):
    """And does not wait for the period to be over."""
    await running.start()
    running.open.clear()
    await running.after(EVERY)
    running.stop.set()
    await running.rest()
    assert not running.task.done()
    running.open.set()
    await running.task
    assert len(running.passes) == 2
    assert running.clock.sleepers == 0


# ------------------------------------------------------------------------------ loops that die


class Fake:
    """A loop that does what a test says."""

    name = "fake"

    def __init__(self, run) -> None:
        self._run = run

    async def run(self, stop: asyncio.Event) -> None:
        await self._run(stop)


async def guard(run) -> tuple[bool, list[str], list[dict]]:
    """Whether the broker stops over it, which loops it counts as dead, and the log."""
    stop, dead = asyncio.Event(), []
    with capture_logs() as logs:
        await Broker._guard(None, Fake(run), stop, dead)
    return stop.is_set(), dead, logs


async def test_a_loop_that_dies_takes_the_broker_with_it():
    """With its traceback in the log."""

    async def die(_stop) -> None:
        raise asyncio.CancelledError

    stopped, dead, logs = await guard(die)
    assert (stopped, dead) == (True, ["fake"])
    assert [(e["event"], e["loop"], e["log_level"]) for e in logs] == [
        ("a loop died", "fake", "error")
    ]


async def test_a_loop_that_just_ends_takes_the_broker_with_it():
    """Nobody stopped it, so nobody does its work."""

    async def end(_stop) -> None:
        return

    assert (await guard(end))[:2] == (True, ["fake"])


async def test_a_loop_that_was_stopped_is_not_dead():
    """However it ends then."""

    async def end(stop) -> None:
        stop.set()

    async def fail(stop) -> None:
        stop.set()
        raise asyncio.CancelledError

    assert await guard(end) == (True, [], [])
    assert await guard(fail) == (True, [], [])


DYING = """
import os, pathlib, socket, sys
from broker.cli.deskd import main
from broker.service.loops import Loop
from broker.system.lock import StateLock

async def die(loop, stop):
    if loop.name == "reap":
        raise SystemError("a defect of the test")
    await stop.wait()

Loop.run = die
doors, api = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
for sock, path in ((doors, sys.argv[2]), (api, sys.argv[2] + ".api")):
    sock.bind(path)
    sock.listen()
lock = StateLock(pathlib.Path(sys.argv[3])).__enter__()
inherited = ["--parent", os.getppid(), "--gateway", doors.fileno(), "--api", api.fileno()]
inherited += ["--lock", lock.descriptor]
main(["broker", "--config", sys.argv[1], *map(str, inherited)])
"""


def test_a_broker_of_which_a_loop_died_fails_with_one_sentence(directory):
    """Whoever supervises it starts it afresh: it ends by itself, and not with success."""
    (directory / "state").mkdir(mode=0o700)
    shutil.copy(_migrated(), directory / "state" / "desk.db")
    config, lock = directory / "desk.yaml", directory / "state" / "lock"
    config.write_text(
        f"state: {directory}/state\n"
        "template: {image: desk}\n"
        "ssh: {listen: '127.0.0.1:0'}\n"
        "web: {listen: '127.0.0.1:0'}\n"
        f"engine: {{socket: 'unix://{directory}/no-engine.sock'}}\n"
        "log: json\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", DYING, *map(str, (config, directory / "doors.sock", lock))],
        input=config.read_text(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert (ended.returncode, told) == (1, ["the loop reap died (loop_died)"])
    assert '"a loop died"' in ended.stdout + ended.stderr
