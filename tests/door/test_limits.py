"""The numbers of the door."""

import dataclasses
import inspect
import resource

import pytest

from broker.config import parse
from broker.core.errors import ConfigError
from broker.core.gateway import Offence, Penalty
from broker.door import descriptors, limits
from broker.door.admission import Admission
from broker.door.limits import Limits
from broker.door.penalties import Penalties
from broker.door.source import Source
from broker.service.gateway import _check as check_penalty

GOOD = "template: {image: desk:latest}\n"


def test_every_number_says_what_it_is():
    """Each field is followed by its docstring."""
    source = inspect.getsource(Limits)
    for field in dataclasses.fields(Limits):
        after = source.split(f"    {field.name}:", 1)[1].split("\n", 1)[1].lstrip()
        assert after.startswith('"""'), field.name
    assert limits.__doc__


def test_every_penalty_that_a_door_can_find_is_one_that_the_broker_passes_on():
    """As wide and as long as the configuration allows."""
    widest = "ssh: {limits: {ipv4_prefix: 16, ipv6_prefix: 32}, penalties: {max: 1d, crash: 1d}}"
    limits = Limits.of(parse(f"{GOOD}{widest}", "desk.yaml").ssh)
    for address in ("192.0.2.1", "2001:db8::1"):
        bits = {"ipv4_prefix": limits.ipv4_prefix, "ipv6_prefix": limits.ipv6_prefix}
        source = Source.of(address, **bits)
        for offence in Offence:
            penalties = Penalties(limits)
            while not (seconds := penalties.offend(source, offence, 0.0)):
                pass
            check_penalty(Penalty(source=str(source), offence=offence, seconds=seconds))
    for line in (
        "{limits: {ipv4_prefix: 15}}",
        "{limits: {ipv6_prefix: 31}}",
        "{penalties: {max: 2d}}",
    ):
        with pytest.raises(ConfigError):
            parse(f"{GOOD}ssh: {line}", "desk.yaml")


def test_marks_of_the_write_buffer_are_in_order():
    numbers = Limits()
    assert numbers.write_low < numbers.write_high < numbers.own_replies < numbers.deferred


def test_the_configuration_says_the_numbers_that_are_here():
    """Unset, its defaults are the door's; set, each is taken; two are in nobody's file twice."""
    assert Limits.of(parse(GOOD, "desk.yaml").ssh) == Limits()
    text = """
        ssh:
          limits: {channels: 10, write_high: 512k, login_timeout: 1m, ipv6_prefix: 56}
          penalties: {enabled: false, authfail: 7s, overflow: deny, exempt: [192.0.2.0/24]}
    """
    limits = Limits.of(parse(GOOD + text.replace("\n        ", "\n"), "desk.yaml").ssh)
    assert (limits.channels, limits.login_timeout, limits.ipv6_prefix) == (10, 60.0, 56)
    assert (limits.write_high, limits.write_low) == (512 << 10, 128 << 10)
    assert (limits.penalties, limits.penalty_authfail) == (False, 7.0)
    assert (limits.penalty_overflow, limits.penalty_exempt) == ("deny", ("192.0.2.0/24",))


def test_times_are_in_order():
    numbers = Limits()
    assert numbers.report_gap < numbers.report_every
    assert numbers.connect_timeout < numbers.first_dial < numbers.handshake_timeout


def test_one_person_has_so_many_places():
    """Who leaves makes room, and nobody else's are theirs."""
    door = Admission(Limits(connections_per_user=2))
    assert [door.prove("ann") for _ in range(3)] == [True, True, False]
    assert door.prove("bob")
    door.part("ann")
    assert door.prove("ann")


def test_places_follow_from_descriptors():
    """Three for each, and some for the rest of the process."""
    assert descriptors.places(1024, 4096, reserved=256) == 256
    assert descriptors.places(1024, 4096, reserved=724) == 100
    assert descriptors.places(1 << 20, 4096, reserved=256) == 4096
    assert descriptors.places(100, 4096, reserved=256) == 1
    assert descriptors.places(resource.RLIM_INFINITY, 4096, reserved=256) == 4096


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
