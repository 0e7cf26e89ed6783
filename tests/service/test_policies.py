"""What groups say reaches what it names, at once, and nobody asks the state for it twice."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import BadRequest, CapacityExhausted, Conflict, NotFound, StateUnusable
from broker.core.model import SessionState
from tests.service.people import HOME, Person, outcome


@pytest.fixture
async def ada(broker):
    return await Person.make(broker, password=None)


async def said(broker, user, key):
    """Where the value comes from that holds for the user."""
    return (await broker.policies.of(user.id)).origins[key]


async def test_what_holds_changes_with_groups_and_memberships(broker, ada):
    key = "limits.desktops"
    assert await said(broker, ada.user, key) == "config"
    await broker.groups.set("g", priority=1, policy={key: 1}, actor="uid:0")
    await broker.groups.set("h", priority=2, policy={key: 2}, actor="uid:0")
    assert await said(broker, ada.user, key) == "config"
    await broker.groups.join(ada.user, "g", actor="uid:0")
    assert await said(broker, ada.user, key) == "group g"
    await broker.groups.sync(ada.user, ["h", "unknown"], source="campus", actor="broker")
    assert await said(broker, ada.user, key) == "group h"
    await broker.groups.set("h", priority=0, policy={key: 2}, actor="uid:0")
    assert await said(broker, ada.user, key) == "group g"
    await broker.groups.leave(ada.user, "g", actor="uid:0")
    assert await said(broker, ada.user, key) == "group h"
    await broker.groups.remove("h", actor="uid:0")
    assert await said(broker, ada.user, key) == "config"


async def test_a_change_touches_nobody_else(broker, ada):
    bob = await Person.make(broker, "bob", password=None)
    await broker.groups.set("g", priority=1, policy={"limits.desktops": 1}, actor="uid:0")
    before = await broker.policies.of(bob.user.id)
    await broker.groups.join(ada.user, "g", actor="uid:0")
    assert await broker.policies.of(bob.user.id) is before


async def test_a_login_that_changes_no_membership_has_nothing_read_anew(broker, ada):
    await broker.groups.set("g", priority=1, policy={"limits.desktops": 1}, actor="uid:0")
    for _ in range(2):
        await broker.policies.of(ada.user.id)
        await broker.groups.sync(ada.user, ["g"], source="campus", actor="broker")
    assert ada.user.id in broker.policies._resolved
    assert await said(broker, ada.user, "limits.desktops") == "group g"
    await broker.groups.sync(ada.user, [], source="campus", actor="broker")
    assert ada.user.id not in broker.policies._resolved


async def test_what_is_known_is_not_read_again(broker, ada):
    asked = []
    groups_of = broker.real_store.groups_of
    broker.real_store.groups_of = lambda user_id: asked.append(user_id) or groups_of(user_id)
    for _ in range(3):
        await broker.policies.of(ada.user.id)
    assert len(asked) == 1


async def test_what_was_read_while_a_group_changed_is_not_kept(broker, ada):
    await ada.ways(limits__desktops=1)
    gate, groups_of = asyncio.Event(), broker.real_store.groups_of

    async def slow(user_id):
        found = await groups_of(user_id)
        await gate.wait()
        return found

    broker.policies.forget()
    broker.real_store.groups_of = slow
    asking = broker.spawn(broker.policies.of(ada.user.id), name="asking")
    await asyncio.sleep(0.05)
    broker.real_store.groups_of = groups_of
    await ada.ways(limits__desktops=2)
    gate.set()
    await asking
    assert (await broker.policies.of(ada.user.id)).policy.desktops == 2


async def test_a_group_says_what_can_be_and_has_a_name(broker, ada):
    for name, policy in (("g", {"limits.desktops": 0}), ("G!", {}), ("g", {"face": 1})):
        setting = broker.groups.set(name, priority=0, policy=policy, actor="uid:0")
        await broker.refused(BadRequest, setting)
    assert await broker.groups.all() == []
    await broker.refused(NotFound, broker.groups.get("g"))
    await broker.refused(NotFound, broker.groups.members("g"))
    await broker.refused(NotFound, broker.groups.join(ada.user, "g", actor="uid:0"))
    await broker.refused(NotFound, broker.groups.remove("g", actor="uid:0"))
    await ada.ways()
    assert [user.name for user in await broker.groups.members("g")] == ["ada"]


async def test_a_group_that_cannot_be_read_lets_nobody_of_it_in(broker, ada):
    """By hand somebody can write anything: whom it is about gets in by nothing, and sleeps as the
    configuration says; others do not notice.
    """
    bob = await Person.make(broker, "bob", password=None)
    key, other = await ada.key(), await bob.key()
    await ada.ways()
    session = await broker.ensure(await broker.desktop())
    await broker.store.set_group("g", priority=0, policy={"login.ways": []}, actor="uid:0")
    broker.policies.forget()
    await broker.refused(StateUnusable, ada.identify(key))
    assert outcome(await bob.identify(other)) == "in"
    idle = await broker.policies.idle([session])
    assert idle(session).freeze_after == 3600
    await broker.refused(StateUnusable, ada.identify(key))
    assert await broker.policies.authorities() == frozenset()


# ----------------------------------------------------------------------------------------- reach


async def test_desktops_are_as_many_as_the_group_says(broker, ada):
    await ada.ways(limits__desktops=1)
    await broker.desktop()
    refused = await broker.refused(Conflict, broker.desktop("ada", "lab"))
    assert refused.public == "You have 1 desktops (main); more are not allowed."
    await ada.ways(limits__desktops=2)
    await broker.desktop("ada", "lab")


async def test_as_many_run_as_the_group_says(world):
    broker = await world.broker(limits={"running_per_user": 2})
    ada = await Person.make(broker, password=None)
    await ada.ways(limits__running=1)
    main, lab = await broker.desktop(), await broker.desktop("ada", "lab")
    await broker.ensure(main)
    await broker.refused(CapacityExhausted, broker.ensure(lab))
    await broker.groups.leave(ada.user, "g", actor="uid:0")
    await broker.ensure(lab)


async def asleep(broker, session) -> bool:
    return await broker.state(session) is SessionState.FROZEN


async def test_desktops_sleep_when_their_owners_groups_say(broker, ada):
    await Person.make(broker, "bob", password=None)
    await ada.ways(idle__freeze_after="10m", idle__warn_before="1m")
    own = await broker.ensure(await broker.desktop("ada"))
    other = await broker.ensure(await broker.desktop("bob"))
    for _ in range(11):
        await broker.reaper.pass_once()
        broker.clock.advance(60)
    await broker.reaper.pass_once()
    assert await asleep(broker, own)
    assert not await asleep(broker, other)


async def test_a_shorter_period_holds_for_what_runs_and_a_longer_one_too(broker, ada):
    await ada.ways(idle__freeze_after="3h")
    session = await broker.ensure(await broker.desktop())
    await broker.reaper.pass_once()
    broker.clock.advance(50)
    for _ in range(90):
        broker.clock.advance(60)
        await broker.reaper.pass_once()
    assert not await asleep(broker, session)
    await ada.ways(idle__freeze_after="2h")
    await broker.reaper.pass_once()
    (deadline,) = await broker.store.deadlines(session.id, limit=1)
    assert (deadline.due_at - broker.clock.now()).total_seconds() == pytest.approx(1800, abs=90)
    await ada.ways(idle__freeze_after="1h")
    await broker.reaper.pass_once()
    broker.clock.advance(10)
    await broker.reaper.pass_once()
    assert await asleep(broker, session)


async def test_why_and_keep_tell_what_holds_for_the_owner(broker, ada):
    identity = await ada.identify(await ada.key(), HOME)
    await broker.route(identity)
    await ada.ways(idle__freeze_after="30m", idle__keep_up_to="1h")
    said_why = await broker.gateway.word(identity, ["why"])
    assert "goes to sleep in 30 min" in said_why.stdout
    kept = await broker.gateway.word(identity, ["keep"])
    assert kept.stdout == "main is kept awake for 1 h.\n"
    long = await broker.gateway.word(identity, ["extend", "2h"])
    assert "at most 1 h" in long.stderr


async def test_a_pass_asks_for_owners_once(broker, ada):
    asked = []
    owners = broker.real_store.live_owners
    broker.real_store.live_owners = lambda: asked.append(1) or owners()
    await broker.ensure(await broker.desktop())
    for _ in range(3):
        await broker.reaper.pass_once()
    assert len(asked) == 1
    await ada.ways(idle__freeze_after="30m")
    await broker.reaper.pass_once()
    assert len(asked) == 2
    await broker.ensure(await broker.desktop("ada", "lab"))
    await broker.reaper.pass_once()
    assert len(asked) == 3


async def test_while_groups_change_nobody_is_judged_by_what_was(broker, ada):
    """Owners that were read beside another state of the groups are read anew."""
    await ada.ways(idle__freeze_after="never")
    session = await broker.ensure(await broker.desktop())
    owners, changes = broker.real_store.live_owners, [1, 2]

    async def changing():
        found = await owners()
        if changes:
            changes.pop()
            broker.policies.forget()
        return found

    broker.policies.forget()
    broker.real_store.live_owners = changing
    assert (await broker.policies.idle([session]))(session).freeze_after is None
    changes.extend(range(10))
    broker.policies.forget()
    await broker.refused(StateUnusable, broker.policies.idle([session]))
