"""Who is where: counted once and never lost, whatever happened to a message or to a process."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import CapacityExhausted
from broker.core.gateway import Activity, Attachment
from broker.core.idle import Signal
from broker.service import presence
from broker.service.presence import DOOR_SILENCE, Presence
from tests.clocks import ManualClock


class Doors:
    """Doors, and what they tell."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.advance(10_000)
        self.saw: list[tuple[str, Signal, float]] = []
        self.presence = Presence(self.clock, lambda *seen: self.saw.append(seen))

    def comes(self, name: str, *, session="s", door="one") -> None:
        self.presence.attached(door, attachment(name, session))

    def report(self, *names: str, door="one", session="s", ago=0.0, ages=None, kinds=()) -> None:
        self.presence.report(
            door,
            [
                Activity(
                    attachment=attachment(name, session),
                    attached_for=ago,
                    kinds=kinds,
                    ages=ages or {},
                )
                for name in names
            ],
        )

    @property
    def there(self) -> list[str]:
        return [one.attachment.id for one in self.presence.everybody()]


def attachment(name: str, session="s") -> Attachment:
    return Attachment(id=name, session_id=session, user="ada", peer="p", client="c")


@pytest.fixture
def doors():
    return Doors()


def test_whoever_comes_is_there_once_however_often_it_is_told(doors):
    """By a message, again, and by a report; that they came is a sign of life once."""
    doors.comes("a")
    doors.clock.advance(5)
    doors.comes("a")
    doors.report("a", ago=5)
    assert doors.there == ["a"]
    assert doors.presence.counts() == Counter(s=1)
    assert doors.saw == [("s", Signal.ARRIVED, 0.0)]
    assert doors.presence.of("s")[0].since == doors.clock.monotonic() - 5


def test_whoever_leaves_is_gone_and_may_leave_twice(doors):
    """Also one that nobody told of before."""
    doors.comes("a")
    for name in ("a", "a", "stranger"):
        doors.presence.detached("one", name)
    assert doors.there == []


def test_a_leaving_that_was_lost_is_made_good_by_the_next_report(doors):
    """What a door does not name is not there, and the other doors' clients are."""
    doors.comes("a")
    doors.comes("b")
    doors.comes("c", door="two")
    doors.report("b")
    assert sorted(doors.there) == ["b", "c"]


def test_an_arrival_that_was_lost_is_made_good_by_the_next_report(doors):
    """With the time at which it really was."""
    doors.report("a", ago=120)
    assert doors.there == ["a"]
    assert doors.saw == [("s", Signal.ARRIVED, 120)]
    assert doors.presence.of("s")[0].since == doors.clock.monotonic() - 120


def test_reports_rebuild_all_after_a_restart(doors):
    """Nothing else is needed: the doors outlive the broker."""
    doors.comes("a")
    doors.comes("b", door="two", session="t")
    fresh = Doors()
    fresh.report("a", ago=300, kinds=("xpra",))
    fresh.report("b", door="two", session="t", ago=10)
    assert fresh.presence.counts() == doors.presence.counts() == Counter(s=1, t=1)
    assert [one.kinds for one in fresh.presence.everybody()] == [("xpra",), ()]


def test_a_door_that_says_nothing_any_more_is_gone_with_its_clients(doors):
    """After a minute; one with a quiet client still reports."""
    doors.comes("a")
    doors.comes("b", door="two")
    doors.clock.advance(DOOR_SILENCE)
    doors.presence.expire()
    assert sorted(doors.there) == ["a", "b"]
    doors.report("b", door="two", ago=DOOR_SILENCE)
    doors.clock.advance(1)
    doors.presence.expire()
    assert doors.there == ["b"]


def test_a_door_that_speaks_again_brings_its_clients_back(doors):
    """It was slow, not gone."""
    doors.comes("a")
    doors.clock.advance(DOOR_SILENCE + 1)
    doors.presence.expire()
    doors.report("a", ago=DOOR_SILENCE + 1)
    assert doors.there == ["a"]
    assert doors.saw[-1] == ("s", Signal.ARRIVED, DOOR_SILENCE + 1)


def test_a_door_that_is_gone_has_lost_its_clients(doors):
    """And no others; when it comes all the same, it brings them back."""
    doors.comes("a")
    doors.comes("b", door="two")
    for _ in range(2):
        doors.presence.gone("one")
        assert doors.there == ["b"]
    doors.report("a")
    assert sorted(doors.there) == ["a", "b"]


def test_no_door_has_more_clients_than_it_can_have(doors, monkeypatch):
    """Whatever it says; those that are known stay so."""
    monkeypatch.setattr(presence, "ATTACHMENTS", 2)
    doors.comes("a")
    doors.comes("b")
    with pytest.raises(CapacityExhausted):
        doors.comes("c")
    doors.comes("a")
    with pytest.raises(CapacityExhausted):
        doors.report("a", "c", "d")
    assert len(doors.there) == 2
    doors.comes("c", door="two")
    assert len(doors.there) == 3


def test_what_a_client_did_is_told_with_its_age(doors):
    """Each signal of its own, for its own session; the newest is what it did last."""
    doors.report("a", ages={Signal.TYPING: 40.0, Signal.DATA: 7.0}, kinds=("forward", "shell"))
    assert sorted(doors.saw[1:]) == [("s", Signal.DATA, 7.0), ("s", Signal.TYPING, 40.0)]
    (one,) = doors.presence.of("s")
    assert one.last_input == doors.clock.monotonic() - 7
    assert one.kinds == ("forward", "shell")
    doors.report("a", kinds=("shell",))
    assert one.last_input == doors.clock.monotonic() - 7
    assert one.kinds == ("shell",)


def test_the_longest_there_is_first(doors):
    """Whichever door it came by."""
    doors.comes("b")
    doors.clock.advance(1)
    doors.report("a", door="two", ago=60)
    doors.comes("c", door="two")
    assert doors.there == ["a", "b", "c"]
    assert [one.attachment.id for one in doors.presence.of("s")] == ["a", "b", "c"]
    assert doors.presence.of("t") == []


NAMES = ["a", "b", "c", "d"]

events = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["come", "leave"]), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("report"), st.none(), st.booleans()),
    ),
    max_size=40,
)


@given(events)
def test_after_a_report_that_arrives_both_sides_agree_whatever_was_lost_before(happened):
    """Each message arrives or not."""
    doors, really = Doors(), set()
    for kind, name, arrives in happened:
        doors.clock.advance(1)
        if kind == "come":
            really.add(name)
            if arrives:
                doors.comes(name)
        elif kind == "leave":
            really.discard(name)
            if arrives:
                doors.presence.detached("one", name)
        elif arrives:
            doors.report(*really)
            assert set(doors.there) == really
        assert max(Counter(doors.there).values(), default=1) == 1
    doors.report(*really)
    assert sorted(doors.there) == sorted(really)
