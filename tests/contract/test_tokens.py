"""What every `core.apistate.ApiState` promises, on every database that it runs on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.errors import CapacityExhausted, Conflict, NotFound
from broker.core.model import UserId
from broker.core.tokens import KeptAnswer, Reach, Scope

HASH = "f" * 64
NOBODY = UserId("0" * 16)


async def add(store, user, token_hash=HASH, *, expires_at=None, most=5):
    return await store.add_token(
        user.id,
        token_hash=token_hash,
        name="ci",
        scopes=[Scope.READ, Scope.SESSIONS],
        reach=Reach.OWN,
        expires_at=expires_at,
        most=most,
        actor="uid:0",
    )


async def test_a_token_is_made_listed_and_found(store, ada, clock, nothing_written):
    made = await add(store, ada, expires_at=clock.now() + timedelta(days=1))
    assert (made.made_at, made.made_by) == (clock.now(), "uid:0")
    assert made.scopes == {Scope.READ, Scope.SESSIONS}
    clock.advance(1)
    bob = await store.add_user("bob", admin=False, actor="uid:0")
    second = await add(store, bob, "e" * 64)
    assert await store.tokens() == [second, made]
    assert await store.tokens(ada.id) == [made]
    assert await store.token(made.id) == made
    assert await store.token_of(HASH) == (made, ada)
    assert await store.token_of("0" * 64) is None
    assert await store.token("0" * 16) is None
    assert HASH not in repr(await store.audit())
    entry = (await store.audit(subject=ada.id, limit=1))[0]
    assert (entry.action, entry.detail["scopes"]) == ("token.add", "read sessions")
    async with nothing_written(NotFound):
        await add(store, replace(ada, id=NOBODY), "d" * 64)


async def test_what_ends_a_token(store, ada, clock, nothing_written):
    made = await add(store, ada, expires_at=clock.now() + timedelta(seconds=10))
    clock.advance(9.9)
    assert await store.token_of(HASH) is not None
    clock.advance(0.1)
    assert await store.token_of(HASH) is None
    forever = await add(store, ada, "e" * 64)
    await store.set_enabled(ada.id, enabled=False, actor="x")
    assert await store.token_of("e" * 64) is None
    await store.set_enabled(ada.id, enabled=True, actor="x")
    assert await store.token_of("e" * 64) is not None
    await store.revoke_token(forever.id, actor="x")
    assert await store.token_of("e" * 64) is None
    async with nothing_written(NotFound):
        await store.revoke_token(forever.id, actor="x")
    await store.remove_user(ada.id, actor="x")
    assert await store.tokens() == []
    told = [e.action for e in await store.audit() if e.detail.get("token") == made.id]
    assert told == ["token.revoke", "token.add"]


async def test_a_use_is_noted_without_a_word_to_the_audit(store, ada, clock):
    made = await add(store, ada)
    before = await store.audit_head()
    clock.advance(5)
    await store.note_token_use(made.id, address="192.0.2.7")
    await store.note_token_use("0" * 16, address="192.0.2.7")
    found = await store.token(made.id)
    assert (found.last_used_at, found.last_used_from) == (clock.now(), "192.0.2.7")
    assert await store.audit_head() == before


async def test_a_user_has_so_many_tokens(store, another, ada, nothing_written):
    """Of any number who make one at once, too."""
    stores = [await another() for _ in range(2)]
    made = await asyncio.gather(
        *(add(stores[n % 2], ada, f"{n:064}", most=3) for n in range(6)), return_exceptions=True
    )
    assert [type(each) for each in made].count(Conflict) == 3
    assert len(await store.tokens(ada.id)) == 3
    async with nothing_written(Conflict):
        await add(store, ada, most=3)


async def test_of_calls_with_one_key_one_is_the_first(store, another, clock):
    """The others find what it left."""
    since = clock.now() - timedelta(days=1)
    stores = [await another() for _ in range(2)]
    found = await asyncio.gather(
        *(stores[n % 2].begin_answer("uid:0", "k", "r", since=since, most=9) for n in range(6))
    )
    open_one = KeptAnswer(request="r", status=None, location=None, body=None)
    assert sorted(found, key=repr) == [*[open_one] * 5, None]
    await store.finish_answer("uid:0", "k", status=201, location="/x", body="{}")
    kept = await store.begin_answer("uid:0", "k", "other", since=since, most=9)
    assert kept == KeptAnswer(request="r", status=201, location="/x", body="{}")
    assert await store.begin_answer("uid:1", "k", "r", since=since, most=9) is None
    await store.drop_answer("uid:0", "k")
    assert await store.begin_answer("uid:0", "k", "other", since=since, most=9) is None


async def test_answers_are_forgotten_in_time_and_bounded(store, clock):
    """Each caller has a bound of their own."""
    for key in ("a", "b"):
        since = clock.now() - timedelta(days=1)
        assert await store.begin_answer("uid:0", key, "r", since=since, most=2) is None
    with pytest.raises(CapacityExhausted):
        await store.begin_answer("uid:0", "c", "r", since=since, most=2)
    assert await store.begin_answer("uid:1", "c", "r", since=since, most=2) is None
    clock.advance(86_401)
    since = clock.now() - timedelta(days=1)
    assert await store.begin_answer("uid:0", "a", "new", since=since, most=2) is None
