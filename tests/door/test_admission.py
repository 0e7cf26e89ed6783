"""Who gets a place among the unproven, by numbers and dice that the tests own."""

import pytest

from broker.door.admission import Admission, drop_chance
from broker.door.limits import Limits
from broker.door.source import Source

ANN, BOB = Source(4, 1, 32), Source(4, 2, 32)

#: No random early drop: all places, then none.
ALL = {"unauthenticated_start": 1000, "unauthenticated_per_address_start": 1000}


def admission(dice=lambda: 0.999, **numbers) -> Admission:
    return Admission(Limits(**{**ALL, **numbers}), dice)


def fill(door: Admission, source: Source, count: int, now: float = 0.0) -> list[bool]:
    return [door.enter(source, now) is not None for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "chance"), [(0, 0), (9, 0), (10, 0.3), (55, 0.65), (99, 0.3 + 0.7 * 89 / 90)]
)
def test_the_chance_of_being_dropped_is_openssh_s(count, chance):
    """MaxStartups 10:30:100: nobody below 10, three of ten there, all from 100 on."""
    assert drop_chance(count, start=10, percent=30, full=100) == pytest.approx(chance)


@pytest.mark.parametrize("count", [100, 101, 10_000])
def test_all_are_dropped_when_all_places_are_taken(count):
    assert drop_chance(count, start=10, percent=1, full=100) == 1


def test_a_start_at_the_end_is_a_plain_bound():
    """Nobody is dropped at random."""
    assert drop_chance(99, start=100, percent=30, full=100) == 0
    assert drop_chance(100, start=100, percent=30, full=100) == 1


def test_the_dice_decide_between_start_and_full():
    """A low throw drops, a high one does not; below the start nobody throws."""
    thrown = [0.29, 0.31]
    door = Admission(
        Limits(unauthenticated_per_address_start=2, unauthenticated_per_address=1000),
        lambda: thrown.pop(0),
    )
    assert fill(door, ANN, 2) == [True, True]
    assert fill(door, ANN, 2) == [False, True]
    assert thrown == []


def test_the_dice_decide_over_all_as_over_one_address():
    """Though each address has few."""
    door = Admission(Limits(unauthenticated_start=2, unauthenticated=1000), lambda: 0.0)
    assert fill(door, ANN, 1) + fill(door, BOB, 2) == [True, True, False]


def test_a_class_behind_one_address_is_served_whatever_the_dice_say():
    """Sixty within one second, by the defaults."""
    door = Admission(Limits(), lambda: 0.0)
    assert fill(door, ANN, 60) == [True] * 60


def test_one_address_never_shuts_the_door():
    """By the defaults another gets in, whatever the dice say."""
    door = Admission(Limits(), lambda: 0.999)
    assert sum(fill(door, ANN, 1000)) == Limits().unauthenticated_per_address
    assert Limits().unauthenticated_per_address <= Limits().unauthenticated_start / 2
    assert fill(door, BOB, 60) == [True] * 60


def test_strangers_are_bounded_in_all_and_by_address():
    """One address fills its own places alone; who leaves makes room."""
    door = admission(unauthenticated=5, unauthenticated_per_address=3)
    first = door.enter(ANN, 0.0)
    assert fill(door, ANN, 3) == [True, True, False]
    assert fill(door, BOB, 3) == [True, True, False]
    first.leave()
    first.leave()
    assert fill(door, BOB, 2) == [True, False]


def test_the_silent_give_their_places_to_who_comes():
    """The one that is silent for longest, of the address that is full; not the youngest, and nobody
    who said something.
    """
    door = admission(unauthenticated_per_address=3, silence=0.25)
    other, spoke, first, second = (
        door.enter(source, now) for source, now in ((BOB, 0), (ANN, 0), (ANN, 1), (ANN, 2))
    )
    cut = []
    for place in (other, spoke, first, second):
        place.cut = lambda place=place: cut.append(place)
    spoke.spoke()
    third = door.enter(ANN, 2.2)
    assert cut == [first]
    assert door.enter(ANN, 2.2) is None
    assert door.enter(ANN, 2.3) is not None
    assert cut == [first, second]
    third.spoke()
    first.leave()
    first.close()
    assert door.enter(ANN, 2.4) is None
    assert cut == [first, second]


def test_the_silent_of_all_addresses_give_way_when_all_places_are_taken():
    """Of connections in all as well."""
    for numbers in ({"unauthenticated": 2}, {"connections": 2}):
        door = admission(**numbers)
        first = door.enter(BOB, 0)
        cut = []
        first.cut = lambda cut=cut: cut.append("bob")
        door.enter(BOB, 9.9)
        assert door.enter(ANN, 10)
        assert cut == ["bob"]
        assert door.enter(ANN, 10) is None


def test_places_in_all_are_given_back_when_the_connection_is_closed():
    """To prove somebody makes room for strangers, not in all."""
    door = admission(connections=2)
    first, second = door.enter(ANN, 0.0), door.enter(ANN, 0.0)
    assert door.enter(ANN, 0.0) is None
    for place in (first, second):
        place.spoke()
        place.leave()
    assert door.enter(ANN, 9.0) is None
    second.close()
    assert door.enter(ANN, 9.0)


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_an_ipv6_host_is_its_network(text, other, same):
    """A /64 is what one host has; an IPv4 address in IPv6 clothes is that address."""
    bits = {"ipv4_prefix": 32, "ipv6_prefix": 64}
    assert (Source.of(text, **bits) == Source.of(other, **bits)) is same


def test_the_prefixes_can_be_others():
    """And a source is written as people write it, and read again."""
    for text, written in (
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8::/32"),
    ):
        source = Source.of(text, ipv4_prefix=24, ipv6_prefix=32)
        assert str(source) == written
        assert Source.read(written) == source
    assert str(Source.of("192.0.2.7", ipv4_prefix=32, ipv6_prefix=64)) == "192.0.2.7"


def test_what_is_no_address_is_no_source():
    for text in ("", "local", "192.0.2.1/33", "192.0.2.1/24"):
        with pytest.raises(ValueError, match=r"."):
            Source.read(text)
