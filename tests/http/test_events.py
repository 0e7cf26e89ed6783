"""What happens, told as it happens."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.http import events
from broker.service.happenings import EACH, LOOK
from tests.http.test_tokens import boss, by, token  # noqa: F401 - fixtures

CLIENT = "192.0.2.7"


async def event(reply):
    """The next event: its id, its name and its data. Comments are passed over."""
    async with asyncio.timeout(10):
        found = {}
        while True:
            line = (await reply.content.readline()).decode()
            assert line, "the stream ended"
            if line == "\n" and found:
                return int(found["id"]), found["event"], json.loads(found["data"])
            if line.strip() and not line.startswith(":"):
                name, _, value = line.rstrip("\n").partition(": ")
                found[name] = value


async def ended(reply):
    async with asyncio.timeout(10):
        return await reply.content.read()


async def resting(broker):
    """Until all that listens waits for what comes next."""
    async with asyncio.timeout(10):
        while len(broker.clock._sleepers) < broker.happenings._listening.total():
            await asyncio.sleep(0.01)


async def test_each_entry_is_an_event(api, broker):
    """From now on, as the audit has it."""
    await broker.user("old")
    async with api.stream("/events") as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/event-stream"
        assert await reply.content.readline() == b": here\n"
        user = await broker.user("ada")
        seq, name, data = await event(reply)
        (entry,) = await broker.store.audit(limit=1)
        assert (seq, name) == (entry.seq, "user.add")
        assert (data["subject"], data["actor"], data["hash"]) == (user.id, "uid:0", entry.hash)
        await broker.store.set_admin(user.id, admin=True, actor="x")
        assert (await event(reply))[:2] == (seq + 1, "user.admin")


async def test_who_comes_again_misses_nothing(api, broker):
    """Behind the last one that they saw, in order, however many there are."""
    for number in range(450):
        await broker.store.note(actor="x", action="test.note", subject=f"{number}", detail={})
    first = (await broker.store.audit(limit=1000))[-1].seq
    async with api.stream("/events", headers={"Last-Event-ID": str(first)}) as reply:
        seen = [(await event(reply))[0] for _ in range(450)]
        assert seen == list(range(first + 1, first + 451))
    for bad in ("", "-1", "x", "9" * 16, "²"):
        await api.problem(400, "bad_request", "GET", "/events", headers={"Last-Event-ID": bad})


async def test_events_are_chosen_by_what_was_done(api, broker):
    """By how its name begins."""
    async with api.stream("/events?action=desktop.") as reply:
        await broker.desktop()
        assert (await event(reply))[1] == "desktop.create"


async def test_a_member_is_told_of_their_own_alone(door, broker, token):  # noqa: F811
    """What they did, and what was done to their account, desktops and sessions."""
    await broker.user("ada")
    secret = await token(scopes=["read"])
    async with door.stream("/events", **by(secret)) as reply:
        await broker.sessions.ensure(await broker.desktop("bob"), actor="user:bob")
        session = await broker.ensure(await broker.desktop("ada"))
        await broker.groups.add("lab", priority=0, policy={}, actor="x")
        await broker.sessions.stop(session.id, reason="x", actor="uid:0")
        subjects = set()
        while True:
            _, name, data = await event(reply)
            subjects.add(data["subject"])
            if name == "session.end":
                break
    ada = await broker.store.user("ada")
    (desktop,) = await broker.store.desktops(user_id=ada.id)
    assert {desktop.id, session.id} <= subjects <= {desktop.id, session.id, ada.id}


async def test_whoever_had_the_name_before_is_somebody_else(door, broker, token):  # noqa: F811
    """What they did is nobody's any more."""
    await broker.user("ada")
    await broker.store.note(actor="user:ada", action="test.old", subject="x", detail={})
    await broker.accounts.remove_user("ada", actor="x")
    broker.clock.advance(1)
    await broker.user("ada")
    await broker.store.note(actor="user:ada", action="test.new", subject="x", detail={})
    secret = await token(scopes=["read"])
    headers = by(secret)["headers"] | {"Last-Event-ID": "0"}
    async with door.stream("/events?action=test.", headers=headers) as reply:
        assert (await event(reply))[1] == "test.new"


@pytest.mark.parametrize("end", ["revoked", "disabled", "removed", "expired", "no admin"])
async def test_a_stream_ends_with_its_token(door, api, broker, token, boss, end):  # noqa: F811
    """Within five seconds."""
    made = await token("boss", whole=True, reach="all", valid="1h")
    async with door.stream("/events", **by(made["secret"])) as reply:
        await reply.content.readline()
        match end:
            case "revoked":
                await api("DELETE", f"/tokens/{made['id']}")
            case "disabled":
                await broker.accounts.set_enabled("boss", enabled=False, actor="x")
            case "removed":
                await broker.accounts.remove_user("boss", actor="x")
            case "expired":
                broker.clock.advance(3600)
            case "no admin":
                await broker.store.set_admin(boss.id, admin=False, actor="x")
        if end != "expired":  # the rest is an entry itself, which wakes it
            await event(reply)
            await asyncio.sleep(0.05)
        await resting(broker)
        broker.clock.advance(LOOK)
        await ended(reply)


async def test_silence_is_told(api, broker):
    """A comment, for what stands between to see that the line is up."""
    async with api.stream("/events") as reply:
        assert await reply.content.readline() == b": here\n"
        await reply.content.readline()
        line = asyncio.get_running_loop().create_task(reply.content.readline())
        for _ in range(3):
            await resting(broker)
            broker.clock.advance(LOOK)
            await asyncio.sleep(0.05)
            assert not line.done()
        await resting(broker)
        broker.clock.advance(LOOK)
        async with asyncio.timeout(10):
            assert await line == b": here\n"
        assert events.SILENCE < 4 * LOOK


async def test_listeners_are_bounded(api, broker):
    """Of one caller; a place that is left is free again."""
    open_ones = [await api.stream("/events") for _ in range(EACH)]
    await api.problem(429, "full", "GET", "/events")
    open_ones.pop().close()
    async with asyncio.timeout(10):
        while (await api("GET", "/events"))[0] != 200:
            broker.clock.advance(LOOK)
            await broker.user(f"u{broker.clock.monotonic():.0f}")
    for reply in open_ones:
        reply.close()


async def test_who_does_not_read_is_cut(api, broker, monkeypatch):
    """What waits for them is bounded."""
    monkeypatch.setattr(events, "PATIENCE", 0.05)
    big = {f"k{number}": "x" * 1000 for number in range(100)}
    async with api.stream("/events") as reply:
        reply.content._protocol.pause_reading()
        for number in range(60):
            await broker.store.note(actor="x", action="test.note", subject=f"{number}", detail=big)
        async with asyncio.timeout(10):
            while broker.happenings._listening:
                await asyncio.sleep(0.02)


async def test_a_broker_that_stops_lets_its_listeners_go(api, broker):
    """It would wait for them."""
    async with api.stream("/events") as reply:
        await reply.content.readline()
        broker.happenings.close()
        assert b"id:" not in await ended(reply)
