"""Networks as people write them, and which addresses are in them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.sources import network, within


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/48", "2001:db8::/48"),
        ("::1", "::1/128"),
    ],
)
def test_addresses_and_networks_are_written_one_way(text, found):
    """A lone address is a network of one."""
    assert network(text) == found


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "allowed are"),
        ("lab.example.org", "allowed are"),
        ("192.0.2.0/255.255.255.0", "allowed are"),
        ("192.0.2.0/33", "allowed are"),
        ("192.0.2.0/", "allowed are"),
        ("192.0.2.0/٢٤", "allowed are"),
        ("192.0.2.7/24", "192.0.2.7 is not where a network of /24 begins: 192.0.2.0/24"),
        ("fe80::1%eth0", "a zone"),
        ("::ffff:192.0.2.7", "by IPv4"),
        ("::ffff:192.0.2.0/120", "by IPv4"),
    ],
)
def test_what_is_no_network_is_told_why(text, part):
    """The sentence says what is allowed, or what was meant."""
    with pytest.raises(ValueError, match=part):
        network(text)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("::ffff:192.0.2.1", True),
        ("2001:db8:0:ffff::1", True),
        ("2001:db8:1::1", False),
        ("fe80::7%eth0", True),
        ("", False),
        ("somewhere", False),
    ],
)
def test_an_address_is_within_or_not(address, inside):
    """Also one that came as IPv6 and is none, or with a zone."""
    assert within(address, ["192.0.2.0/24", "2001:db8::/48", "fe80::/10"]) is inside


def test_no_networks_are_everywhere():
    """A key without a restriction."""
    assert within("203.0.113.9", ())


@given(st.ip_addresses(), st.integers(0, 128))
def test_every_network_holds_its_own_addresses(address, bits):
    """What `network` gives, `within` takes."""
    wide = ipaddress.ip_network((address, min(bits, address.max_prefixlen)), strict=False)
    mapped = isinstance(wide, ipaddress.IPv6Network) and wide.network_address.ipv4_mapped
    if not mapped:
        assert within(str(wide.network_address), [network(str(wide))])
