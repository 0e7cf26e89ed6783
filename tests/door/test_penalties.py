"""For how long a source is turned away: prices, their sum, their end, and whom they never meet."""

import tracemalloc

import pytest

from broker.core.gateway import Offence
from broker.door.limits import Limits
from broker.door.penalties import Penalties
from broker.door.source import Source

ANN, BOB = Source.read("192.0.2.1"), Source.read("192.0.2.2")
NET = Source.read("2001:db8::/64")


def offend(penalties, source, offence, times, now=0.0) -> float:
    return [penalties.offend(source, offence, now) for _ in range(times)][-1]


def numbered(count: int, first: int = 0) -> list[Source]:
    return [Source(4, 0x0A000000 + first + number, 32) for number in range(count)]


def test_prices_add_up_to_the_minimum_and_end_when_they_are_paid():
    """Five failed connections within a moment; the sixth comes too soon, and later is welcome."""
    penalties = Penalties(Limits())
    assert offend(penalties, ANN, Offence.AUTHFAIL, 4) == 0
    assert not penalties.refuses(ANN, 0.0)
    assert offend(penalties, ANN, Offence.AUTHFAIL, 1) == 15
    assert penalties.refuses(ANN, 14.9)
    assert not penalties.refuses(BOB, 1.0)
    assert not penalties.refuses(ANN, 15.0)
    assert offend(penalties, ANN, Offence.AUTHFAIL, 4, 20.0) == 0


def test_whoever_mistypes_now_and_then_is_never_turned_away():
    """A failure every three seconds, for a day."""
    penalties = Penalties(Limits())
    for failure in range(28_800):
        assert not penalties.refuses(ANN, 3.0 * failure)
        assert penalties.offend(ANN, Offence.AUTHFAIL, 3.0 * failure) == 0


@pytest.mark.parametrize(
    ("offence", "times"),
    [
        (Offence.CRASH, 1),
        (Offence.VIOLATION, 2),
        (Offence.GRACE_EXCEEDED, 2),
        (Offence.AUTHFAIL, 5),
        (Offence.NOAUTH, 15),
    ],
)
def test_the_worse_the_offence_the_sooner(offence, times):
    penalties = Penalties(Limits())
    if times > 1:
        assert offend(penalties, ANN, offence, times - 1) == 0
    assert offend(penalties, ANN, offence, 1) > 0
    assert penalties.refuses(ANN, 1.0)


def test_no_penalty_is_longer_than_the_maximum():
    penalties = Penalties(Limits())
    assert offend(penalties, ANN, Offence.CRASH, 50) == 600
    assert penalties.refuses(ANN, 599)
    assert not penalties.refuses(ANN, 600)


def test_a_source_that_is_turned_away_stays_so_until_all_is_paid():
    """Also below the minimum; another's end has its own time."""
    penalties = Penalties(Limits())
    offend(penalties, NET, Offence.CRASH, 1)
    assert penalties.refuses(NET, 89)
    assert not penalties.refuses(NET, 91)
    assert not penalties.refuses(NET, 1)


def test_where_somebody_logged_in_others_are_hardly_shut_out():
    """A tenth of the price, the minimum at the most, for an hour; what was owed shrinks as well."""
    penalties = Penalties(Limits())
    offend(penalties, ANN, Offence.CRASH, 5)
    penalties.prove(ANN, 0.0)
    assert penalties.refuses(ANN, 14)
    assert not penalties.refuses(ANN, 15)
    assert offend(penalties, ANN, Offence.AUTHFAIL, 49, 100.0) == 0
    assert offend(penalties, ANN, Offence.CRASH, 99, 100.0) == 15
    assert not penalties.refuses(ANN, 115)
    assert offend(penalties, ANN, Offence.AUTHFAIL, 5, 4000.0) == 15


