"""A door as its broker sees it: both of its halves hear everything, and tell what they hold."""

from __future__ import annotations

from dataclasses import replace

from broker.core.gateway import Holdings, Penalty
from broker.door.front import Front
from tests.door.desktop import ADA, EVE


class Half:
    """Keeps what it was told."""

    id = "door"

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *words, **more: self.told.append((name, *words, *more.values()))


class Ssh(Half):
    def holdings(self):
        return Holdings(identities=(ADA,), sessions=("one", "both"))


class Browsers(Half):
    def identities(self):
        return [replace(ADA, address="192.0.2.1"), EVE, EVE]

    def sessions(self):
        return {"both", "two"}


def test_what_is_held_is_told_once():
    held = Front(Ssh(), Browsers()).holdings()
    assert [one.credential for one in held.identities] == [ADA.credential, EVE.credential]
    assert sorted(held.sessions) == ["both", "one", "two"]


def test_what_ends_is_ended_in_both():
    ssh, browsers = Ssh(), Browsers()
    front = Front(ssh, browsers)
    front.end_session("s", "Over.", sleeps=True)
    front.end_user("u", "Over.")
    front.end_credential("c", "Over.")
    both = [
        ("end_session", "s", "Over.", True),
        ("end_user", "u", "Over."),
        ("end_credential", "c", "Over."),
    ]
    assert ssh.told == browsers.told == both


def test_the_rest_is_of_ssh_alone():
    ssh, browsers = Ssh(), Browsers()
    front = Front(ssh, browsers)
    penalty = Penalty(source="192.0.2.1", offence="crash", seconds=1.0)
    front.penalise(penalty)
    front.report_now()
    assert front.id == "door"
    assert ssh.told == [("penalise", penalty), ("report_now",)]
    assert browsers.told == []
