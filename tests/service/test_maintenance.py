"""Before a host is worked on: nothing starts, everybody is told, and it outlives the broker."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.core.errors import BadRequest, InMaintenance
from broker.core.model import Actor, SessionState
from broker.service.maintenance import LONGEST

ADMIN = Actor("uid:0")
TOLD = (
    "No desktop starts just now: Desk is being prepared for maintenance. It is planned for"
    " 2030-01-02 at 10:00 UTC. A new disk comes."
)


def tomorrow(broker):
    return broker.clock.now().replace(hour=10, minute=0) + timedelta(days=1)


async def drain(broker, *, message="A new disk comes"):
    return await broker.maintenance.drain(at=tomorrow(broker), message=message, actor=ADMIN)


async def test_who_comes_while_it_drains_is_told_until_when(broker):
    """Before any place in the queue; nothing is made of it."""
    broker.clock.advance(3600)
    await drain(broker)
    ada = await broker.person()
    refusal = await broker.refused(InMaintenance, broker.route(ada))
    assert refusal.public == TOLD
    assert await broker.store.live_sessions() == []
    assert broker.starts.waiting == broker.starts.under_way == 0


async def test_what_runs_goes_on_and_what_sleeps_wakes(broker):
    """Neither is a start; what was stopped stays so."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    await drain(broker)
    assert (await broker.ensure(desktop)).id == session.id
    await broker.freeze(session)
    assert (await broker.ensure(desktop)).id == session.id
    await broker.sessions.stop(session.id, reason="test", actor="x")
    await broker.refused(InMaintenance, broker.ensure(desktop))


async def test_a_start_that_a_crash_left_is_carried_on(world):
    """It had begun before."""
    broker = await world.broker()
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    await drain(broker)
    await broker.abandon()
    waiting.cancel()
    later = await world.broker()
    await later.settle()
    (session,) = await later.store.live_sessions()
    assert session.state is SessionState.READY


async def test_it_outlives_the_broker(world):
    """Until somebody says that it is over, once or twice."""
    first = await world.broker()
    await drain(first)
    await first.abandon()
    later = await world.broker()
    desktop = await later.desktop()
    await later.refused(InMaintenance, later.ensure(desktop))
    await later.maintenance.resume(actor=ADMIN)
    await later.maintenance.resume(actor=ADMIN)
    assert await later.maintenance.standing() is None
    await later.ensure(desktop)
    actions = [entry.action for entry in reversed(await later.store.audit(limit=50))]
    assert [a for a in actions if a.startswith("maintenance")] == [
        "maintenance.drain",
        "maintenance.resume",
    ]


async def test_everybody_is_told_who_can_be(broker):
    """In desktops that run; one that shows nothing is counted."""
    sessions = [await broker.ensure(await broker.desktop(name)) for name in ("ada", "bob", "eve")]
    broker.inside.deaf.add(sessions[1].id)
    await broker.freeze(sessions[2])
    standing, told = await drain(broker)
    assert (told.told, told.missed) == (1, 1)
    ((session_id, notice),) = broker.inside.told
    assert session_id == sessions[0].id
    assert notice.text == (
        "Maintenance on 2030-01-02 at 10:00 UTC: save your work. What you stop or log out of does"
        " not start again before it is over. A new disk comes."
    )
    assert standing.made_by == "uid:0"


async def test_a_drain_can_be_announced_anew(broker):
    """With another date and word; since when it stands does not change."""
    first, _ = await drain(broker)
    broker.clock.advance(60)
    second, _ = await broker.maintenance.drain(at=None, message="", actor=Actor("uid:7"))
    assert (second.since, second.at, second.made_by) == (first.since, None, "uid:7")
    refusal = await broker.refused(InMaintenance, broker.ensure(await broker.desktop()))
    assert refusal.public == InMaintenance.default
    assert broker.inside.told == []


async def test_a_broadcast_is_shown_and_its_words_are_kept_nowhere(broker):
    """The audit tells who did it, and how many saw it."""
    await broker.ensure(await broker.desktop())
    told = await broker.maintenance.broadcast("Lunch\n is  ready", actor=ADMIN)
    assert (told.told, told.missed) == (1, 0)
    assert broker.inside.told[0][1].text == "Lunch is ready."
    (entry,) = await broker.store.audit(limit=1)
    assert (entry.action, entry.actor) == ("maintenance.broadcast", "uid:0")
    assert entry.detail == {"told": 1, "missed": 0}


@pytest.mark.parametrize("text", ["", "  ", "x" * (LONGEST + 1), "\x1b]0;x\x07"])
async def test_what_cannot_be_shown_is_refused(broker, text):
    with pytest.raises(BadRequest):
        await broker.maintenance.broadcast(text, actor=ADMIN)


async def test_a_date_that_is_over_is_refused(broker):
    """And nothing drains."""
    with pytest.raises(BadRequest, match="yet to come"):
        await broker.maintenance.drain(at=broker.clock.now(), message="", actor=ADMIN)
    await broker.ensure(await broker.desktop())


async def test_who_runs_an_image_of_before_is_known(world):
    """By what the template's name means now: until their next start."""
    broker = await world.broker()
    desktop = await broker.desktop()
    old = await broker.ensure(desktop)
    assert await broker.maintenance.outdated() == []
    world.engine.images["desk:latest"] = "sha256:new"
    (found,) = await broker.maintenance.outdated()
    assert (found.session.id, found.session.image, found.image) == (old.id, old.image, "sha256:new")
    await broker.sessions.stop(old.id, reason="test", actor="x")
    await broker.ensure(desktop)
    assert await broker.maintenance.outdated() == []


async def test_which_image_comes_next_is_asked_once_in_ten_seconds(world):
    """And while the engine is away, nobody knows."""
    broker = await world.broker()
    assert await broker.maintenance.next_image() == world.engine.images["desk:latest"]
    world.engine.images["desk:latest"] = "sha256:new"
    broker.clock.advance(9)
    assert await broker.maintenance.next_image() != "sha256:new"
    broker.clock.advance(1)
    assert await broker.maintenance.next_image() == "sha256:new"
    del world.engine.images["desk:latest"]
    broker.clock.advance(10)
    assert await broker.maintenance.next_image() is None
