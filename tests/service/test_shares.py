"""Showing a desktop to guests: links, the question, who is in, and how all of it ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from broker.core.errors import (
    AccessDenied,
    BadRequest,
    CapacityExhausted,
    Conflict,
    NotFound,
    SessionEnded,
    StaleState,
    Unauthenticated,
)
from broker.core.gateway import Allowance, Holdings, Right
from broker.core.model import SessionState
from broker.core.shares import GuestState, Mode
from broker.service import guests as module
from broker.service.guests import ANSWER_WITHIN
from broker.service.seats import SHARED
from tests.service.guests import ADDRESS, Guest, share

URL = "http://127.0.0.1:8080"
HOSTILE = '<b>Eve</b> "&amp;" $(reboot) `id` \'; --'


async def word(broker, identity, *argv):
    return await broker.gateway.word(identity, argv)


async def ok(broker, identity, *argv):
    reply = await word(broker, identity, *argv)
    assert (reply.status, reply.stderr) == (0, ""), reply
    return json.loads(reply.stdout) if "--json" in argv else reply.stdout.rstrip("\n")


@contextmanager
def refusal(error, words):
    """What people read of it has these words."""
    with pytest.raises(error) as caught:
        yield
    assert words in caught.value.public


async def turns():
    for _ in range(50):
        await asyncio.sleep(0)


async def asleep(broker, sleepers=1):
    """Until so many questions wait for their time."""
    async with asyncio.timeout(10):
        while broker.clock.sleepers < sleepers:
            await asyncio.sleep(0.001)


@pytest.fixture
async def ada(broker):
    """An owner whose desktop runs."""
    identity = await broker.person()
    await broker.route(identity)
    return identity


@pytest.fixture
async def session(broker, ada):
    return (await broker.store.live_sessions())[0]


@pytest.fixture
async def inside(broker, session):
    """What runs in the desktop says a word."""

    async def say(*argv):
        return await broker.words.answer_inside(session.id, argv)

    return say


@pytest.fixture
async def eve(broker, ada):
    """Somebody who came by a link and waits."""
    guest = Guest(broker)
    await guest.come((await share(broker, ada))[1])
    await asleep(broker)
    return guest


async def let_in(broker, ada, guest):
    await ok(broker, ada, "share", "let-in", guest.id)
    return guest


async def told(broker, ada):
    """What the audit says of shares, oldest first."""
    entries = await broker.store.audit(subject=ada.user_id, limit=1000)
    return [entry for entry in reversed(entries) if entry.action.startswith("share.")]


# ------------------------------------------------------------------------------------------ made


async def test_a_word_makes_a_link(broker, ada, session):
    """To look, for half an hour, of the desktop that is meant."""
    said = await ok(broker, ada, "share")
    link = said.split()[0]
    assert link.startswith(f"{URL}/join#")
    assert "within 30 min can ask to look on; you are asked about each." in said
    (made,) = await broker.store.shares()
    assert (made.mode, made.user_id) == (Mode.LOOK, ada.user_id)
    assert made.desktop_id == session.desktop_id
    assert (made.expires_at - broker.clock.now()).total_seconds() == 1800
    assert link.partition("#")[2] not in repr(await broker.store.audit())


@pytest.mark.parametrize(
    ("argv", "name", "mode", "seconds"),
    [
        (("rw",), "main", "rw", 1800),
        (("2h",), "main", "ro", 7200),
        (("lab", "rw", "10m"), "lab", "rw", 600),
        (("rw", "ro"), "rw", "ro", 1800),
        (("lab",), "lab", "ro", 1800),
    ],
)
async def test_a_share_is_of_a_desktop_in_a_mode_for_a_time(broker, ada, argv, name, mode, seconds):
    """Each may be left out, from the front."""
    await broker.desktop(desktop="lab")
    await broker.desktop(desktop="rw")
    made = await ok(broker, ada, "share", *argv, "--json")
    assert (made["desktop"], made["mode"]) == (name, mode)
    assert made["link"].startswith(URL)
    (found,) = await broker.store.shares()
    assert (found.expires_at - broker.clock.now()).total_seconds() == seconds


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("none",), "not_found"),
        (("main", "rx"), "bad_request"),
        (("25h",), "bad_request"),
        (("5x",), "bad_request"),
        (("main", "rw", "30m", "more"), "bad_request"),
    ],
)
async def test_a_share_that_cannot_be_is_refused(broker, ada, argv, code):
    reply = await word(broker, ada, "share", *argv)
    assert reply.status != 0
    assert f"({code})" in reply.stderr
    assert await broker.store.shares() == []


async def test_who_may_not_share_is_told_so(broker, ada):
    """By the policy of now, or by what the key may."""
    allowed = tuple(one for one in ada.allowed if one is not Allowance.SHARE)
    reply = await word(broker, replace(ada, allowed=allowed), "share")
    assert "You may not share desktops here" in reply.stderr
    assert await broker.store.shares() == []


async def test_a_link_leads_somewhere_or_is_not_made(broker, ada, monkeypatch):
    monkeypatch.setattr(broker.shares, "_url", None)
    assert "'web.url' is to say it" in (await word(broker, ada, "share")).stderr


async def test_shares_are_listed_with_who_is_there(broker, ada, eve):
    """One's own alone; who was sent away is history."""
    bob = await broker.person("bob")
    await broker.route(bob)
    assert await ok(broker, bob, "share", "ls") == "Nothing is shared now."
    gone = await Guest(broker).come((await share(broker, ada, "rw"))[1], "Mallory")
    await ok(broker, ada, "share", "refuse", gone.id)
    head, *lines = (await ok(broker, ada, "share", "ls")).splitlines()
    assert head.split() == ["ID", "DESKTOP", "WHAT", "TIME", "WHO"]
    assert sorted(line.split()[:4] for line in lines) == sorted(
        [
            [gone.share_id, "main", "share", "rw"],
            [eve.share_id, "main", "share", "ro"],
            [eve.id, "main", "asked", "since"],
        ]
    )
    assert [line for line in lines if "'Eve' from 198.51.100.7" in line]
    found = await ok(broker, ada, "share", "ls", "--json")
    assert {share["mode"]: [g["state"] for g in share["guests"]] for share in found} == {
        "rw": ["refused"],
        "ro": ["asked"],
    }


