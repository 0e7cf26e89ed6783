"""Records and containers made to agree; whatever still runs goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from broker.core.errors import EngineUnavailable
from broker.core.model import DesktopId, SessionId, SessionState
from broker.core.spec import container_name
from tests.service.harness import Gate, outage


async def test_a_quiet_system_is_left_alone(world, broker):
    """Two passes over what agrees write nothing to the engine."""
    for name in ("ada", "bob"):
        await broker.ensure(await broker.desktop(name))
    before = world.written
    await broker.settle()
    await broker.settle()
    assert world.written == before
    await broker.check()


async def test_running_desktops_are_adopted_by_the_next_broker(world, broker):
    """The broker's stop is not the desktops': same session, and the very same container."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    container = world.container(session)
    await broker.abandon()
    later = await world.broker()
    assert await later.ensure(desktop) == session
    assert world.container(session) is container
    await later.check()


async def test_an_orphaned_container_is_swept(world, broker):
    """A container of ours whose session is not in the records."""
    session = await broker.ensure(await broker.desktop())
    for state in ("stopping", "ended"):
        await broker.real_store.advance(
            session.id,
            expected=await broker.state(session),
            to=SessionState(state),
            deadline=None,
            reason="the record went on without it",
            actor="broker",
        )
    assert world.containers == {container_name(session.id)}
    await broker.settle()
    assert world.containers == set()
    await broker.check()


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (lambda engine, name: engine.die(name), "its container stopped with exit code 137"),
        (lambda engine, name: engine.die(name, oom_killed=True), "ran out of memory"),
        (lambda engine, name: engine.vanish(name), "was removed from outside"),
    ],
    ids=["killed", "out of memory", "removed"],
)
async def test_a_dead_session_is_ended_with_its_reason(world, broker, death, reason):
    """Its numbers are free again and its home stays."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    world.home(desktop).files["notes"] = "mine"
    death(world.engine, container_name(session.id))
    await broker.settle()
    ended = await broker.store.session(session.id)
    assert ended.state is SessionState.ENDED
    assert reason in ended.reason
    assert world.home(desktop).files == {"notes": "mine"}
    await broker.check()


async def test_a_half_started_session_is_carried_on(world):
    """Its container runs: the next broker waits for it to answer and restarts nothing."""
    broker = await world.broker()
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    container = world.container(session)
    await broker.abandon()
    await asyncio.wait({waiting})
    later = await world.broker()
    assert await later.state(session) is SessionState.READY
    assert world.container(session) is container
    assert (await later.ensure(desktop)).id == session.id
    await later.check()


async def test_a_connect_before_the_resumed_start_answers_shares_it(world):
    """The client waits for the start that the reconcile took up again."""
    broker = await world.broker()
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    await broker.abandon()
    await asyncio.wait({waiting})
    later = await world.broker(reconciled=False)
    later.probe.hold()
    later.clock.advance(1)
    await later.reconciler.pass_once()
    await later.probe.asked.wait()
    connecting = later.begin(desktop)
    later.clock.advance(1)
    await later.reconciler.pass_once()  # a second pass leaves the flight alone
    later.probe.answering.set()
    assert (await connecting).id == session.id
    assert world.written["create"] == 2  # the second one found the first's
    await later.check()


async def test_a_session_begun_but_never_made_is_ended(world):
    """A start that a crash cut before its container ran is given up, its leases released."""
    broker = await world.broker()
    gate = world.engine.before = Gate("start")
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    await broker.abandon()
    await asyncio.wait({waiting})
    world.engine.before = None
    later = await world.broker()
    ended = await later.store.session(session.id)
    assert ended.state is SessionState.ENDED
    assert ended.reason == "the broker stopped while the desktop started"
    await later.check()


async def test_a_container_made_for_another_spec_is_made_anew_on_resume(world):
    """A changed template does not leave a start half on the old one."""
    broker = await world.broker()
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    await broker.abandon()
    await asyncio.wait({waiting})
    later = await world.broker(reconciled=False)
    later.sessions._launcher._resolvers = ("1.1.1.1",)
    await later.settle()
    assert await later.state(session) is SessionState.READY
    assert world.container(session).resolvers == ("1.1.1.1",)
    await later.check()


async def test_a_resumed_start_whose_desktop_is_unknown_is_left(world, broker):
    """There is nobody to start it for; nothing breaks."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    await broker.abandon()
    await asyncio.wait({waiting})
    later = await world.broker(reconciled=False)

    async def unknown(_desktop_id):
        return None

    later.real_store.desktop = unknown
    await later.settle()
    assert later.tasks == set()


