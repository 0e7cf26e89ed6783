"""What every `core.identities.Identities` promises, on every database that it runs on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.errors import Conflict, NotFound
from broker.core.interfaces import Store
from broker.core.model import Actor, Group, LoginNote, User, UserId

KEY = "SHA256:" + "a" * 43
OTHER = "SHA256:" + "b" * 43
TOKEN = "f" * 64
NOBODY = UserId("0" * 16)


async def add_key(store: Store, user: User, fingerprint: str = KEY, name: str = "lap", **limits):
    return await store.add_key(
        user.id, fingerprint=fingerprint, public="ssh-ed25519 A", name=name, actor="x", **limits
    )


async def proven(store: Store, fingerprint: str) -> User | None:
    found = await store.key_owner(fingerprint)
    return found and found[1]


async def actions(store: Store) -> list[str]:
    """The audit, oldest first."""
    return [entry.action for entry in reversed(await store.audit(limit=1000))]


async def outcomes(work) -> list[object]:
    return await asyncio.gather(*work, return_exceptions=True)


@pytest.fixture
async def bob(store) -> User:
    return await store.add_user("bob", admin=False, actor="uid:0")


# --------------------------------------------------------------------------------------- users


async def test_where_a_password_is_checked_is_kept(store, ada):
    eve = await store.add_user("eve", admin=False, source="ldap", actor="x")
    assert (ada.source, eve.source) == ("local", "ldap")
    assert await store.user("eve") == eve


async def test_a_user_becomes_an_admin_and_no_admin(store, ada):
    for admin in (True, True, False):
        await store.set_admin(ada.id, admin=admin, actor="x")
        assert await store.user("ada") == replace(ada, admin=admin)
    changes = [e.detail for e in await store.audit() if e.action == "user.admin"]
    assert [(detail["before"], detail["after"]) for detail in changes] == [
        (True, False),
        (False, True),
    ]
    with pytest.raises(NotFound):
        await store.set_admin(NOBODY, admin=True, actor="x")


async def test_all_that_a_user_has_goes_with_them(store, ada, bob, clock):
    for user, key, token in ((ada, KEY, TOKEN), (bob, OTHER, "e" * 64)):
        await add_key(store, user, key)
        await store.set_password(user.id, "hash", actor="x")
        await confirmed(store, user)
        await invite(store, user, clock, token)
        await store.set_group("staff", priority=1, policy={}, actor="x")
        await store.join_group(user.id, "staff", actor="x")
        await store.sync_groups(user.id, ["staff"], source="ldap", actor="x")
    used = await invite(store, ada, clock, "d" * 64)
    await redeem(store, "d" * 64, KEY)
    before = len(await actions(store))
    await store.remove_user(ada.id, actor="uid:0")
    assert (await actions(store))[before:] == [
        "key.remove",
        "password.remove",
        "code.remove",
        "invite.revoke",
        "group.leave",
        "group.leave",
        "user.remove",
    ]
    assert await store.keys(ada.id) == []
    assert await store.password(ada.id) is None
    assert await store.codes(ada.id) is None
    assert not await store.take_recovery(ada.id, "r1", actor="x")
    assert [each.id for each in await store.invites(ada.id)] == [used.id]
    assert await store.groups_of(ada.id) == []
    assert await store.members("staff") == [bob]
    assert await proven(store, OTHER) == bob
    assert (await store.codes(bob.id)).recovery_left == 2
    assert await store.password(bob.id) is not None
    assert await store.invite_of("e" * 64) is not None


# ---------------------------------------------------------------------------------------- keys


async def test_a_key_proves_its_user(store, ada, clock):
    made = await add_key(store, ada)
    assert made.added_at == clock.now()
    assert (made.expires_at, made.sources, made.verify_required) == (None, (), False)
    assert (made.last_used_at, made.last_used_from) == (None, None)
    assert await store.key_owner(KEY) == (made, ada)
    assert await store.keys(ada.id) == [made]
    assert await store.key_owner("SHA256:other") is None


async def test_the_limits_of_a_key_are_kept(store, ada, clock):
    limits = {
        "expires_at": clock.now() + timedelta(days=1),
        "sources": ("192.0.2.0/24", "2001:db8::/32"),
        "verify_required": True,
    }
    made = await add_key(store, ada, **limits)
    assert (made.expires_at, made.sources, made.verify_required) == tuple(limits.values())
    assert await store.keys(ada.id) == [made]
    clock.advance(3600 * 48)
    assert await store.key_owner(KEY) == (made, ada)  # whoever asks judges them
    newest = (await store.audit(limit=1))[0]
    assert newest.detail == {
        "fingerprint": KEY,
        "name": "lap",
        "expires_at": limits["expires_at"].isoformat(),
        "sources": "192.0.2.0/24 2001:db8::/32",
        "verify_required": True,
    }


async def test_keys_come_in_the_order_in_which_they_were_added(store, ada, clock):
    for name in ("SHA256:c", "SHA256:a", "SHA256:b"):
        await add_key(store, ada, name, name)
        clock.advance(1)
    assert [key.fingerprint for key in await store.keys(ada.id)] == [
        "SHA256:c",
        "SHA256:a",
        "SHA256:b",
    ]


async def test_keys_added_in_one_moment_keep_their_order(store, ada):
    names = ["SHA256:c", "SHA256:a", "SHA256:b"]
    for name in names:
        await add_key(store, ada, name, name)
    assert [key.fingerprint for key in await store.keys(ada.id)] == names


async def test_another_users_key_is_refused_without_naming_them(store, ada, bob, nothing_written):
    await add_key(store, ada)
    async with nothing_written(Conflict) as caught:
        await add_key(store, bob)
    assert caught.value.public == "This key belongs to another user."
    assert await proven(store, KEY) == ada


async def test_ones_own_key_is_not_added_twice(store, ada, nothing_written):
    await add_key(store, ada)
    async with nothing_written(Conflict) as caught:
        await add_key(store, ada, name="another")
    assert caught.value.public == "This key was added already."


async def test_two_keys_of_a_user_have_two_names(store, ada, bob, nothing_written):
    await add_key(store, ada)
    async with nothing_written(Conflict) as caught:
        await add_key(store, ada, OTHER)
    assert caught.value.public == "Another key has the name 'lap'; choose another name."
    await add_key(store, bob, OTHER)


async def test_a_key_is_renamed(store, ada, bob, nothing_written):
    made = await add_key(store, ada)
    await add_key(store, ada, OTHER, "desk")
    await store.rename_key(ada.id, KEY, "work", actor="user:ada")
    assert (await store.keys(ada.id))[0] == replace(made, name="work")
    newest = (await store.audit(limit=1))[0]
    assert (newest.action, newest.subject) == ("key.rename", ada.id)
    assert newest.detail == {"fingerprint": KEY, "before": "lap", "after": "work"}
    told = await actions(store)
    await store.rename_key(ada.id, KEY, "work", actor="user:ada")
    assert await actions(store) == told
    async with nothing_written(Conflict):
        await store.rename_key(ada.id, KEY, "desk", actor="user:ada")
    for whose, which in ((bob.id, KEY), (ada.id, "SHA256:c"), (NOBODY, KEY)):
        async with nothing_written(NotFound):
            await store.rename_key(whose, which, "new", actor="x")


async def test_nobody_gets_no_key(store, ada, nothing_written):
    nobody = replace(ada, id=NOBODY)
    async with nothing_written(NotFound):
        await add_key(store, nobody)
    await store.remove_user(ada.id, actor="x")
    async with nothing_written(NotFound):
        await add_key(store, ada)


async def test_a_removed_key_proves_nobody_and_may_be_anothers(store, ada, bob):
    await add_key(store, ada)
    await store.remove_key(ada.id, KEY, actor="x")
    assert await store.key_owner(KEY) is None
    await add_key(store, bob)
    assert await proven(store, KEY) == bob


async def test_only_ones_own_key_is_removed(store, ada, bob, nothing_written):
    await add_key(store, ada)
    async with nothing_written(NotFound):
        await store.remove_key(bob.id, KEY, actor="x")
    async with nothing_written(NotFound):
        await store.remove_key(ada.id, "SHA256:other", actor="x")


async def test_a_disabled_user_is_proven_by_no_key(store, ada):
    await add_key(store, ada)
    for _ in range(2):
        await store.set_enabled(ada.id, enabled=False, actor="x")
    assert await store.key_owner(KEY) is None
    assert (await store.user("ada")).enabled is False
    await store.set_enabled(ada.id, enabled=True, actor="x")
    assert await proven(store, KEY) == ada
    assert await actions(store) == ["user.add", "key.add", "user.disable", "user.enable"]
    with pytest.raises(NotFound):
        await store.set_enabled(NOBODY, enabled=True, actor="x")


# -------------------------------------------------------------------------------------- logins


def login(user: User, at, fingerprint: str | None = KEY, address: str = "192.0.2.7") -> LoginNote:
    who = Actor(f"user:{user.name}", proof=f"key {fingerprint}", origin=address)
    return LoginNote(user_id=user.id, fingerprint=fingerprint, at=at, address=address, actor=who)


async def test_many_logins_are_noted_at_once(store, ada, bob, clock):
    lap, pad = await add_key(store, ada), await add_key(store, ada, OTHER, "pad")
    await add_key(store, bob, "SHA256:c")
    told = len(await actions(store))
    first, second = clock.now(), clock.now() + timedelta(seconds=5)
    clock.advance(60)
    await store.note_logins(
        [
            login(ada, first),
            login(ada, second, address="192.0.2.8"),
            login(ada, first, OTHER),
            login(bob, second, None, "2001:db8::1"),
        ]
    )
    assert await store.keys(ada.id) == [
        replace(lap, last_used_at=second, last_used_from="192.0.2.8"),
        replace(pad, last_used_at=first, last_used_from="192.0.2.7"),
    ]
    assert (await store.keys(bob.id))[0].last_used_at is None
    entries = list(reversed(await store.audit(limit=4)))
    assert [(e.action, e.subject, e.actor, e.at) for e in entries] == [
        ("login", ada.id, "user:ada", first),
        ("login", ada.id, "user:ada", second),
        ("login", ada.id, "user:ada", first),
        ("login", bob.id, "user:bob", second),
    ]
    assert (entries[1].proof, entries[1].origin) == (f"key {KEY}", "192.0.2.8")
    assert entries[1].detail == {"fingerprint": KEY, "address": "192.0.2.8"}
    assert len(await actions(store)) == told + 4
    await store.note_logins([])
    assert len(await actions(store)) == told + 4


async def test_an_older_login_that_comes_later_does_not_set_the_last_use_back(store, ada, clock):
    await add_key(store, ada)
    await store.note_logins([login(ada, clock.now())])
    await store.note_logins([login(ada, clock.now() - timedelta(1), address="192.0.2.8")])
    (key,) = await store.keys(ada.id)
    assert (key.last_used_at, key.last_used_from) == (clock.now(), "192.0.2.7")


async def test_logins_of_who_is_gone_meanwhile_are_noted_all_the_same(store, ada, bob, clock):
    await add_key(store, ada)
    await store.remove_key(ada.id, KEY, actor="x")
    await add_key(store, bob)
    await store.note_logins([login(ada, clock.now()), login(replace(ada, id=NOBODY), clock.now())])
    assert (await store.keys(bob.id))[0].last_used_at is None
    assert (await actions(store))[-2:] == ["login", "login"]


async def test_homes_are_where_accounts_logged_in_lately(store, ada, bob, clock):
    """Each address once, the latest first; nobody's who is removed, and nothing that is no login."""
    assert await store.homes(since=clock.now(), limit=9) == []
    began = clock.now()
    await store.note_logins([login(ada, began), login(bob, began, address="192.0.2.8")])
    clock.advance(60)
    await store.note_logins([login(ada, clock.now())])
    await store.set_enabled(ada.id, enabled=False, actor=Actor("x", origin="192.0.2.99"))
    later = clock.now()
    assert await store.homes(since=began, limit=9) == [
        ("ada", "192.0.2.7", later),
        ("bob", "192.0.2.8", began),
    ]
    assert await store.homes(since=later, limit=9) == [("ada", "192.0.2.7", later)]
    assert await store.homes(since=began, limit=1) == [("ada", "192.0.2.7", later)]
    await store.remove_user(ada.id, actor="x")
    assert await store.homes(since=began, limit=9) == [("bob", "192.0.2.8", began)]


