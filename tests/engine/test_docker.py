"""What the Docker side makes of an engine that errs: never 'absent', always a sentence."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
import structlog

from broker.core.errors import ConfigError, Conflict, EngineUnavailable, ImageMissing, NotFound
from broker.core.model import InstanceId
from broker.engine import containers
from broker.engine import docker as module
from broker.engine.docker import DockerEngine
from tests.contract.engines import Specs, desktop_of
from tests.engine.scripted import Scripted, refusal, reply, scripted

NAME = "desk-0123456789abcdef"
INSTANCE = InstanceId("0000000000000001")


def inspected(status: str = "created", **changes):
    labels = {"desk.instance": INSTANCE, "desk.session": "s", "desk.desktop": "d"}
    return {
        "Id": "f" * 64,
        "Name": f"/{NAME}",
        "State": {"Status": status, "Pid": 0, "ExitCode": 0, "OOMKilled": False},
        "Config": {"Labels": labels},
        "HostConfig": {"PortBindings": {"2222/tcp": [{"HostPort": "21000"}]}},
        "NetworkSettings": {"Networks": {}},
        **changes,
    }


@pytest.fixture
async def script():
    async with scripted() as engine:
        yield engine


@pytest.fixture
async def engine(script: Scripted):
    made = DockerEngine(INSTANCE, base_url=script.url, close_grace=0.05)
    yield made
    await made.close()


BROKEN = {
    "500": refusal(500, "out of order"),
    "503": refusal(503, ""),
    "hung up": b"",
    "not JSON": reply(200, raw=b"<html>"),
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "not HTTP": b"hello\r\n\r\n",
    "another shape": reply(200, ["?"]),
    "null": reply(200, None),
    "error of another shape": reply(404, ["?"]),
    "conflict": refusal(409, "something new"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.ping(),
        lambda e: e.image_id("desk:latest"),
        lambda e: e.ensure_network("desk-1", bridge="desk1", subnet="10.213.0.0/22"),
        lambda e: e.remove_network("desk-1"),
        lambda e: e.ensure_home("desk-home-1", desktop_id="1", image="i", uid=20000),
        lambda e: e.remove_home("desk-home-1"),
        lambda e: e.homes(),
        lambda e: e.start(NAME),
        lambda e: e.remove(NAME),
        lambda e: e.kill(NAME),
        lambda e: e.pause(NAME),
        lambda e: e.unpause(NAME),
        lambda e: e.cpu_seconds(NAME),
        lambda e: e.inspect(NAME),
        lambda e: e.containers(),
        lambda e: e.tail(NAME),
    ],
    ids=[
        "ping",
        "image",
        "network",
        "rm-network",
        "home",
        "rm-home",
        "homes",
        "start",
        "remove",
        "kill",
        "pause",
        "unpause",
        "cpu",
        "inspect",
        "list",
        "tail",
    ],
)
async def test_a_broken_answer_is_an_engine_that_is_unavailable(script, engine, call, broken):
    script.on("v1.41", broken, hang_up=True)
    with pytest.raises(EngineUnavailable) as caught:
        await call(engine)
    assert caught.value.__cause__ is not None


async def test_an_engine_that_is_not_there_is_unavailable():
    engine = DockerEngine(INSTANCE, base_url="unix:///nowhere/docker.sock")
    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            await engine.containers()
    await engine.close()
    gc.collect()


async def test_only_a_local_socket_is_an_engine():
    with pytest.raises(ConfigError, match="unix://"):
        DockerEngine(INSTANCE, base_url="tcp://127.0.0.1:2375")


async def test_an_engine_that_hangs_is_given_up(script, engine, monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.1)
    script.on("/containers", None)
    begun = time.monotonic()
    with pytest.raises(EngineUnavailable):
        await engine.inspect(NAME)
    assert time.monotonic() - begun < 2


async def test_looks_do_not_wait_behind_deeds(script, engine):
    script.on("DELETE", None)
    script.on("GET .*/containers/(desk-|f).*/json", reply(200, inspected()))
    script.on("GET .*/containers/json", reply(200, []))

    async def remove() -> None:
        with pytest.raises(EngineUnavailable):
            await engine.remove(NAME, grace=0)

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(remove())
        while sum("DELETE" in line for line in script.requests) < 12:
            await asyncio.sleep(0.005)
        assert await engine.containers() == []
        await engine.close()


async def test_closing_cuts_off_what_hangs(script, engine):
    script.on("/containers", None)

    async def look() -> None:
        with pytest.raises(EngineUnavailable):
            await engine.inspect(NAME)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        while not any("/containers" in line for line in script.requests):
            await asyncio.sleep(0.005)
        begun = time.monotonic()
        await engine.close()
    assert time.monotonic() - begun < 2


async def test_an_engine_that_came_back_is_found(script, engine):
    script.on("/json", b"", reply(200, inspected()))
    with pytest.raises(EngineUnavailable):
        await engine.inspect(NAME)
    assert await engine.inspect(NAME) is not None


async def test_too_old_an_api_is_told(script, engine):
    script.on("GET /version", reply(200, {"ApiVersion": "1.40", "MinAPIVersion": "1.12"}))
    with pytest.raises(EngineUnavailable, match=r"1\.40; 1\.41 or newer"):
        await engine.containers()


async def test_a_newer_engine_is_spoken_to_in_the_oldest_version_it_knows(script, engine):
    script.on("GET /version", reply(200, {"ApiVersion": "1.52", "MinAPIVersion": "1.44"}))
    script.on(r"v1\.44/containers/json", reply(200, []))
    assert await engine.containers() == []


async def test_what_the_engine_cannot_enforce_is_told(script, engine):
    script.on("/info", reply(200, {"ServerVersion": "20.10.24", "SecurityOptions": None}))
    info = await engine.ping()
    assert info.version == "20.10.24"
    assert len(info.warnings) == 10


@pytest.mark.parametrize(
    ("status", "sentence", "kind"),
    [
        (404, f"No such container: {NAME}", NotFound),
        (409, "container is marked for removal and cannot be started", NotFound),
        (404, "network desk-1 not found", EngineUnavailable),
        (500, "OCI runtime create failed", EngineUnavailable),
    ],
)
async def test_why_a_start_failed(script, engine, status, sentence, kind):
    script.on("POST .*/start", refusal(status, sentence))
    script.on("GET .*/json", reply(200, inspected()))
    with pytest.raises(kind):
        await engine.start(NAME)


async def test_a_container_that_vanishes_while_it_starts_is_not_found(script, engine):
    script.on("POST .*/start", b"HTTP/1.1 204 No Content\r\n\r\n")
    script.on("GET .*/json", reply(200, inspected()), refusal(404, "No such container"))
    with pytest.raises(NotFound):
        await engine.start(NAME)


async def test_a_removal_that_is_under_way_is_waited_for(script, engine):
    script.on("POST .*/stop", refusal(500, "tried to kill container"))
    script.on("DELETE", refusal(409, "removal of container f is already in progress"))
    script.on(
        "GET .*/json",
        reply(200, inspected("running")),
        reply(200, inspected("running")),
        reply(200, inspected("removing")),
        refusal(404, "No such container"),
    )
    await engine.remove(NAME)
    assert sum("DELETE" in line for line in script.requests) == 2


async def test_a_removal_that_never_ends_is_given_up(script, engine, monkeypatch):
    monkeypatch.setattr(module, "_DEED", 0.2)
    script.on("DELETE", refusal(409, "removal of container f is already in progress"))
    script.on("GET .*/json", reply(200, inspected("removing")))
    with pytest.raises(EngineUnavailable):
        await engine.remove(NAME, grace=0)


async def test_a_removal_that_the_engine_refuses_is_told(script, engine):
    script.on("DELETE", refusal(500, "driver failed to remove root filesystem"))
    script.on("GET .*/json", reply(200, inspected()))
    with pytest.raises(EngineUnavailable, match="root filesystem"):
        await engine.remove(NAME, grace=0)


async def test_one_that_was_removed_meanwhile_is_gone(script, engine):
    script.on("DELETE", refusal(404, "No such container"))
    script.on("GET .*/json", reply(200, inspected()))
    await engine.remove(NAME, grace=0)


@pytest.mark.parametrize(
    "after",
    [
        reply(200, inspected("exited")),
        reply(200, inspected("removing")),
        refusal(404, "No such container"),
    ],
    ids=["exited", "removing", "gone"],
)
@pytest.mark.parametrize(("method", "before"), [("pause", "running"), ("unpause", "paused")])
async def test_one_that_ends_while_it_is_put_to_sleep_or_woken_is_not_found(
    script, engine, method, before, after
):
    """The engine's refusal comes before its own knowledge of the end."""
    script.on(f"POST .*/{method}", refusal(500, "OCI runtime failed: container not running"))
    script.on("GET .*/json", *[reply(200, inspected(before))] * 2, after)
    with pytest.raises(NotFound):
        await getattr(engine, method)(NAME)


