"""What becomes of desktops and sessions by the API, and the status of each outcome."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import CapacityExhausted
from broker.core.model import SessionState
from broker.http import verbs
from tests.service.harness import outage

HOUR, DAY = 3600, 86_400


@pytest.fixture
async def desktop(api, broker):
    """Ada's, made by the API."""
    await broker.user("ada")
    status, made = await api("POST", "/desktops", json={"user": "ada"})
    assert (status, made["name"], made["state"], made["session"]) == (201, "main", "stopped", None)
    assert api.headers["Location"] == f"/api/v1/desktops/{made['id']}"
    return made["id"]


async def started(api, desktop):
    status, session = await api("POST", f"/desktops/{desktop}/start")
    assert (status, session["state"]) == (201, "ready")
    return session


async def test_a_desktop_is_made_once(api, broker, desktop):
    """And taken up again with its home when it was removed."""
    await api.problem(409, "conflict", "POST", "/desktops", json={"user": "ada"})
    for body in ({"user": "ada", "name": "Main"}, {}, {"user": "ada", "name": "x", "home": 1}):
        await api.problem(400, "bad_request", "POST", "/desktops", json=body)
    await api.problem(404, "not_found", "POST", "/desktops", json={"user": "bob"})
    await api("DELETE", f"/desktops/{desktop}")
    status, again = await api("POST", "/desktops", json={"user": "ada"})
    assert (status, again["id"]) == (201, desktop)
    for name in ("b", "c"):
        await api("POST", "/desktops", json={"user": "ada", "name": name})
    body = {"user": "ada", "name": "d"}
    assert "more are not allowed" in await api.problem(
        409, "conflict", "POST", "/desktops", json=body
    )


async def test_a_start_that_is_ready_is_201(api, broker, desktop):
    """With its place; one that runs already, too."""
    session = await started(api, desktop)
    assert api.headers["Location"] == f"/api/v1/sessions/{session['id']}"
    assert (await started(api, desktop))["id"] == session["id"]
    assert (await api("GET", f"/sessions/{session['id']}"))[1]["state"] == "ready"
    _, shown = await api("GET", f"/desktops/{desktop}")
    assert (shown["state"], shown["session"]) == ("ready", session["id"])
    await api.problem(404, "not_found", "GET", "/desktops/nope")
    await api.problem(404, "not_found", "POST", "/desktops/nope/start")


async def test_a_start_that_takes_longer_is_202(api, broker, desktop):
    """It says where to look, and goes on."""
    broker.probe.hold()
    status, _ = await api("POST", f"/desktops/{desktop}/start?wait=1")
    assert status == 202
    while (await api("GET", f"/desktops/{desktop}"))[1]["session"] is None:
        await asyncio.sleep(0.05)
    status, made = await api("POST", f"/desktops/{desktop}/start?wait=1")
    assert (status, made["state"]) == (202, "starting")
    assert api.headers["Location"] == f"/api/v1/sessions/{made['session']}"
    broker.probe.answering.set()
    await broker.landed()
    assert (await api("GET", f"/sessions/{made['session']}"))[1]["state"] == "ready"
    for wait in ("0", "61", "x"):
        await api.problem(400, "bad_request", "POST", f"/desktops/{desktop}/start?wait={wait}")


async def test_a_start_that_has_no_place_is_429(api, broker, desktop, monkeypatch):
    """With when to come again."""

    async def full(*_args, **_kwargs):
        raise CapacityExhausted(retry_after=7.2)

    monkeypatch.setattr(broker.services.sessions, "ensure", full)
    await api.problem(429, "full", "POST", f"/desktops/{desktop}/start")
    assert api.headers["Retry-After"] == "8"
    monkeypatch.setattr("broker.service.beginning.MOST", 0)
    await api.problem(429, "full", "POST", f"/desktops/{desktop}/start")
    assert api.headers["Retry-After"] == "60"


async def test_a_start_that_cannot_be_is_503_or_409(api, broker, world, desktop):
    """By what is the matter."""
    with outage(world):
        await api.problem(503, "engine_unavailable", "POST", f"/desktops/{desktop}/start")
    await api("DELETE", f"/desktops/{desktop}")
    await api.problem(409, "conflict", "POST", f"/desktops/{desktop}/start")