# ----------------------------------------------------------------------------------- passwords


async def test_a_password_is_set_replaced_and_removed(store, ada, bob, clock, nothing_written):
    assert await store.password(ada.id) is None
    first = await store.set_password(ada.id, "$argon2id$1", actor="user:ada")
    assert (first.user_id, first.hash, first.changed_at) == (ada.id, "$argon2id$1", clock.now())
    assert await store.password(ada.id) == first
    clock.advance(5)
    second = await store.set_password(ada.id, "$argon2id$1", actor="user:ada")
    assert second.id != first.id
    assert second.changed_at == clock.now()
    assert await store.password(ada.id) == second
    assert await store.password(bob.id) is None
    await store.remove_password(ada.id, actor="uid:0")
    assert await store.password(ada.id) is None
    told = [(e.action, e.subject, e.detail) for e in reversed(await store.audit(limit=3))]
    assert told == [
        ("password.set", ada.id, {"before": None, "after": first.id}),
        ("password.set", ada.id, {"before": first.id, "after": second.id}),
        ("password.remove", ada.id, {"before": second.id}),
    ]
    async with nothing_written(NotFound):
        await store.remove_password(ada.id, actor="x")
    async with nothing_written(NotFound):
        await store.set_password(NOBODY, "h", actor="x")


