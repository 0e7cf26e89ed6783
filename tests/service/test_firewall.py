"""The rules of the desktops' network over a session's life, and what is told when they are missing."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json

import pytest
from structlog.testing import capture_logs

from broker.core.errors import AddressTaken, EngineUnavailable, FirewallFailed, PortTaken
from broker.core.firewall import Grant
from broker.core.model import SessionState
from broker.core.spec import bridge_name
from tests.service.harness import BAIT, IMAGE, PATIENCE, Gate, outage

NO_RIGHTS = "that takes root or CAP_NET_ADMIN"


PUT_BACK = "the network's rules were put back"


def told(logs):
    """What the log says of the network, one phrase for each time."""
    return [entry["event"] for entry in logs if "network" in entry["event"]]


def granted(world):
    return world.packets.granted(world.engine.instance)


def table(world):
    return world.packets.tables[world.engine.instance].rules


async def readiness(broker):
    for loop in broker.services.loops:
        await loop.once() if loop is broker.reconciling else loop.beat()
    reply = await broker.gateway.http("GET", "/readyz")
    return reply.status, json.loads(reply.body)


async def test_the_rules_are_in_place_before_anything_is_served(world):
    """For the bridge and the subnet that the engine has, and closed to everybody."""
    broker = await world.broker(neighbours=lambda _own: [ipaddress.IPv4Network("192.0.2.0/24")])
    rules = table(world)
    assert rules.bridges == (bridge_name(broker.host.instance),)
    assert rules.subnets == (ipaddress.IPv4Network("10.213.0.0/22"),)
    assert rules.pool == ipaddress.IPv4Network("10.213.0.0/16")
    assert rules.neighbours == (ipaddress.IPv4Network("192.0.2.0/24"),)
    assert rules.resolvers == (ipaddress.IPv4Address("9.9.9.9"),)
    assert rules.grants == frozenset()


async def test_a_desktops_address_is_granted_before_its_container_starts(world, broker):
    desktop = await broker.desktop()
    world.engine.before = gate = Gate("start")
    task = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    assert granted(world) == {session.address}
    gate.open.set()
    await task
    await broker.check()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_its_grant_is_gone_before_its_container_is(world, broker, how):
    session = await broker.ensure(await broker.desktop())
    world.engine.before = gate = Gate("remove" if how == "stop" else "kill")
    if how == "stop":
        ending = broker.sessions.stop(session.id, reason="it was asked for", actor="user:ada")
    else:
        ending = broker.sessions.kill(session.id, reason="asked", actor="user:ada", force=False)
    task = asyncio.get_running_loop().create_task(ending)
    await gate.reached.wait()
    assert granted(world) == set()
    assert await broker.state(session) is SessionState.STOPPING
    gate.open.set()
    await task
    await broker.check()


async def test_a_frozen_desktop_keeps_its_grant(world, broker):
    session = await broker.ensure(await broker.desktop())
    assert await broker.freeze(session)
    await broker.reconcile()
    assert granted(world) == {session.address}
    assert world.packets.calls.count("put") == 1


async def test_a_start_that_fails_leaves_no_grant(world, broker):
    world.engine.fail_next("start", FirewallFailed("anything"))
    await broker.refused(FirewallFailed, broker.ensure(await broker.desktop()))
    assert granted(world) == set()


async def test_who_is_granted_nothing_does_not_start_without_rules_either(world):
    broker = await world.broker(network="none")
    world.packets.flush()
    await broker.ensure(await broker.desktop())
    assert granted(world) == set()
    world.packets.broken = "nft did not end within 10 s"
    await broker.refused(FirewallFailed, broker.ensure(await broker.desktop("ben")))


@pytest.mark.parametrize("taken", [AddressTaken, PortTaken])
async def test_a_start_that_moves_is_granted_what_it_has_then(world, broker, taken):
    """The stranger's address gets nothing."""
    desktop = await broker.desktop()
    number = 20000 if taken is PortTaken else "10.213.0.4"
    world.engine.fail_next("start", taken(number))
    session = await broker.ensure(desktop)
    assert granted(world) == {session.address}
    await broker.check()


