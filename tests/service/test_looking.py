"""Admins who look at the desktops of others: by the owner's policy, and never unseen by the audit."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import AccessDenied, CapacityExhausted, NotFound, SessionEnded
from broker.core.gateway import Right
from broker.service import looking
from broker.service.guests import ANSWER_WITHIN
from tests.service.browsers import Browser
from tests.service.test_shares import asleep, refusal


@pytest.fixture
async def session(broker):
    """Bob's, which runs."""
    return await broker.ensure(await broker.desktop("bob"))


@pytest.fixture
async def boss(broker):
    """An admin in a browser."""
    browser = await Browser.signed_in(broker, "boss")
    await broker.store.set_admin(browser.person.user.id, admin=True, actor="x")
    return browser


async def policy(broker, looks):
    await broker.groups.set("looked", priority=0, policy={"share.admins": looks}, actor="x")
    await broker.groups.join(await broker.store.user("bob"), "looked", actor="x")


def looks(broker, boss, session):
    return broker.spawn(boss.seat(session.desktop_id, look=True), name="look")


async def asked(broker):
    """The id of the question that is put in the desktop."""
    async with asyncio.timeout(10):
        while not broker.inside.questions:
            await asyncio.sleep(0.001)
    await asleep(broker)
    return broker.inside.questions[-1][1].about


async def audited(broker):
    entries = await broker.store.audit(limit=1000)
    return [(e.actor, e.detail["result"]) for e in reversed(entries) if e.action == "session.look"]


async def test_whoever_is_there_is_asked(broker, boss, session):
    """And told who asks; let in, an admin sees and does nothing else."""
    seat = looks(broker, boss, session)
    about = await asked(broker)
    question = broker.inside.questions[0][1]
    assert question.text == (f"The admin boss, from {boss.address}, asks to look at this desktop.")
    assert boss.said == ["Whoever is in the desktop is asked whether you may look."]
    reply = await broker.words.answer_inside(session.id, ["share", "let-in", about])
    assert (reply.status, reply.stdout) == (0, "They may look.\n")
    found = await seat
    assert (found.identity.user, found.rights) == ("boss", (Right.SOUND,))
    assert found.route.session_id == session.id
    entry = [e for e in await broker.store.audit() if e.action == "session.look"][0]
    assert (entry.subject, entry.actor) == (session.id, "user:boss")
    assert entry.detail == {"user": "bob", "desktop": session.desktop_id, "result": "let in"}


async def test_a_no_is_a_no(broker, boss, session):
    """By a word of the owner's outside, too."""
    seat = looks(broker, boss, session)
    about = await asked(broker)
    bob = await broker.person("bob")
    reply = await broker.gateway.word(bob, ["share", "refuse", about])
    assert reply.stdout == "They may not look.\n"
    with refusal(AccessDenied, "did not let you look"):
        await seat
    assert await audited(broker) == [("user:boss", "not let in")]


@pytest.mark.parametrize("deaf", [False, True])
async def test_no_answer_is_a_no(broker, boss, session, deaf):
    if deaf:
        broker.inside.deaf.add(session.id)
    seat = looks(broker, boss, session)
    about = await asked(broker)
    broker.clock.advance(ANSWER_WITHIN)
    with refusal(AccessDenied, "Nobody is there" if deaf else "Nobody answered"):
        await seat
    assert not broker.looking.decide(about, session.desktop_id, let_in=True)
    assert await audited(broker) == [("user:boss", "not let in")]


async def test_nobody_else_answers(broker, boss, session):
    """Neither another desktop nor another person."""
    seat = looks(broker, boss, session)
    about = await asked(broker)
    other = await broker.ensure(await broker.desktop("carol"))
    assert (await broker.words.answer_inside(other.id, ["share", "let-in", about])).status == 1
    carol = await broker.person("carol")
    assert (await broker.gateway.word(carol, ["share", "let-in", about])).status == 1
    assert not seat.done()
    broker.clock.advance(ANSWER_WITHIN)
    with pytest.raises(AccessDenied):
        await seat