async def test_of_passwords_set_at_once_one_stays(store, another, ada):
    stores = [store, await another()]
    made = await asyncio.gather(
        *(stores[i % 2].set_password(ada.id, f"h{i}", actor="x") for i in range(20))
    )
    assert len({password.id for password in made}) == 20
    assert await store.password(ada.id) in made


# --------------------------------------------------------------------------------------- codes


async def confirmed(store: Store, user: User, step: int = 100, recovery=("r1", "r2")) -> None:
    await store.begin_codes(user.id, "JBSWY3DP", actor="x")
    await store.confirm_codes(user.id, step, recovery, actor="x")


async def test_codes_are_begun_confirmed_and_removed(store, ada, clock, nothing_written):
    assert await store.codes(ada.id) is None
    await store.begin_codes(ada.id, "FIRST", actor="user:ada")
    await store.begin_codes(ada.id, "SECOND", actor="user:ada")
    begun = await store.codes(ada.id)
    assert (begun.secret, begun.confirmed_at, begun.recovery_left) == ("SECOND", None, 0)
    assert begun.last_step < 0
    clock.advance(9)
    await store.confirm_codes(ada.id, 100, ["r1", "r2", "r3"], actor="user:ada")
    after = await store.codes(ada.id)
    assert after == replace(begun, confirmed_at=clock.now(), last_step=100, recovery_left=3)
    for refused in (
        store.begin_codes(ada.id, "THIRD", actor="x"),
        store.confirm_codes(ada.id, 200, ["r9"], actor="x"),
    ):
        async with nothing_written(Conflict):
            await refused
    await store.remove_codes(ada.id, actor="uid:0")
    assert await store.codes(ada.id) is None
    assert await actions(store) == [
        "user.add",
        "code.begin",
        "code.begin",
        "code.confirm",
        "code.remove",
    ]
    for refused in (
        store.remove_codes(ada.id, actor="x"),
        store.confirm_codes(ada.id, 1, [], actor="x"),
        store.begin_codes(NOBODY, "S", actor="x"),
        store.confirm_codes(NOBODY, 1, [], actor="x"),
        store.remove_codes(NOBODY, actor="x"),
    ):
        async with nothing_written(NotFound):
            await refused
    await confirmed(store, ada, recovery=("r1",))  # the old recovery codes are gone
    assert (await store.codes(ada.id)).recovery_left == 1


