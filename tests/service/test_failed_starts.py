"""Starts that fail: one sentence for the person, the story for the operator, nothing left over."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from broker.core.errors import (
    CapacityExhausted,
    Conflict,
    EngineUnavailable,
    HomeMissing,
    ImageMissing,
    NotFound,
    StartFailed,
)
from broker.core.interfaces import ContainerState
from broker.core.model import LeaseKind, SessionState
from broker.core.spec import container_name
from tests.service.harness import PATIENCE, Gate, outage

# ---------------------------------------------------------------------------- numbers of strangers


async def test_a_port_that_a_stranger_holds_is_set_aside_for_the_next(world, broker):
    """The desktop starts on the next port; no container is left on the taken one."""
    world.engine.held_ports = {20000, 20001}
    with capture_logs() as logs:
        session = await broker.ensure(await broker.desktop())
    assert session.port == 20002
    assert [e["port"] for e in logs if e["event"] == "port set aside"] == [20000, 20001]
    assert world.container(session).port == 20002
    await broker.check()


async def test_an_address_that_a_stranger_holds_is_set_aside_for_the_next(world, broker):
    """The same for the bridge address; the port stays."""
    world.engine.held_addresses = {"10.213.0.4"}
    session = await broker.ensure(await broker.desktop())
    assert (session.address, session.port) == ("10.213.0.5", 20000)
    await broker.check()


async def test_a_port_and_an_address_of_strangers_are_both_got_over(world, broker):
    """Neither hides the other."""
    world.engine.held_addresses = {"10.213.0.4", "10.213.0.5"}
    world.engine.held_ports = {20000}
    session = await broker.ensure(await broker.desktop())
    assert (session.address, session.port) == ("10.213.0.6", 20001)
    await broker.check()


async def test_a_number_set_aside_comes_back_after_ten_minutes(world, broker):
    """The stranger may be gone by then."""
    world.engine.held_ports = {20000}
    assert (await broker.ensure(await broker.desktop("ada"))).port == 20001
    world.engine.held_ports = set()
    assert (await broker.ensure(await broker.desktop("bob"))).port == 20002
    broker.clock.advance(601)
    assert (await broker.ensure(await broker.desktop("cara"))).port == 20000
    await broker.check()


@pytest.mark.parametrize("kind", ["ports", "addresses"])
async def test_twenty_strangers_in_a_row_end_the_try(world, broker, kind):
    """Then the range is plainly not ours: one sentence, nothing left behind."""
    if kind == "ports":
        world.engine.held_ports = set(range(20000, 20020))
    else:
        world.engine.held_addresses = {f"10.213.0.{n}" for n in range(4, 24)}
    refused = await broker.refused(CapacityExhausted, broker.ensure(await broker.desktop()))
    assert str(refused) == "20 numbers in a row were held by strangers"
    assert refused.public == "All places are taken just now. Try again in a minute."
    assert world.containers == set()
    await broker.check()


async def test_a_range_that_strangers_hold_whole_is_named(world):
    """Setting aside runs out of numbers before it runs out of tries."""
    broker = await world.broker(ports="20000-20002")
    world.engine.held_ports = {20000, 20001, 20002}
    refused = await broker.refused(CapacityExhausted, broker.ensure(await broker.desktop()))
    assert "20000-20002" in str(refused)
    await broker.check()


# ------------------------------------------------------------------------------------- the engine


async def test_a_missing_image_begins_nothing(world):
    """The administrator is named in the sentence, the image in the log; no session was begun."""
    broker = await world.broker(image="desk:absent")
    desktop = await broker.desktop()
    with capture_logs() as logs:
        refused = await broker.refused(ImageMissing, broker.ensure(desktop))
    assert "not installed here" in refused.public
    assert "desk:absent" in logs[0]["reason"]
    assert [e for e in await broker.store.audit() if e.action == "session.begin"] == []
    assert b'starts_total{outcome="image_missing"} 1.0' in broker.metrics.render()
    await broker.check()


async def test_an_engine_that_is_down_begins_nothing(world, broker):
    """One sentence that says when to try again, and it works once the engine is back."""
    desktop = await broker.desktop()
    with outage(world):
        refused = await broker.refused(EngineUnavailable, broker.ensure(desktop))
        assert refused.public.endswith("Try again in a minute.")
        await broker.check()
    assert (await broker.ensure(desktop)).state is SessionState.READY


@pytest.mark.parametrize("method", ["ensure_home", "create", "start"])
@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "reply lost"])
async def test_an_engine_error_in_mid_start_is_cleaned_up(world, broker, method, after_effect):
    """With the effect or without it: nothing is left, and the next start works."""
    world.engine.fail_next(method, EngineUnavailable("broken pipe"), after_effect=after_effect)
    desktop = await broker.desktop()
    refused = await broker.refused(EngineUnavailable, broker.ensure(desktop))
    assert refused.public == EngineUnavailable.default
    await broker.check()
    assert (await broker.ensure(desktop)).state is SessionState.READY
    await broker.check()


@pytest.mark.parametrize("method", ["ensure_home", "create", "start"])
async def test_an_engine_that_goes_down_in_mid_start_heals_by_itself(world, broker, method):
    """Nothing can be cleaned up: it stays STOPPING, and the next reconcile ends it."""
    desktop = await broker.desktop()

    async def fall(called: str) -> None:
        world.engine.down |= called == method

    world.engine.before = fall
    with capture_logs() as logs:
        await broker.refused(EngineUnavailable, broker.ensure(desktop))
    assert "clean-up postponed" in {entry["event"] for entry in logs}
    session = await broker.store.live_session(desktop.id)
    assert session.state is SessionState.STOPPING
    world.engine.before, world.engine.down = None, False
    await broker.settle()
    await broker.check()
    assert (await broker.ensure(desktop)).state is SessionState.READY


async def test_an_engine_that_is_down_only_for_the_probe_does_not_fail_a_start(world, broker):
    """The watch for the container's death goes on over an engine that does not answer once."""
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    with outage(world):
        await ticks(broker, 2)
    broker.probe.answering.set()
    assert (await waiting).state is SessionState.READY
    await broker.check()


