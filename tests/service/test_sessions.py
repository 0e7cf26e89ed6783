"""Finding, starting and stopping desktops."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from broker.core.errors import (
    CapacityExhausted,
    DeskError,
    EngineUnavailable,
    NotFound,
    SessionEnded,
    ShuttingDown,
    StaleState,
)
from broker.core.model import LeaseKind, SessionId, SessionState
from broker.core.spec import container_name
from tests.service.harness import PATIENCE, Gate, outage


async def test_ten_connects_at_once_share_one_start(world, broker):
    """One user, ten clients: one container, and all get the same session."""
    desktop = await broker.desktop()
    sessions = await asyncio.gather(*(broker.ensure(desktop) for _ in range(10)))
    assert len({session.id for session in sessions}) == 1
    assert world.written["create"] == world.written["start"] == 1
    await broker.check()


async def test_twenty_users_at_once_get_numbers_of_their_own(broker):
    """Twenty starts at once lease twenty ports, displays, addresses and uids, all different."""
    desktops = [await broker.desktop(f"user-{n}") for n in range(20)]
    sessions = await asyncio.gather(*(broker.ensure(desktop) for desktop in desktops))
    for held in ("port", "display", "address"):
        assert len({getattr(session, held) for session in sessions}) == 20
    assert len({desktop.uid for desktop in desktops}) == 20
    await broker.check()


async def test_a_running_desktop_is_found_without_asking_the_engine(world, broker):
    """The second connect is answered from the records alone."""
    desktop = await broker.desktop()
    first = await broker.ensure(desktop)
    calls = len(world.engine.calls)
    waits = []
    second = await broker.sessions.ensure(desktop, actor="user:ada", tell=waits.append)
    assert second == first
    assert waits == []
    assert len(world.engine.calls) == calls


async def test_a_container_is_made_from_template_leases_and_owner(world, broker):
    """What the engine is asked for is the template's, the session's and the desktop's."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    spec = world.container(session)
    assert (spec.port, spec.address, spec.uid) == (session.port, session.address, desktop.uid)
    assert dict(spec.environment)["DESK_DISPLAY"] == str(session.display)
    assert dict(spec.environment)["DESK_USER"] == "ada"
    assert spec.hostname == desktop.id
    assert world.home(desktop).uid == desktop.uid


async def test_the_probe_is_given_the_leased_endpoints_and_the_sessions_keys(broker):
    """The bridge address is tried first, then the published port on loopback."""
    session = await broker.ensure(await broker.desktop())
    (asked,) = broker.probe.seen
    endpoints, access = asked
    assert [(e.host, e.port) for e in endpoints] == [
        (session.address, 2222),
        ("127.0.0.1", session.port),
    ]
    assert access == broker.keys.access(session.id)


async def test_a_start_tells_its_story_in_two_lines(broker):
    """Starting and ready, joined by the session's id."""
    desktop = await broker.desktop()
    with capture_logs() as logs:
        session = await broker.ensure(desktop)
    told = [(entry["event"], entry["session"]) for entry in logs]
    assert told == [("session starting", session.id), ("session ready", session.id)]
    assert b'desk_session_starts_total{outcome="ready"} 1.0' in broker.metrics.render()


async def test_a_callers_cancellation_leaves_the_start_going(world, broker):
    """A client that left mid-start stops waiting; the next caller gets what it began."""
    gate = world.engine.before = Gate("start")
    desktop = await broker.desktop()
    leaver = broker.begin(desktop)
    await gate.reached.wait()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    later = broker.begin(desktop)
    gate.open.set()
    session = await later
    assert session.state is SessionState.READY
    assert world.written["create"] == 1
    await broker.check()


async def test_a_start_that_nobody_waits_for_any_more_fails_quietly(world, broker):
    """Its error is nobody's unretrieved exception; the next caller begins afresh."""
    gate = world.engine.before = Gate("start")
    desktop = await broker.desktop()
    leaver = broker.begin(desktop)
    await gate.reached.wait()
    leaver.cancel()
    await asyncio.wait({leaver})
    world.engine.fail_next("start", EngineUnavailable("lost"))
    gate.open.set()
    await broker.landed()
    await broker.check()
    assert (await broker.ensure(desktop)).state is SessionState.READY


# -------------------------------------------------------------------------------------- bounds


