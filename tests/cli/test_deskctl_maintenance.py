"""deskctl maintenance, broadcast, desktop outdated: as people and programs read them."""

from __future__ import annotations

import json
import re


def start(served, name="ada"):
    async def begin():
        return await served.broker.ensure(await served.broker.desktop(name))

    return served.do(begin())


def test_a_drain_is_announced_told_and_over(served, run):
    """With its date in UTC, whatever this machine's time is."""
    start(served)
    assert run("maintenance", "status") == (
        "Desktops start. 1 sessions live, 0 starts under way.\n"
    )
    told = run("maintenance", "drain", "--at", "2031-01-02 22:00+02:00", "--message", "New disk")
    assert re.fullmatch(
        r"Nothing starts, since 2030-01-01 \d\d:\d\dZ by uid:\d+: maintenance, planned for"
        r" 2031-01-02 20:00Z\. New disk\. 1 sessions live, 0 starts under way\.\n"
        r"1 desktops showed it\.\n",
        told,
    )
    found = json.loads(run("maintenance", "status", "--json"))
    assert (found["draining"], found["at"]) == (True, "2031-01-02T20:00:00+00:00")
    assert run("maintenance", "resume") == "Desktops start again.\n"
    assert json.loads(run("maintenance", "status", "--json"))["draining"] is False


def test_a_date_that_is_none_is_refused(served, refused):
    """Also one that is over."""
    assert "allowed is a date with its time" in refused(
        "maintenance", "drain", "--at", "tonight", code=2
    )
    assert "yet to come" in refused("maintenance", "drain", "--at", "2001-01-01 10:00")


def test_a_broadcast_says_how_many_saw_it(served, run):
    sessions = [start(served, name) for name in ("ada", "bob")]
    served.broker.inside.deaf.add(sessions[0].id)
    assert run("broadcast", "Lunch") == "1 desktops showed it; 1 could not show it.\n"


def test_outdated_desktops_are_listed(served, run):
    """With both images, short."""
    session = start(served)
    assert json.loads(run("desktop", "outdated", "--json")) == []
    served.world.engine.images["desk:latest"] = "sha256:" + "7" * 64
    (row,) = json.loads(run("desktop", "outdated", "--json"))
    assert (row["session"], row["user"], row["name"]) == (session.id, "ada", "main")
    assert "7" * 12 in run("desktop", "outdated")
