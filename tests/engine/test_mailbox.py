"""Events between threads and the loop: in order, never waited for by whoever puts them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker.core.errors import EngineUnavailable
from broker.core.interfaces import EngineEvent, EventKind
from broker.engine.mailbox import Mailbox


def event(name: str) -> EngineEvent:
    return EngineEvent(kind=EventKind.DIED, name=name, session_id="s")


async def test_what_a_thread_puts_comes_out_in_order():
    mailbox = Mailbox(100)
    names = [str(number) for number in range(100)]
    thread = threading.Thread(target=lambda: [mailbox.put(event(name)) for name in names])
    thread.start()
    async with asyncio.timeout(5):
        assert [(await anext(mailbox)).name for _ in names] == names
    thread.join()


async def test_who_waits_is_woken():
    mailbox = Mailbox(1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(anext(mailbox))
        await asyncio.sleep(0)
        assert not waiting.done()
        threading.Thread(target=mailbox.put, args=(event("late"),)).start()
    assert waiting.result().name == "late"


async def test_who_took_all_waits_again_and_lets_others_run():
    mailbox = Mailbox(1)
    async with asyncio.timeout(5):
        for name in "abc":
            asyncio.get_running_loop().call_soon(mailbox.put, event(name))
            assert (await anext(mailbox)).name == name


async def test_a_wait_that_is_cancelled_loses_nothing():
    mailbox = Mailbox(2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(mailbox)
    mailbox.put(event("a"))
    assert (await anext(mailbox)).name == "a"


async def test_one_more_than_the_limit_is_a_loss_that_is_told_at_once():
    mailbox = Mailbox(2)
    assert [mailbox.put(event(name)) for name in "abc"] == [True, True, False]
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="events were lost"):
            await anext(mailbox)
    assert not mailbox.put(event("d"))


async def test_the_end_comes_after_what_waits_and_its_first_reason_stands():
    mailbox = Mailbox(2)
    mailbox.put(event("a"))
    mailbox.end("one")
    mailbox.end("two")
    assert not mailbox.put(event("b"))
    assert (await anext(mailbox)).name == "a"
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="one"):
            await anext(mailbox)


async def test_the_end_wakes_who_waits():
    mailbox = Mailbox(1)
    async with asyncio.timeout(5):
        asyncio.get_running_loop().call_soon(mailbox.end, "over")
        with pytest.raises(EngineUnavailable, match="over"):
            await anext(mailbox)


def test_putting_after_the_loop_is_gone_harms_nobody():
    async def make() -> Mailbox:
        return Mailbox(1)

    mailbox = asyncio.run(make())
    assert mailbox.put(event("a"))
    mailbox.end("over")
