"""The admin's side of sleep: what is told of it, and what can be done about it."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from broker.core.errors import SessionEnded
from broker.core.gateway import Activity, Attachment
from broker.core.idle import Signal
from broker.core.model import SessionState
from broker.core.spec import container_name
from tests.http.test_admin import ACTOR
from tests.service.harness import outage

HOUR, DAY = 3600, 86_400


def attachment(session, number=1, *, user="ada", client="SSH-2.0-OpenSSH_10.0"):
    return Attachment(
        id=f"a{number}",
        session_id=session.id,
        user=user,
        peer=f"203.0.113.{number}:50000",
        client=client,
    )


@pytest.fixture
async def session(broker):
    """Ada's, ready and watched."""
    made = await broker.ensure(await broker.desktop())
    await broker.reaper.pass_once()
    return made


@pytest.fixture
async def starting(broker):
    """A session whose desktop does not answer yet."""
    broker.probe.hold()
    desktop = await broker.desktop("eve")
    task = broker.begin(desktop)
    await broker.probe.asked.wait()
    yield await broker.store.live_session(desktop.id)
    broker.probe.answering.set()
    await asyncio.gather(task, return_exceptions=True)


async def listed(api, session):
    """The item of the session."""
    _, body = await api("GET", "/sessions")
    (item,) = [item for item in body["items"] if item["id"] == session.id]
    return item


async def freeze(api, broker, session):
    broker.clock.advance(1)
    status, item = await api("POST", f"/sessions/{session.id}/freeze")
    assert (status, item["state"]) == (200, "frozen")
    await broker.reaper.pass_once()


# ------------------------------------------------------------------------------------- the list


async def test_a_session_is_listed_with_its_use_and_what_comes_next(api, broker, session):
    """Since when nobody did anything, and the step that follows from it."""
    broker.presence.attached("door", attachment(session))
    broker.clock.advance(180)
    item = await listed(api, session)
    assert (item["attached"], item["kinds"], item["idle"]) == (1, [], 180)
    assert (item["next"], item["next_in"], item["kept_until"]) == ("freeze", HOUR - 180, None)
    doing = Activity(
        attachment=attachment(session),
        attached_for=180.0,
        kinds=("sftp", "shell"),
        ages={Signal.TYPING: 20.0},
    )
    other = Activity(
        attachment=attachment(session, 2), attached_for=9.0, kinds=("forward", "shell"), ages={}
    )
    broker.presence.report("door", [doing, other])
    item = await listed(api, session)
    assert (item["attached"], item["kinds"]) == (2, ["forward", "sftp", "shell"])
    assert (item["idle"], item["next_in"]) == (20, HOUR - 20)


async def test_the_list_asks_no_desktop_and_no_engine(api, broker, world, session):
    """A hundred desktops that hang are listed as fast as a hundred that do not."""
    broker.clock.advance(HOUR)

    async def asked(*_args):
        raise AssertionError("asked")

    broker.inside.input_age = asked
    with outage(world):
        item = await listed(api, session)
    assert (item["idle"], item["next"], item["next_in"]) == (HOUR, "freeze", 0)


async def test_a_frozen_session_is_not_idle_and_is_stopped_later(api, broker, session):
    """With the reason of its sleep."""
    await freeze(api, broker, session)
    broker.clock.advance(HOUR)
    item = await listed(api, session)
    assert (item["state"], item["idle"]) == ("frozen", None)
    assert (item["next"], item["next_in"]) == ("stop", DAY - HOUR)
    assert item["reason"] == "an admin sent it to sleep"


async def test_a_session_that_woke_tells_no_reason_of_its_sleep(api, broker, session):
    """Its record still has it."""
    await freeze(api, broker, session)
    broker.clock.advance(1)
    await broker.ensure(await broker.desktop())
    await broker.reaper.pass_once()
    assert (await broker.store.session(session.id)).reason is not None
    item = await listed(api, session)
    assert (item["state"], item["reason"], item["idle"]) == ("ready", None, 0)