async def test_the_policy_none_grants_nothing(world):
    broker = await world.broker(network="none")
    session = await broker.ensure(await broker.desktop())
    assert granted(world) == set()
    await broker.reconcile()
    assert granted(world) == set()
    await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert set(world.packets.calls) == {"standing", "put"}


async def test_another_policy_after_a_restart_holds_for_what_runs(world, broker):
    session = await broker.ensure(await broker.desktop())
    await broker.abandon()
    await world.broker(network="none")
    assert granted(world) == set()
    await world.broker()
    assert granted(world) == {session.address}


async def test_a_broker_that_comes_back_finds_its_desktops_granted(world, broker):
    """Whatever became of the rules meanwhile."""
    session = await broker.ensure(await broker.desktop())
    await broker.abandon()
    world.packets.flush()
    await world.broker()
    assert granted(world) == {session.address}


def flush(world, _grant):
    world.packets.flush()


def meddle(world, _grant):
    world.packets.meddle(world.engine.instance)


def lose(world, grant):
    world.packets.lose(world.engine.instance, grant)


async def give(world, grant):
    stranger = Grant(ipaddress.IPv4Address("10.213.0.99"), grant.group)
    await world.packets.grant(world.engine.instance, stranger)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (flush, "the table was gone"),
        (meddle, "its rules were changed"),
        (lose, "its addresses were changed"),
        (give, "its addresses were changed"),
    ],
)
async def test_what_somebody_does_to_the_rules_is_undone_by_the_next_pass(
    world, broker, harm, reason
):
    """And logged, once."""
    session = await broker.ensure(await broker.desktop())
    done = harm(world, Grant(ipaddress.IPv4Address(session.address), "internet"))
    if done is not None:
        await done
    with capture_logs() as logs:
        await broker.reconcile()
        await broker.reconcile()
    assert granted(world) == {session.address}
    entries = [entry for entry in logs if "network" in entry["event"]]
    assert [(entry["log_level"], entry["reason"]) for entry in entries] == [("warning", reason)]


async def test_a_start_puts_rules_back_that_are_gone(world, broker):
    """It does not wait for the next pass."""
    first = await broker.ensure(await broker.desktop())
    world.packets.flush()
    second = await broker.ensure(await broker.desktop("ben"))
    assert granted(world) == {first.address, second.address}


async def test_a_pass_in_which_nothing_happened_changes_nothing(world, broker):
    await broker.ensure(await broker.desktop())
    before = dict(world.packets.tables)
    await broker.reconcile()
    assert world.packets.tables == before


async def test_rules_follow_the_host_into_another_network(world):
    """And a bridge that somebody pruned and the engine made anew elsewhere."""
    networks = []
    broker = await world.broker(neighbours=lambda _own: networks)
    networks.append(ipaddress.IPv4Network("203.0.113.0/24"))
    await broker.reconcile()
    assert table(world).neighbours == tuple(networks)
    world.engine.networks.clear()
    world.engine.held_subnets = {"10.213.0.0/22"}
    broker.host.forget()
    session = await broker.ensure(await broker.desktop())
    assert table(world).subnets == (ipaddress.IPv4Network("10.213.4.0/22"),)
    assert granted(world) == {session.address}


async def test_without_rights_everybody_is_told_and_desktops_run(world):
    """Once in the log, and in readyz for as long as it is so; what needs no rules goes on."""
    world.packets.broken = NO_RIGHTS
    with capture_logs() as logs:
        broker = await world.broker()
        await broker.reconcile()
        session = await broker.ensure(await broker.desktop())
        await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert told(logs) == ["the desktops' network is not as it should be"]
    status, said = await readiness(broker)
    assert (status, said["ready"], said["warnings"]) == (200, True, ["network"])
    assert said["checks"]["network"] == (
        f"Desktops can reach this host and all that it reaches: {NO_RIGHTS}."
    )


async def test_rights_that_come_later_are_used_by_the_next_pass(world):
    """For the desktops that run already, too."""
    world.packets.broken = NO_RIGHTS
    broker = await world.broker()
    session = await broker.ensure(await broker.desktop())
    world.packets.broken = None
    assert await readiness(broker) == (200, {**(await readiness(broker))[1], "warnings": []})
    assert granted(world) == {session.address}


