"""How children are kept, ended and replaced: each of them is a line of Python."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest

from broker.system import children, kept
from broker.system.children import Children, NotStarted
from broker.system.kept import Draining, Kept
from broker.system.tasks import Tasks

#: A child that counts how often it is asked to end, and takes its time.
COUNTS = (
    "import os, signal, sys, time; asked = []; signal.signal(15, lambda *_: asked.append(1)); "
    "sys.stdin.read(); os.write(1, b'ready one\\n')\n"
    "while not asked: time.sleep(0.01)\n"
    "time.sleep(0.5); sys.exit(len(asked))"
)
READY = "import os, sys, time; sys.stdin.read(); os.write(1, b'ready one\\n'); "
LIVES = READY + "time.sleep(600)"
DEAF = (
    READY + "import signal; signal.signal(15, signal.SIG_IGN); os.write(1, b'.'); time.sleep(600)"
)
FAILS = "import sys; sys.exit(7)"


class Family:
    """Children of one name; `program` is what the next one runs."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.children = Children(self.tasks)
        self.program = LIVES
        self.starts: list[float] = []
        self.born = []
        self.followed = 0
        self.kept = self.keep()

    def keep(self) -> Kept:
        return Kept("one", self.start, self.tasks, on_next=self._count)

    def _count(self) -> None:
        self.followed += 1

    async def start(self):
        self.starts.append(time.monotonic())
        child = await self.children.start(
            "one", [sys.executable, "-c", self.program], descriptors=()
        )
        self.born.append(child)
        return child

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    def alive(self) -> list[int]:
        return [child.pid for child in self.born if _runs(child.pid)]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def family():
    made = Family()
    yield made
    await made.tasks.close()
    await made.children.end(lambda _: True, 0.1)
    assert made.alive() == []


async def test_what_a_child_is_told_it_can_read(family):
    """By a pipe, so that it stands in no command line."""
    program = (
        "import os, sys; told = sys.stdin.read(); os.write(1, b'ready one\\n'); sys.exit(len(told))"
    )
    child = await family.children.start(
        "one", [sys.executable, "-c", program], descriptors=(), told=b"x" * 100
    )
    assert await child.wait() == 100


async def test_one_that_does_not_start_is_told_with_its_status(family):
    family.program = FAILS
    with pytest.raises(NotStarted) as failed:
        await family.kept.begin()
    assert failed.value.status == 7


async def test_one_that_cannot_be_run_at_all_is_one_that_does_not_start(family):
    """Descriptors or memory may be short for a moment: the next try may do."""
    with pytest.raises(NotStarted):
        await family.children.start("one", ["/nowhere/python"], descriptors=())


async def test_one_that_is_never_ready_is_ended(family, monkeypatch):
    """Whatever else it says meanwhile."""
    monkeypatch.setattr(children, "_READY_WITHIN", 0.5)
    family.program = "import os, time; os.write(1, b'hello\\n'); time.sleep(600)"
    with pytest.raises(NotStarted) as failed:
        await family.kept.begin()
    assert failed.value.status == -signal.SIGKILL


async def test_what_else_a_child_says_is_passed_over(family):
    family.program = "import os, time; os.write(1, b'hello\\nready two 3\\n'); time.sleep(600)"
    await family.kept.begin()
    assert len(family.alive()) == 1
    assert family.kept.child.speaks == "two 3"


async def test_a_child_has_the_environment_that_it_is_given(family, monkeypatch):
    """And nothing else; without one it has its parent's."""
    monkeypatch.setenv("DESK_TEST", "here")
    program = (
        READY + "sys.exit(int(os.environ.get('DESK_TEST') == 'here') + 2 * ('ONE' in os.environ))"
    )
    for environment, status in ((None, 1), ({"ONE": "1"}, 2)):
        child = await family.children.start(
            "one", [sys.executable, "-c", program], descriptors=(), environment=environment
        )
        assert await child.wait() == status


async def test_a_child_is_alone_in_its_session(family):
    """Signals of the parent's terminal or group do not reach it."""
    await family.kept.begin()
    pid = family.born[0].pid
    assert os.getsid(pid) == os.getpgid(pid) == pid


async def test_one_that_ends_is_followed_by_the_next(family):
    """Each time; others are not touched."""
    other = await family.children.start("other", [sys.executable, "-c", LIVES], descriptors=())
    await family.kept.begin()
    for number in range(1, 3):
        os.kill(family.born[-1].pid, signal.SIGKILL)
        await family.until(lambda n=number: family.followed == n)
        assert family.kept.child is family.born[number]
    assert len(family.alive()) == 1
    assert _runs(other.pid)