async def test_what_changed_a_moment_ago_is_told_as_it_is(api, broker, session):
    """Before anybody looked at all sessions again, and kept as what it is."""
    broker.clock.advance(1)
    await api("POST", f"/sessions/{session.id}/freeze")
    item = await listed(api, session)
    assert (item["state"], item["idle"], item["next"], item["next_in"]) == (
        "frozen",
        None,
        "stop",
        DAY,
    )
    _, item = await api("POST", f"/sessions/{session.id}/extend", json={"time": "2d"})
    assert (item["next"], item["next_in"]) == ("stop", 2 * DAY)
    await broker.reaper.pass_once()
    assert (await listed(api, session))["next"] == "stop"


async def test_a_session_that_starts_has_no_next_step(api, starting):
    """It is not watched before it is ready."""
    item = await listed(api, starting)
    assert (item["state"], item["idle"], item["next"]) == ("starting", None, None)


async def test_a_session_that_nothing_ends_has_no_next_step(world, serve):
    """By its policy; infinity is no JSON."""
    broker = await world.broker(idle={"freeze_after": "never", "stop_after": "never"})
    api = await serve(broker)
    session = await broker.ensure(await broker.desktop())
    await broker.reaper.pass_once()
    item = await listed(api, session)
    assert (item["idle"], item["next"], item["next_in"]) == (0, None, None)
    _, told = await api("GET", f"/sessions/{session.id}/why")
    assert (told["next"], told["next_in"], told["next_at"]) == (None, None, None)


# ------------------------------------------------------------------------------------------ why


async def test_why_tells_an_admin_what_it_tells_the_user(api, broker, session):
    """The same facts, the same words, and whose it is."""
    broker.inside.idle[session.id] = 40.0
    status, told = await api("GET", f"/sessions/{session.id}/why")
    assert status == 200
    assert (told["user"], told["desktop"], told["session"]) == ("ada", "main", session.id)
    assert (told["state"], told["counts"], told["next"]) == ("ready", "woke", "freeze")
    assert told["signals"]["input"] == 40.0
    assert told["text"].startswith("main is awake, nobody attached.\n")
    assert "keyboard or mouse in the desktop" in told["text"]


async def test_why_explains_a_session_that_ended(api, session):
    """Its reason, for as long as its record is there."""
    await api("POST", f"/sessions/{session.id}/stop")
    _, told = await api("GET", f"/sessions/{session.id}/why")
    assert (told["state"], told["reason"], told["next"]) == (
        "stopped",
        "an admin stopped it",
        None,
    )


async def test_why_survives_a_session_that_ends_meanwhile(api, broker, session):
    """While its desktop is asked."""

    async def ends(session_id):
        await broker.sessions.stop(session_id, reason="it was time", actor="broker")

    broker.inside.input_age = ends
    status, told = await api("GET", f"/sessions/{session.id}/why")
    assert (status, told["session"]) == (200, session.id)


# ----------------------------------------------------------------------------------------- kill


async def test_a_session_is_killed(api, broker, world, session):
    """At once, and whoever is in it reads why; once more is success."""
    for _ in range(2):
        status, ended = await api("POST", f"/sessions/{session.id}/kill", json={})
        assert (status, ended["state"], ended["reason"]) == (
            200,
            "ended",
            "an admin ended it at once",
        )
    assert "kill" in world.engine.calls
    assert "remove" not in world.engine.calls
    assert broker.connections.sent_away[0][0] == session.id
    entry = (await broker.store.audit(subject=session.id))[0]
    assert entry.actor == ACTOR
    await broker.check()


async def test_only_force_ends_a_session_whose_engine_is_silent(api, broker, world, session):
    """Its record; the container goes when the engine is back."""
    path = f"/sessions/{session.id}/kill"
    with outage(world):
        for body in ({}, {"force": False}):
            await api.problem(503, "engine_unavailable", "POST", path, json=body)
        assert (await listed(api, session))["state"] == "stopping"
        status, ended = await api("POST", path, json={"force": True})
        assert (status, ended["state"]) == (200, "ended")
        assert world.containers == {container_name(session.id)}
    await broker.settle()
    assert world.containers == set()
    await broker.check()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body: invalid JSON"),
        (b'{"force": "yes"}', "force: input should be a valid boolean."),
        (b'{"force": 1}', "force: input should be a valid boolean."),
        (b'{"grace": 0}', "grace: extra inputs are not permitted."),
    ],
)
async def test_a_kill_that_is_not_understood_kills_nothing(api, session, body, said):
    """What cannot be taken back is asked for in plain words."""
    detail = await api.problem(
        400, "bad_request", "POST", f"/sessions/{session.id}/kill", data=body
    )
    assert detail.startswith(said)
    assert (await listed(api, session))["state"] == "ready"


