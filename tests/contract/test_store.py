"""What every `core.interfaces.Store` promises, on every database that it runs on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address

import pytest

from broker.core.errors import (
    AlreadyLive,
    CapacityExhausted,
    Conflict,
    IllegalTransition,
    NotFound,
    StaleState,
)
from broker.core.idle import Signal, Step
from broker.core.interfaces import Store
from broker.core.lifecycle import TRANSITIONS
from broker.core.model import (
    Deadline,
    Desktop,
    DesktopId,
    Drain,
    HomeArchive,
    LeaseKind,
    Owner,
    Session,
    SessionId,
    SessionState,
    User,
    UserId,
)
from broker.core.pools import Pool, Pools
from tests.contract.stores import HOST, POOLS

S = SessionState
KEY = "SHA256:" + "a" * 43
NOBODY = UserId("0" * 16)


@pytest.fixture
async def main(store, ada) -> Desktop:
    return await ensure(store, ada, "main")


async def ensure(store: Store, user: User, name: str, pools: Pools = POOLS) -> Desktop:
    return await store.ensure_desktop(
        user.id, name, template="standard", host=HOST, pools=pools, actor="user:ada"
    )


async def begin(
    store: Store, desktop: Desktop, *, pools: Pools = POOLS, host: str = HOST
) -> Session:
    return await store.begin_session(
        desktop.id,
        host=host,
        image="sha256:1",
        pools=pools,
        deadline=datetime.fromisoformat("2030-01-01T09:05:00Z"),
        actor="user:ada",
    )


async def move(
    store: Store, session: Session, *steps: SessionState, reason: str | None = None
) -> Session:
    for to in steps:
        session = await store.advance(
            session.id,
            expected=session.state,
            to=to,
            deadline=None,
            reason=reason,
            actor="broker",
        )
    return session


async def actions(store: Store) -> list[str]:
    """The audit, oldest first."""
    return [entry.action for entry in reversed(await store.audit(limit=1000))]


# ------------------------------------------------------------------------------------ instance


async def test_the_instance_has_one_id_for_ever(store, another):
    first = await store.instance()
    assert len(first) == 16
    assert await store.instance() == first
    assert await (await another()).instance() == first
    assert await actions(store) == ["instance.create"]


async def test_stores_that_race_for_the_first_id_agree(another):
    stores = [await another() for _ in range(4)]
    assert len(set(await asyncio.gather(*(store.instance() for store in stores)))) == 1


# --------------------------------------------------------------------------------------- users


async def test_an_added_user_is_found_by_name_and_id(store, clock):
    made = await store.add_user("ada", admin=True, actor="uid:0")
    assert made.name == "ada"
    assert made.admin
    assert made.enabled
    assert made.created_at == clock.now()
    assert await store.user("ada") == made
    assert await store.user_by_id(made.id) == made


async def test_unknown_users_are_none(store):
    assert await store.user("nobody") is None
    assert await store.user_by_id(NOBODY) is None
    assert await store.users() == []


async def test_users_are_listed_by_name(store):
    for name in ("cara", "ada", "bob"):
        await store.add_user(name, admin=False, actor="uid:0")
    assert [user.name for user in await store.users()] == ["ada", "bob", "cara"]


async def test_a_taken_name_is_refused_in_words_for_people(store, ada, nothing_written):
    async with nothing_written(Conflict) as caught:
        await store.add_user("ada", admin=True, actor="uid:0")
    assert caught.value.public == "The name 'ada' is taken."


async def test_a_removed_user_is_gone_but_found_by_id(store, ada):
    await store.remove_user(ada.id, actor="admin:root")
    assert await store.user("ada") is None
    assert await store.users() == []
    kept = await store.user_by_id(ada.id)
    assert kept == replace(ada, enabled=False)


async def test_removing_a_user_takes_the_keys_and_marks_the_desktops(store, ada, main, clock):
    await store.add_key(ada.id, fingerprint=KEY, public="ssh-ed25519 A", name="lap", actor="x")
    clock.advance(5)
    await store.remove_user(ada.id, actor="admin:root")
    assert await store.key_owner(KEY) is None
    assert await store.keys(ada.id) == []
    assert await store.desktop_of(ada.id, "main") is None
    assert await store.desktop(main.id) == replace(main, removed_at=clock.now())
    assert [lease.number for lease in await store.leases(LeaseKind.UID)] == [main.uid]
    assert (await actions(store))[-3:] == ["desktop.remove", "key.remove", "user.remove"]


async def test_who_gets_the_name_later_gets_nothing_else(store, ada, main):
    await store.remove_user(ada.id, actor="admin:root")
    later = await store.add_user("ada", admin=False, actor="uid:0")
    assert later.id != ada.id
    theirs = await ensure(store, later, "main")
    assert theirs.id != main.id
    assert theirs.uid != main.uid
    assert await store.user("ada") == later


async def test_a_user_with_a_live_session_stays(store, ada, main, nothing_written):
    session = await begin(store, main)
    async with nothing_written(Conflict):
        await store.remove_user(ada.id, actor="admin:root")
    await move(store, session, S.STOPPING, S.ENDED)
    await store.remove_user(ada.id, actor="admin:root")


async def test_removing_nobody_is_not_found(store, ada, nothing_written):
    async with nothing_written(NotFound):
        await store.remove_user(NOBODY, actor="x")
    await store.remove_user(ada.id, actor="x")
    async with nothing_written(NotFound):
        await store.remove_user(ada.id, actor="x")


# ------------------------------------------------------------------------------------ desktops


async def test_a_desktop_is_made_once(store, ada, clock):
    made = await ensure(store, ada, "main")
    assert (made.user_id, made.name, made.template) == (ada.id, "main", "standard")
    assert made.uid in POOLS.uids
    assert made.created_at == clock.now()
    assert made.removed_at is None
    assert await ensure(store, ada, "main") == made
    assert await store.desktop(made.id) == made
    assert await store.desktop_of(ada.id, "main") == made
    assert await actions(store) == ["user.add", "desktop.create"]


async def test_each_desktop_has_a_uid_of_its_own_for_life(store, ada):
    bob = await store.add_user("bob", admin=False, actor="x")
    made = [await ensure(store, user, name) for user in (ada, bob) for name in ("main", "lab")]
    assert len({desktop.uid for desktop in made}) == 4
    held = await store.leases(LeaseKind.UID)
    assert {(lease.number, lease.desktop_id) for lease in held} == {
        (desktop.uid, desktop.id) for desktop in made
    }
    assert all(lease.session_id is None for lease in held)


async def test_hosts_do_not_share_uids(store, ada, main):
    elsewhere = await store.ensure_desktop(
        ada.id, "lab", template="standard", host="host-b", pools=POOLS, actor="x"
    )
    assert elsewhere.uid != main.uid


async def test_a_desktop_of_nobody_is_not_found(store, ada, nothing_written):
    async with nothing_written(NotFound):
        await ensure(store, replace(ada, id=NOBODY), "main")
    await store.remove_user(ada.id, actor="x")
    async with nothing_written(NotFound):
        await ensure(store, ada, "main")


async def test_a_home_is_noted_once(store, ada, main, clock):
    made = clock.now()
    assert main.home_made_at is None
    await store.note_home(main.id, actor="x")
    clock.advance(60)
    await store.note_home(main.id, actor="x")
    assert (await store.desktop(main.id)).home_made_at == made
    assert await actions(store) == ["user.add", "desktop.create", "home.create"]
    with pytest.raises(NotFound):
        await store.note_home(DesktopId("0" * 16), actor="x")


async def test_a_removed_desktop_hides_and_keeps_its_uid(store, ada, main, clock):
    clock.advance(60)
    await store.remove_desktop(main.id, actor="x")
    await store.remove_desktop(main.id, actor="x")
    assert await store.desktop_of(ada.id, "main") is None
    assert await store.desktops() == []
    assert await store.desktops(removed=True) == [replace(main, removed_at=clock.now())]
    other = await ensure(store, ada, "lab")
    assert other.uid != main.uid
    assert await actions(store) == [
        "user.add",
        "desktop.create",
        "desktop.remove",
        "desktop.create",
    ]


async def test_the_same_name_takes_the_removed_desktop_up_again(store, ada, main):
    await store.remove_desktop(main.id, actor="x")
    revived = await store.ensure_desktop(
        ada.id, "main", template="big", host=HOST, pools=POOLS, actor="user:ada"
    )
    assert revived == replace(main, template="big")
    assert (await actions(store))[-1] == "desktop.revive"


async def test_desktops_are_listed_by_owner_and_name(store):
    users = [await store.add_user(name, admin=False, actor="x") for name in ("bob", "ada")]
    for user in users:
        for name in ("main", "lab"):
            await ensure(store, user, name)
    bob, ada = users
    assert [(d.user_id, d.name) for d in await store.desktops()] == [
        (ada.id, "lab"),
        (ada.id, "main"),
        (bob.id, "lab"),
        (bob.id, "main"),
    ]
    assert [d.name for d in await store.desktops(user_id=bob.id)] == ["lab", "main"]


async def test_a_running_desktop_is_not_removed(store, main, nothing_written):
    await begin(store, main)
    async with nothing_written(Conflict) as caught:
        await store.remove_desktop(main.id, actor="x")
    assert caught.value.public == "The desktop 'main' is running. Stop it first."


async def test_a_forgotten_desktop_leaves_nothing_but_the_audit(store, ada, main):
    session = await begin(store, main)
    await due(store, session)
    await move(store, session, S.STOPPING, S.ENDED)
    await store.remove_desktop(main.id, actor="x")
    await store.forget_desktop(main.id, actor="x")
    assert await store.desktop(main.id) is None
    assert await store.session(session.id) is None
    assert await store.deadlines(session.id) == []
    assert await store.desktops(removed=True) == []
    assert await store.leases() == []
    assert [entry.action for entry in await store.audit(subject=main.id)] == [
        "desktop.forget",
        "desktop.remove",
        "desktop.create",
    ]
    again = await ensure(store, ada, "main")
    assert again.id != main.id


async def test_only_a_removed_desktop_is_forgotten(store, main, nothing_written):
    async with nothing_written(Conflict):
        await store.forget_desktop(main.id, actor="x")


async def test_an_unknown_desktop_is_not_found(store, nothing_written):
    ghost = DesktopId("0" * 16)
    assert await store.desktop(ghost) is None
    async with nothing_written(NotFound):
        await store.remove_desktop(ghost, actor="x")
    async with nothing_written(NotFound):
        await store.forget_desktop(ghost, actor="x")


async def test_when_no_uid_is_left_nothing_is_made(store, ada, nothing_written):
    few = replace(POOLS, uids=Pool(200000, 200001))
    await ensure(store, ada, "one", few)
    two = await ensure(store, ada, "two", few)
    async with nothing_written(CapacityExhausted) as caught:
        await ensure(store, ada, "three", few)
    assert "uid" in str(caught.value)
    await store.remove_desktop(two.id, actor="x")
    async with nothing_written(CapacityExhausted):
        await ensure(store, ada, "three", few)
    await store.forget_desktop(two.id, actor="x")
    assert (await ensure(store, ada, "three", few)).uid == two.uid


async def test_a_forgotten_uid_below_the_top_comes_back_when_the_top_is_reached(store, ada):
    few = replace(POOLS, uids=Pool(200000, 200002))
    one, two = [await ensure(store, ada, name, few) for name in ("one", "two")]
    await store.remove_desktop(one.id, actor="x")
    await store.forget_desktop(one.id, actor="x")
    uids = [(await ensure(store, ada, name, few)).uid for name in ("three", "four")]
    assert uids == [two.uid + 1, one.uid]


# ------------------------------------------------------------------------------------- archive


async def pack(store: Store, desktop: Desktop) -> HomeArchive:
    return await store.note_archived(
        desktop.id, size=300, unpacked=1 << 40, sha256="f" * 64, actor="broker"
    )


async def used(store: Store, desktop: Desktop) -> None:
    """It ran, made its home and ended."""
    session = await begin(store, desktop)
    await store.note_home(desktop.id, actor="broker")
    await move(store, session, S.STOPPING, S.ENDED)


async def test_a_home_is_packed_away_and_comes_back(store, main, clock):
    await used(store, main)
    clock.advance(60)
    archive = await pack(store, main)
    assert archive == HomeArchive(at=clock.now(), size=300, unpacked=1 << 40, sha256="f" * 64)
    assert (await store.desktop(main.id)).archive == archive
    assert await store.archived_desktops() == [await store.desktop(main.id)]
    told = (await store.audit(limit=1))[0]
    assert (told.action, told.subject, told.actor) == ("home.archive", main.id, "broker")
    assert told.detail["size"] == 300
    for _ in range(2):
        await store.note_restored(main.id, actor="broker")
    assert (await store.desktop(main.id)).archive is None
    assert await store.archived_desktops() == []
    assert (await actions(store))[-2:] == ["home.archive", "home.restore"]


async def test_no_home_is_packed_away_before_it_was_made(store, main, nothing_written):
    with pytest.raises(Conflict):
        await pack(store, main)


async def test_no_home_is_packed_away_twice(store, main):
    await used(store, main)
    archive = await pack(store, main)
    with pytest.raises(Conflict):
        await store.note_archived(main.id, size=1, unpacked=1, sha256="0" * 64, actor="broker")
    assert (await store.desktop(main.id)).archive == archive


async def test_a_running_desktop_is_not_packed_away(store, main):
    await used(store, main)
    await begin(store, main)
    with pytest.raises(Conflict):
        await pack(store, main)
    assert (await store.desktop(main.id)).archive is None


async def test_nothing_of_an_unknown_desktop_is_packed_or_restored(store, main):
    nobody = replace(main, id=DesktopId("0" * 16))
    with pytest.raises(NotFound):
        await pack(store, nobody)
    with pytest.raises(NotFound):
        await store.note_restored(nobody.id, actor="broker")


async def test_a_packed_desktop_is_removed_taken_up_and_forgotten_like_any(store, ada, main):
    await used(store, main)
    archive = await pack(store, main)
    await store.remove_desktop(main.id, actor="uid:0")
    assert [desktop.id for desktop in await store.archived_desktops()] == [main.id]
    assert (await ensure(store, ada, "main")).archive == archive
    await store.remove_desktop(main.id, actor="uid:0")
    await store.forget_desktop(main.id, actor="uid:0")
    assert await store.archived_desktops() == []


async def test_unused_are_those_whose_last_session_ended_long_ago(store, ada, clock):
    """The longest unused first; the moment itself counts as long ago."""
    made = {name: await ensure(store, ada, name) for name in ("early", "late", "new", "bare")}
    for name in ("late", "early"):
        await used(store, made[name])
    clock.advance(100)
    await used(store, made["late"])
    moment = clock.now()
    clock.advance(1)
    await used(store, made["new"])

    async def unused(since=moment, limit=10):
        return [d.name for d in await store.unused_desktops(since, limit=limit)]

    assert await unused() == ["early", "late"]
    assert await unused(limit=1) == ["early"]
    assert await unused(moment - timedelta(seconds=1)) == ["early"]
    await store.remove_desktop(made["early"].id, actor="uid:0")
    assert await unused() == ["early", "late"]
    await pack(store, made["early"])
    assert await unused() == ["late"]
    await begin(store, made["late"])
    assert await unused() == []


# ------------------------------------------------------------------------------------ sessions


async def test_a_session_begins_with_its_leases(store, main, clock):
    session = await begin(store, main)
    assert session.state is S.STARTING
    assert (session.desktop_id, session.host, session.image) == (main.id, HOST, "sha256:1")
    assert (session.port, session.display, session.address) == (20000, 1000, "10.0.0.2")
    assert session.deadline == datetime.fromisoformat("2030-01-01T09:05:00Z")
    assert session.kept_until is None
    assert session.reason is None
    assert session.created_at == session.changed_at == clock.now()
    assert await store.session(session.id) == session
    assert await store.live_session(main.id) == session
    assert await store.session_of_display(HOST, 1000) == session
    held = [lease for lease in await store.leases() if lease.session_id == session.id]
    assert {(lease.kind, lease.number) for lease in held} == {
        (LeaseKind.PORT, 20000),
        (LeaseKind.DISPLAY, 1000),
        (LeaseKind.ADDRESS, 0x0A000002),
    }
    assert {(lease.host, lease.desktop_id, lease.since) for lease in held} == {
        (HOST, main.id, clock.now())
    }


async def test_unknown_sessions_are_none(store, main):
    assert await store.session(SessionId("0" * 16)) is None
    assert await store.live_session(main.id) is None
    assert await store.session_of_display(HOST, 1000) is None


async def test_a_display_is_looked_for_on_its_host(store, main):
    await begin(store, main)
    assert await store.session_of_display("host-b", 1000) is None
    assert await store.session_of_display(HOST, 1001) is None


@pytest.mark.parametrize("steps", [[], [S.READY], [S.READY, S.FROZEN], [S.STOPPING]])
async def test_a_desktop_has_one_live_session(store, main, nothing_written, steps):
    await move(store, await begin(store, main), *steps)
    async with nothing_written(AlreadyLive):
        await begin(store, main)


async def test_a_desktop_that_is_gone_begins_nothing(store, main, nothing_written):
    await store.remove_desktop(main.id, actor="x")
    async with nothing_written(NotFound):
        await begin(store, main)
    async with nothing_written(NotFound):
        await begin(store, replace(main, id=DesktopId("0" * 16)))


async def test_an_end_frees_what_was_held_for_the_next(store, main):
    first = await move(store, await begin(store, main), S.STOPPING, S.ENDED)
    assert (first.port, first.display, first.address) == (None, None, None)
    assert not first.live
    assert await store.session(first.id) == first
    assert await store.live_session(main.id) is None
    assert await store.live_sessions() == []
    assert [lease.kind for lease in await store.leases()] == [LeaseKind.UID]
    second = await begin(store, main)
    assert second.id != first.id
    assert (second.port, second.display, second.address) == (20000, 1000, "10.0.0.2")


@pytest.mark.parametrize("kind", ["ports", "displays", "addresses"])
async def test_an_empty_pool_is_named_and_nothing_is_left(store, ada, nothing_written, kind):
    pool = getattr(POOLS, kind)
    one = replace(POOLS, **{kind: Pool(pool.first, pool.first)})
    first, second = [await ensure(store, ada, name) for name in ("one", "two")]
    session = await begin(store, first, pools=one)
    async with nothing_written(CapacityExhausted) as caught:
        await begin(store, second, pools=one)
    assert kind.removesuffix("es").removesuffix("s") in str(caught.value)
    await move(store, session, S.STOPPING, S.ENDED)
    await begin(store, second, pools=one)


async def test_hosts_have_pools_of_their_own(store, ada):
    first, second = [await ensure(store, ada, name) for name in ("one", "two")]
    a, b = await begin(store, first), await begin(store, second, host="host-b")
    assert a.port == b.port
    assert [s.id for s in await store.live_sessions("host-b")] == [b.id]
    assert await store.session_of_display("host-b", 1000) == b


async def test_live_sessions_come_oldest_first(store, ada, clock):
    made = []
    for name in ("one", "two", "three"):
        made.append(await begin(store, await ensure(store, ada, name)))
        clock.advance(1)
    await move(store, made[1], S.STOPPING, S.ENDED)
    assert [s.id for s in await store.live_sessions()] == [made[0].id, made[2].id]


async def test_addresses_are_of_one_host_and_of_these_states(store, ada):
    made = [await begin(store, await ensure(store, ada, name)) for name in ("one", "two", "three")]
    await begin(store, await ensure(store, ada, "far"), host="host-b")
    await move(store, made[1], S.READY)
    await move(store, made[2], S.STOPPING, S.ENDED)
    told = {session.id: IPv4Address(session.address) for session in made}
    one, two = made[0].id, made[1].id
    assert await store.addresses(HOST, {S.STARTING, S.READY}) == {one: told[one], two: told[two]}
    assert await store.addresses(HOST, {S.READY, S.ENDED}) == {two: told[two]}
    assert await store.addresses(HOST, set()) == {}


# ------------------------------------------------------------------------------- setting aside

RELEASES = [("release_port", "port"), ("release_address", "address")]


@pytest.mark.parametrize(("method", "field"), RELEASES)
async def test_a_strangers_number_is_set_aside_for_a_while(store, ada, main, clock, method, field):
    before = await begin(store, main)
    clock.advance(1)
    until = clock.now() + timedelta(seconds=600)
    after = await getattr(store, method)(before.id, until=until, pools=POOLS, actor="broker")
    assert getattr(after, field) != getattr(before, field)
    assert after == replace(before, changed_at=clock.now(), **{field: getattr(after, field)})
    assert await store.session(before.id) == after
    other = await begin(store, await ensure(store, ada, "two"))
    assert getattr(other, field) not in {getattr(before, field), getattr(after, field)}
    clock.advance(600)
    third = await begin(store, await ensure(store, ada, "three"))
    assert getattr(third, field) == getattr(before, field)
    (entry,) = [e for e in await store.audit() if e.action == "lease.set_aside"]
    assert (entry.subject, entry.detail["before"], entry.detail["after"]) == (
        before.id,
        getattr(before, field),
        getattr(after, field),
    )


@pytest.mark.parametrize(("method", "field"), RELEASES)
async def test_several_strangers_are_all_passed(store, main, clock, method, field):
    session = await begin(store, main)
    until = clock.now() + timedelta(seconds=600)
    seen = [getattr(session, field)]
    for _ in range(5):
        session = await getattr(store, method)(session.id, until=until, pools=POOLS, actor="x")
        seen.append(getattr(session, field))
    assert len(set(seen)) == 6


@pytest.mark.parametrize(("method", "field"), RELEASES)
async def test_only_a_starting_session_changes_its_numbers(
    store, main, clock, nothing_written, method, field
):
    session = await move(store, await begin(store, main), S.READY)
    async with nothing_written(StaleState):
        await getattr(store, method)(session.id, until=clock.now(), pools=POOLS, actor="x")
    async with nothing_written(StaleState):
        await getattr(store, method)(SessionId("0" * 16), until=clock.now(), pools=POOLS, actor="x")


@pytest.mark.parametrize(
    ("method", "kind"), [("release_port", "ports"), ("release_address", "addresses")]
)
async def test_without_a_next_number_the_session_keeps_the_one_it_has(
    store, main, clock, nothing_written, method, kind
):
    pool = getattr(POOLS, kind)
    one = replace(POOLS, **{kind: Pool(pool.first, pool.first)})
    session = await begin(store, main, pools=one)
    until = clock.now() + timedelta(seconds=600)
    async with nothing_written(CapacityExhausted):
        await getattr(store, method)(session.id, until=until, pools=one, actor="x")


# --------------------------------------------------------------------------------------- steps

#: From STARTING to each state.
PATHS = {
    S.STARTING: [],
    S.READY: [S.READY],
    S.FROZEN: [S.READY, S.FROZEN],
    S.STOPPING: [S.STOPPING],
    S.ENDED: [S.STOPPING, S.ENDED],
}

ACTIONS = {
    (S.STARTING, S.READY): "session.ready",
    (S.FROZEN, S.READY): "session.thaw",
    (S.READY, S.FROZEN): "session.freeze",
    (S.STARTING, S.STOPPING): "session.stop",
    (S.READY, S.STOPPING): "session.stop",
    (S.FROZEN, S.STOPPING): "session.stop",
    (S.STOPPING, S.ENDED): "session.end",
}


@pytest.mark.parametrize(("before", "after"), [(b, a) for b in S for a in S])
async def test_each_step_of_the_table_is_taken_and_no_other(
    store, main, clock, nothing_written, before, after
):
    session = await move(store, await begin(store, main), *PATHS[before])
    clock.advance(1)
    deadline = clock.now() + timedelta(seconds=60)
    step = {
        "expected": before,
        "to": after,
        "deadline": deadline,
        "reason": "because",
        "actor": "broker",
    }
    if after not in TRANSITIONS[before]:
        async with nothing_written(IllegalTransition):
            await store.advance(session.id, **step)
        return
    moved = await store.advance(session.id, **step)
    assert moved.state is after
    assert (moved.deadline, moved.reason, moved.changed_at) == (deadline, "because", clock.now())
    assert moved.created_at == session.created_at
    assert await store.session(session.id) == moved
    (entry,) = await store.audit(limit=1)
    assert (entry.action, entry.subject, entry.actor) == (
        ACTIONS[before, after],
        session.id,
        "broker",
    )
    assert entry.detail["before"] == before
    assert entry.detail["after"] == after
    assert entry.detail["port"] == session.port


async def test_a_step_from_elsewhere_is_stale(store, main, nothing_written):
    session = await move(store, await begin(store, main), S.READY)
    async with nothing_written(StaleState):
        await store.advance(
            session.id, expected=S.STARTING, to=S.STOPPING, deadline=None, reason=None, actor="x"
        )


async def test_a_step_of_no_session_is_not_found(store, nothing_written):
    async with nothing_written(NotFound):
        await store.advance(
            SessionId("0" * 16),
            expected=S.STARTING,
            to=S.READY,
            deadline=None,
            reason=None,
            actor="x",
        )


async def test_a_reason_stays_until_another_is_given(store, main):
    session = await begin(store, main)
    stopping = await move(store, session, S.STOPPING, reason="You were idle.")
    ended = await move(store, stopping, S.ENDED)
    assert ended.reason == "You were idle."


# --------------------------------------------------------------------------------------- sleep


async def due(
    store: Store, session: Session, *, signal: Signal = Signal.INPUT, reason: str = "because"
) -> Deadline:
    return await store.note_deadline(
        session.id,
        step=Step.FREEZE,
        due_at=datetime.fromisoformat("2030-01-01T10:00:00Z"),
        signal=signal,
        reason=reason,
        actor="broker",
    )


@pytest.mark.parametrize("steps", [[], [S.READY], [S.READY, S.FROZEN], [S.STOPPING]])
async def test_a_live_session_is_kept_until_then(store, main, clock, steps):
    before = await move(store, await begin(store, main), *steps)
    clock.advance(1)
    until = clock.now() + timedelta(hours=4, microseconds=1)
    kept = await store.keep_session(before.id, until=until, actor="user:ada")
    # When its state last changed stays: that is since when it is frozen.
    assert kept == replace(before, kept_until=until)
    assert await store.session(before.id) == kept
    assert await store.live_session(main.id) == kept
    assert await store.live_sessions(HOST) == [kept]
    assert await store.session_of_display(HOST, before.display) == kept


async def test_each_change_of_keeping_is_told_with_before_and_after(store, main, clock):
    session = await begin(store, main)
    first, second = (clock.now() + timedelta(hours=hours) for hours in (1, 4))
    for until in (first, second, None):
        kept = await store.keep_session(session.id, until=until, actor="user:ada")
        assert kept.kept_until == until
    told = [entry for entry in await store.audit() if entry.action == "session.keep"]
    assert {(entry.subject, entry.actor) for entry in told} == {(session.id, "user:ada")}
    assert [(entry.detail["before"], entry.detail["after"]) for entry in told] == [
        (second.isoformat(), None),
        (first.isoformat(), second.isoformat()),
        (None, first.isoformat()),
    ]


async def test_keeping_what_is_kept_already_tells_nothing(store, main, clock):
    session = await begin(store, main)
    for _ in range(2):
        kept = await store.keep_session(session.id, until=clock.now(), actor="x")
    assert kept.kept_until == clock.now()
    assert (await actions(store)).count("session.keep") == 1


async def test_one_keeps_neither_another_session_nor_one_that_is_none(
    store, ada, main, clock, nothing_written
):
    session = await begin(store, main)
    other = await begin(store, await ensure(store, ada, "lab"))
    await store.keep_session(session.id, until=clock.now(), actor="x")
    assert await store.session(other.id) == other
    async with nothing_written(NotFound):
        await store.keep_session(SessionId("0" * 16), until=clock.now(), actor="x")
    await move(store, session, S.STOPPING, S.ENDED)
    for until in (clock.now() + timedelta(hours=1), clock.now(), None):
        async with nothing_written(StaleState):
            await store.keep_session(session.id, until=until, actor="x")


async def test_a_kept_session_is_kept_through_its_steps_and_the_next_is_not(store, main, clock):
    session = await begin(store, main)
    await store.keep_session(session.id, until=clock.now(), actor="x")
    ended = await move(store, session, S.READY, S.FROZEN, S.READY, S.STOPPING, S.ENDED)
    assert ended.kept_until == clock.now()
    assert (await begin(store, main)).kept_until is None


async def test_a_starting_session_stays_kept_when_its_numbers_change(store, main, clock):
    session = await begin(store, main)
    await store.keep_session(session.id, until=clock.now(), actor="x")
    for method, _ in RELEASES:
        after = await getattr(store, method)(
            session.id, until=clock.now(), pools=POOLS, actor="broker"
        )
        assert after.kept_until == clock.now()


async def test_a_deadline_is_its_own_record(store, main, clock):
    session = await begin(store, main)
    before = await actions(store)
    made = await due(store, session, signal=Signal.TYPING, reason="Somebody typed.")
    assert made == Deadline(
        session_id=session.id,
        at=clock.now(),
        step=Step.FREEZE,
        due_at=datetime.fromisoformat("2030-01-01T10:00:00Z"),
        signal=Signal.TYPING,
        reason="Somebody typed.",
        actor="broker",
    )
    assert await store.deadlines(session.id) == [made]
    assert await store.last_deadlines(HOST) == [made]
    assert await actions(store) == before
    assert await store.session(session.id) == session


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("step", [*Step, None])
async def test_every_signal_and_step_is_kept_as_it_was(store, main, clock, step, signal):
    session = await begin(store, main)
    made = await store.note_deadline(
        session.id,
        step=step,
        due_at=None if step is None else clock.now(),
        signal=signal,
        reason="because",
        actor="x",
    )
    assert (made.step, made.signal) == (step, signal)
    (found,) = await store.deadlines(session.id)
    assert found == made
    assert (type(found.step), type(found.signal)) == (type(step), Signal)


async def test_deadlines_come_newest_first_though_the_clock_goes_back(store, ada, main, clock):
    session = await begin(store, main)
    other = await begin(store, await ensure(store, ada, "lab"))
    made = []
    for i in range(25):
        made.insert(0, await due(store, session, reason=f"{i}"))
        await due(store, other)
        clock.jump(-1)
    assert await store.deadlines(session.id, limit=100) == made
    assert await store.deadlines(session.id) == made[:20]
    assert await store.deadlines(session.id, limit=1) == made[:1]
    assert (await store.last_deadlines(HOST))[0] == made[0]


async def test_an_ended_session_has_deadlines_still_and_no_last_one(store, main):
    session = await begin(store, main)
    made = await due(store, session)
    await move(store, session, S.STOPPING, S.ENDED)
    assert await store.last_deadlines(HOST) == []
    late = await due(store, session, reason="too late")
    assert await store.deadlines(session.id) == [late, made]
    assert await store.last_deadlines(HOST) == []


async def test_a_deadline_of_no_session_is_not_found(store, main, nothing_written):
    ghost = replace(await begin(store, main), id=SessionId("0" * 16))
    async with nothing_written(NotFound):
        await due(store, ghost)
    assert await store.deadlines(ghost.id) == []


async def test_the_last_deadline_of_each_live_session_of_the_host(store, ada, main, clock):
    one, silent, gone = [
        await begin(store, await ensure(store, ada, name)) for name in ("one", "two", "three")
    ]
    elsewhere = await begin(store, main, host="host-b")
    for session in (one, gone, elsewhere, one):
        await due(store, session, reason="first")
    last = {session.id: await due(store, session) for session in (gone, elsewhere, one)}
    await move(store, gone, S.STOPPING, S.ENDED)
    assert await store.last_deadlines(HOST) == [last[one.id]]
    assert await store.last_deadlines("host-b") == [last[elsewhere.id]]
    assert await store.last_deadlines("host-c") == []
    await move(store, silent, S.READY, S.FROZEN)
    frozen = await due(store, silent)
    found = await store.last_deadlines(HOST)
    assert sorted(found, key=lambda x: x.session_id) == sorted(
        [last[one.id], frozen], key=lambda x: x.session_id
    )


# --------------------------------------------------------------------------------------- audit


async def test_the_audit_tells_who_did_what_newest_first(store, ada, main, clock):
    clock.advance(1)
    await store.note(
        actor="admin:eve",
        action="home.delete",
        subject=main.id,
        detail={"bytes": 17, "asked": True, "why": None, "volume": "v"},
    )
    newest, *older = await store.audit()
    assert (newest.actor, newest.action, newest.subject) == ("admin:eve", "home.delete", main.id)
    assert newest.detail == {"bytes": 17, "asked": True, "why": None, "volume": "v"}
    assert newest.at == clock.now()
    assert [entry.action for entry in older] == ["desktop.create", "user.add"]
    assert newest.seq > older[0].seq > older[1].seq
    assert older[0].detail["uid"] == main.uid
    assert [e.action for e in await store.audit(limit=1)] == ["home.delete"]
    assert [e.action for e in await store.audit(subject=ada.id)] == ["user.add"]


# --------------------------------------------------------------------------------------- races


async def outcomes(work) -> list[object]:
    return await asyncio.gather(*work, return_exceptions=True)


async def test_fifty_at_once_begin_one_session(store, another, main):
    stores = [store, await another()]
    results = await outcomes(begin(stores[i % 2], main) for i in range(50))
    begun = [result for result in results if isinstance(result, Session)]
    assert len(begun) == 1
    assert all(isinstance(r, AlreadyLive) for r in results if r is not begun[0])
    assert await store.live_sessions() == begun
    assert len(await store.leases()) == 4


async def test_thirty_desktops_at_once_hold_distinct_numbers(store, another, ada):
    stores = [store, await another()]
    await store.instance()  # made at every start; where there are many writers they queue for it
    made = await asyncio.gather(*(ensure(stores[i % 2], ada, f"d{i}") for i in range(30)))
    assert len({desktop.uid for desktop in made}) == 30
    begun = await asyncio.gather(*(begin(stores[i % 2], d) for i, d in enumerate(made)))
    for field, first in (("port", 20000), ("display", 1000)):
        assert {getattr(s, field) for s in begun} == set(range(first, first + 30))
    assert len({s.address for s in begun}) == 30


async def test_a_desktop_that_many_ask_for_is_made_once(store, another, ada):
    stores = [store, await another()]
    made = await asyncio.gather(*(ensure(stores[i % 2], ada, "main") for i in range(20)))
    assert len(set(made)) == 1
    assert await actions(store) == ["user.add", "desktop.create"]


async def test_of_two_that_want_a_name_one_gets_it(store, another):
    stores = [store, await another()]
    results = await outcomes(
        stores[i % 2].add_user("ada", admin=False, actor="x") for i in range(10)
    )
    assert sorted(type(r).__name__ for r in results) == ["Conflict"] * 9 + ["User"]


async def test_of_two_that_move_a_session_one_does(store, another, main):
    stores = [store, await another()]
    session = await begin(store, main)
    results = await outcomes(move(stores[i % 2], session, S.READY) for i in range(10))
    assert sorted(type(r).__name__ for r in results) == ["Session"] + ["StaleState"] * 9


async def test_a_keeping_and_an_end_do_not_lose_each_other(store, another, main, clock):
    stores = [store, await another()]
    for _ in range(10):
        session = await move(store, await begin(store, main), S.STOPPING)
        kept, ended = await outcomes(
            [
                stores[0].keep_session(session.id, until=clock.now(), actor="x"),
                move(stores[1], session, S.ENDED),
            ]
        )
        assert isinstance(ended, Session)
        assert isinstance(kept, Session | StaleState)
        after = await store.session(session.id)
        assert after.state is S.ENDED
        assert after.kept_until == (clock.now() if isinstance(kept, Session) else None)


async def test_deadlines_of_many_at_once_are_all_kept(store, another, main):
    stores = [store, await another()]
    session = await begin(store, main)
    made = await asyncio.gather(*(due(stores[i % 2], session, reason=f"{i}") for i in range(30)))
    found = await store.deadlines(session.id, limit=100)
    assert len(found) == 30
    assert set(found) == set(made)
    assert await store.last_deadlines(HOST) == [found[0]]


async def test_a_removal_and_a_beginning_do_not_both_happen(store, another, ada):
    stores = [store, await another()]
    for i in range(10):
        desktop = await ensure(store, ada, f"d{i}")
        began, removed = await outcomes(
            [begin(stores[0], desktop), stores[1].remove_desktop(desktop.id, actor="x")]
        )
        assert isinstance(began, Session) != (removed is None)


async def test_owners_of_what_lives_are_told_with_their_groups(store, ada, main):
    """Each group once, whoever said so; nobody of whom nothing lives."""
    bob = await store.add_user("bob", admin=False, actor="uid:0")
    theirs = await ensure(store, bob, "main")
    assert await store.live_owners() == {}
    for name in ("g", "h"):
        await store.set_group(name, priority=0, policy={}, actor="uid:0")
    await store.join_group(ada.id, "g", actor="uid:0")
    await store.sync_groups(ada.id, ["g", "h"], source="campus", actor="broker")
    session = await begin(store, main)
    found = await store.live_owners()
    assert {desktop: (o.user_id, sorted(o.groups)) for desktop, o in found.items()} == {
        main.id: (ada.id, ["g", "h"])
    }
    await begin(store, theirs)
    assert (await store.live_owners())[theirs.id] == Owner(user_id=bob.id, groups=())
    await store.advance(
        session.id,
        expected=SessionState.STARTING,
        to=SessionState.STOPPING,
        deadline=None,
        reason="a test",
        actor="uid:0",
    )
    assert set(await store.live_owners()) == {main.id, theirs.id}
    await store.advance(
        session.id,
        expected=SessionState.STOPPING,
        to=SessionState.ENDED,
        deadline=None,
        reason=None,
        actor="uid:0",
    )
    assert set(await store.live_owners()) == {theirs.id}


# -------------------------------------------------------------------------------- maintenance


async def test_a_maintenance_stands_until_it_is_over(store, clock):
    """Changed ones keep since when; each change has an entry, and the same again none."""
    at = clock.now() + timedelta(days=1)
    assert await store.drain() is None
    first = await store.begin_drain(at=at, message="Soon.", actor="uid:0")
    assert (
        await store.drain()
        == first
        == Drain(since=clock.now(), made_by="uid:0", at=at, message="Soon.")
    )
    clock.advance(5)
    assert await store.begin_drain(at=at, message="Soon.", actor="uid:1") == first
    second = await store.begin_drain(at=None, message="", actor="uid:2")
    assert (
        await store.drain()
        == second
        == Drain(since=first.since, made_by="uid:2", at=None, message="")
    )
    await store.end_drain(actor="uid:3")
    await store.end_drain(actor="uid:3")
    assert await store.drain() is None
    assert await actions(store) == ["maintenance.drain"] * 2 + ["maintenance.resume"]


async def test_leases_are_counted_by_kind_within_their_pools(store, ada, main):
    """Of that host alone."""
    assert await store.count_leases(HOST, POOLS) == {
        LeaseKind.PORT: 0,
        LeaseKind.DISPLAY: 0,
        LeaseKind.ADDRESS: 0,
        LeaseKind.UID: 1,
    }
    await begin(store, main)
    assert set((await store.count_leases(HOST, POOLS)).values()) == {1}
    narrow = replace(POOLS, ports=Pool(30000, 30001))
    assert (await store.count_leases(HOST, narrow))[LeaseKind.PORT] == 0
    assert set((await store.count_leases("elsewhere", POOLS)).values()) == {0}


async def test_what_a_live_session_holds_is_not_given_free(store, ada, nothing_written):
    """An ended one holds nothing, and says so without a word in the audit."""
    desktop = await ensure(store, ada, "main")
    session = await begin(store, desktop)
    async with nothing_written(Conflict):
        await store.release_leases(session.id, actor="doctor")
    for state in (SessionState.STOPPING, SessionState.ENDED):
        await store.advance(
            session.id,
            expected=(await store.session(session.id)).state,
            to=state,
            deadline=None,
            reason="over",
            actor="x",
        )
    before = await store.audit_head()
    await store.release_leases(session.id, actor="doctor")
    assert await store.audit_head() == before
