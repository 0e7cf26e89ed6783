"""The stream of events of an engine that errs, idles, floods and goes."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time

import pytest

from broker.core.errors import EngineUnavailable
from broker.core.interfaces import EventKind
from broker.core.model import InstanceId
from broker.engine import events as module
from broker.engine.docker import DockerEngine
from tests.engine.scripted import Scripted, refusal, reply, scripted

INSTANCE = InstanceId("0000000000000001")
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
LABELS = {"desk.instance": INSTANCE, "desk.session": "s", "desk.desktop": "d"}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def happened(action: str = "die", name: str = "desk-1", **labels: str) -> bytes:
    attributes = {"name": name, **LABELS, **labels}
    return json.dumps({"Action": action, "Actor": {"Attributes": attributes}}).encode() + b"\n"


@pytest.fixture
async def script():
    async with scripted() as engine:
        engine.on("/info", reply(200, {"SystemTime": "2026-11-24T14:00:32.017696033Z"}))
        engine.on("/events", HEAD)
        yield engine


@pytest.fixture
async def engine(script: Scripted):
    made = DockerEngine(INSTANCE, base_url=script.url, close_grace=0.05)
    async with asyncio.timeout(10):
        yield made
        await made.close()
    assert not [t for t in threading.enumerate() if t.name == "engine-events"]
    gc.collect()


async def test_the_engine_is_asked_for_all_since_its_own_time_before(script, engine):
    async with engine.events():
        pass
    (line,) = (line for line in script.requests if "/events" in line)
    assert "since=1795528832.017696" in line
    assert f"desk.instance%3D{INSTANCE}" in line
    assert "health_status" in line


async def test_an_idle_stream_outlasts_every_deadline(script, engine, monkeypatch):
    monkeypatch.setattr(module, "_OPEN", 0.1)
    async with engine.events() as events:
        await asyncio.sleep(0.2)
        script.say(chunk(happened()))
        assert (await anext(events)).kind is EventKind.DIED


async def test_lines_may_come_in_pieces_and_together(script, engine):
    two = happened(name="desk-1") + happened(name="desk-2")
    async with engine.events() as events:
        for at in range(0, len(two), 50):
            script.say(chunk(two[at : at + 50]))
        assert [(await anext(events)).name for _ in range(2)] == ["desk-1", "desk-2"]


async def test_a_flood_that_nobody_takes_is_told_as_lost(script, engine, monkeypatch):
    monkeypatch.setattr(module, "_WAITING", 10)
    async with engine.events() as events:
        script.say(chunk(happened() * 10_000))
        while any(t.name == "engine-events" for t in threading.enumerate()):
            await asyncio.sleep(0.005)
        with pytest.raises(EngineUnavailable, match="events were lost"):
            await anext(events)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (refusal(500, "out of order"), "out of order"),
        (b"", "events"),
        (b"hello\r\n\r\n", "events"),
    ],
    ids=["an error", "hung up", "not HTTP"],
)
async def test_a_stream_that_does_not_begin_cannot_be_entered(script, engine, answer, sentence):
    script.on("/events", answer, hang_up=True)
    with pytest.raises(EngineUnavailable, match=sentence):
        async with engine.events():
            raise AssertionError("it was entered")


@pytest.mark.parametrize(
    "info", [reply(200, {}), reply(200, {"SystemTime": "noon"}), reply(200, ["?"])]
)
async def test_an_engine_without_a_clock_cannot_be_listened_to(script, engine, info):
    script.on("/info", info)
    with pytest.raises(EngineUnavailable, match="cannot be understood"):
        async with engine.events():
            raise AssertionError("it was entered")


async def test_an_engine_that_is_not_there_cannot_be_listened_to():
    engine = DockerEngine(INSTANCE, base_url="unix:///nowhere/docker.sock")
    with pytest.raises(EngineUnavailable):
        async with engine.events():
            raise AssertionError("it was entered")
    await engine.close()
    gc.collect()


async def test_an_engine_that_hangs_is_given_up(script, engine, monkeypatch):
    monkeypatch.setattr(module, "_OPEN", 0.1)
    script.on("/events", None)
    begun = time.monotonic()
    with pytest.raises(EngineUnavailable):
        async with engine.events():
            raise AssertionError("it was entered")
    assert time.monotonic() - begun < 2


async def test_closing_cuts_off_who_is_just_entering(script, engine):
    script.on("/events", None)

    async def enter() -> None:
        with pytest.raises(EngineUnavailable):
            async with engine.events():
                raise AssertionError("it was entered")

    async with asyncio.TaskGroup() as group:
        group.create_task(enter())
        while not any("/events" in line for line in script.requests):
            await asyncio.sleep(0.005)
        begun = time.monotonic()
        await engine.close()
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (LAST, "ended"),
        (b"10\r\n{", "events"),
        (chunk(b"<html>\n"), "not JSON|understood"),
        (chunk(b'{"Action": "die"}\n'), "understood"),
        (chunk(b"[]\n"), "understood"),
        (b"what\r\n", "events"),
    ],
    ids=["ended", "cut short", "not JSON", "another shape", "a list", "no chunk"],
)
async def test_a_stream_that_breaks_is_told_after_what_came(script, engine, more, sentence):
    async with engine.events() as events:
        script.say(chunk(happened()) + more)
        script.hang_up()
        assert (await anext(events)).kind is EventKind.DIED
        with pytest.raises(EngineUnavailable, match=sentence):
            await anext(events)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_reading_that_fails_by_a_mistake_of_ours_leaves_nobody_waiting(
    script, engine, monkeypatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(module, "event_of", fail)
    async with engine.events() as events:
        script.say(chunk(happened()))
        with pytest.raises(EngineUnavailable, match="broke"):
            await anext(events)
