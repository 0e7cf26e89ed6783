"""What the engine tells as it happens, and what is done when it tells nothing, or is gone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from broker.core.errors import EngineUnavailable, SessionEnded
from broker.core.interfaces import ContainerState, EventKind
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.service.reconciler import BEAT_EVERY
from broker.service.services import RECONCILE_EVERY
from tests.service.harness import PATIENCE, Gate, outage

READY, FROZEN, ENDED = SessionState.READY, SessionState.FROZEN, SessionState.ENDED


@pytest.fixture
async def session(broker):
    """A desktop that runs."""
    return await broker.ensure(await broker.desktop())


@asynccontextmanager
async def listening(broker):
    """Somebody listens to the engine meanwhile, and the first look is over. What happens then
    happens later than what was done before.
    """
    broker.clock.advance(1)
    beats = []
    task = asyncio.get_running_loop().create_task(
        broker.reconciler.follow_events(lambda: beats.append(broker.clock.monotonic()))
    )
    task.beats = beats
    await until(lambda: beats or task.done())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(happened) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.001)


async def until_state(broker, session, state: SessionState) -> None:
    async with asyncio.timeout(PATIENCE):
        while await broker.state(session) is not state:
            await asyncio.sleep(0.001)


async def reason(broker, session) -> str:
    return (await broker.real_store.session(session.id)).reason


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("death", "told"),
    [
        ({"exit_code": 137}, "its container stopped with exit code 137"),
        ({"exit_code": 0}, "its container stopped with exit code 0"),
        ({"oom_killed": True}, "its container ran out of memory"),
        (None, "its container was removed from outside"),
    ],
)
async def test_a_container_killed_from_outside_ends_its_session_at_once(
    world, broker, session, frozen, death, told
):
    """Without a pass, with the reason; the next connect starts afresh, in the same home."""
    if frozen:
        await broker.freeze(session)
    home = world.home(await broker.desktop())
    async with listening(broker):
        passes = world.engine.calls.count("containers")
        if death is None:
            world.engine.vanish(container_name(session.id))
        else:
            world.engine.die(container_name(session.id), **death)
        await until_state(broker, session, ENDED)
        assert world.engine.calls.count("containers") == passes
        assert await reason(broker, session) == told
        await broker.check()
        again = await broker.ensure(await broker.desktop())
        assert again.id != session.id
        assert world.home(await broker.desktop()) is home


async def test_a_program_that_ran_out_of_memory_is_told_and_ends_nothing(world, broker, session):
    """The kernel killed one of many; the desktop goes on."""
    with capture_logs() as logs:
        async with listening(broker):
            looks = world.engine.calls.count("inspect")
            world.engine._tell(EventKind.OOM, container_name(session.id))
            await until(lambda: world.engine.calls.count("inspect") > looks)
    assert ("a desktop ran out of memory", session.id) in [
        (entry["event"], entry.get("session")) for entry in logs
    ]
    assert await broker.state(session) is READY
    await broker.check()


@pytest.mark.parametrize("frozen", [False, True])
async def test_what_is_paused_or_woken_from_outside_is_put_right_at_once(
    world, broker, session, frozen
):
    """Nobody's desktop stands still for a minute, and nobody's wakes by itself."""
    if frozen:
        await broker.freeze(session)
    name = container_name(session.id)
    should_be = world.engine._made[name].state.state
    async with listening(broker):
        (world.engine.outside_unpause if frozen else world.engine.outside_pause)(name)
        await until(lambda: world.engine._made[name].state.state is should_be)
    assert should_be is (ContainerState.PAUSED if frozen else ContainerState.RUNNING)
    await broker.check()


async def test_freezing_and_thawing_are_no_events_to_act_upon(world, broker, session):
    """The broker hears of what it does itself."""
    async with listening(broker):
        for _ in range(3):
            world.clock.advance(1)
            assert await broker.freeze(session)
            world.clock.advance(1)
            await broker.ensure(await broker.desktop())
        await broker.landed()
        for _ in range(50):
            await asyncio.sleep(0)
    assert (world.written["pause"], world.written["unpause"]) == (3, 3)
    await broker.check()


@pytest.mark.parametrize("kind", [EventKind.HEALTH, EventKind.DIED])
async def test_an_event_that_is_not_true_any_more_changes_nothing(world, broker, session, kind):
    """The engine is asked what is so now."""
    async with listening(broker):
        looks = world.engine.calls.count("inspect")
        world.engine._tell(kind, container_name(session.id))
        await until(lambda: world.engine.calls.count("inspect") > looks)
    assert await broker.state(session) is READY
    await broker.check()


async def test_a_look_that_fails_is_left_to_the_next_pass(world, broker, session):
    """And whoever listens goes on listening."""
    async with listening(broker) as task:
        world.engine.fail_next("inspect", EngineUnavailable("busy"))
        world.engine.die(container_name(session.id))
        other = await broker.ensure(await broker.desktop("bob"))
        world.clock.advance(1)
        world.engine.die(container_name(other.id))
        await until_state(broker, other, ENDED)
        assert not task.done()
        assert await broker.state(session) is READY
    await broker.settle()
    assert await broker.state(session) is ENDED


async def test_who_listens_shows_that_it_lives_though_nothing_happens(broker):
    """Every twenty seconds: its loop may say so for hours."""
    async with listening(broker) as task:
        began = task.beats[0]
        for _ in range(3):
            broker.clock.advance(BEAT_EVERY)
            beats = len(task.beats)
            await until(lambda count=beats: len(task.beats) > count)
        assert task.beats == [began + n * BEAT_EVERY for n in range(4)]
    assert broker.listening.check().startswith("the loop 'events' has not")


async def test_events_that_are_lost_are_made_good_by_a_pass(world, broker, session):
    """The loop enters again, and looks at everything first."""
    world.clock.advance(1)
    task = asyncio.get_running_loop().create_task(broker.listening.run(asyncio.Event()))
    await until(lambda: broker.listening.check() == "ok")
    mailboxes = world.engine._mailboxes
    (mailbox,) = mailboxes
    mailboxes.clear()
    world.engine.die(container_name(session.id))
    mailbox.end("events were lost")
    await until(lambda: ("events", 1) in failures(broker))
    assert await broker.state(session) is READY
    async with asyncio.timeout(PATIENCE):
        while await broker.state(session) is not ENDED:
            world.clock.advance(1)
            await asyncio.sleep(0.005)
    assert len(mailboxes) == 1
    assert failures(broker) == [("events", 1)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await broker.check()


def failures(broker) -> list[tuple[str, float]]:
    """Each loop that failed, and how often."""
    samples = [s for m in broker.metrics.loop_failures.collect() for s in m.samples]
    return [(s.labels["loop"], s.value) for s in samples if s.name.endswith("_total") and s.value]


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_listing_that_is_empty_once_ends_nothing(world, broker, session, frozen):
    """An engine that just started has not found its containers yet."""
    if frozen:
        await broker.freeze(session)
    listed = world.engine.containers
    answers = []

    async def empty_first():
        answers.append([] if not answers else await listed())
        return answers[-1]

    world.engine.containers = empty_first
    world.clock.advance(1)
    await broker.reconcile()
    assert [len(answer) for answer in answers] == [0, 1]
    assert (await broker.state(session)).value == ("frozen" if frozen else "ready")
    await broker.check()


async def test_a_listing_that_stays_empty_is_believed(world, broker, session):
    """Somebody removed every one of them."""
    world.engine.vanish(container_name(session.id))
    await broker.settle()
    assert await reason(broker, session) == "its container was removed from outside"
    await broker.check()


@pytest.mark.parametrize("frozen", [False, True])
async def test_an_engine_that_restarted_ends_what_it_stopped_and_is_named(
    world, broker, session, frozen
):
    """Without live-restore every desktop ends; homes stay, and the next connect starts afresh."""
    other = await broker.ensure(await broker.desktop("bob"))
    if frozen:
        await broker.freeze(session)
    home = world.home(await broker.desktop())
    async with listening(broker) as task:
        with outage(world):
            await broker.refused(EngineUnavailable, task)
            await broker.refused(EngineUnavailable, broker.reconcile())
            for one in (session, other):
                world.engine.die(container_name(one.id), exit_code=0)
    await broker.settle()
    for one in (session, other):
        assert await reason(broker, one) == (
            "its container stopped with exit code 0 while the container engine was away"
        )
    await broker.check()
    assert (await broker.ensure(await broker.desktop())).state is READY
    assert world.home(await broker.desktop()) is home
    world.engine.die(container_name((await broker.store.live_sessions())[0].id), exit_code=0)
    await broker.settle()
    last = await broker.store.last_session((await broker.desktop()).id)
    assert last.reason == "its container stopped with exit code 0"


async def test_an_engine_that_stops_is_named_though_it_tells_of_each_death(world, broker, session):
    """While it stops it answers whoever it knows, and turns away who comes anew."""
    async with listening(broker) as task:
        turned_away = EngineUnavailable("nobody is let in any more")
        world.engine.fail_next("events", turned_away)
        world.engine.die(container_name(session.id), exit_code=0)
        await until(lambda: not world.engine._faults["events"])
        with outage(world):
            await broker.refused(EngineUnavailable, task)
        assert await broker.state(session) is READY
    await broker.settle()
    assert await reason(broker, session) == (
        "its container stopped with exit code 0 while the container engine was away"
    )


@pytest.mark.parametrize("noticed", ["by the listener", "by a pass"])
async def test_an_engine_that_one_alone_found_away_is_named_too(world, broker, session, noticed):
    """It can be back before the other asks."""
    if noticed == "by a pass":
        with outage(world):
            await broker.refused(EngineUnavailable, broker.reconcile())
    else:
        async with listening(broker) as task:
            world.engine.lose_events()
            await broker.refused(EngineUnavailable, task)
    world.engine.die(container_name(session.id), exit_code=0)
    await broker.settle()
    assert await reason(broker, session) == (
        "its container stopped with exit code 0 while the container engine was away"
    )
    await broker.check()


async def test_an_engine_that_restarted_with_live_restore_ends_nothing(world, broker, session):
    """It was away, and all are there."""
    async with listening(broker) as task:
        with outage(world):
            await broker.refused(EngineUnavailable, task)
    await broker.settle()
    assert await broker.state(session) is READY
    await broker.check()


async def test_what_ended_while_no_broker_ran_says_so(world, broker, session):
    """The reason names who was away."""
    await broker.abandon()
    world.engine.die(container_name(session.id), exit_code=137)
    later = await world.broker()
    assert await reason(later, session) == (
        "its container stopped with exit code 137 while the broker was away"
    )


# ------------------------------------------------------------------------- flights that are late


async def test_a_flight_that_takes_too_long_is_overridden_by_a_reconcile(world):
    """A start whose clean-up hangs: its session ends all the same, and its leases are free."""
    broker = await world.broker(timeout="10s")
    desktop = await broker.desktop()
    gate = Gate("remove")
    world.engine.before = gate
    broker.probe.hold()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    world.clock.advance(10)
    await until(gate.reached.is_set)
    world.clock.advance(RECONCILE_EVERY)
    await broker.reconcile()
    assert await broker.state(session) is SessionState.STOPPING
    world.engine.before = None  # whoever hangs in it hangs on
    world.clock.advance(2 * RECONCILE_EVERY)
    await broker.reconcile()
    assert await broker.state(session) is ENDED
    await broker.check()
    gate.open.set()
    await asyncio.gather(waiting, return_exceptions=True)
    broker.probe.answering.set()
    assert (await broker.ensure(desktop)).state is READY
    await broker.check()


async def test_a_stop_does_not_wait_for_a_flight_that_is_late(world):
    """It ends the session itself."""
    broker = await world.broker(timeout="10s")
    session = await broker.ensure(await broker.desktop())
    gate = world.engine.before = Gate("pause")
    freezing = asyncio.get_running_loop().create_task(broker.freeze(session))
    await until(gate.reached.is_set)
    world.clock.advance(10 + 120 + 1)
    ended = await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert (ended.state, ended.reason) == (ENDED, "enough")
    gate.open.set()
    await asyncio.gather(freezing, return_exceptions=True)
    await broker.check()


async def test_whoever_waits_for_a_flight_that_is_late_is_told_at_once(world):
    """They do not hang with it."""
    broker = await world.broker(timeout="10s")
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    await broker.freeze(session)
    gate = world.engine.before = Gate("unpause")
    first = broker.begin(desktop)
    await until(gate.reached.is_set)
    world.clock.advance(10 + 120 + 1)
    world.engine.before = None
    await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    await broker.refused(SessionEnded, broker.ensure(desktop))
    gate.open.set()
    await broker.refused(SessionEnded, first)
    assert (await broker.ensure(desktop)).state is READY
