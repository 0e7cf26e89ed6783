"""The text of the rules: what it holds, and that nothing in it is anybody else's."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from broker.core import netpolicy
from broker.core.firewall import (
    Grant,
    Rules,
    complaint,
    frames,
    granting,
    removal,
    revoking,
    ruleset,
)
from broker.core.spec import bridge_name

RULES = Rules(
    instance="0123456789abcdef",
    bridges=("desk0123456789a",),
    subnets=(IPv4Network("10.213.4.0/22"),),
    pool=IPv4Network("10.213.0.0/16"),
    neighbours=(),
    resolvers=(IPv4Address("10.255.255.53"),),
    policies=frozenset({netpolicy.INTERNET}),
)
ADA = Grant(IPv4Address("10.213.4.4"), "internet")


def elements(text, name):
    """Of the set of that name."""
    found = re.search(rf"set {name} {{[^}}]*elements = {{ ([^}}]*) }}", text)
    return found[1].split(", ") if found else []


def chain(text, name):
    return re.search(rf"chain {name} {{\n(.*?)\n\t}}", text, re.DOTALL)[1]


def test_every_table_is_the_instances_own_and_takes_the_place_of_the_one_before():
    """Adding first, so that deleting succeeds whether there is one or not."""
    for family, text in (("inet", ruleset(RULES)), *(("bridge", form) for form in frames(RULES))):
        name = f"{family} desk_0123456789abcdef"
        assert text.startswith(f"table {name}\ndelete table {name}\ntable {name} {{\n")
        assert set(re.findall(r"table \S+ (\S+)", text)) == {"desk_0123456789abcdef"}


def test_no_interface_is_meant_but_the_instances_bridges():
    """By their whole names: another installation's begin alike."""
    two = replace(RULES, bridges=("deska", "deskb"))
    named = re.findall(r"[io]ifname (?:!= )?({[^}]*})", ruleset(two))
    assert set(named) == {'{ "deska", "deskb" }'}
    assert len(named) == 5
    assert re.findall('ibrname "(.*?)"', frames(two)[0]) == ["deska", "deskb"]


def test_what_is_granted_is_in_the_set_of_its_policy():
    assert elements(ruleset(RULES), "net_internet") == []
    text = ruleset(replace(RULES, grants=frozenset({ADA})))
    assert elements(text, "net_internet") == ["10.213.4.4"]


def test_no_set_has_networks_that_overlap():
    """The kernel refuses them."""
    more = replace(RULES, neighbours=(IPv4Network("10.1.0.0/16"), IPv4Network("203.0.113.0/24")))
    text = ruleset(more)
    for name in ("never", "nonpublic"):
        networks = [IPv4Network(element) for element in elements(text, name)]
        assert not any(a.overlaps(b) for a in networks for b in networks if a is not b)
    assert "203.0.113.0/24" in elements(text, "nonpublic")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.251",
        "255.255.255.255",
        "10.213.4.1",
        "10.213.200.1",
    ],
)
def test_no_policy_reaches_loopback_link_local_multicast_or_any_installation(address):
    networks = map(IPv4Network, elements(ruleset(RULES), "never"))
    assert any(IPv4Address(address) in network for network in networks)


def test_a_subnet_that_an_earlier_pool_gave_is_never_reached_either():
    text = ruleset(replace(RULES, subnets=(IPv4Network("10.99.0.0/22"),)))
    assert {"10.99.0.0/22", "10.213.0.0/16"} <= set(elements(text, "never"))


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.31.0.2", "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.0.8"]
)
def test_private_networks_are_not_the_internet(address):
    networks = map(IPv4Network, elements(ruleset(RULES), "nonpublic"))
    assert any(IPv4Address(address) in network for network in networks)


def judged(policy, name=None):
    """What the rules of one policy do, line by line."""
    text = ruleset(replace(RULES, policies=frozenset({policy})))
    return [line.strip() for line in chain(text, name or f"reach_{policy.group}").splitlines()]


