"""Freezing, thawing and what comes between: the container and its memory are the same after."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from broker.core.errors import EngineUnavailable, NotFound, SessionEnded
from broker.core.idle import Signal, Step
from broker.core.interfaces import ContainerState
from broker.core.model import SessionState
from broker.core.reconcile import Pause, Unpause
from broker.core.spec import container_name
from broker.service.watches import LOOK_EVERY
from tests.service.harness import PATIENCE, Gate, outage
from tests.service.hours import DAY, HOUR, begin

READY, FROZEN, ENDED = SessionState.READY, SessionState.FROZEN, SessionState.ENDED


@pytest.fixture
async def story(world):
    """A desktop that runs, with nobody in it."""
    return await begin(world)


@pytest.fixture
async def asleep(world, story):
    """A desktop that nobody used for an hour."""
    await story.hours.until(story.sleeps, within=2 * HOUR)
    await story.hours.tick()
    return story


def container(world, session):
    return world.engine._made[container_name(session.id)].state


async def record(story):
    return await story.broker.real_store.session(story.session.id)


async def ended_with(story) -> str:
    found = await record(story)
    assert found.state is ENDED
    return found.reason


async def waiting_at(gate: Gate) -> None:
    async with asyncio.timeout(PATIENCE):
        await gate.reached.wait()


# ------------------------------------------------------------------------------------ connects


async def test_a_connect_wakes_what_sleeps_with_everything_as_it_was(world, asleep):
    """The very container, its port, display and address; no start, and no place in its queue."""
    broker, session = asleep.broker, asleep.session
    before, written = world.container(session), world.written
    await asleep.hours.go_by(10 * HOUR)
    route = await broker.route(asleep.ada)
    woken = await record(asleep)
    assert (woken.state, woken.id, route.session_id) == (READY, session.id, session.id)
    assert (woken.port, woken.display, woken.address) == (
        session.port,
        session.display,
        session.address,
    )
    assert world.container(session) is before
    assert world.written - written == {"unpause": 1}
    assert container(world, session).state is ContainerState.RUNNING
    await broker.check()


async def test_after_a_thaw_all_deadlines_start_anew(asleep):
    """An hour again, and a warning again; what was before the sleep counts no more."""
    hours = asleep.hours
    await hours.go_by(10 * HOUR)
    await asleep.broker.route(asleep.ada)
    await hours.visit(asleep.session)
    await hours.tick()
    text, data = await hours.why(asleep.ada)
    assert (data["state"], data["counts"], data["reason"]) == ("ready", "woke", None)
    assert set(data["signals"]) == {"woke", "arrived"}
    assert (await hours.rows(asleep.session))[-1] == (Step.FREEZE, Signal.WOKE, HOUR)
    took = await hours.until(asleep.sleeps, within=2 * HOUR)
    assert HOUR - LOOK_EVERY <= took <= HOUR + 2 * LOOK_EVERY
    assert len(asleep.told) == 1


async def test_whoever_asks_why_at_once_hears_of_the_sleep(asleep):
    """And of the waking: the answer does not wait for the next look."""
    broker, hours = asleep.broker, asleep.hours
    await broker.route(asleep.ada)
    text, data = await hours.why(asleep.ada)
    assert (data["state"], data["next"], data["next_in"]) == ("ready", "freeze", HOUR)
    assert text.startswith("main is awake, nobody attached.\n")
    hours.clock.advance(5)
    assert (await broker.gateway.word(asleep.ada, ["sleep"])).status == 0
    text, data = await hours.why(asleep.ada)
    assert (data["state"], data["next"], data["next_in"]) == ("frozen", "stop", DAY)
    assert text.splitlines()[0] == (
        "main sleeps since 0 s: ada sent it to sleep. The next connect wakes it."
    )


async def test_sleeping_wakes_the_reaper(story):
    """So that when it will be stopped is written down at once, and not ten seconds later."""
    story.broker.sessions.woke.clear()
    assert await story.broker.freeze(story.session)
    assert story.broker.sessions.woke.is_set()


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_connect_while_it_is_just_freezing_waits_and_wakes_it(
    world, story, side, monkeypatch
):
    """One after the other, whichever comes first; nobody reads an error."""
    gate = Gate("pause")
    setattr(world.engine, side, gate)
    freezing = asyncio.get_running_loop().create_task(story.broker.freeze(story.session))
    await waiting_at(gate)
    flight = story.broker.flights.of(story.session.desktop_id)
    waits = asyncio.Event()
    over = type(flight).over

    async def seen(flight) -> None:
        waits.set()
        await over(flight)

    monkeypatch.setattr(type(flight), "over", seen)
    connect = asyncio.get_running_loop().create_task(story.broker.route(story.ada))
    async with asyncio.timeout(PATIENCE):
        await waits.wait()
    assert not connect.done()
    gate.open.set()
    assert await freezing
    assert (await connect).session_id == story.session.id
    assert container(world, story.session).state is ContainerState.RUNNING
    await story.broker.check()


async def test_a_freeze_while_a_connect_flies_is_refused(world, asleep):
    """Somebody wants it just now; the word says so."""
    broker = asleep.broker
    gate = world.engine.before = Gate("unpause")
    connect = broker.begin(await broker.desktop())
    await waiting_at(gate)
    assert not await broker.freeze(await record(asleep))
    gate.open.set()
    assert (await connect).state is READY
    await broker.check()


async def test_a_freeze_of_what_stopped_meanwhile_freezes_nothing(world, story):
    """The record decides."""
    await story.broker.sessions.stop(story.session.id, reason="enough", actor="user:ada")
    assert not await story.broker.freeze(story.session)
    assert "pause" not in world.engine.calls
    await story.broker.check()


async def test_a_stopping_broker_freezes_nothing(story):
    """Desktops outlive it as they are."""
    await story.broker.sessions.quiesce(0.1)
    assert not await story.broker.freeze(story.session)
    assert await story.state() is READY


async def test_ten_connects_at_once_share_one_thaw(world, asleep):
    """One call of the engine, one step of the record."""
    broker = asleep.broker
    desktop = await broker.desktop()
    woken = await asyncio.gather(*(broker.ensure(desktop) for _ in range(10)))
    assert {session.id for session in woken} == {asleep.session.id}
    assert world.written["unpause"] == 1


# --------------------------------------------------------------------------- died in its sleep


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ({"exit_code": 137}, "its container stopped with exit code 137"),
        ({"oom_killed": True}, "its container ran out of memory"),
        (None, "its container was removed from outside"),
    ],
)
async def test_what_died_in_its_sleep_starts_afresh_with_the_same_home(
    world, asleep, death, reason
):
    """The connect does not fail; the session that ended tells why."""
    broker, name = asleep.broker, container_name(asleep.session.id)
    desktop = await broker.desktop()
    world.home(desktop).files["thesis.tex"] = "draft"
    if death is None:
        world.engine.vanish(name)
    else:
        world.engine.die(name, **death)
    route = await broker.route(asleep.ada)
    assert route.session_id != asleep.session.id
    assert await ended_with(asleep) == reason
    assert world.home(desktop).files == {"thesis.tex": "draft"}
    assert "Starting your desktop 'main' …" in broker.said
    await broker.check()


async def test_what_died_before_it_could_be_paused_has_ended(world, story):
    """A freeze that finds a dead container ends the session, with the reason."""
    world.engine.die(container_name(story.session.id), exit_code=1)
    assert not await story.broker.freeze(story.session)
    assert await ended_with(story) == "its container stopped with exit code 1"
    await story.broker.check()


# -------------------------------------------------------------------------- an engine that errs


async def test_an_engine_that_is_down_at_the_thaw_is_one_sentence_and_it_sleeps_on(world, asleep):
    """The next connect wakes it, as if nothing had been."""
    broker = asleep.broker
    with outage(world):
        refused = await broker.refused(EngineUnavailable, broker.route(asleep.ada))
    assert refused.public.count(".") == 2
    assert refused.public.startswith("Desktops cannot be reached just now")
    assert await asleep.state() is FROZEN
    assert (await broker.route(asleep.ada)).session_id == asleep.session.id
    await broker.check()


async def test_an_engine_that_is_down_at_the_freeze_pauses_later(world, story):
    """The record says that it sleeps; a reconcile makes it so."""
    broker = story.broker
    with outage(world), capture_logs() as logs:
        assert await broker.freeze(story.session)
    assert await story.state() is FROZEN
    assert [e["event"] for e in logs] == ["not paused yet", "session frozen"]
    assert container(world, story.session).state is ContainerState.RUNNING
    await broker.settle()
    assert container(world, story.session).state is ContainerState.PAUSED
    await broker.check()


async def test_a_connect_before_the_late_pause_finds_it_running(world, story):
    """And it is not paused under their hands by the reconcile."""
    with outage(world):
        await story.broker.freeze(story.session)
    await story.broker.route(story.ada)
    await story.broker.settle()
    assert container(world, story.session).state is ContainerState.RUNNING
    await story.broker.check()


async def test_a_broker_that_dies_between_record_and_pause_is_healed_by_the_next(world, story):
    """The record was first: nobody is told that it runs."""
    gate = world.engine.before = Gate("pause")
    story.broker.begin_freeze = asyncio.get_running_loop().create_task(
        story.broker.freeze(story.session)
    )
    await waiting_at(gate)
    await story.broker.abandon()
    await asyncio.gather(story.broker.begin_freeze, return_exceptions=True)
    world.engine.before = None
    later = await world.broker()
    assert await later.state(story.session) is FROZEN
    await later.check()


@pytest.mark.parametrize("frozen", [False, True])
async def test_what_somebody_pauses_or_wakes_from_outside_is_put_right_by_the_next_pass(
    world, story, frozen
):
    """The record says what it should be."""
    name = container_name(story.session.id)
    if frozen:
        await story.broker.freeze(story.session)
        world.engine.outside_unpause(name)
    else:
        world.engine.outside_pause(name)
    await story.broker.settle()
    assert container(world, story.session).state is (
        ContainerState.PAUSED if frozen else ContainerState.RUNNING
    )
    await story.broker.check()


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_pass_puts_right_what_the_record_says_now_and_not_what_it_said(
    world, story, frozen
):
    """Ends take seconds each: what was planned before them may be wrong after."""
    broker, name = story.broker, container_name(story.session.id)
    if frozen:
        await broker.freeze(story.session)
        world.engine.outside_unpause(name)
    else:
        world.engine.outside_pause(name)
    planned = await record(story)
    world.clock.advance(1)
    if frozen:
        await broker.route(story.ada)
    else:
        await broker.freeze(planned)
    await broker.reconciler._carry_out(Pause(planned) if frozen else Unpause(planned))
    await broker.check()


# --------------------------------------------------------------------------------- stop and kill


@pytest.mark.parametrize("state", ["starting", "ready", "freezing", "frozen", "stopping", "ended"])
@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_stop_and_a_kill_are_legal_from_every_state(world, state, way):
    """Whoever waits reads a sentence; nothing is left behind; the home stays."""
    broker = await world.broker()
    desktop = await broker.desktop()
    waiting: list[asyncio.Task] = []
    if state == "starting":
        broker.probe.hold()
        waiting.append(broker.begin(desktop))
        await broker.probe.asked.wait()
        session = await broker.store.live_session(desktop.id)
    else:
        session = await broker.ensure(desktop)
    if state == "freezing":
        gate = world.engine.before = Gate("pause")
        waiting.append(asyncio.get_running_loop().create_task(broker.freeze(session)))
        await waiting_at(gate)
    if state == "frozen":
        assert await broker.freeze(session)
    if state == "stopping":
        with outage(world):
            await broker.refused(
                EngineUnavailable, broker.sessions.stop(session.id, reason="first", actor="a")
            )
    if state == "ended":
        await broker.sessions.stop(session.id, reason="first", actor="a")
    calling = asyncio.get_running_loop().create_task(
        broker.sessions.stop(session.id, reason="enough", actor="user:ada")
        if way == "stop"
        else broker.sessions.kill(session.id, reason="enough", actor="user:ada", force=False)
    )
    if state == "freezing":
        async with asyncio.timeout(PATIENCE):
            while await broker.state(session) is FROZEN:
                await asyncio.sleep(0)
        gate.open.set()
    ended = await calling
    assert ended.state is ENDED
    assert ended.reason == ("first" if state in {"stopping", "ended"} else "enough")
    await asyncio.gather(*waiting, return_exceptions=True)
    await broker.landed()
    assert world.home(desktop)
    await broker.check()
    if state in {"ready", "frozen"}:
        assert broker.connections.sent_away[-1][0] == session.id
        assert "enough." in broker.connections.sent_away[-1][1]
    broker.probe.answering.set()
    world.clock.advance(1)
    assert (await broker.ensure(desktop)).state is READY


async def test_a_kill_by_force_ends_the_record_without_an_engine(world, story):
    """What is still there is swept when the engine is back; without force nothing is guessed."""
    broker, session = story.broker, story.session
    with outage(world):
        await broker.refused(
            EngineUnavailable,
            broker.sessions.kill(session.id, reason="gone", actor="uid:0", force=False),
        )
        assert await story.state() is SessionState.STOPPING
        with capture_logs() as logs:
            ended = await broker.sessions.kill(session.id, reason="x", actor="uid:0", force=True)
        assert (ended.state, ended.reason) == (ENDED, "gone")
        assert "ended unseen" in [e["event"] for e in logs]
        assert await broker.store.leases() == [
            lease for lease in await broker.store.leases() if lease.session_id is None
        ]
    assert container_name(session.id) in world.containers
    await broker.settle()
    assert world.containers == set()
    await broker.check()


async def test_a_kill_asks_no_program_to_end(world, story):
    """A stop does, and takes its time."""
    written = world.written
    await story.broker.sessions.kill(story.session.id, reason="now", actor="uid:0", force=False)
    assert world.written - written == {"kill": 1}


@pytest.mark.parametrize("method", ["create", "start"])
async def test_a_kill_of_a_start_that_hangs_ends_it_at_once(world, method):
    """In the midst of an engine's call; the next connect starts afresh."""
    broker = await world.broker()
    desktop = await broker.desktop()
    gate = world.engine.before = Gate(method)
    waiting = broker.begin(desktop)
    await waiting_at(gate)
    session = await broker.store.live_session(desktop.id)
    ended = await broker.sessions.kill(session.id, reason="hung", actor="uid:0", force=False)
    assert (ended.state, ended.reason) == (ENDED, "hung")
    await broker.refused(SessionEnded, waiting)
    gate.open.set()
    await broker.landed()
    await broker.check()
    assert (await broker.ensure(desktop)).state is READY


async def test_killing_nothing_is_not_found(broker):
    """As stopping nothing is."""
    await broker.refused(
        NotFound, broker.sessions.kill("0" * 16, reason="x", actor="uid:0", force=True)
    )
