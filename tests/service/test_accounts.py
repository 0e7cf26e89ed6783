"""What an admin does to users, keys and desktops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from broker.core.errors import AccessDenied, BadRequest, Conflict, EngineUnavailable, NotFound
from broker.core.gateway import Login
from broker.core.model import LeaseKind, SessionState
from broker.core.spec import home_volume
from broker.service.authentication import TAKEN_AWAY
from tests import sshkeys
from tests.service.harness import Gate, new_key, outage

# ---------------------------------------------------------------------------------------- keys


async def test_what_a_pasted_line_restricts_is_kept_with_the_key(broker):
    """And its comment is the key's name, made another where the user has it already."""
    await broker.user()
    lines = [new_key()[1].split() for _ in range(2)]
    plain, restricted = (" ".join(line[:2]) for line in lines)
    await broker.accounts.add_key("ada", f"{plain} laptop", actor="uid:0")
    line = f'from="192.0.2.0/24",expiry-time="20301231Z" {restricted} laptop'
    key = await broker.accounts.add_key("ada", line, actor="uid:0")
    assert (key.name, key.public) == ("laptop-2", restricted)
    assert key.sources == ("192.0.2.0/24",)
    assert key.expires_at == datetime(2030, 12, 31, tzinfo=UTC)
    assert not key.verify_required
    hardware = sshkeys.line(*sshkeys.security_key(sshkeys.blob(new_key()[1])))
    key = await broker.accounts.add_key("ada", f"verify-required {hardware}", actor="uid:0")
    assert (key.name, key.verify_required) == ("key-1", True)


async def test_a_line_that_cannot_be_kept_adds_nothing(broker):
    """Its sentence names what it is about."""
    user = await broker.user()
    line = f"no-pty {new_key()[1]}"
    refused = await broker.refused(BadRequest, broker.accounts.add_key("ada", line, actor="uid:0"))
    assert "'no-pty' cannot be honoured: leave it out" in refused.public
    refused = await broker.refused(
        BadRequest, broker.accounts.add_user("bob", admin=False, keys=[line], actor="uid:0")
    )
    assert await broker.store.user("bob") is None
    assert len(await broker.store.keys(user.id)) == 0


async def test_a_user_comes_with_keys(broker):
    """Each of them proves the user."""
    offered, lines = zip(*(new_key() for _ in range(3)), strict=True)
    made = await broker.accounts.add_user("ada", admin=True, keys=lines, actor="uid:0")
    assert made.admin
    for key in offered:
        identity = await broker.gateway.identify(Login(None, None), key, "192.0.2.1")
        assert identity.user == "ada"


async def test_a_bad_name_makes_no_user(broker):
    """Names with a meaning of their own, and names that are none."""
    for name in ("desk", "root", "", "Ada", "../etc"):
        await broker.refused(
            BadRequest, broker.accounts.add_user(name, admin=False, keys=(), actor="uid:0")
        )
    assert await broker.store.users() == []


async def test_a_taken_name_is_refused(broker):
    """It is said which."""
    await broker.user("ada")
    refused = await broker.refused(
        Conflict, broker.accounts.add_user("ada", admin=False, keys=(), actor="uid:0")
    )
    assert refused.public == "The name 'ada' is taken."


async def test_another_users_key_makes_no_user(broker):
    """Told by its fingerprint, before anything is made."""
    offered, line = new_key()
    await broker.accounts.add_user("ada", admin=False, keys=[line], actor="uid:0")
    refused = await broker.refused(
        Conflict, broker.accounts.add_user("bob", admin=False, keys=[line], actor="uid:0")
    )
    assert offered.fingerprint in refused.public
    assert [user.name for user in await broker.store.users()] == ["ada"]


async def test_a_key_given_twice_leaves_no_half_made_user(broker):
    """The second is refused, and what was made for the first is taken back."""
    _, line = new_key()
    await broker.refused(
        Conflict, broker.accounts.add_user("ada", admin=False, keys=[line, line], actor="uid:0")
    )
    assert await broker.store.users() == []
    await broker.accounts.add_user("ada", admin=False, keys=[line], actor="uid:0")


