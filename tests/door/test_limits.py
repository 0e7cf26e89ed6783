"""The numbers of the door."""

import dataclasses
import inspect
import resource

from broker.door import descriptors, limits
from broker.door.admission import Admission
from broker.door.limits import Limits


def test_every_number_says_what_it_is():
    """Each field is followed by its docstring."""
    source = inspect.getsource(Limits)
    for field in dataclasses.fields(Limits):
        after = source.split(f"    {field.name}:", 1)[1].split("\n", 1)[1].lstrip()
        assert after.startswith('"""'), field.name
    assert limits.__doc__


def test_marks_of_the_write_buffer_are_in_order():
    numbers = Limits()
    assert numbers.write_low < numbers.write_high < numbers.own_replies < numbers.deferred


def test_times_are_in_order():
    numbers = Limits()
    assert numbers.report_gap < numbers.report_every
    assert numbers.connect_timeout < numbers.first_dial < numbers.handshake_timeout


def test_strangers_are_bounded_in_all_and_by_address():
    """One address fills its own places alone; who leaves makes room."""
    door = Admission(Limits(unauthenticated=5, unauthenticated_per_address=3))
    assert [door.enter("192.0.2.1") for _ in range(4)] == [True] * 3 + [False]
    assert [door.enter("192.0.2.2") for _ in range(3)] == [True, True, False]
    door.leave("192.0.2.1")
    assert door.enter("192.0.2.2")


def test_an_ipv6_host_is_its_network():
    """A /64 is what one host has; an IPv4 address in IPv6 clothes is that address."""
    door = Admission(Limits(unauthenticated_per_address=1))
    assert door.enter("2001:db8::1")
    assert not door.enter("2001:db8::ffff:1")
    assert door.enter("2001:db8:0:1::1")
    assert door.enter("::ffff:192.0.2.1")
    assert not door.enter("192.0.2.1")
    assert door.enter("fe80::1%eth0")


def test_places_in_all_are_given_back_when_the_connection_is_closed():
    """To prove somebody makes room for strangers, not in all."""
    door = Admission(Limits(connections=2))
    assert [door.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    door.leave("192.0.2.1")
    assert not door.enter("192.0.2.1")
    door.closed()
    assert door.enter("192.0.2.1")


def test_one_person_has_so_many_places():
    """Who leaves makes room, and nobody else's are theirs."""
    door = Admission(Limits(connections_per_user=2))
    assert [door.prove("ann") for _ in range(3)] == [True, True, False]
    assert door.prove("bob")
    door.part("ann")
    assert door.prove("ann")


def test_places_follow_from_descriptors():
    """Three for each, and some for the rest of the process."""
    assert descriptors.places(1024, 4096) == 256
    assert descriptors.places(1 << 20, 4096) == 4096
    assert descriptors.places(100, 4096) == 1
    assert descriptors.places(resource.RLIM_INFINITY, 4096) == 4096


def test_the_process_takes_the_descriptors_that_it_may_have(monkeypatch):
    """Where that fails it goes on with those it has."""
    taken = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 5000))
    monkeypatch.setattr(resource, "setrlimit", lambda *wanted: taken.append(wanted))
    assert descriptors.raise_limit() == 5000
    assert taken == [(resource.RLIMIT_NOFILE, (5000, 5000))]

    def refuse(*_):
        raise ValueError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.raise_limit() == 1024