async def test_starts_beyond_the_waiting_bound_are_refused_at_once(world):
    """One starts, one waits, the third reads one sentence; the waiting one is served."""
    broker = await world.broker(at_once=1, waiting=1)
    gate = world.engine.before = Gate("create")
    desktops = [await broker.desktop(name) for name in ("ada", "bob", "cara")]
    first, second = broker.begin(desktops[0]), broker.begin(desktops[1])
    await gate.reached.wait()
    async with asyncio.timeout(PATIENCE):
        while broker.starts.waiting < 1:
            await asyncio.sleep(0)
    refused = await broker.refused(CapacityExhausted, broker.ensure(desktops[2]))
    assert refused.public.startswith("The queue for starting desktops is full")
    assert refused.retry_after > 0
    assert await broker.store.live_session(desktops[2].id) is None
    gate.open.set()
    assert {session.state for session in await asyncio.gather(first, second)} == {
        SessionState.READY
    }
    assert broker.starts.waiting == 0
    await broker.check()


async def test_no_more_than_the_bound_start_at_once(world):
    """Ten wishes, two places: never a third container before one answered."""
    broker = await world.broker(at_once=2)
    broker.probe.hold()
    desktops = [await broker.desktop(f"user-{n}") for n in range(6)]
    wishes = [broker.begin(desktop) for desktop in desktops]
    async with asyncio.timeout(PATIENCE):
        while len(broker.probe.seen) < 2:
            await asyncio.sleep(0)
    assert len(world.containers) == 2
    broker.probe.answering.set()
    await asyncio.gather(*wishes)
    await broker.check()


async def test_a_full_pool_is_refused_by_name_with_nothing_half_made(world):
    """The operator reads which range is full; no session, lease or container is left behind."""
    broker = await world.broker(ports="20000-20001")
    for name in ("ada", "bob"):
        await broker.ensure(await broker.desktop(name))
    desktop = await broker.desktop("cara")
    with capture_logs() as logs:
        refused = await broker.refused(CapacityExhausted, broker.ensure(desktop))
    assert "20000-20001" in str(refused)
    assert "port" in str(refused)
    assert refused.public.startswith("Every port for desktops is in use just now.")
    assert [entry["event"] for entry in logs] == ["session not begun"]
    await broker.check()


@pytest.mark.parametrize(
    ("pools", "kind"),
    [({"displays": "1000-1000"}, "display"), ({"ports": "20000-20000"}, "port")],
)
async def test_each_full_range_is_named(world, pools, kind):
    """Not a port alone can run out."""
    broker = await world.broker(**pools)
    first = await broker.ensure(await broker.desktop("ada"))
    refused = await broker.refused(CapacityExhausted, broker.ensure(await broker.desktop("bob")))
    assert str(refused).startswith(f"no {kind} is free")
    await broker.sessions.stop(first.id, reason="enough", actor="user:ada")
    await broker.ensure(await broker.desktop("bob"))
    await broker.check()


async def test_uids_can_run_out_too(world):
    """A desktop without a uid of its own is not made."""
    broker = await world.broker(uids="200000-200000")
    await broker.desktop("ada")
    refused = await broker.refused(CapacityExhausted, broker.desktop("bob"))
    assert "200000-200000" in str(refused)
    assert await broker.store.desktop_of((await broker.store.user("bob")).id, "main") is None


async def test_nothing_starts_before_the_first_reconcile(world):
    """Nobody knows yet what runs: a start could collide with it."""
    broker = await world.broker(reconciled=False)
    await broker.host.pools()
    desktop = await broker.desktop()
    refused = await broker.refused(EngineUnavailable, broker.ensure(desktop))
    assert "Try again in a minute" in refused.public
    await broker.settle()
    await broker.ensure(desktop)


async def test_a_stopping_broker_starts_nothing_and_waits_for_what_flies(world, broker):
    """Quiesce lets the start in flight land, and refuses the next one with a sentence."""
    gate = world.engine.before = Gate("start")
    flying = broker.begin(await broker.desktop("ada"))
    await gate.reached.wait()
    quiet = asyncio.get_running_loop().create_task(broker.sessions.quiesce(PATIENCE))
    async with asyncio.timeout(PATIENCE):
        while not broker.sessions.closing:
            await asyncio.sleep(0)
    refused = await broker.refused(ShuttingDown, broker.ensure(await broker.desktop("bob")))
    assert refused.public == "Desk is restarting. Try again in a few seconds."
    gate.open.set()
    await quiet
    assert flying.done() or (await flying).live
    await broker.check()


async def test_quiesce_with_nothing_in_flight_returns(broker):
    """There is nothing to wait for."""
    await broker.sessions.quiesce(PATIENCE)
    assert broker.sessions.closing


async def test_a_start_that_another_broker_won_is_told_to_try_again(world, broker):
    """The database refuses the second live session, whichever process asks."""
    other = await world.broker()
    desktop = await broker.desktop()
    gate = world.engine.before = Gate("image_id")
    slow = broker.begin(desktop)
    await gate.reached.wait()
    world.engine.before = None
    await other.ensure(desktop)
    gate.open.set()
    refused = await broker.refused(StaleState, slow)
    assert "Try again" in refused.public
    await broker.check()