async def test_a_name_that_a_stranger_holds_fails_the_start(world, broker):
    """What is not ours is not touched, even when it stands in the way."""
    gate = world.engine.before = Gate("create")
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    world.engine.held_names = {container_name(session.id)}
    gate.open.set()
    await broker.refused(Conflict, waiting)
    await broker.check()


async def test_a_desktop_without_an_owner_does_not_start(broker):
    """A record that lost its user is no desktop of anybody's."""
    desktop = await broker.desktop()

    async def nobody(_user_id):
        return None

    broker.real_store.user_by_id = nobody
    await broker.refused(NotFound, broker.ensure(desktop))
    await broker.check()


# ------------------------------------------------------------------------------ the desktop itself


async def ticks(broker, number: int) -> None:
    """Let the watch over a container look so many times."""
    for _ in range(number):
        async with asyncio.timeout(PATIENCE):
            while broker.clock.sleepers < 2:  # the watch, and the start's own bound
                await asyncio.sleep(0)
        broker.clock.advance(0.5)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ({"exit_code": 1}, "its container stopped with exit code 1"),
        ({"oom_killed": True}, "its container ran out of memory"),
        (None, "its container was removed from outside"),
    ],
)
async def test_a_container_that_dies_while_it_starts_fails_the_start(world, broker, death, reason):
    """The person reads a sentence at once; the operator reads why, with the end of its log."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    await ticks(broker, 1)
    world.engine.say(container_name(session.id), "Xvnc: cannot open display\n")
    if death is None:
        world.engine.vanish(container_name(session.id))
    else:
        world.engine.die(container_name(session.id), **death)
    with capture_logs() as logs:
        await ticks(broker, 1)
        refused = await broker.refused(StartFailed, waiting)
    assert refused.public == StartFailed.default
    (failure,) = [entry for entry in logs if entry["event"] == "session failed to start"]
    assert failure["reason"] == reason
    assert failure["tail"] == ("" if death is None else "Xvnc: cannot open display\n")
    assert (await broker.store.session(session.id)).reason == reason
    assert await broker.store.leases(LeaseKind.PORT) == []
    await broker.check()


async def test_a_log_that_cannot_be_read_does_not_hide_the_failure(world, broker):
    """The engine went away together with the container."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    world.engine.die(container_name(session.id))
    world.engine.fail_next("tail", EngineUnavailable("gone"))
    await ticks(broker, 1)
    await broker.refused(StartFailed, waiting)
    await broker.check()