def test_who_has_a_policy_is_judged_by_it_and_who_has_none_is_refused():
    both = replace(RULES, policies=frozenset({netpolicy.INTERNET, netpolicy.FULL, netpolicy.NONE}))
    assert [line.strip() for line in chain(ruleset(both), "from_tenant").splitlines()] == [
        "ip saddr @net_full goto reach_full",
        "ip saddr @net_internet goto reach_internet",
        "goto refused",
    ]
    assert judged(netpolicy.NONE, "from_tenant") == ["goto refused"]


NAMES = "ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept"
CLOSED, END = "ip daddr @never goto refused", "goto refused"


@pytest.mark.parametrize(
    ("words", "rules"),
    [
        ("internet", [NAMES, CLOSED, "ip daddr != @nonpublic accept", END]),
        ("full", [NAMES, CLOSED, "accept"]),
        (["10.66.0.0/24"], [CLOSED, "ip daddr 10.66.0.0/24 accept", END]),
        (
            ["192.0.2.7 tcp 80", "names", "192.0.2.7 tcp 8000-8010", "10.1.0.0/16 udp"],
            [
                NAMES,
                CLOSED,
                "ip daddr 10.1.0.0/16 meta l4proto udp accept",
                "ip daddr 192.0.2.7/32 tcp dport 80-80 accept",
                "ip daddr 192.0.2.7/32 tcp dport 8000-8010 accept",
                END,
            ],
        ),
        (
            ["internet", "10.1.0.0/16"],
            [NAMES, CLOSED, "ip daddr 10.1.0.0/16 accept", "ip daddr != @nonpublic accept", END],
        ),
    ],
)
def test_what_a_desktop_sends_is_judged_in_this_order(words, rules):
    """Names alone before what is never reached, and that before whatever is listed."""
    assert judged(netpolicy.parse(words)) == rules


def test_the_chains_to_the_host_and_into_desktops_end_with_a_drop():
    text = ruleset(RULES)
    for name in ("input", "into_tenant"):
        assert chain(text, name).endswith("drop")


def test_a_grant_is_taken_away_though_it_may_be_gone():
    assert revoking(RULES.instance, ADA) == (
        "add element inet desk_0123456789abcdef net_internet { 10.213.4.4 }\n"
        "delete element inet desk_0123456789abcdef net_internet { 10.213.4.4 }\n"
    )
    assert revoking(RULES.instance, ADA).startswith(granting(RULES.instance, ADA))


def test_removal_removes_both_tables_and_no_others():
    assert removal(RULES.instance) == (
        "table inet desk_0123456789abcdef\ndelete table inet desk_0123456789abcdef\n"
        "table bridge desk_0123456789abcdef\ndelete table bridge desk_0123456789abcdef\n"
    )


def test_every_policy_but_none_has_a_set():
    listed = netpolicy.parse(["10.66.0.0/24"])
    policies = {netpolicy.NONE, netpolicy.INTERNET, netpolicy.FULL, listed}
    text = ruleset(replace(RULES, policies=frozenset(policies)))
    names = set(re.findall(r"set net_(\S+) {", text))
    assert names == {"internet", "full", listed.group}


GOOD = replace(RULES, bridges=(bridge_name(RULES.instance),), grants=frozenset({ADA}))


def test_rules_of_one_installation_can_be_put_in_place_for_it():
    assert complaint(GOOD) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"instance": "x; flush ruleset"},
        {"bridges": ("eth0",)},
        {"bridges": (bridge_name(RULES.instance), "docker0")},
        {"subnets": ()},
        {"subnets": (IPv4Network("8.8.8.0/22"),)},
        {"pool": IPv4Network("0.0.0.0/0")},
        {"grants": frozenset({Grant(ADA.address, "full")})},
        {"grants": frozenset({Grant(IPv4Address("10.99.0.4"), "internet")})},
    ],
)
def test_rules_that_would_touch_anything_else_cannot(odd):
    assert complaint(replace(GOOD, **odd)) is not None
