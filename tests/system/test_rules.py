"""What the rules do to packets: a real kernel, desktops and all that is around them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from broker.core.firewall import Grant, Rules
from broker.core.netpolicy import FULL, INTERNET, parse
from tests.contract.filters import missing
from tests.system.wired import ADA, BEN, BRIDGE, DNS, GATEWAY, HOST, PORT, RESOLVER, WORLD, Wired

RULES = Rules(
    instance="0123456789abcdef",
    bridges=(BRIDGE,),
    subnets=(IPv4Network("10.213.0.0/22"),),
    pool=IPv4Network("10.213.0.0/16"),
    neighbours=(IPv4Network("192.0.2.0/24"),),
    resolvers=(IPv4Address(RESOLVER),),
    policies=frozenset({INTERNET}),
)
GRANT = Grant(IPv4Address(ADA), "internet")
EVERYTHING = {**HOST, **WORLD, "another desktop": BEN}

#: Seconds for what must not answer: it never does, however long one waits.
SHORT = 1.0


@pytest.fixture
def wired():
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    made = Wired()
    yield made
    made.close()


@pytest.fixture
async def ruled(wired):
    """With the rules in place and nothing granted."""
    assert await wired.host.filter().put(RULES) is None
    return wired


def test_without_rules_everything_can_be_reached(wired):
    """So that what is not reached below is not reached because of them."""
    assert wired.reached(wired.ada, EVERYTHING) == set(EVERYTHING)
    assert wired.reached(wired.world, {"ada": ADA}) == {"ada"}
    assert wired.reached(wired.ada, {"names": RESOLVER}, port=DNS) == {"names"}


async def test_who_was_granted_nothing_reaches_nothing(ruled):
    assert ruled.reached(ruled.ada, EVERYTHING, patience=SHORT) == set()
    assert ruled.reached(ruled.ada, EVERYTHING, port=DNS, patience=SHORT) == set()


async def test_who_was_granted_the_internet_reaches_that_and_names_alone(ruled):
    await ruled.host.filter().grant(RULES.instance, GRANT)
    assert ruled.reached(ruled.ada, EVERYTHING, patience=SHORT) == {"internet"}
    assert ruled.reached(ruled.ada, EVERYTHING, port=DNS, patience=SHORT) == {
        "internet",
        "resolver",
    }
    assert ruled.reached(ruled.ben, EVERYTHING, patience=SHORT) == {"another desktop"}  # itself


async def having(wired, policy):
    """The rules, with the policy given to one desktop."""
    grants = frozenset({Grant(IPv4Address(ADA), policy.group)})
    await wired.host.filter().put(replace(RULES, policies=frozenset({policy}), grants=grants))


async def test_who_was_granted_everything_reaches_what_is_neither_host_nor_link_nor_desktop(wired):
    await having(wired, FULL)
    reached = set(WORLD) - {"link-local"}
    assert wired.reached(wired.ada, EVERYTHING, patience=SHORT) == reached
    assert wired.reached(wired.ada, EVERYTHING, port=DNS, patience=SHORT) == reached


async def test_who_was_granted_a_list_reaches_exactly_that(wired):
    """Not even the name servers, where it does not say so; nor what no policy can open."""
    await having(wired, parse([f"{WORLD['private']}", "198.51.100.0/24 tcp 53", "0.0.0.0/1 udp"]))
    assert wired.reached(wired.ada, EVERYTHING, patience=SHORT) == {"private"}
    assert wired.reached(wired.ada, EVERYTHING, port=DNS, patience=SHORT) == {"private", "internet"}
    await having(wired, parse(["names", "172.16.0.0/12", "192.0.0.0/16", "10.213.0.0/16"]))
    assert wired.reached(wired.ada, EVERYTHING, patience=SHORT) == {"neighbour"}
    assert wired.reached(wired.ada, EVERYTHING, port=DNS, patience=SHORT) == {
        "neighbour",
        "resolver",
    }


async def test_a_list_can_add_to_the_internet(wired):
    await having(wired, parse(["internet", f"{WORLD['carrier']} tcp {PORT}-{PORT + 1}"]))
    assert wired.reached(wired.ada, EVERYTHING, patience=SHORT) == {"internet", "carrier"}


async def test_a_grant_that_is_taken_away_cuts_what_is_open(ruled):
    await ruled.host.filter().grant(RULES.instance, GRANT)
    held = ruled.hold(ruled.ada, WORLD["internet"])
    assert held.answers()
    await ruled.host.filter().put(replace(RULES, grants=frozenset({GRANT})))
    assert held.answers()  # rules that are put in place anew cut nothing by themselves
    await ruled.host.filter().revoke(RULES.instance, GRANT)
    assert not held.answers(SHORT)


async def test_the_host_reaches_desktops_and_nobody_else_does(ruled):
    """By their address, which is how the door and the broker do."""
    assert ruled.reached(ruled.host, {"ada": ADA, "ben": BEN}) == {"ada", "ben"}
    assert ruled.reached(ruled.world, {"ada": ADA, "ben": BEN}, patience=SHORT) == set()
    assert ruled.counted()["to_desktop"] > 0


async def test_nobody_on_the_internet_reaches_who_was_granted_the_internet(wired):
    """Though every answer would pass."""
    stranger = ["ip", "route", "replace", "10.213.0.0/22", "via", "192.0.2.2", "src"]
    wired.world.run(*stranger, WORLD["internet"])
    assert wired.reached(wired.world, {"ada": ADA}) == {"ada"}
    await wired.host.filter().put(replace(RULES, grants=frozenset({GRANT})))
    assert wired.reached(wired.world, {"ada": ADA}, patience=SHORT) == set()


async def test_a_forged_address_gets_nowhere(ruled):
    """Not even one that was granted something elsewhere."""
    await ruled.host.filter().grant(RULES.instance, GRANT)
    ruled.ada.run("ip", "addr", "add", "198.51.100.77/32", "dev", "eth0")
    forged = ["ip", "route", "replace", "default", "via", GATEWAY, "src", "198.51.100.77"]
    ruled.ada.run(*forged)
    before = await ruled.host.filter().standing(RULES.instance)
    assert ruled.reached(ruled.ada, WORLD, patience=SHORT) == set()
    assert ruled.counted()["spoofed"] > 0
    assert await ruled.host.filter().standing(RULES.instance) == before  # counting is no change


async def test_ipv6_gets_nowhere(wired):
    """Desktops have none; should one get some, no rule of IPv4's would see it."""
    address = ["dev", BRIDGE, "nodad"]
    if wired.host.tries("ip", "-6", "addr", "add", "fd00:d::1/64", *address).returncode:
        pytest.skip("this kernel has no IPv6")
    wired.ada.run("ip", "-6", "addr", "add", "fd00:d::4/64", "dev", "eth0", "nodad")
    assert wired.reached(wired.ada, {"host": "fd00:d::1"}) == {"host"}
    await wired.host.filter().put(RULES)
    assert wired.reached(wired.ada, {"host": "fd00:d::1"}, patience=SHORT) == set()
    assert wired.counted()["not_ipv4"] > 0


@pytest.mark.parametrize("shown", ["0", "1"])
async def test_desktops_of_one_bridge_do_not_meet(wired, shown):
    """Whether the kernel shows IP's rules what crosses a bridge or not."""
    if wired.host.tries("test", "-e", "/proc/sys/net/bridge/bridge-nf-call-iptables").returncode:
        pytest.skip("this kernel never shows IP's rules what crosses a bridge")
    wired.show_bridge(shown)
    assert wired.reached(wired.ada, {"ben": BEN}) == {"ben"}
    await wired.host.filter().put(RULES)
    assert wired.reached(wired.ada, {"ben": BEN}, patience=SHORT) == set()


async def test_the_other_installations_desktops_are_left_alone(wired):
    """Rules for another bridge change nothing here."""
    wired.host.bridge("desk0123456789b")
    other = replace(
        RULES,
        instance="0123456789abcdee",
        bridges=("desk0123456789b",),
        subnets=(IPv4Network("10.213.4.0/22"),),
    )
    await wired.host.filter().put(other)
    assert wired.reached(wired.ada, EVERYTHING) == set(EVERYTHING)