# ---------------------------------------------------------------------------------------- stop


async def test_a_stopped_session_ends_and_its_home_stays(world, broker):
    """Container and leases are gone, the home and the uid are not."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    world.home(desktop).files["thesis.tex"] = "draft"
    ended = await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert (ended.state, ended.reason, ended.port) == (SessionState.ENDED, "enough", None)
    assert world.home(desktop).files == {"thesis.tex": "draft"}
    assert world.containers == set()
    assert broker.keys.existing() == []
    await broker.check()


async def test_the_next_start_after_a_stop_finds_the_same_home(world, broker):
    """Another session of the same desktop: another container, the same home and uid."""
    desktop = await broker.desktop()
    first = await broker.ensure(desktop)
    world.home(desktop).files["thesis.tex"] = "draft"
    await broker.sessions.stop(first.id, reason="enough", actor="user:ada")
    second = await broker.ensure(desktop)
    assert second.id != first.id
    assert world.home(desktop).files == {"thesis.tex": "draft"}
    assert world.container(second).uid == desktop.uid


async def test_stopping_twice_is_success(broker):
    """In a row and at once; the reason of the first stays."""
    session = await broker.ensure(await broker.desktop())
    both = await asyncio.gather(
        broker.sessions.stop(session.id, reason="first", actor="user:ada"),
        broker.sessions.stop(session.id, reason="second", actor="user:ada"),
    )
    later = await broker.sessions.stop(session.id, reason="third", actor="user:ada")
    assert {ended.state for ended in (*both, later)} == {SessionState.ENDED}
    assert later.reason == "first"
    await broker.check()


async def test_stopping_nothing_is_not_found(broker):
    """An id that no session has gets one sentence."""
    refused = await broker.refused(
        NotFound,
        broker.sessions.stop(SessionId("0" * 16), reason="why not", actor="uid:0"),
    )
    assert refused.public == "There is no such session."


async def test_a_stop_while_it_starts_ends_it_at_once(world, broker):
    """Who waited reads that it was stopped; the start does not run to its timeout."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    ended = await broker.sessions.stop(session.id, reason="changed my mind", actor="user:ada")
    assert (ended.state, ended.reason) == (SessionState.ENDED, "changed my mind")
    refused = await broker.refused(SessionEnded, waiting)
    assert "was stopped while it started" in refused.public
    assert world.containers == set()
    await broker.check()


@pytest.mark.parametrize("method", ["ensure_home", "create", "start"])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_stop_during_any_engine_call_of_a_start_leaves_nothing(world, broker, method, side):
    """Wherever the start is, its container is gone when the stop returns."""
    gate = Gate(method)
    setattr(world.engine, side, gate)
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    stopping = asyncio.get_running_loop().create_task(
        broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    )
    await broker.refused(SessionEnded, waiting)
    assert not (await stopping).live
    await broker.check()
    gate.open.set()
    assert (await broker.ensure(desktop)).state is SessionState.READY


async def test_a_stop_while_the_engine_is_down_heals_later(world, broker):
    """It stays STOPPING with its leases; the next reconcile ends it."""
    session = await broker.ensure(await broker.desktop())
    with outage(world):
        await broker.refused(
            EngineUnavailable,
            broker.sessions.stop(session.id, reason="enough", actor="user:ada"),
        )
        assert await broker.state(session) is SessionState.STOPPING
        ports = await broker.store.leases(LeaseKind.PORT)
        assert [lease.session_id for lease in ports] == [session.id]
    await broker.settle()
    ended = await broker.store.session(session.id)
    assert (ended.state, ended.reason) == (SessionState.ENDED, "enough")
    await broker.check()


async def test_a_connect_finishes_a_stop_that_was_left_half_done(world, broker):
    """Nobody waits for the minute's reconcile: the start itself ends the old session first."""
    desktop = await broker.desktop()
    old = await broker.ensure(desktop)
    with outage(world):
        await broker.refused(
            EngineUnavailable, broker.sessions.stop(old.id, reason="enough", actor="user:ada")
        )
    new = await broker.ensure(desktop)
    assert new.id != old.id
    assert await broker.state(old) is SessionState.ENDED
    await broker.check()


