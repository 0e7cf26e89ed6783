"""What every packet filter keeps to: the one in memory, and nftables of a real kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from broker.core.errors import FirewallFailed
from broker.core.firewall import Grant, Rules
from broker.core.netpolicy import FULL, INTERNET, NONE, parse
from tests.contract.filters import FakeHost, RealHost, missing, netns

ADA, BEN = (Grant(IPv4Address(f"10.213.0.{number}"), "internet") for number in (4, 5))
RULES = Rules(
    instance="0123456789abcdef",
    bridges=("desk0123456789a",),
    subnets=(IPv4Network("10.213.0.0/22"),),
    pool=IPv4Network("10.213.0.0/16"),
    neighbours=(IPv4Network("203.0.113.0/24"),),
    resolvers=(IPv4Address("10.255.255.53"), IPv4Address("9.9.9.9")),
    policies=frozenset({INTERNET}),
)
OTHER = replace(RULES, instance="0123456789abcdee", bridges=("desk0123456789b",))
ME = RULES.instance


@pytest.fixture(params=["fake", "nft"])
def host(request):
    """A host with the bridges of two installations, and no rules of theirs."""
    if request.param == "fake":
        yield FakeHost()
        return
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with netns() as network:
        yield RealHost(network, *RULES.bridges, *OTHER.bridges)


async def test_where_nothing_was_put_nothing_stands(host):
    assert await host.filter.standing(ME) is None


async def test_what_was_put_stands_with_its_grants(host):
    await host.filter.put(replace(RULES, grants=frozenset({ADA, BEN})))
    assert (await host.filter.standing(ME)).grants == {ADA, BEN}


async def test_putting_again_takes_the_place_of_what_stood(host):
    """Grants that are not in it are gone, whatever was meddled with before."""
    await host.filter.put(replace(RULES, grants=frozenset({ADA})))
    host.meddle(ME)
    await host.filter.put(replace(RULES, grants=frozenset({BEN})))
    assert (await host.filter.standing(ME)).grants == {BEN}


async def test_the_mark_stays_while_nobody_meddles(host):
    """Whoever comes and goes meanwhile."""
    await host.filter.put(RULES)
    before = await host.filter.standing(ME)
    assert await host.filter.standing(ME) == before
    await host.filter.grant(ME, ADA)
    assert (await host.filter.standing(ME)).mark == before.mark
    await host.filter.revoke(ME, ADA)
    assert await host.filter.standing(ME) == before


async def test_a_rule_that_somebody_takes_out_changes_the_mark(host):
    await host.filter.put(RULES)
    before = await host.filter.standing(ME)
    host.meddle(ME)
    assert (await host.filter.standing(ME)).mark != before.mark


async def test_an_address_that_somebody_takes_out_is_missing(host):
    await host.filter.put(replace(RULES, grants=frozenset({ADA, BEN})))
    host.lose(ME, BEN)
    assert (await host.filter.standing(ME)).grants == {ADA}


async def test_granting_and_revoking_may_be_repeated(host):
    await host.filter.put(RULES)
    for _ in range(2):
        await host.filter.grant(ME, ADA)
    assert (await host.filter.standing(ME)).grants == {ADA}
    for _ in range(2):
        await host.filter.revoke(ME, ADA)
    assert (await host.filter.standing(ME)).grants == frozenset()


async def test_without_a_table_nothing_can_be_granted_or_revoked(host):
    await host.filter.put(RULES)
    host.flush()
    assert await host.filter.standing(ME) is None
    for call in (host.filter.grant, host.filter.revoke):
        with pytest.raises(FirewallFailed):
            await call(ME, ADA)
    assert await host.filter.standing(ME) is None


async def test_each_policy_has_addresses_of_its_own(host):
    """And what none of them is cannot be granted."""
    listed = parse(["10.66.0.0/24 tcp 443", "192.0.2.7 udp", "internet"])
    every = replace(RULES, policies=frozenset({NONE, INTERNET, FULL, listed}))
    given = {
        Grant(IPv4Address(f"10.213.0.{number}"), group)
        for number, group in enumerate(("internet", "full", listed.group), 10)
    }
    await host.filter.put(replace(every, grants=frozenset({ADA})))
    for grant in given:
        await host.filter.grant(ME, grant)
    assert (await host.filter.standing(ME)).grants == {ADA} | given
    await host.filter.put(RULES)
    with pytest.raises(FirewallFailed):
        await host.filter.grant(ME, Grant(ADA.address, listed.group))


async def test_the_same_rules_have_the_same_mark_whoever_puts_them(host):
    """Others have another."""
    await host.filter.put(RULES)
    before = await host.filter.standing(ME)
    await host.filter.put(replace(RULES, grants=frozenset({ADA})))
    assert (await host.filter.standing(ME)).mark == before.mark
    host.meddle(ME)
    await host.filter.put(RULES)
    assert await host.filter.standing(ME) == before
    await host.filter.put(replace(RULES, policies=frozenset({INTERNET, FULL})))
    assert (await host.filter.standing(ME)).mark != before.mark


async def test_installations_do_not_touch_each_other(host):
    await host.filter.put(RULES)
    await host.filter.put(OTHER)
    other = await host.filter.standing(OTHER.instance)
    await host.filter.put(RULES)
    await host.filter.grant(ME, ADA)
    await host.filter.remove(ME)
    assert await host.filter.standing(OTHER.instance) == other
    assert await host.filter.standing(ME) is None


async def test_removing_may_be_repeated(host):
    await host.filter.remove(ME)
    await host.filter.put(RULES)
    for _ in range(2):
        await host.filter.remove(ME)
    assert await host.filter.standing(ME) is None


async def test_rules_for_a_bridge_that_is_elsewhere_are_refused(host):
    """They would hold for nobody; what stands stays."""
    await host.filter.put(replace(RULES, grants=frozenset({ADA})))
    before = await host.filter.standing(ME)
    host.lose_bridge(RULES.bridges[0])
    with pytest.raises(FirewallFailed, match="desk0123456789a"):
        await host.filter.put(RULES)
    assert await host.filter.standing(ME) == before