async def test_a_kill_cuts_a_start_short(api, broker, starting):
    """Whoever waits for it is told."""
    status, ended = await api("POST", f"/sessions/{starting.id}/kill", json={})
    assert (status, ended["state"]) == (200, "ended")


# --------------------------------------------------------------------------------------- extend


async def test_a_session_is_kept_and_let_go(api, broker, session):
    """By the admin, whose number stands beside the change."""
    status, item = await api("POST", f"/sessions/{session.id}/extend", json={"time": "4h"})
    assert status == 200
    assert (item["next"], item["next_in"]) == ("freeze", 4 * HOUR)
    assert datetime.fromisoformat(item["kept_until"]) == broker.clock.now() + timedelta(hours=4)
    (change, *_) = await broker.store.deadlines(session.id)
    assert (change.actor, change.signal) == (ACTOR, Signal.KEEP)
    _, item = await api("POST", f"/sessions/{session.id}/extend", json={"time": "0"})
    assert (item["kept_until"], item["next_in"]) == (None, HOUR)


async def test_a_session_that_is_not_watched_yet_is_kept_too(api, broker):
    """It became ready a moment ago."""
    session = await broker.ensure(await broker.desktop())
    _, item = await api("POST", f"/sessions/{session.id}/extend", json={"time": "2h"})
    assert item["next_in"] == 2 * HOUR


@pytest.mark.parametrize("time", ["4", "5x", "73h", "99d", "0s", "9" * 60])
async def test_a_time_is_refused_in_the_words_of_the_word(api, broker, session, time):
    """One rule for users and admins."""
    identity = await broker.person("ada")
    said = await broker.gateway.word(identity, ["extend", time, "main", "--json"])
    wanted = json.loads(said.stdout)["detail"]
    path = f"/sessions/{session.id}/extend"
    assert await api.problem(400, "bad_request", "POST", path, json={"time": time}) == wanted


@pytest.mark.parametrize("time", ["", "-1h", "never", "\x1b[2J", "4h now"])
async def test_what_is_no_time_is_refused(api, session, time):
    """With what is allowed; safe to print."""
    path = f"/sessions/{session.id}/extend"
    detail = await api.problem(400, "bad_request", "POST", path, json={"time": time})
    assert detail.endswith(" is no time: allowed is a number and a unit: 30s, 10m, 8h, 7d, or 0.")
    assert detail.isprintable()


async def test_only_a_session_that_is_there_can_be_kept(api, broker, session, starting):
    """Each state has its sentence."""
    body = {"time": "1h"}
    path = f"/sessions/{starting.id}/extend"
    assert await api.problem(409, "conflict", "POST", path, json=body) == (
        "The session is starting. Try again in a moment."
    )
    await api("POST", f"/sessions/{session.id}/stop")
    path = f"/sessions/{session.id}/extend"
    assert await api.problem(409, "conflict", "POST", path, json=body) == (
        "The session is not running."
    )


async def test_a_session_that_ends_while_it_is_extended_is_told(api, broker, session):
    """Between the look and the change."""
    keep = broker.real_store.keep_session

    async def too_late(session_id, **kwargs):
        await broker.sessions.stop(session_id, reason="it was time", actor="broker")
        return await keep(session_id, **kwargs)

    broker.real_store.keep_session = too_late
    path = f"/sessions/{session.id}/extend"
    assert await api.problem(409, "conflict", "POST", path, json={"time": "1h"}) == (
        "The session has ended."
    )


# --------------------------------------------------------------------------------------- freeze