async def test_a_yes_is_good_for_a_while(broker, boss, session):
    """For this browser and this run of the desktop; each look is audited."""
    seat = looks(broker, boss, session)
    about = await asked(broker)
    broker.looking.decide(about, session.desktop_id, let_in=True)
    await seat
    assert (await boss.seat(session.desktop_id, look=True)).route is not None
    assert len(broker.inside.questions) == 1
    broker.clock.advance(looking.GOOD_FOR)
    again = looks(broker, boss, session)
    async with asyncio.timeout(10):
        while len(broker.inside.questions) < 2:
            await asyncio.sleep(0.001)
    await asleep(broker)
    broker.clock.advance(ANSWER_WITHIN)
    with pytest.raises(AccessDenied):
        await again
    assert [result for _, result in await audited(broker)] == [
        "let in",
        "let in before",
        "not let in",
    ]


async def test_a_policy_can_say_never(broker, boss, session):
    await policy(broker, "never")
    with refusal(AccessDenied, "the policy says so"):
        await boss.seat(session.desktop_id, look=True)
    assert broker.inside.questions == []


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_policy_can_say_that_a_word_is_enough(broker, boss, session, deaf):
    """Which is said where somebody is there to hear it."""
    await policy(broker, "tell")
    if deaf:
        broker.inside.deaf.add(session.id)
    assert (await boss.seat(session.desktop_id, look=True)).rights == (Right.SOUND,)
    assert broker.inside.questions == []
    texts = [notice.text for _, notice in broker.inside.told]
    assert texts == ([] if deaf else ["boss looks at this desktop now."])
    assert await audited(broker) == [("user:boss", "nobody there" if deaf else "told")]


async def test_only_admins_look_at_others(broker, session):
    """To others another's desktop is missing, as one that is not there."""
    ada = await Browser.signed_in(broker)
    for desktop_id in (session.desktop_id, "0" * 16):
        with pytest.raises(NotFound):
            await ada.seat(desktop_id, look=True)
    assert await audited(broker) == []


async def test_an_own_desktop_is_looked_at_without_a_question(broker, session):
    own = await Browser.signed_in(broker, "ada")
    mine = await broker.ensure(await broker.desktop("ada"))
    seat = await own.seat(mine.desktop_id, look=True)
    assert (seat.rights, seat.route.session_id) == ((Right.SOUND,), mine.id)
    assert broker.inside.questions == []
    assert await audited(broker) == []


async def test_a_look_starts_nothing_and_is_no_picture(broker, boss, session):
    with pytest.raises(AccessDenied):
        await boss.seat(session.desktop_id, look=True, wake=False)
    await broker.freeze(session)
    with refusal(SessionEnded, "nothing to look at"):
        await boss.seat(session.desktop_id, look=True)
    assert (await broker.state(session)).value == "frozen"
    assert broker.inside.questions == []


async def test_who_is_an_admin_no_more_sees_nothing(broker, boss, session):
    """Though whoever was asked said yes."""
    seat = looks(broker, boss, session)
    about = await asked(broker)
    await broker.store.set_admin(boss.person.user.id, admin=False, actor="x")
    broker.looking.decide(about, session.desktop_id, let_in=True)
    with pytest.raises(NotFound):
        await seat


async def test_only_so_many_ask_at_a_time(broker, boss, session, monkeypatch):
    monkeypatch.setattr(looking, "WAITING", 0)
    with pytest.raises(CapacityExhausted):
        await boss.seat(session.desktop_id, look=True)


async def test_only_so_many_answers_are_remembered(broker, boss, session, monkeypatch):
    monkeypatch.setattr(looking, "_MOST", 0)
    seat = looks(broker, boss, session)
    broker.looking.decide(await asked(broker), session.desktop_id, let_in=True)
    await seat
    assert not broker.looking._good