async def test_keys_are_added_and_taken_away(broker):
    """A key that was taken away proves nobody."""
    offered, line = new_key()
    await broker.user("ada")
    made = await broker.accounts.add_key("ada", line, actor="uid:0")
    assert made.fingerprint == offered.fingerprint
    await broker.accounts.remove_key("ada", made.fingerprint, actor="uid:0")
    assert await broker.gateway.identify(Login(None, None), offered, "192.0.2.1") is None
    await broker.refused(
        NotFound, broker.accounts.remove_key("ada", made.fingerprint, actor="uid:0")
    )


async def test_an_unknown_user_is_not_found_by_a_safe_name(broker):
    """What was asked for is shown without its control characters."""
    refused = await broker.refused(NotFound, broker.accounts.user("no\nbody"))
    assert refused.public == "There is no user 'no\\nbody'."


# ------------------------------------------------------------------------------------ desktops


async def test_a_removed_desktop_is_revived_with_its_uid_and_home(world, broker):
    """Removed and wanted again: the same record, the same home."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    world.home(desktop).files["thesis.tex"] = "draft"
    await broker.accounts.remove_desktop(desktop.id, with_home=False, actor="uid:0")
    assert await broker.state(session) is SessionState.ENDED
    assert await broker.store.desktops() == []
    await broker.check()
    again = await broker.desktop()
    assert (again.id, again.uid) == (desktop.id, desktop.uid)
    await broker.ensure(again)
    assert world.home(again).files == {"thesis.tex": "draft"}
    await broker.check()


async def test_a_desktop_removed_with_its_home_frees_everything(world, broker):
    """Volume, record and uid are gone, and the deletion is audited."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    assert world.engine.volumes == {}
    assert await broker.store.desktop(desktop.id) is None
    assert await broker.store.leases(LeaseKind.UID) == []
    deletion = next(e for e in await broker.store.audit() if e.action == "home.delete")
    assert (deletion.actor, deletion.subject) == ("uid:0", desktop.id)
    assert deletion.detail == {"volume": home_volume(desktop.id)}
    await broker.check()
    fresh = await broker.desktop()
    await broker.ensure(fresh)
    assert world.home(fresh).files == {}


async def test_a_home_whose_deletion_the_engine_refused_is_deleted_by_a_repeat(world, broker):
    """The record stays until the home is gone, so that nobody forgets it."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    world.engine.fail_next("remove_home", EngineUnavailable("lost"))
    await broker.refused(
        EngineUnavailable,
        broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0"),
    )
    assert (await broker.store.desktop(desktop.id)).removed_at is not None
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    assert world.engine.volumes == {}
    assert await broker.store.desktop(desktop.id) is None


async def test_a_desktop_that_runs_while_the_engine_is_down_is_not_removed(world, broker):
    """Its record must not go before its container; a repeat finishes it."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    with outage(world):
        await broker.refused(
            EngineUnavailable,
            broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0"),
        )
    assert (await broker.store.desktop(desktop.id)).removed_at is None
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    await broker.check()


async def test_an_unknown_desktop_is_not_found(broker):
    """Removing what is not there says so."""
    refused = await broker.refused(
        NotFound, broker.accounts.remove_desktop("nope\x07", with_home=True, actor="uid:0")
    )
    assert refused.public == "There is no desktop 'nope\\x07'."


async def test_a_user_may_have_so_many_desktops_and_no_more(broker):
    """The refusal names those that are there; removed ones do not count."""
    for name in ("main", "lab", "play"):
        await broker.desktop(desktop=name)
    refused = await broker.refused(Conflict, broker.desktop(desktop="more"))
    assert refused.public == "You have 3 desktops (lab, main, play); more are not allowed."
    lab = await broker.desktop(desktop="lab")
    await broker.accounts.remove_desktop(lab.id, with_home=False, actor="uid:0")
    await broker.desktop(desktop="more")


async def test_desktops_made_at_once_do_not_outrun_the_bound(broker):
    """Ten wishes at the same moment are counted like ten in a row."""
    user = await broker.user()
    made = await asyncio.gather(
        *(broker.accounts.desktop_for(user, f"lab-{n}", actor="user:ada") for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Conflict) for one in made) == 7
    assert len(await broker.store.desktops(user_id=user.id)) == 3


async def test_the_same_desktop_wished_for_at_once_is_made_once(world):
    """The last free place is not refused to the second of two who want the same."""
    broker = await world.broker(desktops_per_user=1)
    user = await broker.user()
    made = await asyncio.gather(
        *(broker.accounts.desktop_for(user, "main", actor="user:ada") for _ in range(5))
    )
    assert len({desktop.id for desktop in made}) == 1