async def test_a_session_is_frozen(api, broker, world, session):
    """Whoever is in it reads why; once more changes nothing."""
    broker.presence.attached("door", attachment(session))
    for _ in range(2):
        status, item = await api("POST", f"/sessions/{session.id}/freeze")
        assert (status, item["state"]) == (200, "frozen")
    (told,) = broker.connections.sent_away
    assert told == (
        session.id,
        "Your desktop sleeps: an admin sent it to sleep. Connect again to wake it.",
    )
    assert world.engine.calls.count("pause") == 1
    entry = (await broker.store.audit(subject=session.id))[0]
    assert entry.actor == ACTOR


async def test_a_session_that_is_wanted_does_not_freeze(api, broker, session):
    """Somebody's thaw is under way; the sentence says to try again."""
    wanted = asyncio.Event()

    async def fly(_flight):
        await wanted.wait()
        return session

    broker.flights.take_off(session.desktop_id, fly, leads_to=SessionState.READY)
    path = f"/sessions/{session.id}/freeze"
    assert await api.problem(409, "conflict", "POST", path) == (
        "Somebody wants the desktop just now. Try again."
    )
    wanted.set()
    await broker.landed()


async def test_only_a_session_that_is_ready_can_freeze(api, session, starting):
    """Each state has its sentence."""
    path = f"/sessions/{starting.id}/freeze"
    assert await api.problem(409, "conflict", "POST", path) == (
        "The session is starting: it cannot sleep."
    )
    await api("POST", f"/sessions/{session.id}/stop")
    path = f"/sessions/{session.id}/freeze"
    assert await api.problem(409, "conflict", "POST", path) == "The session has ended."


@pytest.mark.parametrize("how", ["stopped before", "cut off"])
async def test_a_session_that_ends_while_it_freezes_is_told(api, broker, session, how):
    """By somebody else's stop."""
    freeze_it = broker.sessions.freeze

    async def too_late(*args, **kwargs):
        await broker.sessions.stop(session.id, reason="it was time", actor="broker")
        if how == "cut off":
            raise SessionEnded
        return await freeze_it(*args, **kwargs)

    broker.sessions.freeze = too_late
    path = f"/sessions/{session.id}/freeze"
    assert await api.problem(409, "conflict", "POST", path) == "The session has ended."


# ---------------------------------------------------------------------------------- attachments


async def test_attachments_are_listed(api, broker, session):
    """Who, in what, since when, from where, with what, and since when quiet; the longest first."""
    broker.presence.attached("door", attachment(session))
    broker.clock.advance(60)
    bob = attachment(session, 2, user="bob", client="SSH-2.0-\\x1b[2J")
    broker.presence.report(
        "another door",
        [Activity(attachment=bob, attached_for=30.0, kinds=("shell",), ages={Signal.TYPING: 5.0})],
    )
    _, body = await api("GET", "/attachments")
    first, second = body["items"]
    assert first == {
        "user": "ada",
        "desktop": "main",
        "session": session.id,
        "kinds": [],
        "since": (broker.clock.now() - timedelta(seconds=60)).isoformat(),
        "from": "203.0.113.1:50000",
        "client": "SSH-2.0-OpenSSH_10.0",
        "idle": None,
    }
    assert (second["user"], second["kinds"], second["idle"]) == ("bob", ["shell"], 5)
    assert datetime.fromisoformat(second["since"]) == broker.clock.now() - timedelta(seconds=30)


async def test_an_attachment_outlives_its_session_by_a_moment(api, broker, session):
    """Its door has not told yet."""
    broker.presence.attached("door", attachment(session))
    await api("POST", f"/sessions/{session.id}/stop")
    _, body = await api("GET", "/attachments")
    (item,) = body["items"]
    assert (item["user"], item["desktop"], item["session"]) == ("ada", None, session.id)


# ------------------------------------------------------------------------------------- bad ids


@pytest.mark.parametrize("session_id", ["nope", "0" * 16, "%00", "%ff", "%1b%5b2J", "a" * 4000])
@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("GET", "why", None),
        ("POST", "stop", None),
        ("POST", "kill", {"force": True}),
        ("POST", "extend", {"time": "1h"}),
        ("POST", "freeze", None),
    ],
)
async def test_a_session_that_never_was_is_one_clear_sentence(api, method, what, body, session_id):
    """Whatever the id is made of."""
    path = f"/sessions/{session_id}/{what}"
    assert await api.problem(404, "not_found", method, path, json=body) == (
        "There is no such session."
    )