# ----------------------------------------------------------------------------------------- asked


async def test_whoever_is_in_the_desktop_is_asked(broker, ada, session, eve):
    """With who says what, and from where; the guest learns nothing but that they wait."""
    ((where, question),) = broker.inside.questions
    assert (where, question.about, question.lasts) == (session.id, eve.id, ANSWER_WITHIN)
    assert question.text == (
        f"A guest who calls themselves “Eve”, from {ADDRESS}, asks to see this desktop."
    )
    assert await eve.state() is GuestState.ASKED
    with refusal(AccessDenied, "Nobody has let you in yet"):
        await eve.seat()
    assert [entry.action for entry in await told(broker, ada)] == ["share.made", "share.asked"]


async def test_a_hostile_name_is_text(broker, ada):
    """In the question, the audit and the answers to words."""
    eve = await Guest(broker).come((await share(broker, ada, "rw"))[1], HOSTILE)
    await asleep(broker)
    assert f"“{HOSTILE}”" in broker.inside.questions[0][1].text
    assert "asks to see and use this" in broker.inside.questions[0][1].text
    assert (await told(broker, ada))[-1].detail["name"] == HOSTILE
    assert HOSTILE in (await ok(broker, ada, "share", "let-in", eve.id))
    for name in ("", "x" * 41, "a\x1b[31mb", "a\u202eb"):
        with pytest.raises(BadRequest):
            await Guest(broker).come((await share(broker, ada))[1], name)


@pytest.mark.parametrize("where", ["outside", "inside"])
async def test_an_owner_lets_in(broker, ada, session, inside, eve, where):
    """By a word outside or in the desktop, and the guest goes there under a name of their own."""
    if where == "inside":
        assert (await inside("share", "let-in", eve.id)).stdout == "'Eve' is let in.\n"
    else:
        assert await ok(broker, ada, "share", "let-in", eve.id) == "'Eve' is let in."
    seat = await eve.seat()
    identity = seat.identity
    assert (identity.user_id, identity.user, identity.method) == (ada.user_id, "Eve", "guest")
    assert (identity.credential, identity.allowed) == (eve.credential, ())
    assert (seat.desktop, seat.rights) == (SHARED, (Right.SOUND,))
    assert seat.route.session_id == session.id
    assert (await told(broker, ada))[-1].action == "share.joined"