async def test_a_step_is_taken_once_and_none_before_it(store, another, ada, bob):
    await confirmed(store, ada)
    await confirmed(store, bob)
    told = await actions(store)
    assert not await store.take_step(ada.id, 100)  # that of the confirmation
    assert await store.take_step(ada.id, 101)
    assert not await store.take_step(ada.id, 101)
    assert not await store.take_step(ada.id, 100)
    assert not await (await another()).take_step(ada.id, 101)
    assert await store.take_step(ada.id, 103)
    assert not await store.take_step(ada.id, 102)
    assert (await store.codes(ada.id)).last_step == 103
    assert await store.take_step(bob.id, 101)
    assert await actions(store) == told


async def test_no_step_is_taken_of_codes_that_are_not_confirmed(store, ada):
    assert not await store.take_step(ada.id, 1)
    await store.begin_codes(ada.id, "S", actor="x")
    assert not await store.take_step(ada.id, 1)


async def test_of_many_with_one_code_one_gets_in(store, another, ada):
    await confirmed(store, ada)
    stores = [store, await another()]
    taken = await asyncio.gather(*(stores[i % 2].take_step(ada.id, 101) for i in range(40)))
    assert sum(taken) == 1


async def test_a_recovery_code_is_used_once(store, another, ada, bob, nothing_written):
    await confirmed(store, ada)
    await confirmed(store, bob, recovery=("r3",))
    assert await store.take_recovery(ada.id, "r1", actor=Actor("user:ada", proof="password"))
    newest = (await store.audit(limit=1))[0]
    assert (newest.action, newest.subject, newest.detail) == ("code.recover", ada.id, {"left": 1})
    told = await actions(store)
    assert not await store.take_recovery(ada.id, "r1", actor="x")
    assert not await store.take_recovery(ada.id, "r3", actor="x")
    assert not await store.take_recovery(bob.id, "r2", actor="x")
    assert await actions(store) == told
    assert (await store.codes(ada.id)).recovery_left == 1
    stores = [store, await another()]
    taken = await asyncio.gather(
        *(stores[i % 2].take_recovery(ada.id, "r2", actor="x") for i in range(40))
    )
    assert sum(taken) == 1
    assert (await store.codes(ada.id)).recovery_left == 0