def test_one_machine_beside_a_class_must_fail_often_to_shut_it_out():
    """Three times a second is too seldom, five times not."""
    for often, shut in ((3, False), (5, True)):
        penalties = Penalties(Limits())
        penalties.prove(ANN, 0.0)
        found = [penalties.offend(ANN, Offence.AUTHFAIL, step / often) for step in range(1000)]
        assert any(found) is shut


def test_the_exempt_are_never_turned_away():
    """Addresses within the networks, sources that hold one, and nobody else."""
    penalties = Penalties(Limits(penalty_exempt=("192.0.2.0/31", "2001:db8::7/128")))
    for source in (ANN, NET):
        assert offend(penalties, source, Offence.CRASH, 9) == 0
        penalties.impose(source, 100, 0.0)
        assert not penalties.refuses(source, 1)
    assert offend(penalties, BOB, Offence.CRASH, 1) > 0


def test_loopback_is_exempt_by_default():
    """Whatever listens before the door comes from there."""
    penalties = Penalties(Limits())
    for text in ("127.0.0.1", "::1"):
        source = Source.of(text, ipv4_prefix=32, ipv6_prefix=64)
        assert offend(penalties, source, Offence.CRASH, 1) == 0


def test_penalties_can_be_turned_off():
    penalties = Penalties(Limits(penalties=False))
    assert offend(penalties, ANN, Offence.CRASH, 9) == 0
    assert not penalties.refuses(ANN, 1)


def test_what_another_door_found_counts_here():
    """As long as told, the maximum at the most, and not shorter than what was found here."""
    penalties = Penalties(Limits())
    penalties.impose(ANN, 40, 0.0)
    penalties.impose(ANN, 20, 0.0)
    penalties.impose(BOB, 1e9, 0.0)
    penalties.impose(NET, -5, 0.0)
    assert penalties.refuses(ANN, 39)
    assert not penalties.refuses(ANN, 40)
    assert penalties.refuses(BOB, 599)
    assert not penalties.refuses(BOB, 600)
    assert not penalties.refuses(NET, 0)
    penalties.prove(ANN, 100)
    penalties.impose(ANN, 500, 100)
    assert not penalties.refuses(ANN, 115)


def test_too_many_sources_displace_those_that_are_free_soonest():
    """Who did the worst is remembered; a flood from everywhere costs a bounded memory."""
    penalties = Penalties(Limits(penalty_sources=100))
    offend(penalties, ANN, Offence.CRASH, 2)
    for source in numbered(10_000):
        offend(penalties, source, Offence.NOAUTH, 1)
    assert len(penalties._records[4]) <= 100
    assert penalties.refuses(ANN, 1.0)
    offend(penalties, NET, Offence.CRASH, 1)
    assert penalties.refuses(NET, 1.0)


def test_too_many_sources_can_shut_the_door_instead():
    """To those of whom nothing is known, but for the exempt and those who were in; paid debts make
    room, though not at once for each who asks.
    """
    limits = Limits(penalty_sources=10, penalty_overflow="deny")
    penalties = Penalties(limits)
    penalties.prove(BOB, 0.0)
    for source in numbered(20):
        offend(penalties, source, Offence.GRACE_EXCEEDED, 2)
    assert len(penalties._records[4]) == 10
    assert penalties.refuses(ANN, 1.0)
    assert not penalties.refuses(BOB, 1.0)
    assert not penalties.refuses(NET, 1.0)
    assert not penalties.refuses(Source.read("127.0.0.1"), 1.0)
    assert penalties.refuses(ANN, 19.5)
    assert penalties.refuses(ANN, 20.2)
    assert not penalties.refuses(ANN, 20.6)


def test_a_full_memory_is_a_few_megabytes():
    """By the defaults, of both kinds of address."""
    tracemalloc.start()
    try:
        penalties = Penalties(Limits())
        for number in range(40_000):
            penalties.offend(Source(4, number << 8, 32), Offence.AUTHFAIL, number / 1e3)
            penalties.offend(Source(6, number << 64, 64), Offence.AUTHFAIL, number / 1e3)
            penalties.prove(Source(4, number << 8, 32), number / 1e3)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 8 << 20