async def test_who_takes_part_may_what_the_owner_may_there(broker, ada, session):
    """But neither size nor files, whatever the owner may."""
    eve = await Guest(broker).come((await share(broker, ada, "rw"))[1])
    await let_in(broker, ada, eve)
    everything = {Right.CONTROL, Right.CLIPBOARD_IN, Right.CLIPBOARD_OUT, Right.SOUND}
    assert set((await eve.seat()).rights) == everything
    await broker.groups.set("closed", priority=0, policy={"allow.clipboard_out": False}, actor="x")
    user = await broker.store.user("ada")
    await broker.groups.join(user, "closed", actor="x")
    assert set((await eve.seat()).rights) == everything - {Right.CLIPBOARD_OUT}


async def test_a_guest_is_refused(broker, ada, eve):
    await ok(broker, ada, "share", "refuse", eve.id)
    assert await eve.state() is GuestState.REFUSED
    with refusal(AccessDenied, "did not let you in"):
        await eve.seat()
    for verb in ("let-in", "refuse", "end"):
        reply = await word(broker, ada, "share", verb, eve.id)
        assert "That was decided already" in reply.stderr
    assert (await told(broker, ada))[-1].action == "share.refused"


@pytest.mark.parametrize("deaf", [False, True])
async def test_no_answer_is_a_no(broker, ada, session, deaf):
    """After a minute, whether somebody was there or not; a second before it is none yet."""
    if deaf:
        broker.inside.deaf.add(session.id)
    eve = await Guest(broker).come((await share(broker, ada))[1])
    await asleep(broker)
    broker.clock.advance(ANSWER_WITHIN - 1)
    await turns()
    assert await eve.state() is GuestState.ASKED
    broker.clock.advance(1)
    await broker.landed()
    assert await eve.state() is GuestState.REFUSED
    assert ("Nobody was there" if deaf else "Nobody answered") in await eve.reason()


async def test_an_answer_that_comes_too_late_is_a_no(broker, ada, eve):
    """Though nobody looked meanwhile."""
    broker.clock.jump(ANSWER_WITHIN)
    reply = await word(broker, ada, "share", "let-in", eve.id)
    assert "'Eve' waited for 60 s and was sent away" in reply.stderr
    assert await eve.state() is GuestState.REFUSED


async def test_a_question_of_before_a_restart_stands_or_lapses(world, broker, ada, eve):
    """Nobody is let in by that, and nobody waits for ever."""
    await broker.abandon()
    again = await world.broker()
    eve.broker = again
    await again.guests.look()
    assert await eve.state() is GuestState.ASKED
    late = await Guest(again).come((await share(again, ada))[1], "Late")
    assert await ok(again, ada, "share", "let-in", eve.id)
    assert (await eve.seat()).identity.user == "Eve"
    await asleep(again)
    await again.abandon()
    world.clock.advance(ANSWER_WITHIN)
    third = await world.broker()
    late.broker = eve.broker = third
    await third.guests.look()
    assert await late.state() is GuestState.REFUSED
    assert (await eve.seat()).identity.user == "Eve"


async def test_a_desktop_that_sleeps_is_not_woken(broker, ada, session, eve):
    """Neither for who comes, nor for who was in."""
    await let_in(broker, ada, eve)
    _, link = await share(broker, ada)
    await broker.freeze(session)
    with refusal(SessionEnded, "does not run just now"):
        await Guest(broker).come(link)
    with refusal(SessionEnded, "does not run just now"):
        await eve.seat()
    assert await broker.state(session) is SessionState.FROZEN
    await broker.sessions.stop(session.id, reason="x", actor="x")
    with pytest.raises(SessionEnded):
        await eve.seat()
    assert await broker.store.live_sessions() == []


@pytest.mark.parametrize("token", ["x" * 43, "", "x", "x" * 500, "a\x00b"])
async def test_a_link_that_does_not_count_leads_nowhere(broker, ada, token):
    with refusal(NotFound, "does not count"):
        await broker.guests.come(token, "Eve", ADDRESS)


async def test_an_owner_is_not_asked_for_ever(broker, ada, session, monkeypatch):
    monkeypatch.setattr(module, "MOST", 4)
    _, link = await share(broker, ada)
    waiting = [await Guest(broker).come(link, f"g{n}") for n in range(3)]
    with pytest.raises(CapacityExhausted):
        await Guest(broker).come(link)
    for one in waiting:
        await ok(broker, ada, "share", "refuse", one.id)
    await Guest(broker).come(link)
    with refusal(Conflict, "ask for a new one"):
        await Guest(broker).come(link)


