"""What desktops may reach, in the configuration's words and back."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from broker.core.netpolicy import FULL, INTERNET, NONE, Target, parse


@pytest.mark.parametrize(
    ("word", "policy"), [("none", NONE), ("internet", INTERNET), ("full", FULL)]
)
def test_a_word_names_its_policy_and_its_group(word, policy):
    assert parse(word) == policy
    assert str(policy) == word
    assert policy.group == (None if word == "none" else word)


def test_a_list_opens_what_it_names_and_nothing_else():
    policy = parse(["10.66.0.0/24 tcp 443", "192.0.2.7", "10.1.0.0/16 udp 5000-5010"])
    assert (policy.internet, policy.names, policy.everything) == (False, False, False)
    assert set(policy.targets) == {
        Target(IPv4Network("10.66.0.0/24"), "tcp", (443, 443)),
        Target(IPv4Network("192.0.2.7/32")),
        Target(IPv4Network("10.1.0.0/16"), "udp", (5000, 5010)),
    }
    assert str(policy) == "10.1.0.0/16 udp 5000-5010, 10.66.0.0/24 tcp 443, 192.0.2.7"


def test_the_internet_in_a_list_brings_the_names_and_alone_is_the_word():
    assert parse(["internet", "10.66.0.0/24"]).names
    assert parse(["internet"]) == INTERNET
    assert str(parse(["10.66.0.0/24", "internet"])) == "internet, 10.66.0.0/24"
    assert str(parse(["10.66.0.0/24", "names"])) == "names, 10.66.0.0/24"


def test_the_same_list_in_another_order_is_the_same_group():
    one, other = ["10.66.0.0/24", "192.0.2.7 tcp"], ["192.0.2.7  tcp", "10.66.0.0/24"] * 2
    assert parse(one) == parse(other)
    assert parse(one).group == parse(other).group
    assert parse(one).group != parse(one[:1]).group


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("lan", "allowed is none, internet, full, or a list"),
        ([], "allowed is none, internet, full, or a list"),
        (None, "allowed is none, internet, full, or a list"),
        (["full"], "'full' is no IPv4 network"),
        (["none"], "'none' is no IPv4 network; allowed in the list are"),
        ([5], "5 is nothing to reach"),
        (["10.66.0.300"], "'10.66.0.300' is no IPv4 network"),
        (["2001:db8::/32"], "'2001:db8::/32' is no IPv4 network"),
        (["10.66.0.9/24"], "write 10.66.0.0/24 for the network, or 10.66.0.9 for the address"),
        (["10.66.0.0/24 sctp"], "is nothing to reach"),
        (["10.66.0.0/24 443"], "is nothing to reach"),
        (["10.66.0.0/24 tcp 0"], "has no ports within 1-65535"),
        (["10.66.0.0/24 tcp 99-80"], "the lower one first"),
        (["10.66.0.0/24 tcp 80-65536"], "has no ports within 1-65535"),
        (["169.254.169.254 tcp 80"], "can be opened to no desktop"),
        (["127.0.0.1"], "can be opened to no desktop"),
        ([f"10.0.{number}.0/24" for number in range(65)], "allowed is a list of at most 64"),
    ],
)
def test_what_is_no_policy_is_told_with_the_rule(value, told):
    with pytest.raises(ValueError, match="allowed|opened|ports|write") as caught:
        parse(value)
    assert told in str(caught.value)
