"""What the doctor finds of records and the engine's world, and mends; what it leaves to people."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from broker.core.errors import EngineUnavailable
from broker.core.interfaces import ContainerState
from broker.core.model import SessionState
from broker.core.spec import container_name, home_volume, network_name


@pytest.fixture
async def session(broker):
    """One that is ready, of the only desktop."""
    return await broker.ensure(await broker.desktop())


def told(findings):
    return [(finding.area, finding.found, finding.action) for finding in findings]


async def mended(broker):
    """What was found, which nothing is left of; and nothing of it is lost."""
    found = await broker.doctor.examine()
    assert all(finding.mends for finding in found)
    assert await broker.doctor.mend(found) == []
    await broker.landed()
    return told(found)


async def test_a_sound_broker_has_nothing(world, broker, session):
    """And looking writes nothing."""
    before, audit = world.written, await broker.store.audit_head()
    assert await broker.doctor.examine() == []
    assert (world.written, await broker.store.audit_head()) == (before, audit)


# ------------------------------------------------------------------------------ what is mended


async def test_a_container_of_no_live_session(world, broker, session):
    """Removed."""
    for state in ("stopping", "ended"):
        await broker.real_store.advance(
            session.id,
            expected=await broker.state(session),
            to=SessionState(state),
            deadline=None,
            reason="the record went on without it",
            actor="broker",
        )
    name = container_name(session.id)
    found = await mended(broker)
    assert ("containers", f"the container {name} is of no live session", "remove it") in found
    assert world.containers == set()
    await broker.check()


async def test_a_session_whose_container_is_gone(world, broker, session):
    """Ended, with that reason; its numbers are free."""
    world.clock.advance(1)
    world.engine.vanish(container_name(session.id))
    ((area, found, action),) = await mended_after_a_second_look(world, broker)
    assert (area, action) == ("records", "end it")
    assert found.startswith(f"session {session.id} is ready, and cannot go on: ")
    assert await broker.state(session) is SessionState.ENDED
    await broker.check()


async def mended_after_a_second_look(world, broker):
    """Where a listing shows nothing at all, it is asked for again two seconds later."""
    task = asyncio.get_running_loop().create_task(mended(broker))
    while not (await asyncio.wait({task}, timeout=0.005))[0]:
        if world.clock._sleepers:
            world.clock.advance(2)
    return await task


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_container_that_sleeps_or_runs_against_its_record(world, broker, session, frozen):
    """Brought into the state of its record."""
    name = container_name(session.id)
    if frozen:
        assert await broker.freeze(session)
        world.engine.outside_unpause(name)
    else:
        world.engine.outside_pause(name)
    world.clock.advance(1)
    what = (
        "is frozen, and its container runs" if frozen else "is ready, and its container is paused"
    )
    action = "pause it" if frozen else "let it go on"
    assert await mended(broker) == [("containers", f"session {session.id} {what}", action)]
    wanted = ContainerState.PAUSED if frozen else ContainerState.RUNNING
    assert world.engine._made[name].state.state is wanted
    await broker.check()


async def test_a_bridge_that_is_gone(world, broker):
    """Made again."""
    world.engine.networks.clear()
    name = network_name(world.engine.instance)
    assert await mended(broker) == [
        ("network", f"the desktops' bridge {name} is gone", "make it again")
    ]
    assert set(world.engine.networks) == {name}


@pytest.mark.parametrize("damage", ["table", "addresses"])
async def test_rules_that_are_gone(world, broker, session, damage):
    """Put back, with the addresses of whoever runs."""
    instance = world.engine.instance
    if damage == "table":
        world.packets.flush()
    else:
        for grant in (await world.packets.standing(instance)).grants:
            world.packets.lose(instance, grant)
    ((area, found, action),) = await mended(broker)
    assert (area, action) == ("firewall", "put them back")
    assert found.startswith("the network's rules: ")
    await broker.check()


async def test_rules_of_a_broker_that_is_not_started(world, broker, session):
    """It has put none itself, and knows all the same that there are none."""
    await broker.abandon()
    world.packets.flush()
    later = await world.broker(reconciled=False)
    world.clock.advance(1)
    assert await mended(later) == [
        ("firewall", "the network's rules: the table is not there", "put them back")
    ]
    await later.check()


async def test_keys_of_a_session_that_has_ended(world, broker, session):
    """Deleted; those of one that lives stay."""
    left = world.directory / "sessions" / "0123456789abcdef"
    left.mkdir()
    assert await mended(broker) == [
        ("files", "there are keys of session 0123456789abcdef, which has ended", "delete them")
    ]
    assert not left.exists()
    assert (world.directory / "sessions" / session.id / "client_key").exists()


async def test_numbers_that_an_ended_session_holds(world, broker, session):
    """Given free, and the audit tells of it; what a live one holds cannot be."""
    await broker.sessions.end(session, reason="over")
    with closing(sqlite3.connect(world.directory / "desk.db")) as database, database:
        database.execute(
            "INSERT INTO lease VALUES ('local', 'port', 20007, ?, ?, 0)",
            (session.id, session.desktop_id),
        )
    assert await mended(broker) == [
        ("leases", f"session {session.id} has ended and holds numbers still", "give them free")
    ]
    (entry,) = await broker.store.audit(limit=1)
    assert (entry.actor, entry.action, entry.detail) == ("doctor", "lease.release", {"leases": 1})
    await broker.check()


# ------------------------------------------------------------------------- what a person mends


async def unmended(broker):
    """What is found before and after, and is left alone."""
    found = await broker.doctor.examine()
    assert not any(finding.mends for finding in found)
    assert await broker.doctor.mend(found) == found
    return told(found)


async def test_a_home_that_is_lost_and_a_volume_of_nobody(world, broker, session):
    """Neither is made or deleted: both may be all that somebody has."""
    volume = home_volume(session.desktop_id)
    home = world.engine.volumes.pop(volume)
    world.engine.volumes["desk-home-0000000000000000"] = home
    assert await unmended(broker) == [
        (
            "homes",
            "the volume desk-home-0000000000000000 is of no desktop",
            "look into it; docker volume rm desk-home-0000000000000000 deletes it for good",
        ),
        (
            "homes",
            f"the home of desktop {session.desktop_id} is missing (volume {volume})",
            f"bring it back from a backup, or deskctl desktop rm {session.desktop_id} --with-home",
        ),
    ]
    assert set(world.engine.volumes) == {"desk-home-0000000000000000"}


async def test_a_packed_home_without_its_file(world, broker, session):
    """Its record says where it should be."""
    await broker.sessions.end(session, reason="over")
    id_ = session.desktop_id
    await broker.store.note_archived(id_, size=1, unpacked=1, sha256="0" * 64, actor="x")
    del world.engine.volumes[home_volume(id_)]
    ((area, found, _),) = await unmended(broker)
    where = f"archive/{id_}.tar.gz of the state"
    assert (area, found) == ("homes", f"the home of desktop {id_} is missing ({where})")
    (world.directory / "archive").mkdir(exist_ok=True)
    (world.directory / "archive" / f"{id_}.tar.gz").write_bytes(b"x")
    assert await broker.doctor.examine() == []


async def test_keys_that_are_gone(world, broker, session):
    """The session is not stopped for it: somebody may be in it."""
    (world.directory / "sessions" / session.id / "client_key").unlink()
    assert await unmended(broker) == [
        (
            "files",
            f"the keys of session {session.id} are gone",
            f"deskctl session stop {session.id}",
        )
    ]
    assert await broker.state(session) is SessionState.READY


async def test_numbers_that_a_live_session_should_hold(world, broker, session):
    """Another desktop could get them."""
    with closing(sqlite3.connect(world.directory / "desk.db")) as database, database:
        database.execute("DELETE FROM lease WHERE kind IN ('port', 'display')")
    assert await unmended(broker) == [
        (
            "leases",
            f"session {session.id} holds no port and no display",
            f"deskctl session stop {session.id}",
        )
    ]


async def test_an_audit_that_was_changed(world, broker, session):
    """Nobody can know what stood there."""
    with closing(sqlite3.connect(world.directory / "desk.db")) as database, database:
        database.execute("DROP TRIGGER audit_update")
        database.execute("UPDATE audit SET actor = 'eve' WHERE seq = 2")
    ((area, found, _),) = await unmended(broker)
    assert area == "audit"
    assert found.startswith("Entry 2 is not what was written there")


async def test_an_engine_that_lacks_something(world, broker):
    """Its warnings, an old version, no image, a network of somebody else's."""
    world.engine.warnings = ("The engine's live-restore is off.",)
    world.engine.images.clear()
    ping = world.engine.ping

    async def old():
        return replace(await ping(), version="19.03.5")

    world.engine.ping = old
    assert [finding[:2] for finding in await unmended(broker)] == [
        ("engine", "The engine's live-restore is off"),
        ("versions", "the engine has version 19.03.5"),
        ("image", (await unmended(broker))[2][1]),
    ]


async def test_an_engine_that_is_away(world, broker, session):
    """The records are looked at all the same."""
    world.engine.down = True
    (world.directory / "sessions" / session.id / "client_key").unlink()
    found = await broker.doctor.examine()
    assert [finding.area for finding in found] == ["files", "engine"]
    assert await broker.doctor.mend(found) == found


async def test_rules_that_cannot_be_read(world, broker, session):
    """One sentence that says why."""
    world.packets.broken = "the program nft is not installed (package nftables)"
    (finding,) = await broker.doctor.examine()
    assert (finding.area, finding.found, finding.mends) == (
        "firewall",
        "the program nft is not installed (package nftables)",
        False,
    )


async def test_an_engine_that_goes_while_it_mends(world, broker, session):
    """The caller hears of it."""
    world.engine.networks.clear()
    found = await broker.doctor.examine()
    world.engine.down = True
    with pytest.raises(EngineUnavailable):
        await broker.doctor.mend(found)