# ------------------------------------------------------------------------------------- invites


async def invite(store: Store, user: User, clock, token: str = TOKEN):
    return await store.add_invite(
        user.id, token_hash=token, expires_at=clock.now() + timedelta(days=3), actor="uid:0"
    )


async def redeem(store: Store, token: str = TOKEN, key: str = KEY, name: str = "ada@lap") -> User:
    return await store.redeem_invite(
        token, fingerprint=key, public="ssh-ed25519 A", name=name, actor=Actor("invite", origin="a")
    )


async def test_an_invite_is_made_listed_and_found(store, ada, bob, clock, nothing_written):
    assert await store.invite_of(TOKEN) is None
    made = await invite(store, ada, clock)
    assert (made.user_id, made.made_at, made.made_by) == (ada.id, clock.now(), "uid:0")
    assert (made.used_at, made.fingerprint) == (None, None)
    assert await store.invite_of(TOKEN) == (made, ada)
    clock.advance(1)
    second = await invite(store, bob, clock, "e" * 64)
    assert await store.invites() == [second, made]
    assert await store.invites(ada.id) == [made]
    assert TOKEN not in repr(await store.audit())
    async with nothing_written(NotFound):
        await invite(store, replace(ada, id=NOBODY), clock, "d" * 64)


async def test_an_invite_binds_a_key_and_is_used_up(store, ada, clock, nothing_written):
    made = await invite(store, ada, clock)
    clock.advance(60)
    assert await redeem(store) == ada
    (key,) = await store.keys(ada.id)
    assert (key.fingerprint, key.public, key.name) == (KEY, "ssh-ed25519 A", "ada@lap")
    assert await store.invites() == [replace(made, used_at=clock.now(), fingerprint=KEY)]
    assert await store.invite_of(TOKEN) is None
    assert (await actions(store))[-2:] == ["key.add", "invite.redeem"]
    newest = (await store.audit(limit=1))[0]
    assert newest.detail == {"invite": made.id, "fingerprint": KEY}
    for key in (KEY, OTHER):
        async with nothing_written(NotFound):
            await redeem(store, key=key)


async def test_an_invites_key_gets_a_name_that_is_free(store, ada, clock):
    await add_key(store, ada, OTHER, "ada@lap")
    await invite(store, ada, clock)
    await redeem(store)
    assert [key.name for key in await store.keys(ada.id)] == ["ada@lap", "ada@lap-2"]


