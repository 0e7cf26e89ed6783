"""The numbers of the door."""

import dataclasses
import inspect

from broker.door import limits
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