async def test_one_that_vanishes_while_it_is_put_to_sleep_is_not_found(script, engine):
    script.on("POST .*/pause", refusal(404, "No such container"))
    script.on("GET .*/json", reply(200, inspected("running")), refusal(404, "No such container"))
    with pytest.raises(NotFound):
        await engine.pause(NAME)


async def test_one_that_another_call_put_to_sleep_sleeps(script, engine):
    script.on("POST .*/pause", refusal(409, "Container f is already paused"))
    script.on("GET .*/json", reply(200, inspected("running")), reply(200, inspected("paused")))
    await engine.pause(NAME)


async def test_one_that_an_engine_froze_and_forgot_sleeps(script, engine):
    """It was killed between the runtime's freeze and its own record, and says "running" since."""
    script.on(
        "POST .*/pause", refusal(500, "OCI runtime pause failed: cannot pause a paused container")
    )
    script.on("GET .*/json", reply(200, inspected("running")))
    await engine.pause(NAME)
    assert sum("/pause" in line for line in script.requests) == 1


async def test_one_that_cannot_be_frozen_is_told(script, engine, monkeypatch):
    monkeypatch.setattr(containers, "_TRIES", 2)
    script.on("POST .*/pause", refusal(500, "unable to freeze"))
    script.on("GET .*/json", reply(200, inspected("running")))
    with pytest.raises(EngineUnavailable, match="unable to freeze"):
        await engine.pause(NAME)
    assert sum("/pause" in line for line in script.requests) == 2


