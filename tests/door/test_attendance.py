"""What a door tells of who is there, before a broker that does not always listen."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from broker.core.errors import EngineUnavailable
from broker.core.gateway import Attachment, Load
from broker.core.idle import Signal
from broker.door.activity import Carried, Kind
from broker.door.attendance import Attendance
from broker.door.limits import Limits
from broker.system.tasks import Tasks

KEY = Carried(Kind.SHELL, True, 1, 0)
IDLE = Limits(report_every=1000.0, report_gap=0.0)
LOAD = Load(connections=7, authenticated=5)
BUSY = Limits(report_every=0.01, report_gap=0.0)


class Channels:
    """Carried what the test put in."""

    def __init__(self, *carried: Carried) -> None:
        self.carried = list(carried)

    def look(self):
        carried, self.carried = self.carried, []
        return carried

    def kinds(self):
        return ("shell",)


class Listener:
    """The broker's side."""

    def __init__(self) -> None:
        self.told: list[tuple] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.reports: list = []
        self.loads: list = []

    async def attached(self, door, attachment):
        self.told.append(("attached", attachment.id))

    async def detached(self, door, attachment_id):
        self.told.append(("detached", attachment_id))

    async def carries(self, door, load):
        self.loads.append((door, load))

    async def report(self, door, activities):
        self.told.append(("report", *sorted(a.attachment.id for a in activities)))
        self.reports.append((door, activities))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


def attachment(name: str) -> Attachment:
    return Attachment(id=name, session_id="s1", user="ann", peer="192.0.2.1:5", client="x")


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
async def make(listener):
    """Makes an attendance; it and its tasks end with the test."""
    made = []

    def build(limits: Limits) -> Attendance:
        background = Tasks()
        made.append((Attendance(listener, limits, background, lambda: LOAD), background))
        made[-1][0].start()
        return made[-1][0]

    yield build
    for attendance, background in made:
        await attendance.close()
        await background.close()


async def test_with_each_report_comes_how_much_the_door_carries(make, listener):
    attendance = make(BUSY)
    await until(lambda: len(listener.loads) >= 2)
    assert set(listener.loads) == {(attendance.door, LOAD)}


async def test_a_report_names_all_and_what_they_did(make, listener):
    """With ages from the moment of the report, under the door's name."""
    attendance = make(BUSY)
    attendance.enter(attachment("a"), Channels(KEY))
    attendance.enter(attachment("b"), Channels())
    await until(lambda: len(listener.reports) >= 3)
    door, activities = listener.reports[0]
    assert door == attendance.door
    first = {a.attachment.id: a for a in activities}
    assert first["a"].ages == {Signal.TYPING: 0.0}
    assert first["b"].ages == {}
    assert first["a"].kinds == ("shell",)
    later = {a.attachment.id: a for a in listener.reports[2][1]}
    assert later["a"].ages[Signal.TYPING] > 0
    assert later["a"].attached_for > first["a"].attached_for >= 0


async def test_an_empty_door_reports_too(make, listener):
    """What it does not name has left."""
    make(BUSY)
    await until(lambda: listener.told)
    assert listener.told[0] == ("report",)


async def test_a_broker_that_knows_nothing_is_told_at_once(make, listener):
    """Though the last report was a moment ago, and the next is far. Others' haste waits as ever."""
    attendance = make(Limits(report_every=1000.0, report_gap=500.0))
    visit = attendance.enter(attachment("a"), Channels(KEY))
    await until(lambda: listener.told == [("attached", "a")])
    for times in (1, 2):
        attendance.report_now()
        await until(lambda times=times: len(listener.reports) == times)
    assert listener.told[1:] == [("report", "a")] * 2
    visit._carrier.carried.append(KEY)
    attendance.leave(visit)
    await asyncio.sleep(0.02)
    assert len(listener.reports) == 2


async def test_who_did_nothing_leaves_at_once(make, listener):
    """And is in no report from then on."""
    attendance = make(IDLE)
    attendance.leave(attendance.enter(attachment("a"), Channels()))
    await until(lambda: len(listener.told) == 2)
    assert listener.told == [("attached", "a"), ("detached", "a")]