async def test_a_stopping_broker_resumes_nothing(world, broker):
    """It is on its way out: the next one carries the start on."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    await broker.abandon()
    await asyncio.wait({waiting})
    later = await world.broker(reconciled=False)
    later.sessions.closing = True
    await later.settle()
    session = await later.store.live_session(desktop.id)
    assert session.state is SessionState.STARTING


async def test_containers_of_others_are_not_seen(world, broker):
    """What bears another instance's label is not even listed: nothing of it can be swept."""
    session = await broker.ensure(await broker.desktop())
    foreign = {"db": "postgres", "desk-home-of-somebody": "theirs"}
    world.engine.held_names |= set(foreign)
    before = world.written
    await broker.settle()
    assert world.written == before
    assert {c.session_id for c in await world.engine.containers()} == {session.id}
    assert world.engine.held_names == set(foreign)


async def test_a_start_under_way_is_not_reconciled(world, broker):
    """A session that this process works on is its own business, whatever the listing says."""
    gate = world.engine.before = Gate("create")
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    broker.clock.advance(60)
    await broker.reconciler.pass_once()
    gate.open.set()
    assert (await waiting).state is SessionState.READY
    await broker.check()


async def test_a_start_just_begun_is_not_reconciled(world, broker):
    """Its record is there before the process has told itself which session it starts."""
    desktop = await broker.desktop()
    begin = broker.real_store.begin_session
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(*args, **kwargs):
        session = await begin(*args, **kwargs)
        begun.set()
        await go_on.wait()
        return session

    broker.real_store.begin_session = slow
    waiting = broker.begin(desktop)
    await begun.wait()
    broker.clock.advance(60)
    await broker.reconciler.pass_once()
    go_on.set()
    assert (await waiting).state is SessionState.READY
    await broker.check()


async def test_a_stop_under_way_is_not_reconciled(world, broker):
    """Two do not end it twice."""
    session = await broker.ensure(await broker.desktop())
    gate = world.engine.before = Gate("remove")
    stopping = asyncio.get_running_loop().create_task(
        broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    )
    await gate.reached.wait()
    broker.clock.advance(60)
    await broker.reconciler.pass_once()
    assert world.written["remove"] == 1
    gate.open.set()
    await stopping
    await broker.check()


async def test_a_record_newer_than_the_listing_waits_for_the_next_pass(world, broker):
    """The engine's word is older than the record: nothing is concluded from it."""
    desktop = await broker.desktop()
    other = await world.broker()
    gate = world.engine.after = Gate("containers")
    passing = asyncio.get_running_loop().create_task(broker.reconcile())
    await gate.reached.wait()
    world.engine.after = None
    session = await other.ensure(desktop)
    gate.open.set()
    await passing
    assert await broker.state(session) is SessionState.READY
    await broker.check()