# ---------------------------------------------------------------------------------------- others


async def test_what_is_somebody_elses_is_missing(broker, ada, session, eve):
    """To other people, and to what runs in another desktop, of the same owner too."""
    bob = await broker.person("bob")
    await broker.route(bob)
    lab = await broker.ensure(await broker.desktop(desktop="lab"))
    for say in (
        lambda *argv: word(broker, bob, *argv),
        lambda *argv: broker.words.answer_inside(lab.id, argv),
    ):
        for verb, which in (
            ("let-in", eve.id),
            ("refuse", eve.id),
            ("end", eve.id),
            ("end", eve.share_id),
            ("let-in", "0" * 16),
        ):
            reply = await say("share", verb, which)
            assert f"There is no share and no guest '{which}' here" in reply.stderr
        assert (await say("share", "ls")).stdout == "Nothing is shared now.\n"
    assert await eve.state() is GuestState.ASKED


async def test_a_desktop_does_not_share_itself(broker, ada, inside):
    """What runs in it says who may come in, and makes no link."""
    for argv in (("share",), ("share", "rw"), ("share", "main")):
        reply = await inside(*argv)
        assert (reply.status, reply.stdout) == (2, "")
    assert await broker.store.shares() == []


async def test_a_guest_is_nobody_elsewhere(broker, ada, session, eve):
    """The identity of one proves nothing but that they may be there still."""
    await let_in(broker, ada, eve)
    identity = (await eve.seat()).identity
    with pytest.raises(AccessDenied):
        await broker.gateway.route(identity, display=None, progress=lambda _: None)
    assert (await word(broker, identity, "list")).status == 1
    assert (await word(broker, identity, "share")).status == 1
    with pytest.raises(Unauthenticated):
        await eve.seat(desktop_id=session.desktop_id)
    for secret in ("", "x" * 43, "x\n"):
        with pytest.raises(Unauthenticated):
            await broker.guests.of(secret)


# ----------------------------------------------------------------------------------------- ended


async def test_an_owner_sends_a_guest_away(broker, ada, eve):
    """Every door hears of it."""
    await let_in(broker, ada, eve)
    assert await ok(broker, ada, "share", "end", eve.id) == "'Eve' is sent away."
    assert broker.connections.ended == [eve.credential]
    with refusal(AccessDenied, "has let you go"):
        await eve.seat()
    entry = (await told(broker, ada))[-1]
    assert (entry.action, entry.detail["guest"]) == ("share.left", eve.id)


async def test_a_guest_that_is_led_in_just_then_does_not_stay(broker, ada, eve, monkeypatch):
    """Whose desktop was looked up while they were sent away."""
    await let_in(broker, ada, eve)
    real = broker.shares.allowed

    async def meanwhile(share):
        monkeypatch.setattr(broker.shares, "allowed", real)
        allowed = await real(share)
        await ok(broker, ada, "share", "end", eve.id)
        return allowed

    monkeypatch.setattr(broker.shares, "stands", lambda _share: asyncio.sleep(0, True))
    monkeypatch.setattr(broker.shares, "allowed", meanwhile)
    with refusal(AccessDenied, "let you go"):
        await eve.seat()


async def test_a_share_ends_with_all_its_guests(broker, ada, eve):
    """By its owner's word; who waits is told, and who is in goes."""
    other = await Guest(broker).come((await share(broker, ada))[1])
    await let_in(broker, ada, eve)
    assert await ok(broker, ada, "share", "end", eve.share_id) == "The share is ended."
    assert broker.connections.ended == [eve.credential]
    assert await eve.state() is GuestState.ENDED
    assert await other.state() is GuestState.ASKED
    assert await ok(broker, ada, "share", "end", eve.share_id)
    with refusal(AccessDenied, "has ended that"):
        await eve.seat()


async def test_a_share_whose_time_is_over_ends(broker, ada, eve):
    """Nobody comes in from then on, and the next look ends who is there."""
    await let_in(broker, ada, eve)
    _, link = await share(broker, ada)
    broker.clock.advance(1800)
    with pytest.raises(NotFound):
        await Guest(broker).come(link)
    with pytest.raises(AccessDenied):
        await eve.seat()
    assert broker.connections.ended == []
    await broker.guests.look()
    assert broker.connections.ended == [eve.credential]
    assert await eve.reason() == "The time of this share is over."
    before = await broker.store.audit_head()
    await broker.guests.look()
    assert await broker.store.audit_head() == before


