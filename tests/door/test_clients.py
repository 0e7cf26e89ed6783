"""Whose request it is, who may come, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.door.clients import Clients, source_of
from broker.door.crowd import Crowd
from tests.door.webport import PLAIN

PROXIES = ("192.0.2.0/28", "2001:db8::1/128")


@pytest.fixture
def clients():
    return Clients(replace(PLAIN, proxies=PROXIES))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "198.51.100.7"),
        ("192.0.2.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("192.0.2.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7, 192.0.2.2"], "198.51.100.7"),
        ("192.0.2.1", ["192.0.2.2,192.0.2.3"], "192.0.2.2"),
        ("192.0.2.1", ["198.51.100.7, nonsense"], "192.0.2.1"),
        ("192.0.2.1", ["nonsense, 192.0.2.2"], "192.0.2.2"),
        ("192.0.2.1", [""], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7, "], "192.0.2.1"),
        ("192.0.2.1", ["2001:DB8:0::7"], "2001:db8::7"),
        ("2001:db8::1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:192.0.2.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("192.0.2.16", ["198.51.100.7"], "192.0.2.16"),
        ("127.0.0.1", ["198.51.100.7"], "127.0.0.1"),
        ("fe80::1%eth0", ["198.51.100.7"], "fe80::1"),
    ],
)
def test_a_client_is_who_the_last_proxy_of_ours_saw(clients, peer, forwarded, client):
    assert clients.of(peer, forwarded) == client


def test_without_tls_nobody_comes_from_elsewhere_but_a_proxy(clients):
    """What they send could be read on its way."""
    for address, may in (
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", True),
        ("192.0.2.16", False),
        ("198.51.100.7", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ):
        assert clients.may_come(address) is may, address
        assert Clients(replace(PLAIN, tls=True)).may_come(address) is (address != "nonsense")


def test_a_monitor_is_known_by_its_own_address():
    """And this host is one."""
    clients = Clients(replace(PLAIN, monitors=("198.51.100.0/24",)))
    assert clients.may_watch("198.51.100.7")
    assert clients.may_watch("::1")
    assert clients.may_watch("127.0.0.1")
    assert not clients.may_watch("192.0.2.1")
    assert not clients.may_watch("nonsense")


# -------------------------------------------------------------------------------------- a crowd


def crowd(**numbers):
    return Crowd(replace(PLAIN, **numbers), 0.0)


HERE, THERE, ELSEWHERE = map(source_of, ("192.0.2.1", "192.0.2.2", "2001:db8::1"))


def test_hosts_of_one_network_of_ipv6_are_one():
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1")
    assert source_of("2001:db8::1") != source_of("2001:db8:0:1::1")


def test_there_is_room_for_so_many_in_all():
    some = crowd(connections=2)
    assert some.enter(HERE, 0.0, is_proxy=False) == 0
    assert some.enter(THERE, 0.0, is_proxy=True) == 0
    assert some.enter(ELSEWHERE, 0.0, is_proxy=False) is None
    some.leave(THERE)
    assert some.enter(ELSEWHERE, 0.0, is_proxy=False) == 0


def test_there_is_room_for_so_many_of_one_address():
    some = crowd(connections_per_address=1)
    assert some.enter(HERE, 0.0, is_proxy=False) == 0
    assert some.enter(HERE, 0.0, is_proxy=False) is None
    assert some.enter(THERE, 0.0, is_proxy=False) == 0
    some.leave(HERE)
    assert some.enter(HERE, 0.0, is_proxy=False) == 0


def test_one_address_comes_so_often():
    """Twice as many at once as in a second; others wait, which costs nobody else anything."""
    some = crowd(arrivals_per_address=2)
    found = [some.enter(HERE, now, is_proxy=False) for now in (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)]
    assert found == [0, 0, 0, 0, 0.5, 1.0, 0.5]
    assert some.enter(THERE, 1.0, is_proxy=False) == 0


def test_all_together_come_so_often_and_others_wait():
    some = crowd(arrivals=2, connections=10)
    found = [some.enter(HERE, 0.0, is_proxy=True) for _ in range(7)]
    assert found == [0, 0, 0, 0, 0.5, 1.0, 1.5]


def test_who_came_is_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr("broker.door.crowd._REMEMBERED", 8)
    some = crowd()
    for host in range(1, 100):
        source = source_of(f"192.0.2.{host}")
        some.enter(source, 0.0, is_proxy=False)
        some.leave(source)
    assert (len(some._arrivals._by_source), some.size, len(some._open)) == (8, 0, 0)
