"""What every `core.sharestate.ShareState` promises, on every database that it runs on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.core.errors import CapacityExhausted, Conflict, NotFound, StaleState
from broker.core.model import Actor, DesktopId
from broker.core.shares import GuestState, Mode, guest_id
from tests.contract.stores import HOST, POOLS

HASH = "f" * 64
OWNER = Actor("user:ada", "key SHA256:k", "192.0.2.1")


async def desktop_of(store, user, name="main"):
    return await store.ensure_desktop(
        user.id, name, template="default", host=HOST, pools=POOLS, actor="x"
    )


@pytest.fixture
async def desktop(store, ada):
    return await desktop_of(store, ada)


async def add(store, desktop, clock, token_hash=HASH, *, seconds=60.0, mode=Mode.LOOK, most=5):
    return await store.add_share(
        desktop.id,
        token_hash=token_hash,
        mode=mode,
        expires_at=clock.now() + timedelta(seconds=seconds),
        most=most,
        actor=OWNER,
    )


async def come(store, share, secret_hash="a" * 64, *, name="Eve", asked=5, most=9):
    return await store.add_guest(
        share.id,
        secret_hash=secret_hash,
        name=name,
        address="198.51.100.7",
        asked=asked,
        most=most,
        actor=Actor("guest", None, "198.51.100.7"),
    )


async def move(store, guest, to, *, expected=(GuestState.ASKED,), why=None):
    return await store.move_guest(guest.id, expected=expected, to=to, why=why, actor=OWNER)


async def told(store, ada):
    """What the audit tells under the owner, oldest first."""
    entries = await store.audit(subject=ada.id)
    return [entry for entry in reversed(entries) if entry.action.startswith("share.")]


async def test_a_share_is_made_listed_and_found(store, ada, desktop, clock, nothing_written):
    first = await add(store, desktop, clock)
    assert (first.user_id, first.desktop_id, first.mode) == (ada.id, desktop.id, Mode.LOOK)
    assert (first.made_at, first.made_by) == (clock.now(), "user:ada")
    clock.advance(1)
    bob = await store.add_user("bob", admin=False, actor="x")
    other = await add(store, await desktop_of(store, bob), clock, "e" * 64, mode=Mode.TAKE_PART)
    assert await store.shares() == [other, first]
    assert await store.shares(user_id=ada.id) == [first]
    assert await store.shares(desktop_id=other.desktop_id) == [other]
    assert await store.share_of(HASH) == await store.share(first.id) == first
    assert await store.share_of("0" * 64) is None
    assert await store.share("0" * 16) is None
    (entry,) = await told(store, ada)
    assert (entry.action, entry.actor, entry.origin) == ("share.made", "user:ada", "192.0.2.1")
    assert entry.detail == {
        "share": first.id,
        "desktop": desktop.id,
        "mode": "ro",
        "expires_at": first.expires_at.isoformat(),
    }
    assert HASH not in repr(await store.audit())
    async with nothing_written(NotFound):
        await store.add_share(
            DesktopId("0" * 16), token_hash="d" * 64, mode=Mode.LOOK,
            expires_at=clock.now(), most=5, actor="x",
        )  # fmt: skip


async def test_a_desktop_has_so_many_shares(store, another, desktop, clock, nothing_written):
    """Of any number who make one at once, too; what is over does not count."""
    stores = [await another() for _ in range(2)]
    made = await asyncio.gather(
        *(add(stores[n % 2], desktop, clock, f"{n:064}", most=3) for n in range(6)),
        return_exceptions=True,
    )
    assert [type(each) for each in made].count(Conflict) == 3
    async with nothing_written(Conflict):
        await add(store, desktop, clock, most=3)
    clock.advance(60)
    await add(store, desktop, clock, most=3)
    assert len(await store.shares()) == 1


async def test_a_share_ends_by_itself(store, desktop, clock):
    share = await add(store, desktop, clock, seconds=10)
    clock.advance(9.9)
    assert await store.expired_shares() == []
    assert share.open(clock.now())
    clock.advance(0.1)
    assert not share.open(clock.now())
    assert await store.shares() == []
    assert await store.share_of(HASH) is None
    assert await store.expired_shares() == [share]
    assert await store.end_share(share.id, why="Its time is over.", actor="broker") == []
    assert await store.expired_shares() == []
    assert (await store.share(share.id)).ended_at == clock.now()


async def test_an_end_lets_go_of_whoever_is_there(store, ada, desktop, clock, nothing_written):
    """Once, whoever says it; who was sent away or left before stays so."""
    share = await add(store, desktop, clock)
    guests = [await come(store, share, f"{n:064}", name=f"g{n}") for n in range(4)]
    await move(store, guests[1], GuestState.IN)
    await move(store, guests[2], GuestState.REFUSED)
    clock.advance(1)
    gone = await store.end_share(share.id, why="It was ended.", actor=OWNER)
    assert {one.id for one in gone} == {guests[n].id for n in (0, 1, 3)}
    assert {(one.state, one.reason, one.since) for one in gone} == {
        (GuestState.ENDED, "It was ended.", clock.now())
    }
    assert await store.end_share(share.id, why="Again.", actor=OWNER) == []
    states = {one.id: one.state for one in (await store.share(share.id)).guests}
    assert states[guests[2].id] is GuestState.REFUSED
    assert list(states.values()).count(GuestState.ENDED) == 3
    ends = [entry.detail for entry in await told(store, ada) if entry.action == "share.ended"]
    assert ends == [{"share": share.id, "desktop": desktop.id, "why": "It was ended."}]
    async with nothing_written(NotFound):
        await store.end_share("0" * 16, why="x", actor=OWNER)


async def test_a_guest_comes_and_is_found(store, ada, desktop, clock, nothing_written):
    share = await add(store, desktop, clock)
    guest = await come(store, share, name="<b>Eve</b>")
    assert (guest.state, guest.asked_at, guest.since) == (
        GuestState.ASKED,
        clock.now(),
        clock.now(),
    )
    assert guest_id(guest.credential) == guest.id
    assert guest_id("SHA256:k") is None
    assert await store.guest_of("a" * 64) == await store.guest(guest.id) == (guest, share)
    assert await store.guest_of("0" * 64) is None
    assert (await store.share(share.id)).guests == (guest,)
    assert await store.asked_guests() == [guest]
    entry = (await told(store, ada))[-1]
    assert (entry.action, entry.origin) == ("share.asked", "198.51.100.7")
    assert entry.detail == {
        "share": share.id,
        "guest": guest.id,
        "name": "<b>Eve</b>",
        "address": "198.51.100.7",
        "desktop": desktop.id,
    }
    assert "a" * 64 not in repr(await store.audit())
    clock.advance(60)
    async with nothing_written(NotFound):
        await come(store, share, "b" * 64)


async def test_so_many_are_asked_about_at_once_and_come_in_all(
    store, another, desktop, clock, nothing_written
):
    """Who is sent away makes room for a question, and none for one more guest."""
    share = await add(store, desktop, clock)
    stores = [await another() for _ in range(2)]
    came = await asyncio.gather(
        *(come(stores[n % 2], share, f"{n:064}", asked=2, most=3) for n in range(5)),
        return_exceptions=True,
    )
    assert [type(each) for each in came].count(CapacityExhausted) == 3
    for one in await store.asked_guests():
        await move(store, one, GuestState.REFUSED)
    await come(store, share, "c" * 64, asked=2, most=3)
    async with nothing_written(Conflict):
        await come(store, share, "d" * 64, asked=2, most=3)


async def test_a_guest_moves_once(store, another, ada, desktop, clock, nothing_written):
    """Of any number who decide at the same time one does."""
    share = await add(store, desktop, clock)
    guest = await come(store, share)
    stores = [await another() for _ in range(2)]
    clock.advance(1)
    decided = await asyncio.gather(
        *(
            move(stores[n % 2], guest, (GuestState.IN, GuestState.REFUSED)[n % 2], why="W.")
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in decided].count(StaleState) == 5
    found, _ = await store.guest(guest.id)
    assert (found.since, found.reason, found.name) == (clock.now(), "W.", "Eve")
    assert await store.asked_guests() == []
    entry = (await told(store, ada))[-1]
    wanted = {GuestState.IN: "share.joined", GuestState.REFUSED: "share.refused"}
    assert (entry.action, entry.detail["why"]) == (wanted[found.state], "W.")
    async with nothing_written(NotFound):
        await store.move_guest(
            "0" * 16, expected=list(GuestState), to=GuestState.LEFT, why=None, actor=OWNER
        )


async def test_nobody_comes_in_to_what_is_over(store, desktop, clock, nothing_written):
    """But whoever is there can leave it."""
    share = await add(store, desktop, clock)
    guest = await come(store, share)
    clock.advance(60)
    async with nothing_written(NotFound):
        await move(store, guest, GuestState.IN)
    assert (await move(store, guest, GuestState.LEFT)).state is GuestState.LEFT


@pytest.mark.parametrize("how", ["disable", "remove", "remove desktop"])
async def test_a_share_ends_with_its_desktop_and_its_owner(store, ada, desktop, clock, how):
    share = await add(store, desktop, clock)
    guest = await come(store, share)
    await move(store, guest, GuestState.IN)
    if how == "disable":
        await store.set_enabled(ada.id, enabled=False, actor="x")
        await store.set_enabled(ada.id, enabled=True, actor="x")
    elif how == "remove":
        await store.remove_user(ada.id, actor="x")
    else:
        await store.remove_desktop(desktop.id, actor="x")
    assert await store.share_of(HASH) is None
    found, of = await store.guest(guest.id)
    assert (found.state, of.ended_at) == (GuestState.ENDED, clock.now())
    assert [entry.action for entry in await told(store, ada)][-2:] == ["share.ended", "share.left"]


async def test_who_is_closed_out_shares_nothing(store, ada, desktop, clock, nothing_written):
    await store.set_enabled(ada.id, enabled=False, actor="x")
    async with nothing_written(NotFound):
        await add(store, desktop, clock)
    await store.set_enabled(ada.id, enabled=True, actor="x")
    await store.remove_desktop(desktop.id, actor="x")
    async with nothing_written(NotFound):
        await add(store, desktop, clock)


async def test_what_is_over_is_forgotten_in_time(store, desktop, clock, monkeypatch):
    """A day later, or as one of many; guests with it. And with its desktop's record."""
    old = await add(store, desktop, clock)
    guest = await come(store, old)
    await store.end_share(old.id, why="W.", actor="x")
    clock.advance(86_000)
    lapsed = await add(store, desktop, clock, "e" * 64, seconds=1)
    clock.advance(500)
    await add(store, desktop, clock, "d" * 64)
    assert await store.share(old.id) is None
    assert await store.guest(guest.id) is None
    assert await store.share(lapsed.id) is not None
    monkeypatch.setattr("broker.db.shares._MOST_OVER", 0)
    last = await add(store, desktop, clock, "c" * 64)
    assert await store.share(lapsed.id) is None
    await come(store, last, "b" * 64)
    await store.remove_desktop(desktop.id, actor="x")
    await store.forget_desktop(desktop.id, actor="x")
    assert await store.share(last.id) is None