def counted(nanoseconds: int) -> bytes:
    return reply(200, {"cpu_stats": {"cpu_usage": {"total_usage": nanoseconds}}})


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(counted(1_500_000_000), 1.5), (counted(0), None), (refusal(404, "No such container"), None)],
    ids=["counted", "ended", "gone"],
)
async def test_an_engine_whose_cgroups_are_not_to_be_seen_is_asked(script, engine, answer, seconds):
    script.on("GET .*/json", reply(200, inspected("running")))
    script.on("GET .*/stats", answer)
    assert await engine.cpu_seconds(NAME) == seconds
    assert "stream=False&one-shot=True" in script.requests[-1]


async def test_looks_do_not_wait_behind_samples(script, engine):
    script.on("GET .*/stats", None)
    script.on("GET .*/containers/desk-.*/json", reply(200, inspected("running")))
    script.on("GET .*/containers/json", reply(200, []))

    async def sample() -> None:
        with pytest.raises(EngineUnavailable):
            await engine.cpu_seconds(NAME)

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(sample())
        while not any("/stats" in line for line in script.requests):
            await asyncio.sleep(0.005)
        assert await engine.containers() == []
        await engine.close()


async def test_an_ended_container_that_vanishes_from_the_list_is_left_out(script, engine):
    labels = inspected()["Config"]["Labels"]
    entry = {"Id": "f" * 64, "Names": [f"/{NAME}"], "State": "exited", "Labels": labels}
    script.on("/containers/json", reply(200, [entry]))
    script.on("/containers/f+/json", refusal(404, "No such container"))
    assert await engine.containers() == []


async def test_the_log_of_one_that_vanishes_is_empty(script, engine):
    script.on("GET .*/json", reply(200, inspected()), refusal(404, "No such container"))
    script.on("/logs", refusal(404, "No such container"))
    assert await engine.tail(NAME) == ""


@pytest.fixture
def spec(tmp_path):
    return Specs(INSTANCE, "desk:latest", tmp_path).make()


def made_from(spec, **changes):
    return inspected(Name=f"/{spec.name}", Config={"Labels": dict(spec.labels)}, **changes)


def home_of(spec):
    return reply(200, {"Name": spec.home_volume, "Labels": {"desk.instance": INSTANCE}})


TAKEN = refusal(409, 'Conflict. The container name "/x" is already in use by container "y".')


async def test_a_limit_that_the_engine_drops_is_warned_of_once(script, engine, spec):
    script.on("/volumes/", home_of(spec))
    script.on("/containers/create", reply(201, {"Id": "f" * 64, "Warnings": ["no swap"]}))
    script.on("GET .*/json", reply(200, made_from(spec)))
    with structlog.testing.capture_logs() as logs:
        await engine.create(spec)
        await engine.create(spec)
    limits = [entry["limit"] for entry in logs]
    assert {"no swap", "Memory", "CapDrop"} <= set(limits)
    assert len(limits) == len(set(limits))