async def test_a_connect_during_a_stop_waits_and_starts_afresh(world, broker):
    """The connect is not refused because the old container is on its way out."""
    desktop = await broker.desktop()
    old = await broker.ensure(desktop)
    gate = world.engine.before = Gate("remove")
    stopping = asyncio.get_running_loop().create_task(
        broker.sessions.stop(old.id, reason="enough", actor="user:ada")
    )
    await gate.reached.wait()
    connecting = broker.begin(desktop)
    gate.open.set()
    assert not (await stopping).live
    assert (await connecting).id != old.id
    await broker.check()


async def test_a_stop_that_meets_a_start_becoming_ready_still_ends_it(world, broker):
    """The compare-and-set is lost once, and asked again."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    advance = broker.real_store.advance
    raced = asyncio.Event()

    async def slow(session_id, *, expected, **kwargs):
        if expected is SessionState.STARTING and kwargs["to"] is SessionState.STOPPING:
            broker.probe.answering.set()
            await waiting
            raced.set()
        return await advance(session_id, expected=expected, **kwargs)

    broker.real_store.advance = slow
    ended = await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert raced.is_set()
    assert ended.state is SessionState.ENDED
    await broker.check()


async def test_a_session_that_another_ends_first_counts_as_stopped(world, broker):
    """Two brokers stop it at once: one makes the last step, the other sees that it is made."""
    other = await world.broker()
    session = await broker.ensure(await broker.desktop())
    gate = world.engine.after = Gate("remove")
    slow = asyncio.get_running_loop().create_task(
        broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    )
    await gate.reached.wait()
    world.engine.after = None
    await other.sessions.stop(session.id, reason="me too", actor="uid:0")
    gate.open.set()
    assert (await slow).reason == "enough"
    await broker.check()


async def test_a_start_whose_session_ended_meanwhile_removes_what_it_made(world, broker):
    """Another broker ended it before its container was made: none is left behind."""
    other = await world.broker()
    desktop = await broker.desktop()
    gate = world.engine.before = Gate("create")
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    await other.sessions.stop(session.id, reason="enough", actor="uid:0")
    gate.open.set()
    await broker.refused(DeskError, waiting)
    assert container_name(session.id) not in world.containers
    await broker.check()


async def test_a_session_that_vanishes_under_a_stop_is_not_found(broker):
    """Its desktop was forgotten by another broker at the same moment."""
    session = await broker.ensure(await broker.desktop())
    found = broker.real_store.session
    answers = iter([session, session, None, None])

    async def fading(session_id):
        return next(answers, await found(session_id))

    broker.real_store.session = fading
    await broker.refused(
        NotFound, broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    )


async def test_a_session_without_leases_has_no_endpoints(broker):
    """Once ended there is nowhere to dial."""
    session = await broker.ensure(await broker.desktop())
    ended = await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert broker.sessions.endpoints(ended) == ()


async def test_a_start_that_waited_for_its_place_takes_what_became_ready_meanwhile(world):
    """Another broker started the desktop in the meantime: there is nothing to start."""
    broker, other = await world.broker(at_once=1), await world.broker()
    desktops = [await broker.desktop(name) for name in ("ada", "bob")]
    broker.probe.hold()
    first = broker.begin(desktops[0])
    await broker.probe.asked.wait()
    second = broker.begin(desktops[1])
    async with asyncio.timeout(PATIENCE):
        while broker.starts.waiting < 1:
            await asyncio.sleep(0)
    theirs = await other.ensure(desktops[1])
    broker.probe.answering.set()
    assert (await second).id == theirs.id
    await first
    await broker.check()


async def test_a_start_whose_session_another_ended_does_not_become_ready(world, broker):
    """Its desktop answered, but the record says that it was stopped: the record holds."""
    other = await world.broker()
    desktop = await broker.desktop()
    broker.probe.hold()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    await other.sessions.stop(session.id, reason="enough", actor="uid:0")
    broker.probe.answering.set()
    await broker.refused(SessionEnded, waiting)
    assert (await broker.store.session(session.id)).reason == "enough"
    await broker.check()


async def test_a_stop_reaches_a_resumed_start_that_waits_for_a_place(world):
    """It ends, and the start that waited begins nothing afresh for nobody."""
    broker = await world.broker(at_once=1)
    broker.probe.hold()
    first = broker.begin(await broker.desktop("ada"))
    await broker.probe.asked.wait()
    desktop = await broker.desktop("bob")
    pools = await broker.host.pools()
    session = await broker.store.begin_session(
        desktop.id, host="local", image="i", pools=pools, deadline=world.clock.now(), actor="x"
    )
    await broker.sessions.resume(desktop, session)
    await broker.sessions.stop(session.id, reason="test", actor="x")
    broker.probe.answering.set()
    await first
    await broker.landed()
    assert await broker.state(session) is SessionState.ENDED
    assert await broker.store.live_session(desktop.id) is None