async def test_who_did_something_is_reported_before_leaving(make, listener):
    """A copy of one file is over before the next report is due."""
    attendance = make(IDLE)
    attendance.leave(attendance.enter(attachment("a"), Channels(KEY)))
    await until(lambda: ("detached", "a") in listener.told)
    assert listener.told == [("attached", "a"), ("report", "a"), ("detached", "a")]
    (activity,) = listener.reports[0][1]
    assert activity.ages.keys() == {Signal.TYPING}
    assert activity.kinds == ()


async def test_what_was_reported_is_not_reported_again_at_the_end(make, listener):
    attendance = make(IDLE)
    visit = attendance.enter(attachment("a"), Channels(KEY))
    await attendance._report()
    attendance.leave(visit)
    await until(lambda: ("detached", "a") in listener.told)
    assert [told[0] for told in listener.told].count("report") == 1


async def test_nobody_is_told_to_have_left_while_a_report_names_them(make, listener):
    """The broker might take the report for the later word."""
    listener.gate = asyncio.Event()
    attendance = make(BUSY)
    idle = attendance.enter(attachment("a"), Channels())
    channels = Channels()
    busy = attendance.enter(attachment("b"), channels)
    await until(lambda: ("report", "a", "b") in listener.told)
    channels.carried = [KEY]
    attendance.leave(idle)
    attendance.leave(busy)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(told[0] == "detached" for told in listener.told)
    listener.gate.set()
    await until(lambda: ("detached", "b") in listener.told)
    assert ("detached", "a") in listener.told
    assert ("report", "b") in listener.told[: listener.told.index(("detached", "b"))]
    settled = len(listener.told)
    await until(lambda: len(listener.told) > settled)
    assert listener.told[-1] == ("report",)


@pytest.mark.parametrize("error", [EngineUnavailable("down"), RuntimeError("a fault")])
async def test_a_report_that_fails_is_logged_once_and_repeated(make, listener, error):
    """Once for each outage, whatever the failure; nothing that was seen is lost."""
    with structlog.testing.capture_logs() as logs:
        attendance = make(IDLE)
        attendance.enter(attachment("a"), Channels(KEY))
        for failing in (error, error, None, error):
            listener.error = failing
            await attendance._report()
    assert [entry["event"] for entry in logs] == ["activity untold"] * 2
    assert all(report[1][0].ages.keys() == {Signal.TYPING} for report in listener.reports)


async def test_the_loop_outlives_a_failure(make, listener):
    listener.error = RuntimeError("a fault")
    make(BUSY)
    await until(lambda: len(listener.reports) >= 3)


async def test_who_leaves_while_the_broker_is_away_is_not_kept(make, listener):
    """One try, and the door remembers them no longer."""
    listener.error = EngineUnavailable("down")
    attendance = make(IDLE)
    attendance.leave(attendance.enter(attachment("a"), Channels(KEY)))
    await until(lambda: ("detached", "a") in listener.told)
    assert not attendance._here


async def test_the_end_keeps_nobody_waiting(make, listener):
    """Not even for a report that hangs."""
    listener.gate = asyncio.Event()
    attendance = make(BUSY)
    await until(lambda: listener.reports)
    attendance.leave(attendance.enter(attachment("a"), Channels(KEY)))
    await attendance.close()
    attendance.leave(attendance.enter(attachment("b"), Channels(KEY)))
    await until(lambda: ("detached", "b") in listener.told and ("detached", "a") in listener.told)
    reports = len(listener.reports)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(listener.reports) == reports


async def test_many_who_leave_share_a_report(make, listener):
    """However many: one report at a time."""
    attendance = make(Limits(report_every=1000.0, report_gap=0.02))
    visits = [attendance.enter(attachment(f"v{k}"), Channels(KEY)) for k in range(50)]
    for visit in visits:
        attendance.leave(visit)
        await asyncio.sleep(0)
    await until(lambda: sum(told[0] == "detached" for told in listener.told) == 50)
    assert len(listener.reports) <= 2
