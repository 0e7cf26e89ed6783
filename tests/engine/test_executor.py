"""Blocking calls: bounded, on time, to their end, with one kind of error."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from broker.core.errors import Conflict, EngineUnavailable
from broker.engine.executor import Calls, Deadline


def nothing() -> None:
    pass


@pytest.fixture
async def calls():
    made = Calls(threads=2, waiting=1)
    yield made
    await made.close(grace=5, abort=nothing)
    assert not [t for t in threading.enumerate() if t.name.startswith("engine")]


async def test_a_call_gives_its_result_and_our_own_errors_as_they_are(calls):
    assert await calls.run("sum", 5, lambda: 1 + 1) == 2

    def refuse() -> None:
        raise Conflict("taken")

    with pytest.raises(Conflict, match="taken"):
        await calls.run("refuse", 5, refuse)


@pytest.mark.parametrize("error", [OSError("no route"), KeyError("Id"), ValueError("bad")])
async def test_foreign_errors_become_one_with_its_cause(calls, error):
    def fail() -> None:
        raise error

    with pytest.raises(EngineUnavailable, match="look: ") as caught:
        await calls.run("look", 5, fail)
    assert caught.value.__cause__ is error


async def test_a_call_that_fails_when_nobody_waits_says_nothing(calls):
    """What is cut off at the end of the broker is no defect."""
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(5)
        raise OSError("cut off")

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(calls.run("work", 5, work))
        await asyncio.to_thread(begun.wait, 5)
        caller.cancel()
    del caller
    go.set()
    await calls.close(grace=5, abort=nothing)
    await asyncio.sleep(0)
    gc.collect()
    assert said == []


async def test_a_cancelled_caller_does_not_stop_its_call(calls):
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(5)
        done.set()

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(calls.run("work", 5, work))
        await asyncio.to_thread(begun.wait, 5)
        caller.cancel()
    assert not done.is_set()
    go.set()
    assert await asyncio.to_thread(done.wait, 5)


async def test_an_overdue_call_is_given_up(calls):
    go = threading.Event()
    with pytest.raises(EngineUnavailable, match=r"no answer within 0\.05 s"):
        await calls.run("work", 0.05, lambda: go.wait(5))
    go.set()


async def test_a_call_that_never_got_its_turn_is_not_made(calls):
    go, made = threading.Event(), threading.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(calls.run("block", 5, lambda: go.wait(5)))
        await asyncio.sleep(0)
        with pytest.raises(EngineUnavailable):
            await calls.run("late", 0.01, made.set)
        await asyncio.sleep(0.02)
        go.set()
    await calls.run("next", 5, nothing)
    assert not made.is_set()


async def test_more_calls_than_may_wait_are_refused_at_once(calls):
    go = threading.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(calls.run("block", 5, lambda: go.wait(5)))
        await asyncio.sleep(0)
        with pytest.raises(EngineUnavailable, match="3 calls wait"):
            await calls.run("one more", 5, nothing)
        go.set()


async def test_closing_waits_and_then_cuts_off():
    calls, cut = Calls(threads=1, waiting=1), threading.Event()

    def hang() -> None:
        cut.wait(5)
        raise ConnectionError("cut")

    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(outcome(calls.run("hang", 5, hang)))
        queued = group.create_task(outcome(calls.run("queued", 5, nothing)))
        await asyncio.sleep(0)
        await calls.close(grace=0.01, abort=cut.set)
    assert isinstance(hanging.result(), EngineUnavailable)
    assert isinstance(queued.result(), EngineUnavailable)
    with pytest.raises(EngineUnavailable, match="closed"):
        await calls.run("after", 5, nothing)


async def outcome(call) -> BaseException | None:
    try:
        await call
    except EngineUnavailable as error:
        return error
    return None


def test_a_deadline_belongs_to_its_thread():
    deadline = Deadline()
    assert deadline.remaining() == 1.0
    assert not deadline.passed
    deadline.at = 0.0
    assert deadline.passed
    assert deadline.remaining() == 0.01


async def test_each_call_is_told_with_its_time_and_whether_the_engine_failed():
    """A refusal of ours is no failure of the engine's."""
    told = []
    calls = Calls(threads=1, waiting=0, told=lambda *call: told.append(call))

    def refuse() -> None:
        raise Conflict("taken")

    def fail() -> None:
        raise OSError("no route")

    await calls.run("right", 5, nothing)
    for error, what, work in ((Conflict, "refuse", refuse), (EngineUnavailable, "fail", fail)):
        with pytest.raises(error):
            await calls.run(what, 5, work)
    await calls.close(grace=5, abort=nothing)
    assert [(what, failed) for what, _, failed in told] == [
        ("right", False),
        ("refuse", False),
        ("fail", True),
    ]
    assert all(0 <= seconds < 5 for _, seconds, _ in told)