async def test_where_the_rules_held_once_no_desktop_starts_without_them(world, broker):
    """That is trouble, and readyz says so until it is over."""
    world.packets.broken = "nft did not end within 10 s"
    refused = await broker.refused(FirewallFailed, broker.ensure(await broker.desktop()))
    assert "nft did not end" not in refused.public
    assert world.containers == set()
    status, said = await readiness(broker)
    assert (status, said["ready"], said["warnings"]) == (503, False, [])
    assert "not in place: nft did not end" in said["checks"]["network"]
    world.packets.broken = None
    status, said = await readiness(broker)
    assert (status, said["checks"]["network"]) == (200, "ok")
    await broker.ensure(await broker.desktop())
    await broker.check()


async def test_a_desktop_ends_though_its_grant_cannot_be_taken_away(world, broker):
    """The next pass takes it."""
    session = await broker.ensure(await broker.desktop())
    world.packets.broken = "nft did not end within 10 s"
    ended = await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    assert ended.state is SessionState.ENDED
    world.packets.broken = None
    assert granted(world) == {session.address}
    await broker.reconcile()
    assert granted(world) == set()


async def test_a_desktop_on_its_way_out_is_granted_nothing_any_more(world, broker):
    """Though its container is there, and nobody knows for how long."""
    session = await broker.ensure(await broker.desktop())
    with outage(world):
        stop = broker.sessions.stop(session.id, reason="enough", actor="user:ada")
        await broker.refused(EngineUnavailable, stop)
    assert await broker.state(session) is SessionState.STOPPING
    await broker.firewall.keep()
    assert granted(world) == set()


async def test_a_late_farewell_takes_nothing_from_who_has_the_address_now(world, broker):
    first = await broker.ensure(await broker.desktop())
    await broker.sessions.stop(first.id, reason="enough", actor="user:ada")
    broker.firewall._addresses[first.id] = ipaddress.IPv4Address(first.address)
    second = await broker.ensure(await broker.desktop("ben"))
    broker.firewall._addresses[second.id] = ipaddress.IPv4Address(first.address)
    await world.packets.grant(
        world.engine.instance,
        Grant(ipaddress.IPv4Address(first.address), "internet"),
    )
    await broker.firewall.withdraw(first.id)
    assert first.address in granted(world)


async def test_a_part_that_this_host_cannot_hold_is_a_warning(world):
    world.packets.gap = "desktops can reach each other on their bridge"
    broker = await world.broker()
    status, said = await readiness(broker)
    assert (status, said["warnings"]) == (200, ["network"])
    assert said["checks"]["network"] == "Desktops can reach each other on their bridge."


async def test_a_bridge_in_another_network_is_no_bridge_to_protect(world):
    """An engine without root has its networks elsewhere: rules here would hold for nobody."""
    world.packets.unseen = {bridge_name(world.engine.instance)}
    broker = await world.broker()
    status, said = await readiness(broker)
    assert (status, said["warnings"]) == (200, ["network"])
    assert "not in the network that the broker runs in" in said["checks"]["network"]


async def test_rules_that_cannot_be_read_back_do_not_count(world):
    async def nothing(_instance):
        return None

    world.packets.standing = nothing
    broker = await world.broker()
    assert "cannot be read back" in broker.firewall.check()


async def test_a_look_and_a_start_at_the_same_moment_lose_no_grant(world, broker):
    """The look has read the records when the start begins: it may not write what it knew then."""
    desktop = await broker.desktop()
    world.packets.flush()
    reading, read = asyncio.Event(), asyncio.Event()
    addresses = broker.real_store.addresses

    async def slowly(host, states):
        found = await addresses(host, states)
        if not reading.is_set():
            reading.set()
            await read.wait()
        return found

    broker.real_store.addresses = slowly
    look = asyncio.get_running_loop().create_task(broker.firewall.keep())
    await reading.wait()
    start = broker.begin(desktop)
    async with asyncio.timeout(PATIENCE):
        while "create" not in world.engine.calls:
            await asyncio.sleep(0)
    await asyncio.wait({start}, timeout=0.2)  # as far as it gets
    read.set()
    await look
    session = await start
    assert granted(world) == {session.address}


