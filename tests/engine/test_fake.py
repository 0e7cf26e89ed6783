"""The knobs of the engine in memory."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import Conflict, EngineUnavailable, NotFound
from broker.core.interfaces import ContainerState, EventKind
from broker.core.model import InstanceId
from broker.core.spec import bridge_name
from broker.engine.fake import FakeEngine
from tests.contract.engines import Specs, desktop_of

INSTANCE = InstanceId("0" * 16)


@pytest.fixture
def engine():
    return FakeEngine(INSTANCE)


@pytest.fixture
async def spec(engine, tmp_path):
    specs = Specs(INSTANCE, "desk:latest", tmp_path)
    spec = specs.make()
    await engine.ensure_network(spec.network, bridge=bridge_name(INSTANCE), subnet=specs.subnet)
    await engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid
    )
    return spec


async def test_down_means_that_nothing_answers_until_it_is_up(engine, spec):
    await engine.create(spec)
    engine.down = True
    with pytest.raises(EngineUnavailable):
        await engine.containers()
    engine.down = False
    assert len(await engine.containers()) == 1


async def test_a_failure_comes_once_and_before_the_effect(engine, spec):
    engine.fail_next("create", EngineUnavailable("no"))
    with pytest.raises(EngineUnavailable):
        await engine.create(spec)
    assert await engine.containers() == []
    await engine.create(spec)


async def test_failures_wait_in_line(engine, spec):
    engine.fail_next("create", EngineUnavailable("first"), after_effect=True)
    engine.fail_next("create", NotFound("second"))
    for error in (EngineUnavailable, NotFound):
        with pytest.raises(error):
            await engine.create(spec)
    assert len(await engine.containers()) == 1


@pytest.mark.parametrize(("hook", "made"), [("before", 0), ("after", 1)])
async def test_a_caller_that_crashes_at_a_hook_left_nothing_or_everything(engine, spec, hook, made):
    async def crash(method: str) -> None:
        raise asyncio.CancelledError(method)

    setattr(engine, hook, crash)
    with pytest.raises(asyncio.CancelledError):
        await engine.create(spec)
    setattr(engine, hook, None)
    assert len(await engine.containers()) == made
    assert engine.calls[-2:] == ["create", "containers"]


async def test_a_container_dies_by_the_memory_killer_and_freezes_and_wakes(engine, spec):
    await engine.create(spec)
    await engine.start(spec.name)
    engine.outside_pause(spec.name)
    assert (await engine.inspect(spec.name)).state is ContainerState.PAUSED
    engine.outside_unpause(spec.name)
    engine.die(spec.name, oom_killed=True)
    seen = await engine.inspect(spec.name)
    assert (seen.state, seen.exit_code, seen.oom_killed) == (ContainerState.EXITED, 137, True)


async def test_a_log_has_its_last_lines(engine, spec):
    await engine.create(spec)
    engine.say(spec.name, "one\ntwo\n")
    engine.say(spec.name, "three\n")
    assert await engine.tail(spec.name, lines=2) == "two\nthree\n"


async def test_a_subnet_held_by_somebody_else_is_a_conflict(engine):
    engine.held_subnets.add("10.213.0.0/16")
    with pytest.raises(Conflict):
        await engine.ensure_network("desk-1", bridge="desk1", subnet="10.213.4.0/22")


async def test_warnings_are_what_a_test_says(engine):
    engine.warnings = ("The engine cannot count.",)
    assert (await engine.ping()).warnings == engine.warnings


async def test_a_home_of_another_uid_changes_hands(engine, spec):
    await engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid + 1
    )
    assert engine.volumes[spec.home_volume].uid == spec.uid + 1


async def kinds(events, count: int) -> list[EventKind]:
    async with asyncio.timeout(5):
        return [(await anext(events)).kind for _ in range(count)]


async def test_all_that_the_knobs_do_is_told(engine, spec):
    await engine.create(spec)
    await engine.start(spec.name)
    async with engine.events() as events:
        engine.outside_pause(spec.name)
        engine.outside_unpause(spec.name)
        engine.change_health(spec.name)
        engine.die(spec.name, oom_killed=True)
        engine.vanish(spec.name)
        assert await kinds(events, 6) == [
            EventKind.PAUSED,
            EventKind.UNPAUSED,
            EventKind.HEALTH,
            EventKind.OOM,
            EventKind.DIED,
            EventKind.DESTROYED,
        ]


async def test_an_engine_that_goes_down_tells_who_listens_and_nobody_enters(engine, spec):
    async with engine.events() as events:
        engine.down = True
        with pytest.raises(EngineUnavailable):
            await kinds(events, 1)
    with pytest.raises(EngineUnavailable):
        async with engine.events():
            raise AssertionError("it was entered")


async def test_more_events_than_may_wait_are_told_as_lost(engine, spec):
    await engine.create(spec)
    async with engine.events() as events:
        for _ in range(1001):
            engine.change_health(spec.name)
        with pytest.raises(EngineUnavailable, match="lost"):
            await kinds(events, 1)


async def test_programs_use_what_a_test_says_while_they_run(engine, spec):
    await engine.create(spec)
    engine.burn(spec.name, 1.0)
    await engine.start(spec.name)
    engine.burn(spec.name, 1.5)
    await engine.pause(spec.name)
    engine.burn(spec.name, 1.0)
    assert await engine.cpu_seconds(spec.name) == 1.5


@pytest.mark.parametrize("method", ["pause", "kill", "events", "cpu_seconds"])
async def test_the_newer_methods_have_hooks_and_fail_too(engine, spec, method):
    async def call() -> None:
        if method == "events":
            async with engine.events():
                return
        await getattr(engine, method)(spec.name)

    seen = []

    async def note(name: str) -> None:
        seen.append(name)

    await engine.create(spec)
    await engine.start(spec.name)
    engine.before = engine.after = note
    engine.fail_next(method, EngineUnavailable("no"))
    with pytest.raises(EngineUnavailable):
        await call()
    await call()
    assert seen == [method] * 3
