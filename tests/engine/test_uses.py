"""Where containers are is asked once; what they use is read."""

from __future__ import annotations

import pytest

from broker.core.interfaces import Usage
from broker.engine import uses
from broker.engine.uses import ASKED, Uses


class Host:
    """An engine that says where containers are, and the kernel's figures by that."""

    def __init__(self, monkeypatch) -> None:
        self.asked = []
        self.figures = {}
        monkeypatch.setattr(uses, "cpu_seconds", lambda *place: self.figures.get(place))
        monkeypatch.setattr(uses, "memory_bytes", lambda *place: 1000)
        self.places = {}
        self.uses = Uses(self.find)

    def find(self, name):
        self.asked.append(name)
        return self.places.get(name)

    def run(self, name, pid=1):
        self.places[name] = (name, pid)
        self.figures[name, pid] = 2.0


@pytest.fixture
def host(monkeypatch):
    return Host(monkeypatch)


def test_the_engine_is_asked_once(host):
    host.run("a")
    for _ in range(3):
        assert host.uses.of(["a"]) == {"a": Usage(cpu=2.0, memory=1000)}
    assert host.asked == ["a"]


def test_one_that_runs_elsewhere_by_now_is_found_again(host):
    host.run("a")
    host.uses.of(["a"])
    host.figures.clear()
    assert host.uses.of(["a"]) == {}
    host.run("a", pid=2)
    assert set(host.uses.of(["a"])) == {"a"}


def test_of_many_that_are_new_some_are_asked_for_at_a_time(host):
    names = [f"c{n}" for n in range(ASKED + 5)]
    for name in names:
        host.run(name)
    assert len(host.uses.of(names)) == ASKED
    assert len(host.uses.of(names)) == len(names)


def test_what_nobody_asks_for_any_more_is_forgotten(host, monkeypatch):
    monkeypatch.setattr(uses, "_MOST", 1)
    for name in "abc":
        host.run(name)
    host.uses.of(["a", "b"])
    host.uses.of(["c"])
    assert list(host.uses._places) == ["c"]