# -------------------------------------------------------------------------------------- the guard


@pytest.fixture
async def guarded(world, broker):
    """The loop that has the rules put back, as it runs in a broker."""
    stop = asyncio.Event()
    running = asyncio.get_running_loop().create_task(broker.services.guarding.run(stop))
    await happens(lambda: world.packets.watches)
    yield broker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def happens(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def restored(broker):
    return broker.metrics.firewall_restored._value.get()


@pytest.mark.parametrize("harm", [flush, meddle])
async def test_what_somebody_does_to_the_rules_is_undone_at_once(world, guarded, harm):
    """For all who were granted something; and counted."""
    session = await guarded.ensure(await guarded.desktop())
    world.clock.advance(1)
    before = world.packets.tables[world.engine.instance]
    with capture_logs() as logs:
        harm(world, None)
        world.clock.advance(1)
        await happens(lambda: world.packets.tables.get(world.engine.instance) == before)
    assert granted(world) == {session.address}
    assert [entry["by"] for entry in logs if entry["event"] == PUT_BACK] == ["nft (1)"]
    await happens(lambda: restored(guarded) == 1)
    assert (await readiness(guarded))[1]["checks"]["network"] == "ok"


async def test_who_takes_them_away_again_and_again_is_told_of_once_a_minute(world, guarded):
    """And in readyz, until it is over; each time they come back."""
    with capture_logs() as logs:
        for number in range(20):
            world.packets.flush()
            world.clock.advance(1)
            await happens(lambda n=number: world.packets.tables and restored(guarded) == n + 1)
            await happens(lambda: world.clock.sleepers)
    assert len([entry for entry in logs if entry["event"] == PUT_BACK]) == 5
    status, said = await readiness(guarded)
    assert (status, said["warnings"]) == (200, ["network"])
    assert "20 times within the last minute, by nft (1)" in said["checks"]["network"]
    world.clock.advance(61)
    assert (await readiness(guarded))[1]["checks"]["network"] == "ok"


async def test_without_rights_there_is_nothing_to_guard_and_no_trouble(world):
    """Until they come."""
    world.packets.broken = NO_RIGHTS
    broker = await world.broker()
    guard = asyncio.get_running_loop().create_task(broker.firewall.guard(lambda: None))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not guard.done()
    world.packets.broken = None
    await broker.reconcile()
    await happens(lambda: world.packets.watches)
    guard.cancel()
    await asyncio.gather(guard, return_exceptions=True)


async def test_whoever_guards_is_given_the_rules_anew_though_they_stand(world, broker):
    """It can be another process than the one that had them."""
    session = await broker.ensure(await broker.desktop())
    before = world.packets.calls.count("put")
    guard = asyncio.get_running_loop().create_task(broker.firewall.guard(lambda: None))
    await happens(lambda: world.packets.watches)
    assert world.packets.calls.count("put") == before + 1
    assert granted(world) == {session.address}
    guard.cancel()
    await asyncio.gather(guard, return_exceptions=True)


async def test_a_guard_that_cannot_watch_any_more_is_told_and_tried_again(world, broker):
    world.packets.broken = "nft did not end within 10 s"
    await broker.refused(FirewallFailed, broker.firewall.guard(lambda: None))


# ------------------------------------------------------------------------------------- the canary


async def test_the_canary_tries_the_host_and_desktops_that_run(world, broker):
    """And leaves no port open."""
    session = await broker.ensure(await broker.desktop())
    asked = []

    async def attempt(targets, **_):
        asked.extend(targets)
        assert world.baits == ["10.213.0.1"]
        return []

    world.engine.attempt = attempt
    await broker.firewall.probe()
    assert asked == [("10.213.0.1", BAIT), (session.address, 2222)]
    assert world.baits == []
    assert broker.firewall.check() == "ok"


async def test_what_the_canary_reaches_is_trouble_and_no_desktop_starts_until_it_is_closed(
    world, broker
):
    session = await broker.ensure(await broker.desktop())
    world.engine.reachable = {("10.213.0.1", BAIT), (session.address, 2222)}
    with capture_logs() as logs:
        await broker.firewall.probe()
        await broker.firewall.probe()
    assert told(logs) == ["the network's rules do not hold"]
    status, said = await readiness(broker)
    assert (status, said["warnings"]) == (503, [])
    assert said["checks"]["network"].startswith("Desktops reach this host and each other, though")
    await broker.refused(FirewallFailed, broker.ensure(await broker.desktop("ben")))
    world.engine.reachable = {(session.address, 2222)}
    await broker.firewall.probe()
    assert broker.firewall.check().startswith("Desktops reach each other, though")
    world.engine.reachable = set()
    await broker.firewall.probe()
    assert (await readiness(broker))[0] == 200
    await broker.ensure(await broker.desktop("ben"))


async def test_what_is_open_while_the_rules_are_away_is_not_held_against_them(world, broker):
    world.packets.flush()
    attempt, tried = world.engine.attempt, []

    async def first_only(targets, **place):
        tried.append(targets)
        world.engine.reachable = {("10.213.0.1", BAIT)} if len(tried) == 1 else set()
        return await attempt(targets, **place)

    world.engine.attempt = first_only
    await broker.firewall.probe()
    assert len(tried) == 2
    assert granted(world) == set()  # the table is there again
    assert broker.firewall.check() == "ok"


async def test_without_rules_or_an_image_there_is_nothing_to_try(world):
    world.packets.broken = NO_RIGHTS
    broker = await world.broker()
    world.engine.reachable = {("10.213.0.1", BAIT)}
    await broker.firewall.probe()
    assert "attempt" not in world.engine.calls
    world.packets.broken = None
    await broker.reconcile()
    del world.engine.images[IMAGE]
    await broker.firewall.probe()
    assert broker.firewall.check() == "ok"


async def test_where_the_host_lacks_the_bridges_address_nothing_is_tried(world, broker):
    @contextlib.asynccontextmanager
    async def nowhere(_address):
        raise OSError(99, "Cannot assign requested address")
        yield

    world.engine.reachable = {("10.213.0.1", BAIT)}
    broker.firewall._canary._bait = nowhere
    await broker.firewall.probe()
    assert broker.firewall.check() == "ok"


async def test_where_rules_are_required_what_the_canary_reaches_keeps_desk_from_starting(world):
    broker = await world.broker(network_required=True)
    world.engine.reachable = {("10.213.0.1", BAIT)}
    await broker.firewall.probe()
    with pytest.raises(FirewallFailed, match="in place"):
        broker.firewall.demand()


# -------------------------------------------------------------------------- where they are required


async def test_where_they_are_required_nothing_is_served_without_them(world):
    """Nor where the host cannot hold a part of them."""
    world.packets.broken = NO_RIGHTS
    broker = await world.broker(network_required=True)
    with pytest.raises(FirewallFailed) as caught:
        broker.firewall.demand()
    assert f"{NO_RIGHTS}. Mend that, or set network.required to false" in caught.value.public
    await broker.refused(FirewallFailed, broker.ensure(await broker.desktop()))
    world.packets.broken = None
    await broker.reconcile()
    broker.firewall.demand()
    await broker.ensure(await broker.desktop())
    world.packets.gap = "desktops can reach each other on their bridge"
    other = await world.broker(network_required=True)
    with pytest.raises(FirewallFailed, match="in place"):
        other.firewall.demand()


async def test_where_they_are_not_required_nobody_demands_them(world):
    world.packets.broken = NO_RIGHTS
    (await world.broker()).firewall.demand()


async def test_who_never_began_and_who_is_unknown_is_withdrawn_without_ado(world, broker):
    session = await broker.ensure(await broker.desktop())
    await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    calls = list(world.packets.calls)
    await broker.firewall.withdraw(session.id)
    await broker.firewall.admit(await broker.store.session(session.id))
    assert world.packets.calls == calls