async def test_ones_own_key_uses_the_invite_up(store, ada, clock):
    key = await add_key(store, ada)
    await invite(store, ada, clock)
    assert await redeem(store) == ada
    assert await store.keys(ada.id) == [key]
    assert await store.invite_of(TOKEN) is None


async def test_anothers_key_leaves_the_invite_open(store, ada, bob, clock, nothing_written):
    await add_key(store, bob)
    made = await invite(store, ada, clock)
    async with nothing_written(Conflict) as caught:
        await redeem(store)
    assert caught.value.public == "This key belongs to another user."
    assert await store.invite_of(TOKEN) == (made, ada)


async def test_what_closes_an_invite(store, ada, bob, clock, nothing_written):
    tokens = {name: name * 64 for name in "abcd"}
    made = {name: await invite(store, ada, clock, token) for name, token in tokens.items()}
    made["e"] = await invite(store, bob, clock, "e" * 64)
    await store.revoke_invite(made["a"].id, actor="uid:0")
    assert (await actions(store))[-1] == "invite.revoke"
    assert len(await store.invites()) == 4
    await store.set_enabled(ada.id, enabled=False, actor="x")
    for token in ("a", "b", "f"):
        assert await store.invite_of(token * 64) is None
        async with nothing_written(NotFound):
            await redeem(store, token * 64)
    await store.set_enabled(ada.id, enabled=True, actor="x")
    clock.advance(3 * 24 * 3600 - 1)
    assert await store.invite_of("b" * 64) is not None
    clock.advance(1)
    assert await store.invite_of("b" * 64) is None
    async with nothing_written(NotFound):
        await redeem(store, "b" * 64)
    for invite_id in (made["a"].id, "0" * 16):
        async with nothing_written(NotFound):
            await store.revoke_invite(invite_id, actor="x")


async def test_a_used_invite_is_not_revoked(store, ada, clock, nothing_written):
    made = await invite(store, ada, clock)
    await redeem(store)
    async with nothing_written(NotFound):
        await store.revoke_invite(made.id, actor="x")


async def test_of_a_hundred_with_one_invite_one_gets_it(store, another, ada, clock):
    await invite(store, ada, clock)
    stores = [store, await another()]
    results = await outcomes(redeem(stores[i % 2], key=f"SHA256:{i}") for i in range(100))
    assert sorted(type(r).__name__ for r in results) == ["NotFound"] * 99 + ["User"]
    (key,) = await store.keys(ada.id)
    (used,) = await store.invites()
    winner = next(i for i, r in enumerate(results) if isinstance(r, User))
    assert key.fingerprint == used.fingerprint == f"SHA256:{winner}"
    assert (await actions(store)).count("invite.redeem") == 1