async def test_a_desktop_that_never_answers_times_out(world):
    """After the configured time, not a moment earlier, and nothing of it is left."""
    broker = await world.broker(timeout="90s")
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    await ticks(broker, 100)
    assert not waiting.done()
    broker.clock.advance(40)
    refused = await broker.refused(StartFailed, waiting)
    assert str(refused) == "it did not answer within 90 s"
    assert refused.public == StartFailed.default
    assert world.containers == set()
    await broker.check()


async def test_an_engine_that_hangs_times_out_too(world):
    """The bound holds over the whole start, whatever it waits for."""
    broker = await world.broker(timeout="30s")
    gate = world.engine.before = Gate("create")
    waiting = broker.begin(await broker.desktop())
    await gate.reached.wait()
    broker.clock.advance(30)
    await broker.refused(StartFailed, waiting)
    await broker.check()


async def test_all_who_wait_for_a_failing_start_are_told(world, broker):
    """And none of them hinders the next."""
    world.engine.fail_next("start", EngineUnavailable("lost"))
    desktop = await broker.desktop()
    told = await asyncio.gather(*(broker.ensure(desktop) for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in told} == {EngineUnavailable}
    assert (await broker.ensure(desktop)).state is SessionState.READY


async def test_a_paused_container_is_not_dead(world, broker):
    """An administrator who freezes a starting desktop has not killed it."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    session = await broker.store.live_session(desktop.id)
    world.engine.outside_pause(container_name(session.id))
    await ticks(broker, 3)
    assert not waiting.done()
    found = await world.engine.inspect(container_name(session.id))
    assert found.state is ContainerState.PAUSED
    broker.probe.answering.set()
    await waiting


async def test_a_new_image_is_taken_by_the_next_start_alone(world, broker):
    """The running session goes on with the image that it began with; the home is kept."""
    desktop = await broker.desktop()
    old = await broker.ensure(desktop)
    world.home(desktop).files["notes"] = "mine"
    world.engine.images["desk:latest"] = world.engine.images["desk:next"]
    await broker.settle()
    assert (await broker.ensure(desktop)).id == old.id
    await broker.sessions.stop(old.id, reason="enough", actor="user:ada")
    new = await broker.ensure(desktop)
    assert new.image != old.image
    assert world.container(new).image == world.engine.images["desk:next"]
    assert world.home(desktop).files == {"notes": "mine"}


async def test_a_defect_in_mid_start_is_cleaned_up_like_any_failure(world, broker):
    """What nobody foresaw: a sentence for the user, nothing left, and the next start works."""
    world.engine.fail_next("create", ValueError("odd"), after_effect=True)
    desktop = await broker.desktop()
    refused = await broker.refused(StartFailed, broker.ensure(desktop))
    assert refused.public == StartFailed.default
    await broker.check()
    assert (await broker.ensure(desktop)).state is SessionState.READY


async def test_a_home_that_is_gone_is_never_replaced_by_an_empty_one(world, broker):
    """Somebody removed the volume: no start, a sentence, and the volume is not made anew."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    await broker.sessions.stop(session.id, reason="test", actor="x")
    world.engine.volumes.clear()
    desktop = await broker.store.desktop(desktop.id)
    refused = await broker.refused(HomeMissing, broker.ensure(desktop))
    assert "not started in an empty one" in refused.public
    assert world.engine.volumes == {}
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="x")
    assert (await broker.ensure(await broker.desktop())).state is SessionState.READY