async def test_a_start_whose_caller_left_goes_on(api, broker, desktop):
    """Nobody has to wait for it."""
    broker.probe.hold()
    task = asyncio.get_running_loop().create_task(api("POST", f"/desktops/{desktop}/start?wait=60"))
    await broker.probe.asked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    broker.probe.answering.set()
    await broker.landed()
    (session,) = await broker.store.live_sessions()
    assert session.state is SessionState.READY


async def test_a_session_sleeps_and_wakes(api, broker, desktop):
    """To wake what is awake is success, what has ended is none."""
    path = f"/sessions/{(await started(api, desktop))['id']}"
    await broker.reaper.pass_once()
    broker.clock.advance(1)
    assert (await api("POST", f"{path}/freeze"))[1]["state"] == "frozen"
    for _ in range(2):
        status, woken = await api("POST", f"{path}/thaw")
        assert (status, woken["state"]) == (200, "ready")
    await api("POST", f"{path}/stop")
    await api.problem(409, "conflict", "POST", f"{path}/thaw")
    assert await broker.store.live_sessions() == []


async def test_a_desktop_is_stopped(api, broker, desktop):
    """Running or not."""
    session = await started(api, desktop)
    for _ in range(2):
        status, found = await api("POST", f"/desktops/{desktop}/stop")
        assert (status, found["state"], found["session"]) == (200, "stopped", None)
    _, ended = await api("GET", f"/sessions/{session['id']}")
    assert (ended["state"], ended["reason"]) == ("ended", "an admin stopped it")


async def test_a_session_is_kept_for_as_long_as_may_be(api, broker, desktop):
    """As `desk keep`."""
    path = f"/sessions/{(await started(api, desktop))['id']}"
    await broker.reaper.pass_once()
    _, kept = await api("POST", f"{path}/keep")
    assert (kept["next"], kept["next_in"]) == ("freeze", 3 * DAY)
    await api("POST", f"{path}/stop")
    await api.problem(409, "conflict", "POST", f"{path}/keep")


async def test_a_message_is_shown_inside(api, broker, desktop):
    """The audit tells that there was one, and not what it said."""
    session = await started(api, desktop)
    path = f"/sessions/{session['id']}"
    assert await api("POST", f"{path}/message", json={"text": "Lunch?"}) == (200, {"seen": True})
    ((told, notice),) = broker.inside.told
    assert (told, notice.title, notice.text, notice.lasts) == (
        session["id"],
        "From an admin",
        "Lunch?",
        verbs._SHOWN,
    )
    broker.inside.deaf.add(session["id"])
    assert (await api("POST", f"{path}/message", json={"text": "x"}))[1] == {"seen": False}
    found = await broker.store.audit(limit=2)
    assert [(entry.action, entry.detail) for entry in found] == [
        ("session.message", {"seen": False}),
        ("session.message", {"seen": True}),
    ]
    for text in ("", " ", "a\x1b[2J", "a\nb", "x" * 501):
        await api.problem(400, "bad_request", "POST", f"{path}/message", json={"text": text})
    await api("POST", f"{path}/stop")
    await api.problem(409, "conflict", "POST", f"{path}/message", json={"text": "x"})


async def test_settings_show_nothing_by_which_somebody_gets_in(api, broker):
    """Templates and what holds for everybody beside them."""
    _, found = await api("GET", "/settings")
    told = {item["key"]: item["value"] for item in found["items"]}
    assert told["idle.freeze_after"] == HOUR
    assert told["template.image"] == "desk:latest"
    assert not [key for key in told if key.startswith(("login", "state", "engine", "ssh", "web"))]
    assert (await api("GET", "/settings?key=starts.at_once"))[1]["items"] == [
        {"key": "starts.at_once", "value": 4}
    ]
    _, templates = await api("GET", "/templates")
    (template,) = templates["items"]
    assert (template["name"], template["memory"]) == ("default", 2 << 30)
    assert (await api("GET", "/templates/default"))[1] == template
    await api.problem(404, "not_found", "GET", "/templates/none")
    _, policies = await api("GET", "/policies")
    assert {"key": "idle.freeze_after", "value": "1 h", "from": "config"} in policies["items"]
