"""The front doors that are there, and what all of them are told."""

from __future__ import annotations

from broker.core.gateway import Penalty
from broker.service.connections import Doors
from tests.contract.gateways import FakeDoor

PENALTY = Penalty(source="192.0.2.7", offence="authfail", seconds=60.0)


def test_every_door_that_is_there_is_told():
    """Those that came before, and none that left; whoever says of a source knows it."""
    doors, one, two, left = Doors(), FakeDoor("one"), FakeDoor("two"), FakeDoor("left")
    for door in (one, two, left):
        assert doors.join(door.id, door) is None
    doors.part("left", left)
    doors.end_user("u", "Gone.")
    doors.end_credential("k", "Gone.")
    doors.end_session("s", "It sleeps.", sleeps=True)
    doors.penalise(PENALTY, by="one")
    told = [("user", "u", "Gone."), ("key", "k", "Gone."), ("session", "s", "It sleeps.", True)]
    assert one.told == told
    assert two.told == [*told, ("penalty", PENALTY)]
    assert left.told == []


def test_a_door_that_came_again_is_there_by_its_newer_connection():
    """However late the older one is seen to end."""
    doors, older, newer = Doors(), FakeDoor(), FakeDoor()
    doors.join("door", older)
    assert doors.join("door", newer) is older
    doors.part("door", older)
    assert "door" in doors
    doors.end_credential("k", "Gone.")
    assert (older.told, newer.told) == ([], [("key", "k", "Gone.")])
    doors.part("door", newer)
    assert "door" not in doors


def test_a_door_may_leave_while_it_is_told():
    """As one does that does not read."""
    doors, two = Doors(), FakeDoor("two")

    class Leaver(FakeDoor):
        def end_credential(self, fingerprint, sentence):
            doors.part("one", self)

        end_user = end_credential

        def end_session(self, session_id, sentence, *, sleeps=False):
            doors.part("one", self)

        def penalise(self, penalty):
            doors.part("one", self)

    doors.join("two", two)
    for tell in (
        lambda: doors.end_credential("k", "Gone."),
        lambda: doors.end_user("u", "Gone."),
        lambda: doors.end_session("s", "Gone."),
        lambda: doors.penalise(PENALTY, by="three"),
    ):
        doors._doors = {"one": Leaver("one"), "two": two}
        tell()
    assert len(two.told) == 4