async def test_one_that_cannot_start_is_tried_ever_less_often(family, monkeypatch):
    """Up to a longest pause, without an end."""
    monkeypatch.setattr(kept, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(kept, "_LONGEST_PAUSE", 0.2)
    family.kept = family.keep()
    await family.kept.begin()
    family.program = FAILS
    family.born[0].tell(signal.SIGKILL)
    await family.until(lambda: len(family.starts) >= 6)
    family.program = LIVES
    await family.until(lambda: len(family.born) == 2)
    pauses = [
        after - before for before, after in zip(family.starts, family.starts[1:], strict=False)
    ]
    for pause, least in zip(pauses[1:5], (0.1, 0.2, 0.2, 0.2), strict=True):
        assert pause >= least


async def test_a_successor_stands_beside_the_one_before(family):
    """Which nobody follows any more, whenever it ends."""
    await family.kept.begin()
    before = await family.kept.replace()
    assert before is family.born[0]
    assert len(family.alive()) == 2
    await before.end(5)
    await asyncio.sleep(0.3)
    assert len(family.starts) == 2
    family.born[1].tell(signal.SIGKILL)
    await family.until(lambda: len(family.born) == 3)


async def test_a_place_can_be_empty_for_a_while(family):
    """Nobody follows whoever was there, until it is filled again."""
    await family.kept.begin()
    assert await family.kept.vacate(unless=lambda _: True) is None
    assert await family.kept.vacate(unless=lambda _: False) is family.born[0]
    assert family.kept.child is None
    assert await family.kept.vacate(unless=lambda _: False) is None
    family.born[0].tell(signal.SIGKILL)
    await family.born[0].wait()
    await asyncio.sleep(0.3)
    assert len(family.starts) == 1
    assert await family.kept.replace() is None
    assert family.kept.child is family.born[1]


async def test_a_successor_that_cannot_start_changes_nothing(family):
    await family.kept.begin()
    family.program = FAILS
    with pytest.raises(NotStarted):
        await family.kept.replace()
    family.program = LIVES
    assert len(family.alive()) == 1
    family.born[0].tell(signal.SIGKILL)
    await family.until(lambda: len(family.born) == 2)


async def test_one_that_is_restarted_ends_before_the_next_begins(family):
    """Two at a time would both want the state."""
    await family.kept.begin()
    await family.kept.restart(5)
    assert len(family.born) == 2
    assert family.alive() == [family.born[1].pid]
    assert await family.born[0].wait() == -signal.SIGTERM
    await asyncio.sleep(0.3)
    assert len(family.starts) == 2


async def test_one_that_is_good_enough_is_left_alone(family):
    """Whether it was to be restarted or to be replaced."""
    await family.kept.begin()
    asked = []

    def good(child) -> bool:
        asked.append(child)
        return True

    assert await family.kept.replace(unless=good) is None
    await family.kept.restart(5, unless=good)
    assert asked == 2 * family.born
    assert len(family.starts) == 1
    assert await family.kept.replace(unless=lambda _: False) is family.born[0]
    await family.kept.restart(5, unless=lambda _: False)
    assert family.kept.child is family.born[2]


async def test_nobody_is_asked_twice_to_end(family):
    """A broker that is asked again leaves at once, whatever it was about to do."""
    family.program = COUNTS
    await family.kept.begin()
    child = family.born[0]
    assert child.lives
    first = family.tasks.start(child.end(5), name="end")
    await asyncio.sleep(0.1)
    assert not child.lives
    child.ask_to_end()
    await family.children.end(lambda _: True, 5)
    await first
    assert await child.wait() == 1


async def test_who_drains_is_told_so_and_the_oldest_of_too_many_are_to_end(family):
    """Those that ended by themselves count no more."""
    family.program = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); "
        + READY
        + "signal.sigwait([signal.SIGUSR1]); os.write(1, b'drains\\n'); time.sleep(600)"
    )
    draining = Draining(signal.SIGUSR1, 2)
    lives = []
    for number in range(5):
        child = await family.start()
        draining.add(child)
        assert await child._process.stdout.readline() == b"drains\n"
        if number == 1:
            child.tell(signal.SIGKILL)
            await child.wait()
        lives.append([one.lives for one in family.born])
    assert lives[2] == [True, False, True]
    assert lives[3] == [False, False, True, True]
    assert lives[4] == [False, False, False, True, True]
    ends = [await family.born[number].wait() for number in (0, 1)]
    assert ends == [-signal.SIGTERM, -signal.SIGKILL]


async def test_who_does_not_end_is_killed(family):
    family.program = DEAF
    await family.kept.begin()
    child = family.born[0]
    await child._process.stdout.read(1)
    await child.end(0.2)
    assert await child.wait() == -signal.SIGKILL


async def test_nothing_is_left_of_a_start_that_is_called_off(family):
    """It is ended with all others, though it was never ready."""
    program = "import time; time.sleep(600)"
    starting = family.tasks.start(
        family.children.start("slow", [sys.executable, "-c", program], descriptors=()),
        name="start",
    )
    await family.until(lambda: len(family.children._alive) == 1)
    (child,) = family.children._alive
    await family.tasks.close()
    assert starting.cancelled()
    await family.children.end(lambda one: one.name == "slow", 0.5)
    assert not _runs(child.pid)