async def test_who_may_share_no_more_shares_nothing(broker, ada, eve):
    await let_in(broker, ada, eve)
    await broker.groups.set("closed", priority=0, policy={"allow.share": False}, actor="x")
    await broker.groups.join(await broker.store.user("ada"), "closed", actor="x")
    with pytest.raises(AccessDenied):
        await eve.seat()
    await broker.guests.look()
    assert broker.connections.ended == [eve.credential]
    assert await broker.store.shares() == []


async def test_a_guest_leaves(broker, ada, eve):
    """Once; who was sent away before stays so."""
    await let_in(broker, ada, eve)
    await broker.guests.leave(eve.secret)
    await broker.guests.leave(eve.secret)
    assert broker.connections.ended == [eve.credential]
    entry = (await told(broker, ada))[-1]
    assert (entry.action, entry.actor, entry.origin) == ("share.left", "guest", ADDRESS)
    assert await eve.state() is GuestState.LEFT


class Door:
    def __init__(self):
        self.over = []

    def end_credential(self, credential, sentence):
        self.over.append((credential, sentence))

    def end_session(self, *_args, **_more):
        raise AssertionError


async def test_a_door_that_was_away_is_told_who_may_stay(broker, ada, eve):
    """Who was let in may; who was sent away meanwhile may not."""
    await let_in(broker, ada, eve)
    identity = (await eve.seat()).identity
    door = Door()
    await broker.gateway.catch_up(Holdings(identities=(identity,), sessions=()), door)
    assert door.over == []
    stranger = replace(identity, credential="share:x/0000000000000000")
    another = replace(identity, user_id="0" * 16)
    await broker.gateway.catch_up(Holdings(identities=(another,), sessions=()), door)
    assert door.over.pop()[0] == eve.credential
    await ok(broker, ada, "share", "end", eve.id)
    held = Holdings(identities=(identity, stranger, another), sessions=())
    await broker.gateway.catch_up(held, door)
    assert [credential for credential, _ in door.over] == [
        eve.credential,
        stranger.credential,
        eve.credential,
    ]
    assert all(sentence.endswith(".") for _, sentence in door.over)


# --------------------------------------------------------------------------------------- waiting


async def test_a_guest_hears_at_once(broker, ada, eve):
    """Of what was decided; who waits for something else gets the state of now."""
    waiting = broker.spawn(broker.guests.news(eve.secret, "asked", 20.0), name="x")
    await turns()
    await ok(broker, ada, "share", "let-in", eve.id)
    found, _ = await asyncio.wait_for(waiting, 5)
    assert found.state is GuestState.IN
    assert (await broker.guests.news(eve.secret, "asked", 20.0))[0].state is GuestState.IN


async def test_a_guest_waits_for_so_long(broker, ada, eve, monkeypatch):
    """And among many, not at all."""
    before = broker.clock.sleepers
    waiting = broker.spawn(broker.guests.news(eve.secret, "asked", 6.0), name="x")
    for step in (4.0, 2.0):
        await asleep(broker, before + 1)
        broker.clock.advance(step)
        await turns()
    found, _ = await asyncio.wait_for(waiting, 5)
    assert found.state is GuestState.ASKED
    monkeypatch.setattr(module, "WAITING", 0)
    assert (await broker.guests.news(eve.secret, "asked", 20.0))[0].state is GuestState.ASKED


async def test_a_broker_that_stops_waits_for_nobody(broker, ada, eve):
    """Who waits gets what is known, and so does who comes then."""
    waiting = broker.spawn(broker.guests.news(eve.secret, "asked", 20.0), name="x")
    await turns()
    broker.guests.close()
    for found in (
        await asyncio.wait_for(waiting, 5),
        await broker.guests.news(eve.secret, "asked", 20.0),
    ):
        assert found[0].state is GuestState.ASKED


async def test_a_decision_is_made_once(broker, ada, eve):
    """Of any number at the same time."""
    guest, _ = await broker.guests.of(eve.secret)
    found = await asyncio.gather(
        *(
            (broker.guests.let_in, broker.guests.refuse)[n % 2](guest, actor="user:ada")
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in found].count(StaleState) == 5