async def test_a_name_that_is_reserved_is_waited_for(script, engine, spec):
    script.on("/volumes/", home_of(spec))
    script.on("/containers/create", TAKEN)
    script.on("GET .*/json", refusal(404, "No such container"), reply(200, made_from(spec)))
    assert (await engine.create(spec)).session_id == spec.session_id


async def test_a_name_that_comes_back_with_another_spec_is_a_conflict(script, engine, spec):
    script.on("/volumes/", home_of(spec))
    script.on("/containers/create", TAKEN)
    other = reply(200, inspected(Name=f"/{spec.name}"))
    script.on("GET .*/json", other)
    script.on("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", refusal(404, "No such container"))
    with pytest.raises(Conflict):
        await engine.create(spec)


async def test_one_that_is_removed_while_it_is_made_is_told(script, engine, spec):
    script.on("/volumes/", home_of(spec))
    script.on("/containers/create", reply(201, {"Id": "f" * 64, "Warnings": None}))
    script.on("GET .*/json", refusal(404, "No such container"))
    with pytest.raises(EngineUnavailable, match="removed while"):
        await engine.create(spec)


async def test_an_image_that_goes_while_its_home_is_made_is_missing(script, engine, spec):
    script.on("GET .*/volumes/", home_of(spec))
    script.on("GET .*/images/", reply(200, {"Id": "sha256:0"}))
    script.on("GET .*/containers/", refusal(404, "No such container"))
    script.on("/containers/create", refusal(404, "No such image: desk:latest"))
    with pytest.raises(ImageMissing):
        await engine.ensure_home(
            spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=20000
        )


async def test_a_helper_that_fails_is_told_with_its_words_and_removed(script, engine, spec):
    absent = refusal(404, "No such container")
    helper = reply(200, inspected(Config={"Labels": {"desk.instance": INSTANCE}, "Tty": True}))
    script.on("GET .*/volumes/", home_of(spec))
    script.on("GET .*/images/", reply(200, {"Id": "sha256:0"}))
    script.on("/containers/create", reply(201, {"Id": "f" * 64}))
    script.on("POST .*/start", b"HTTP/1.1 204 No Content\r\n\r\n")
    script.on("POST .*/wait", reply(200, {"StatusCode": 1}))
    script.on("GET .*/containers/.*/json", absent, helper)
    script.on("GET .*/logs", reply(200, raw=b"chown: read-only\n"))
    script.on("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n")
    with pytest.raises(EngineUnavailable, match="ended with 1: chown: read-only"):
        await engine.ensure_home(
            spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=20000
        )
    assert "DELETE" in script.requests[-1]


async def test_a_foreign_container_of_the_helpers_name_is_left_alone(script, engine, spec):
    script.on("GET .*/volumes/", home_of(spec))
    script.on("GET .*/images/", reply(200, {"Id": "sha256:0"}))
    script.on("GET .*/containers/", reply(200, inspected(Config={"Labels": None})))
    with pytest.raises(Conflict):
        await engine.ensure_home(
            spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=20000
        )
    assert not any("DELETE" in line for line in script.requests)


async def test_a_home_that_vanished_is_warned_of_and_made_anew(script, engine, spec):
    absent = refusal(404, "No such container")
    script.on("GET .*/volumes/", home_of(spec), refusal(404, "no such volume"))
    script.on("POST .*/volumes/create", home_of(spec))
    script.on("GET .*/images/", reply(200, {"Id": "sha256:0"}))
    script.on("/containers/create", reply(201, {"Id": "f" * 64}))
    script.on("POST .*/start", b"HTTP/1.1 204 No Content\r\n\r\n")
    script.on("POST .*/wait", reply(200, {"StatusCode": 0}))
    script.on("GET .*/containers/", absent)
    call = {"desktop_id": desktop_of(spec), "image": spec.image, "uid": 20000}
    await engine.ensure_home(spec.home_volume, **call)
    with structlog.testing.capture_logs() as logs:
        await engine.ensure_home(spec.home_volume, **call)
    assert [entry["event"] for entry in logs] == ["home volume vanished"]


async def test_things_that_go_while_they_are_removed_are_gone(script, engine):
    ours = reply(200, {"Id": "1", "Name": "desk-home-1", "Labels": {"desk.instance": INSTANCE}})
    script.on("GET .*/(networks|volumes)/", ours)
    script.on("GET .*/containers/", refusal(404, "No such container"))
    script.on("DELETE", refusal(404, "not found"))
    await engine.remove_network("desk-1")
    await engine.remove_home("desk-home-1")
