"""What every `core.browserstate.BrowserState` promises, on every database that it runs on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.core.errors import Conflict, NotFound
from broker.core.model import UserId
from broker.core.signins import Proven

HASH = "f" * 64
NOBODY = UserId("0" * 16)
BY_PASSWORD = Proven(credential="password:p1", method="password+code")
BY_KEY = Proven(credential="SHA256:k", method="key", denied=("pty", "sftp"))


async def add(store, user_id, secret_hash=HASH, *, proven=BY_PASSWORD, most=5):
    return await store.add_sign_in(
        user_id,
        secret_hash=secret_hash,
        proven=proven,
        address="192.0.2.7",
        browser="Firefox 140",
        most=most,
        actor="user:ada",
    )


async def link(store, user_id, clock, token_hash=HASH, *, seconds=60.0, proven=BY_KEY, most=5):
    await store.add_link(
        user_id,
        token_hash=token_hash,
        proven=proven,
        expires_at=clock.now() + timedelta(seconds=seconds),
        most=most,
        actor="user:ada",
    )


async def ends(store):
    """What the audit tells of ends, oldest first."""
    told = [e.detail for e in await store.audit() if e.action == "sign-in.end"]
    return [(detail["sign_in"], detail["why"]) for detail in reversed(told)]


async def test_a_sign_in_is_made_listed_and_found(store, ada, clock, nothing_written):
    first, ended = await add(store, ada.id, proven=BY_KEY)
    assert ended == []
    assert (first.proven, first.address, first.browser) == (BY_KEY, "192.0.2.7", "Firefox 140")
    assert first.made_at == first.last_used_at == clock.now()
    clock.advance(1)
    bob = await store.add_user("bob", admin=False, actor="uid:0")
    second, _ = await add(store, bob.id, "e" * 64)
    assert await store.sign_ins() == [second, first]
    assert await store.sign_ins(ada.id) == [first]
    assert await store.sign_in_of(HASH) == (first, ada)
    assert await store.sign_in(second.id) == (second, bob)
    assert await store.sign_in_of("0" * 64) is None
    assert await store.sign_in("0" * 16) is None
    assert HASH not in repr(await store.audit())
    async with nothing_written(NotFound):
        await add(store, NOBODY, "d" * 64)


async def test_a_use_is_noted_without_a_word_to_the_audit(store, ada, clock):
    made, _ = await add(store, ada.id)
    before = await store.audit_head()
    clock.advance(5)
    await store.note_sign_in_use(made.id)
    await store.note_sign_in_use("0" * 16)
    found, _ = await store.sign_in(made.id)
    assert (found.made_at, found.last_used_at) == (made.made_at, clock.now())
    assert await store.audit_head() == before


async def test_of_too_many_those_longest_unused_end(store, ada, clock):
    """Nobody is kept out by what they left open elsewhere."""
    made = []
    for n in range(3):
        clock.advance(1)
        made.append((await add(store, ada.id, f"{n:064}", most=3))[0])
    clock.advance(1)
    await store.note_sign_in_use(made[0].id)
    _, ended = await add(store, ada.id, most=3)
    assert ended == [made[1].id]
    assert await ends(store) == [(made[1].id, "there are more")]
    assert len(await store.sign_ins(ada.id)) == 3


async def test_more_can_be_proven_of_one(store, ada, nothing_written):
    made, _ = await add(store, ada.id, proven=Proven(credential="password:p1", method="password"))
    await store.prove_sign_in(made.id, "password+code", actor="user:ada")
    found, _ = await store.sign_in(made.id)
    assert found.proven == BY_PASSWORD
    async with nothing_written(NotFound):
        await store.prove_sign_in("0" * 16, "key", actor="user:ada")


async def test_what_ends_a_sign_in(store, ada, nothing_written):
    one, _ = await add(store, ada.id)
    await store.end_sign_in(one.id, actor="user:ada")
    assert await store.sign_in_of(HASH) is None
    async with nothing_written(NotFound):
        await store.end_sign_in(one.id, actor="user:ada")
    two, _ = await add(store, ada.id)
    await store.set_enabled(ada.id, enabled=False, actor="x")
    await store.set_enabled(ada.id, enabled=True, actor="x")
    assert await store.sign_ins(ada.id) == []
    three, _ = await add(store, ada.id)
    await store.remove_user(ada.id, actor="x")
    assert await store.sign_ins() == []
    closed = "the account is closed"
    assert await ends(store) == [(one.id, None), (two.id, closed), (three.id, closed)]


async def test_a_disabled_user_gets_none(store, ada, clock, nothing_written):
    await store.set_enabled(ada.id, enabled=False, actor="x")
    async with nothing_written(NotFound):
        await add(store, ada.id)
    async with nothing_written(NotFound):
        await link(store, ada.id, clock)


async def test_those_that_stand_by_a_credential_end_with_it(store, ada, clock):
    """So do links that would stand by it."""
    by_key, _ = await add(store, ada.id, proven=BY_KEY)
    other, _ = await add(store, ada.id, "e" * 64)
    await link(store, ada.id, clock)
    await link(store, ada.id, clock, "e" * 64, proven=BY_PASSWORD)
    assert await store.end_sign_ins_by("SHA256:k", actor="x") == [by_key.id]
    assert await store.sign_ins() == [other]
    assert await store.take_link(HASH, origin="192.0.2.7") is None
    assert await store.take_link("e" * 64, origin="192.0.2.7") is not None
    assert await store.end_sign_ins_by("SHA256:k", actor="x") == []


async def test_old_ones_are_forgotten(store, ada, clock):
    """By their age, and by how long they were not used."""
    old, _ = await add(store, ada.id, "a" * 64)
    clock.advance(50)
    unused, _ = await add(store, ada.id, "b" * 64)
    clock.advance(50)
    fresh, _ = await add(store, ada.id, "c" * 64)
    await store.note_sign_in_use(old.id)
    made, used = clock.now() - timedelta(seconds=99), clock.now() - timedelta(seconds=49)
    assert sorted(await store.forget_sign_ins(made=made, used=used)) == sorted([old.id, unused.id])
    assert await store.sign_ins() == [fresh]
    head = await store.audit_head()
    assert await store.forget_sign_ins(made=made, used=used) == []
    assert await store.audit_head() == head


async def test_a_link_is_used_once(store, ada, clock):
    await link(store, ada.id, clock)
    assert await store.take_link(HASH, origin="198.51.100.1") == (BY_KEY, ada)
    assert await store.take_link(HASH, origin="198.51.100.1") is None
    entry = (await store.audit(subject=ada.id, limit=1))[0]
    assert (entry.action, entry.actor, entry.proof, entry.origin) == (
        "sign-in.open", "user:ada", "link", "198.51.100.1",
    )  # fmt: skip
    assert HASH not in repr(await store.audit())


async def test_of_a_hundred_who_come_with_one_link_one_gets_in(store, another, ada, clock):
    await link(store, ada.id, clock)
    stores = [store, await another()]
    found = await asyncio.gather(
        *(stores[n % 2].take_link(HASH, origin="192.0.2.7") for n in range(100))
    )
    assert [each for each in found if each is not None] == [(BY_KEY, ada)]


@pytest.mark.parametrize(("after", "counts"), [(59.9, True), (60.0, False)])
async def test_a_link_is_good_for_so_long(store, ada, clock, after, counts):
    await link(store, ada.id, clock)
    clock.advance(after)
    assert (await store.take_link(HASH, origin="x") is not None) is counts


async def test_a_link_of_somebody_disabled_since_opens_nothing(store, ada, clock):
    await link(store, ada.id, clock)
    await store.set_enabled(ada.id, enabled=False, actor="x")
    await store.set_enabled(ada.id, enabled=True, actor="x")
    assert await store.take_link(HASH, origin="x") is None


async def test_of_many_links_the_newest_count(store, ada, clock):
    """And those too old go with the sign-ins that are."""
    for n in range(3):
        clock.advance(1)
        await link(store, ada.id, clock, f"{n:064}", most=2)
    assert await store.take_link(f"{0:064}", origin="x") is None
    assert await store.take_link(f"{1:064}", origin="x") is not None
    clock.advance(60)
    await store.forget_sign_ins(made=clock.now(), used=clock.now())
    assert await store.take_link(f"{2:064}", origin="x") is None


# -------------------------------------------------------------------------------------- providers


async def test_a_user_is_bound_to_one_of_a_source(store, ada, nothing_written):
    """And that one to no other user; the same again changes nothing."""
    bob = await store.add_user("bob", admin=False, actor="x")
    await store.vouch(ada.id, source="sso", subject="7", actor="user:ada")
    head = await store.audit_head()
    await store.vouch(ada.id, source="sso", subject="7", actor="user:ada")
    assert await store.audit_head() == head
    assert await store.user_vouched("sso", "7") == ada
    assert await store.user_vouched("sso", "8") is None
    assert await store.user_vouched("other", "7") is None
    async with nothing_written(Conflict):
        await store.vouch(ada.id, source="sso", subject="8", actor="x")
    async with nothing_written(Conflict):
        await store.vouch(bob.id, source="sso", subject="7", actor="x")
    async with nothing_written(NotFound):
        await store.vouch(NOBODY, source="sso", subject="9", actor="x")
    await store.vouch(bob.id, source="other", subject="7", actor="x")
    assert await store.user_vouched("other", "7") == bob


async def test_of_those_who_come_at_once_one_is_bound(store, another, ada):
    stores = [store, await another()]
    found = await asyncio.gather(
        *(stores[n % 2].vouch(ada.id, source="sso", subject=f"{n}", actor="x") for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in found) == [*["Conflict"] * 7, "NoneType"]


async def test_what_ends_a_binding(store, ada, nothing_written):
    """Not that its user is disabled, but that they are removed, or that an admin says so."""
    await store.vouch(ada.id, source="sso", subject="7", actor="x")
    await store.set_enabled(ada.id, enabled=False, actor="x")
    found = await store.user_vouched("sso", "7")
    assert (found.id, found.enabled) == (ada.id, False)
    assert await store.unbind(ada.id, actor="x") == ["sso"]
    assert await store.user_vouched("sso", "7") is None
    async with nothing_written(NotFound):
        await store.unbind(ada.id, actor="x")
    await store.vouch(ada.id, source="sso", subject="7", actor="x")
    await store.remove_user(ada.id, actor="x")
    assert await store.user_vouched("sso", "7") is None
    again = await store.add_user("ada", admin=False, actor="x")
    await store.vouch(again.id, source="sso", subject="7", actor="x")
    assert await store.user_vouched("sso", "7") == again