async def test_of_two_that_are_invited_with_one_key_one_gets_it(store, another, ada, bob, clock):
    stores = [store, await another()]
    tokens = [f"{i:064}" for i in range(10)]
    for i, token in enumerate(tokens):
        await invite(store, (ada, bob)[i % 2], clock, token)
    results = await outcomes(redeem(stores[i // 2 % 2], t) for i, t in enumerate(tokens))
    owners = {type(r).__name__: r for r in results}
    assert set(owners) == {"User", "Conflict"}
    assert await proven(store, KEY) == owners["User"]
    assert [type(r).__name__ for r in results].count("User") == 5  # one's own key is success
    assert len(await store.keys(ada.id)) + len(await store.keys(bob.id)) == 1


async def test_a_removal_and_an_invite_leave_no_key_behind(store, another, clock):
    stores = [store, await another()]
    for i in range(10):
        user = await store.add_user(f"u{i}", admin=False, actor="x")
        await invite(store, user, clock, f"{i:064}")
        redeemed, removed = await outcomes(
            [
                redeem(stores[0], f"{i:064}", f"SHA256:{i}"),
                stores[1].remove_user(user.id, actor="x"),
            ]
        )
        assert removed is None
        assert isinstance(redeemed, User | NotFound)
        assert await store.keys(user.id) == []


# -------------------------------------------------------------------------------------- groups

POLICY = {"idle.freeze_after": "30m", "allow.agent": False, "login.ways": ["key", "key+code"]}


async def test_a_group_is_made_changed_and_removed(store, ada, nothing_written):
    assert await store.group("staff") is None
    made = await store.set_group("staff", priority=5, policy=POLICY, actor="uid:0")
    assert made == Group(name="staff", priority=5, policy=POLICY)
    assert await store.group("staff") == made
    await store.join_group(ada.id, "staff", actor="uid:0")
    after = await store.set_group("staff", priority=7, policy={}, actor="uid:0")
    assert await store.group("staff") == after
    assert await store.members("staff") == [ada]
    newest = (await store.audit(limit=1))[0]
    assert (newest.action, newest.subject) == ("group.set", "staff")
    assert newest.detail == {
        "priority": 7,
        "policy": "{}",
        "priority_before": 5,
        "policy_before": '{"allow.agent": false, "idle.freeze_after": "30m",'
        ' "login.ways": ["key", "key+code"]}',
    }
    await store.remove_group("staff", actor="uid:0")
    assert await store.group("staff") is None
    assert await store.groups_of(ada.id) == []
    assert await store.members("staff") == []
    newest = (await store.audit(limit=1))[0]
    assert newest.detail == {"priority": 7, "policy": "{}", "memberships": 1}
    async with nothing_written(NotFound) as caught:
        await store.remove_group("staff", actor="x")
    assert caught.value.public == "There is no group 'staff'."


async def test_groups_come_by_priority_and_name(store, ada):
    for name, priority in (("b", 1), ("d", 9), ("a", 1), ("c", 5)):
        await store.set_group(name, priority=priority, policy={}, actor="x")
        await store.join_group(ada.id, name, actor="x")
    assert [group.name for group in await store.groups()] == ["d", "c", "a", "b"]
    assert await store.groups_of(ada.id) == await store.groups()


async def test_one_joins_and_leaves(store, ada, bob, nothing_written):
    await store.set_group("staff", priority=1, policy={}, actor="x")
    for _ in range(2):
        await store.join_group(ada.id, "staff", actor="uid:0")
    await store.join_group(bob.id, "staff", actor="uid:0")
    assert await store.members("staff") == [ada, bob]
    await store.leave_group(ada.id, "staff", actor="uid:0")
    assert await store.members("staff") == [bob]
    told = [(e.action, e.subject, e.detail) for e in reversed(await store.audit(limit=3))]
    assert told == [
        ("group.join", ada.id, {"group": "staff", "source": "local"}),
        ("group.join", bob.id, {"group": "staff", "source": "local"}),
        ("group.leave", ada.id, {"group": "staff", "source": "local"}),
    ]
    for refused in (
        store.leave_group(ada.id, "staff", actor="x"),
        store.leave_group(ada.id, "others", actor="x"),
        store.join_group(ada.id, "others", actor="x"),
        store.join_group(NOBODY, "staff", actor="x"),
        store.leave_group(NOBODY, "staff", actor="x"),
    ):
        async with nothing_written(NotFound):
            await refused


async def test_what_an_outside_source_says_is_its_own(store, ada, nothing_written):
    for name in ("a", "b", "c"):
        await store.set_group(name, priority=1, policy={}, actor="x")
    await store.join_group(ada.id, "a", actor="x")

    async def groups() -> list[str]:
        return [group.name for group in await store.groups_of(ada.id)]

    await store.sync_groups(ada.id, ["a", "b", "b", "unknown"], source="ldap", actor="broker")
    assert await groups() == ["a", "b"]
    told = await actions(store)
    await store.sync_groups(ada.id, {"b", "a"}, source="ldap", actor="broker")
    assert await actions(store) == told
    await store.sync_groups(ada.id, ["c"], source="webhook", actor="broker")
    await store.sync_groups(ada.id, ["c"], source="ldap", actor="broker")
    assert await groups() == ["a", "c"]
    assert (await actions(store))[len(told) :] == [
        "group.join",
        "group.join",
        "group.leave",
        "group.leave",
    ]
    async with nothing_written(NotFound):
        await store.leave_group(ada.id, "c", actor="x")
    await store.leave_group(ada.id, "a", actor="x")
    await store.sync_groups(ada.id, [], source="ldap", actor="broker")
    assert await groups() == ["c"]
    async with nothing_written(NotFound):
        await store.sync_groups(NOBODY, ["a"], source="ldap", actor="x")
    with pytest.raises(ValueError, match="an admin"):
        await store.sync_groups(ada.id, [], source="local", actor="x")


async def test_memberships_said_at_once_are_as_one_of_them_said(store, another, ada):
    stores = [store, await another()]
    for name in ("a", "b", "c", "d"):
        await store.set_group(name, priority=1, policy={}, actor="x")
    sides = [{"a", "b"}, {"c", "d"}]
    for _ in range(5):
        await asyncio.gather(
            *(
                stores[i % 2].sync_groups(ada.id, sides[i % 2], source="ldap", actor="x")
                for i in range(10)
            )
        )
        assert {group.name for group in await store.groups_of(ada.id)} in sides


async def test_a_group_that_goes_and_one_who_joins_leave_nothing_behind(store, another, ada):
    stores = [store, await another()]
    for i in range(10):
        await store.set_group("staff", priority=1, policy={}, actor="x")
        joined, removed = await outcomes(
            [
                stores[i % 2].join_group(ada.id, "staff", actor="x"),
                stores[1 - i % 2].remove_group("staff", actor="x"),
            ]
        )
        assert removed is None
        assert joined is None or isinstance(joined, NotFound)
        assert await store.groups_of(ada.id) == []


# --------------------------------------------------------------------------------------- audit


async def test_no_audit_row_holds_a_secret_a_hash_or_a_public_key(store, ada, clock):
    await add_key(store, ada)
    await store.remove_key(ada.id, KEY, actor="x")
    await store.set_password(ada.id, "$argon2id$SEED", actor="x")
    await store.begin_codes(ada.id, "SEED32", actor="x")
    await store.confirm_codes(ada.id, 1, ["SEEDHASH"], actor="x")
    await store.take_recovery(ada.id, "SEEDHASH", actor="x")
    await invite(store, ada, clock, "SEED" + "f" * 60)
    await redeem(store, "SEED" + "f" * 60)
    await store.remove_user(ada.id, actor="x")
    said = repr(await store.audit())
    assert "SEED" not in said
    assert "ssh-ed25519" not in said


async def test_secrets_are_not_shown_with_what_holds_them(store, ada):
    password = await store.set_password(ada.id, "$argon2id$SEED", actor="x")
    await store.begin_codes(ada.id, "SEED32", actor="x")
    assert "SEED" not in repr([password, await store.codes(ada.id)])


async def test_the_audit_is_asked_for_by_whom_and_in_pages(store, ada):
    for i in range(6):
        who = ("user:ada", "uid:0")[i % 2]
        await store.note(actor=who, action="a.b", subject=f"s{i % 3}", detail={"i": i})
    mine = await store.audit(actor="user:ada")
    assert [entry.detail["i"] for entry in mine] == [4, 2, 0]
    older = await store.audit(actor="user:ada", before=mine[0].seq, limit=1)
    assert [entry.detail["i"] for entry in older] == [2]
    both = await store.audit(actor="user:ada", subject="s1")
    assert [entry.detail["i"] for entry in both] == [4]
    assert await store.audit(before=1) == []


async def test_the_audit_is_whole_whoever_wrote_it(store, another, ada):
    stores = [store, await another()]
    await asyncio.gather(
        *(
            stores[i % 2].note(actor="x", action="a.b", subject="s", detail={"i": i})
            for i in range(60)
        )
    )
    found = await stores[1].verify_audit()
    assert (found.entries, found.problem) == (61, None)
    entries = await store.audit_chain()
    assert [entry.seq for entry in entries] == list(range(1, 62))
    assert (found.head.seq, found.head.hash) == (61, entries[-1].hash)
    assert [e.seq for e in await store.audit_chain(after=10, limit=2)] == [11, 12]
    assert (await store.verify_audit(after=60)).entries == 1
    with pytest.raises(NotFound):
        await store.verify_audit(after=62)
