"""How many desktops may run, what is held back, and what those who wait for one read."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import CapacityExhausted, HeldBack, StartFailed
from broker.core.model import SessionState
from broker.core.spec import container_name
from tests.service.harness import PATIENCE, Gate

#: Looks at a container that does not answer yet are half a second apart.
LOOK = 0.5


async def until(happened) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.001)


async def dies(world, broker, name: str, desktop: str = "main", **death) -> StartFailed:
    """A start whose container dies before the desktop answers."""
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop(name, desktop))
    await broker.probe.asked.wait()
    (session,) = [s for s in await broker.store.live_sessions() if s.state is SessionState.STARTING]
    world.engine.die(container_name(session.id), **death or {"exit_code": 1})
    world.clock.advance(LOOK)
    failed = await broker.refused(StartFailed, waiting)
    broker.probe.answering.set()
    return failed


# ---------------------------------------------------------------------------------------- running


async def test_no_more_desktops_run_than_the_host_may_have(world):
    """Frozen ones hold memory, so they count; one that is stopped makes room."""
    broker = await world.broker(limits={"running": 2})
    first = await broker.ensure(await broker.desktop("ada"))
    await broker.ensure(await broker.desktop("bob"))
    await broker.freeze(first)
    refused = await broker.refused(CapacityExhausted, broker.ensure(await broker.desktop("cara")))
    assert refused.public.startswith(
        "This host has 2 desktops running and may have 2: try again when somebody has stopped"
        " theirs, or ask your administrator."
    )
    await broker.check()
    await broker.sessions.stop(first.id, reason="enough", actor="user:ada")
    await broker.ensure(await broker.desktop("cara"))
    await broker.check()


async def test_a_thaw_is_no_start_and_always_allowed(world):
    """What sleeps has its place already."""
    broker = await world.broker(limits={"running": 1})
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    await broker.freeze(session)
    world.clock.advance(1)
    assert (await broker.ensure(desktop)).id == session.id


async def test_nobody_runs_more_desktops_than_one_may(world):
    """The sentence names them, and how to stop one; others are not concerned."""
    broker = await world.broker(limits={"running_per_user": 1})
    ada = await broker.person()
    await broker.route(ada)
    reply = await broker.gateway.word(ada, ["start", "lab"])
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr.startswith(
        "desk: You have 1 desktop running (main) and may have 1: stop it with 'ssh desk@… desk"
        " stop main'."
    )
    assert reply.stderr.endswith(" (full)\n")
    await broker.ensure(await broker.desktop("bob"))
    await broker.gateway.word(ada, ["stop"])
    assert (await broker.gateway.word(ada, ["start", "lab"])).status == 0
    await broker.check()


async def test_two_starts_at_once_are_not_both_the_last_one_allowed(world):
    """One is had, one refused, whichever it is."""
    broker = await world.broker(limits={"running": 1})
    desktops = [await broker.desktop(name) for name in ("ada", "bob", "cara")]
    outcomes = await asyncio.gather(
        *(broker.ensure(desktop) for desktop in desktops), return_exceptions=True
    )
    assert [type(o).__name__ for o in outcomes].count("CapacityExhausted") == 2
    await broker.check()


# -------------------------------------------------------------------------------------- held back


async def test_a_desktop_that_fails_three_times_is_held_back_and_told_until_when(world, broker):
    """Through the door, with no container made; other desktops start, and later it does too."""
    ada = await broker.person()
    for _ in range(3):
        await dies(world, broker, "ada")
    made = world.written["create"]
    held = await broker.refused(HeldBack, broker.route(ada))
    assert held.public == (
        "Your desktop failed to start 3 times in a row (its container stopped with exit code 1):"
        " the next try is possible in about 30 s."
    )
    assert world.written["create"] == made
    await broker.ensure(await broker.desktop("ada", "lab"))
    await broker.ensure(await broker.desktop("bob"))
    world.clock.advance(30)
    assert (await broker.route(ada)).desktop == "main"
    await broker.check()


async def test_an_image_that_fails_three_people_is_held_back_for_all_until_one_start_succeeds(
    world, broker
):
    """After the hold one try goes through; the next image is not concerned."""
    for name in ("ada", "bob", "cara"):
        await dies(world, broker, name)
    desktop = await broker.desktop("dan")
    held = await broker.refused(HeldBack, broker.ensure(desktop))
    assert held.public.startswith(
        "The image of your desktop failed to start 3 times in a row, for several people (its"
        " container stopped with exit code 1)"
    )
    world.clock.advance(held.retry_after)
    await broker.ensure(desktop)
    await broker.ensure(await broker.desktop("ada"))
    await broker.check()


async def test_a_start_that_never_answers_counts_and_one_that_is_stopped_does_not(world):
    """What people do is no failure of the desktop."""
    broker = await world.broker(timeout="10s")
    desktop = await broker.desktop()
    for stopped in (False, True, True, True, False, False):
        broker.probe.hold()
        waiting = broker.begin(desktop)
        await broker.probe.asked.wait()
        session = await broker.store.live_session(desktop.id)
        if stopped:
            await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
        else:
            world.clock.advance(10)
        await asyncio.gather(waiting, return_exceptions=True)
        await broker.landed()
    held = await broker.refused(HeldBack, broker.ensure(desktop))
    assert "3 times in a row (it did not answer within 10 s)" in held.public
    await broker.check()


# --------------------------------------------------------------------------------------- the queue


async def test_whoever_waits_reads_their_place_and_each_change_of_it(world):
    """Then that it starts; whoever comes to the same desktop later reads the last sentence."""
    broker = await world.broker(at_once=1)
    gate = world.engine.before = Gate("create")
    said: dict[str, list[str]] = {name: [] for name in ("ada", "bob", "cara", "late")}

    async def wish(name: str, listener: str | None = None) -> asyncio.Task:
        desktop = await broker.desktop(name)
        tell = said[listener or name].append
        return asyncio.get_running_loop().create_task(
            broker.sessions.ensure(desktop, actor=f"user:{name}", tell=tell)
        )

    tasks = [await wish("ada")]
    await gate.reached.wait()
    for waiting, name in enumerate(("bob", "cara"), 1):
        tasks.append(await wish(name))
        await until(lambda count=waiting: broker.starts.waiting == count)
    tasks.append(await wish("cara", "late"))
    await until(lambda: said["late"])
    gate.open.set()
    await asyncio.gather(*tasks)
    starting = "Starting your desktop 'main' …"

    def turn(position: int, about: str) -> str:
        return f"Your desktop 'main' waits for its turn: number {position} in the queue, about {about}."

    assert said["ada"] == [starting]
    assert said["bob"] == [turn(1, "3 s"), starting]
    assert [text.split(", about")[0] for text in said["cara"]] == [
        turn(2, "").split(", about")[0],
        turn(1, "").split(", about")[0],
        starting,
    ]
    assert said["late"] == said["cara"]
    await broker.check()


async def test_a_stop_reaches_whoever_waits_for_a_place(world):
    """They are told at their turn and not started."""
    broker = await world.broker(at_once=1)
    gate = world.engine.before = Gate("create")
    first = broker.begin(await broker.desktop("ada"))
    await gate.reached.wait()
    second = broker.begin(await broker.desktop("bob"))
    await until(lambda: broker.starts.waiting == 1)
    second.cancel()
    await asyncio.wait({second})
    gate.open.set()
    await first
    await broker.landed()
    assert broker.starts.waiting == 0
    await broker.check()


@pytest.mark.parametrize("bound", [{"running": 1}, {"running_per_user": 1}])
async def test_a_refused_start_leaves_its_place_to_the_next(world, bound):
    """Nothing of it stays in the queue."""
    broker = await world.broker(at_once=1, limits=bound)
    first = await broker.ensure(await broker.desktop("ada"))
    for _ in range(3):
        await broker.refused(CapacityExhausted, broker.ensure(await broker.desktop("ada", "lab")))
    assert broker.starts.waiting == 0
    await broker.sessions.stop(first.id, reason="enough", actor="user:ada")
    await broker.ensure(await broker.desktop("ada", "lab"))
    await broker.check()