@pytest.mark.parametrize("name", ["", "Main", "../x", "a" * 32, "x\udcff", "x\x00"])
async def test_a_desktop_needs_a_name_that_is_one(broker, name):
    """Whatever a client sends."""
    user = await broker.user()
    refused = await broker.refused(
        BadRequest, broker.accounts.desktop_for(user, name, actor="user:ada")
    )
    assert "cannot be used: a name has 1 to 31 characters" in refused.public


# --------------------------------------------------------------------------------------- users


async def test_a_removed_user_leaves_homes_that_nobody_else_reaches(world, broker):
    """Sessions end, homes stay; whoever gets the name later gets another home and uid."""
    desktop = await broker.desktop("ada")
    session = await broker.ensure(desktop)
    world.home(desktop).files["diary"] = "private"
    await broker.accounts.remove_user("ada", actor="uid:0")
    ended = await broker.store.session(session.id)
    assert (ended.state, ended.reason) == (SessionState.ENDED, "the user ada was removed")
    assert world.home(desktop).files == {"diary": "private"}
    await broker.check()
    theirs = await broker.desktop("ada")
    await broker.ensure(theirs)
    assert theirs.id != desktop.id
    assert theirs.uid != desktop.uid
    assert world.home(theirs).files == {}
    await broker.check()


async def test_a_removed_user_is_nobody_at_the_door(broker):
    """The open connection learns it too."""
    identity = await broker.person()
    await broker.accounts.remove_user("ada", actor="uid:0")
    refused = await broker.refused(AccessDenied, broker.authentication.still(identity))
    assert refused.public == TAKEN_AWAY


async def test_removing_nobody_is_not_found(broker):
    """One sentence."""
    await broker.refused(NotFound, broker.accounts.remove_user("nobody", actor="uid:0"))


async def test_a_user_who_connects_while_being_removed_is_removed(world, broker):
    """The connect that waited for the stop begins a session: it is stopped as well."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    gate = world.engine.before = Gate("remove")
    removing = asyncio.get_running_loop().create_task(
        broker.accounts.remove_user("ada", actor="uid:0")
    )
    await gate.reached.wait()
    connecting = broker.begin(desktop)
    broker.probe.hold()
    gate.open.set()
    await removing
    assert isinstance((await asyncio.gather(connecting, return_exceptions=True))[0], Exception)
    assert await broker.store.user("ada") is None
    assert world.containers == set()
    await broker.check()


async def test_a_desktop_that_is_started_again_and_again_is_not_removed_by_force(broker):
    """After three tries the admin reads why."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    remove = broker.real_store.remove_desktop

    async def raced(desktop_id, *, actor):
        await broker.ensure(desktop)
        await remove(desktop_id, actor=actor)

    broker.real_store.remove_desktop = raced
    refused = await broker.refused(
        Conflict, broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    )
    assert refused.public == "The desktop 'main' is running. Stop it first."
    await broker.check()


async def test_a_removed_key_ends_what_it_opened(broker):
    """And no other key's connections."""
    await broker.user()
    key = await broker.accounts.add_key("ada", new_key()[1], actor="uid:0")
    await broker.accounts.remove_key("ada", key.fingerprint, actor="uid:0")
    assert broker.connections.ended == [key.fingerprint]


async def test_a_removed_user_is_cut_off_before_anything_stops(broker):
    """Whoever is connected ends first, so that nobody starts again what is being stopped."""
    user = await broker.user()
    await broker.accounts.remove_user("ada", actor="uid:0")
    assert broker.connections.ended == [user.id]


async def test_a_removal_that_the_engine_hinders_leaves_the_account_as_it_was(world, broker):
    """Keys, desktop and account are all there again, and the removal works later."""
    session = await broker.ensure(await broker.desktop())
    key = await broker.accounts.add_key("ada", new_key()[1], actor="uid:0")
    with outage(world):
        await broker.refused(EngineUnavailable, broker.accounts.remove_user("ada", actor="uid:0"))
    assert (await broker.store.key_owner(key.fingerprint))[1].name == "ada"
    await broker.accounts.remove_user("ada", actor="uid:0")
    assert not (await broker.store.session(session.id)).live
    assert await broker.store.key_owner(key.fingerprint) is None
