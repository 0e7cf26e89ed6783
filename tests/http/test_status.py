"""How the broker itself is, what sessions use, and their size, by the API."""

from __future__ import annotations

import pytest

from broker.core.gateway import Attachment, Load
from broker.core.spec import container_name
from tests.service.harness import outage


@pytest.fixture
async def session(broker):
    """Ada's, which runs."""
    return await broker.ensure(await broker.desktop())


async def test_the_status_tells_how_everything_is(api, broker, session):
    await broker.reconciling.once()
    broker.clock.advance(3)
    await broker.gateway.carries("door-1", Load(connections=7, authenticated=5, lag=0.0123))
    await broker.gateway.attached(
        "door-1", Attachment(id="a", session_id=session.id, user="ada", peer="p", client="c")
    )
    await broker.gateway.detached("door-2", "b")
    status, told = await api("GET", "/status")
    assert status == 200
    loops = {loop["name"]: loop for loop in told["loops"]}
    assert loops["reconcile"] == {
        "name": "reconcile", "every": 60.0, "last_at": "2030-01-01T09:00:01Z", "check": "ok",
    } | {"last_at": loops["reconcile"]["last_at"]}  # fmt: skip
    assert loops["reap"]["last_at"] is None
    assert "has not succeeded yet" in loops["reap"]["check"]
    assert told["engine"]["up"] is True
    assert (told["engine"]["since"], told["engine"]["problem"]) == (None, None)
    assert told["starts"] == {"under_way": 0, "at_once": 4, "waiting": 0, "waiting_most": 64}
    assert [(door["door"], door["connections"]) for door in told["doors"]] == [
        ("door-1", 7),
        ("door-2", None),
    ]
    assert (told["doors"][0]["attachments"], told["doors"][0]["lag"]) == (1, 0.012)
    used = {pool["kind"]: (pool["used"], pool["of"]) for pool in told["leases"]}
    assert used["port"] == used["display"] == used["uid"] == (1, 100)
    assert used["address"] == (1, 1000)


async def test_an_engine_that_is_away_is_told_and_no_refusal(api, broker, world):
    with outage(world):
        status, told = await api("GET", "/status")
    assert (status, told["engine"]["up"], told["engine"]["version"]) == (200, False, None)
    assert told["engine"]["problem"].endswith(".")


async def test_the_status_tells_since_when_the_engine_is_heard(api, broker, world):
    heard = []

    def beat():
        heard.append(broker.reconciler.hears_since)

    task = broker.spawn(broker.reconciler.follow_events(beat), name="x")
    while not heard:
        broker.clock.advance(1)
        await broker.reconcile()
    assert heard[0] is not None
    assert (await api("GET", "/status"))[1]["engine"]["since"] is not None
    task.cancel()
    await broker.landed()
    assert (await api("GET", "/status"))[1]["engine"]["since"] is None


async def test_a_session_tells_what_it_uses(api, broker, world, session):
    """In a list, and alone."""
    _, told = await api("GET", "/sessions")
    assert (told["items"][0]["cpu"], told["items"][0]["memory"]) == (None, 300 << 20)
    world.engine.burn(container_name(session.id), 1.0)
    broker.clock.advance(8)
    assert (await api("GET", "/sessions"))[1]["items"][0]["cpu"] == 0.125
    assert (await api("GET", f"/sessions/{session.id}"))[1]["cpu"] == 0.125


async def test_a_session_tells_whether_its_next_start_takes_another_image(
    api, broker, world, session
):
    """In a list, and alone; an engine that is away is no refusal."""
    assert (await api("GET", "/sessions"))[1]["items"][0]["outdated"] is False
    world.engine.images["desk:latest"] = "sha256:new"
    broker.clock.advance(10)
    assert (await api("GET", "/sessions"))[1]["items"][0]["outdated"] is True
    assert (await api("GET", f"/sessions/{session.id}"))[1]["outdated"] is True
    broker.clock.advance(10)
    with outage(world):
        assert (await api("GET", "/sessions"))[1]["items"][0]["outdated"] is None


async def test_a_desktop_gets_another_size(api, broker, session):
    path = f"/sessions/{session.id}/size"
    status, told = await api("PUT", path, json={"width": 1600, "height": 900})
    assert (status, told["id"]) == (200, session.id)
    assert broker.inside.sizes == [(session.id, 1600, 900)]
    entry = (await broker.store.audit(limit=1))[0]
    assert (entry.action, entry.detail) == ("session.resize", {"size": "1600x900"})
    for width, height in ((319, 900), (1600, 199), (7681, 900), (1600, 4321), ("1600", 900)):
        body = {"width": width, "height": height}
        await api.problem(400, "bad_request", "PUT", path, json=body)
    assert len(broker.inside.sizes) == 1


async def test_a_desktop_that_takes_no_size_is_409(api, broker, session):
    path, body = f"/sessions/{session.id}/size", {"width": 1600, "height": 900}
    broker.inside.deaf.add(session.id)
    await api.problem(409, "conflict", "PUT", path, json=body)
    await broker.freeze(session)
    assert "is frozen" in await api.problem(409, "conflict", "PUT", path, json=body)
    assert not [e for e in await broker.store.audit() if e.action == "session.resize"]