async def test_a_clock_set_back_does_not_stop_the_healing(world, broker):
    """Records that seem to be of tomorrow are as old as any."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    broker.clock.jump(-86_400)
    world.engine.die(container_name(session.id))
    await broker.settle()
    assert await broker.state(session) is SessionState.ENDED
    await broker.check()


async def test_a_listing_that_lacks_a_running_container_ends_nothing(world, broker):
    """Just after its own start an engine can tell too little: it is asked again for that one."""
    session = await broker.ensure(await broker.desktop())

    async def nothing():
        return []

    world.engine.containers = nothing
    await broker.settle()
    assert await broker.state(session) is SessionState.READY


async def test_an_engine_that_is_down_changes_nothing(world, broker):
    """The pass fails, and the records stay as they are."""
    session = await broker.ensure(await broker.desktop())
    with outage(world):
        await broker.refused(EngineUnavailable, broker.settle())
    assert await broker.state(session) is SessionState.READY


async def test_an_engine_that_goes_down_in_mid_pass_ends_the_pass(world, broker):
    """What was done stays done, the rest waits."""
    dead = [await broker.ensure(await broker.desktop(name)) for name in ("ada", "bob")]
    for session in dead:
        world.engine.die(container_name(session.id))

    async def fall(method: str) -> None:
        world.engine.down |= method == "remove"

    world.engine.before = fall
    await broker.refused(EngineUnavailable, broker.settle())
    world.engine.before, world.engine.down = None, False
    await broker.settle()
    assert {await broker.state(session) for session in dead} == {SessionState.ENDED}
    await broker.check()


async def test_a_container_that_cannot_be_removed_does_not_stop_the_rest(world, broker):
    """One that is stuck in the engine is tried again each minute; everybody else is served."""
    stuck = await broker.ensure(await broker.desktop("ada"))
    broker.clock.advance(1)  # the older one comes first
    other = await broker.ensure(await broker.desktop("bob"))
    for session in (stuck, other):
        world.engine.die(container_name(session.id))
    await broker.abandon()
    world.engine.fail_next("remove", EngineUnavailable("device or resource busy"))
    with capture_logs() as logs:
        later = await world.broker()
    assert "left for the next pass" in {entry["event"] for entry in logs}
    assert await later.state(stuck) is SessionState.STOPPING
    assert await later.state(other) is SessionState.ENDED
    await later.ensure(await later.desktop("cara"))
    await later.settle()
    await later.check()


async def test_files_of_sessions_that_are_no_more_are_swept(world, broker):
    """Keys do not outlive what they open."""
    session = await broker.ensure(await broker.desktop())
    broker.keys.make(SessionId("f" * 16), uid=200_000)
    await broker.settle()
    assert broker.keys.existing() == [session.id]


async def test_what_a_door_lost_is_ended_at_once(world, broker):
    """No minute passes: the next connect starts afresh with the same home."""
    identity = await broker.person()
    route = await broker.route(identity)
    desktop = await broker.store.desktop(DesktopId(route.desktop_id))
    world.home(desktop).files["notes"] = "mine"
    world.engine.die(container_name(route.session_id))
    broker.clock.advance(1)
    await broker.gateway.lost(route.session_id)
    ended = await broker.store.session(SessionId(route.session_id))
    assert ended.state is SessionState.ENDED
    assert ended.reason == "its container stopped with exit code 137"
    again = await broker.route(identity)
    assert again.session_id != route.session_id
    assert world.home(desktop).files == {"notes": "mine"}
    await broker.check()


async def test_a_door_that_lost_a_vanished_container_learns_it_too(world, broker):
    """Gone altogether is as dead as killed."""
    route = await broker.route(await broker.person())
    world.engine.vanish(container_name(route.session_id))
    broker.clock.advance(1)
    await broker.gateway.lost(route.session_id)
    await broker.check()


async def test_what_a_door_lost_but_runs_goes_on(world, broker):
    """A broken connection alone ends nothing. That it should run is said to the engine once more,
    which may have lost track of its sleep.
    """
    route = await broker.route(await broker.person())
    before = world.written
    broker.clock.advance(1)
    await broker.gateway.lost(route.session_id)
    await broker.gateway.lost("no such session")
    assert world.written - before == {"unpause": 1}
    await broker.check()


async def test_what_a_door_lost_while_it_sleeps_is_not_woken(world, broker):
    """Only a connect wakes it."""
    identity = await broker.person()
    route = await broker.route(identity)
    await broker.gateway.word(identity, ["sleep"])
    before = world.written
    await broker.gateway.lost(route.session_id)
    assert world.written == before
    await broker.check()


async def test_losing_what_has_ended_or_is_being_stopped_does_nothing(world, broker):
    """It is over already, or somebody is at it."""
    session = await broker.ensure(await broker.desktop())
    gate = world.engine.before = Gate("remove")
    stopping = asyncio.get_running_loop().create_task(
        broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    )
    await gate.reached.wait()
    await broker.gateway.lost(session.id)
    gate.open.set()
    await stopping
    await broker.gateway.lost(session.id)
    assert world.written["remove"] == 1
    assert (await broker.store.session(session.id)).reason == "enough"


async def test_a_bridge_that_was_pruned_is_made_again(world, broker):
    """By the next pass, and by the try after one that failed for it."""
    world.engine.networks.clear()
    await broker.reconciler.pass_once()
    assert len(world.engine.networks) == 1
    world.engine.networks.clear()
    desktop = await broker.desktop()
    await broker.refused(EngineUnavailable, broker.ensure(desktop))
    assert (await broker.ensure(desktop)).state is SessionState.READY


async def test_a_desktop_that_became_ready_during_the_pass_is_not_ended(world, broker):
    """What the plan judged is old by then: the record is read again."""
    session = await broker.ensure(await broker.desktop())
    starting = replace(session, state=SessionState.STARTING)
    await broker.reconciler._end(starting, "the broker stopped while the desktop started")
    assert await broker.state(session) is SessionState.READY
