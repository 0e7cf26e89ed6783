"""Why a desktop is awake or asleep, in words and for programs: what was seen, and what comes."""

from __future__ import annotations

from datetime import datetime

import pytest

from broker.core.idle import Signal
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.core.words import spoken
from broker.service.sentences import SIGNALS
from broker.service.watches import LOOK_EVERY
from tests.service.harness import outage
from tests.service.hours import DAY, HOUR, MINUTE, Hours, begin


@pytest.fixture
async def story(world):
    """A desktop that runs, with nobody in it."""
    made = await begin(world)
    await made.hours.tick()
    return made


# ------------------------------------------------------------------------------- states


async def test_a_desktop_that_never_ran_says_so(broker):
    """It has no session to tell of."""
    ada = await broker.person()
    await broker.desktop()
    text, data = await Hours(broker).why(ada)
    assert text == "main never ran; the next connect starts it.\n"
    assert (data["state"], data["session"], data["changes"]) == ("stopped", None, [])
    assert (data["signals"], data["counts"], data["next_at"]) == ({}, None, None)


async def test_a_desktop_that_starts_says_since_when(broker):
    """And nothing of sleep."""
    ada = await broker.person()
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    broker.clock.advance(7)
    text, data = await Hours(broker).why(ada)
    assert text == "main is starting since 7 s.\n"
    assert (data["state"], data["reason"], data["next"]) == ("starting", None, None)
    broker.probe.answering.set()
    await waiting


async def test_a_desktop_that_runs_tells_what_keeps_it_and_until_when(story):
    """The whole text, as people read it."""
    hours = story.hours
    await hours.visit(story.session, "shell", kinds=("shell",))
    await hours.act(Signal.TYPING, "shell")
    hours.touch(story.session)
    hours.compute(story.session, 0.5)
    await hours.go_by(20 * MINUTE)
    await hours.act(Signal.DATA, "shell")
    await hours.go_by(5 * MINUTE)
    text, data = await hours.why(story.ada)
    at = datetime.fromisoformat(data["next_at"])
    assert text.splitlines() == [
        "main is awake, 1 attached.",
        "What keeps it awake, and when that was last seen:",
        "  keyboard or mouse in the desktop  25 min ago",
        "  typing in a terminal              25 min ago",
        "  data sent by a client             5 min ago",
        "  files over sftp                   not seen",
        f"  its programs compute              {spoken(data['signals']['job'])} ago   <- this counts",
        "  data sent to a client             not seen",
        "  somebody asked to keep it         no",
        "  somebody connected                25 min ago",
        "  it was started or woken           25 min ago",
        "  (a job keeps it for at most 1 d with nobody there)",
        (
            f"If nothing happens it goes to sleep in {spoken(data['next_in'])}, at"
            f" {at:%Y-%m-%d %H:%M} UTC; whoever is inside is told 5 min before."
        ),
    ]
    assert data["attached"] == 1
    assert data["signals"] == {
        "input": 25 * MINUTE,
        "typing": 25 * MINUTE,
        "data": 5 * MINUTE,
        "job": data["signals"]["job"],
        "arrived": 25 * MINUTE,
        "woke": 25 * MINUTE,
    }
    assert data["next_in"] == HOUR - data["signals"]["job"]
    assert (data["counts"], data["next"], data["kept_for"]) == ("job", "freeze", 0)


@pytest.mark.parametrize("signal", ["typing", "data", "files", "transfer"])
async def test_each_thing_that_a_client_does_is_named(story, signal):
    """By the signal's name for programs, by its words for people."""
    hours = story.hours
    await hours.go_by(10 * MINUTE)
    await hours.visit(story.session)
    await hours.act(Signal(signal))
    hours.clock.advance(30)
    text, data = await hours.why(story.ada)
    assert data["signals"][signal] == 30
    (line,) = [line for line in text.splitlines() if SIGNALS[Signal(signal)] in line]
    assert line.endswith("30 s ago   <- this counts")
    assert await hours.counts(story.ada) == signal


async def test_the_desktop_itself_is_asked(story):
    """The answer is of now, not of the last look; a desktop that does not say is no answer."""
    hours, idle = story.hours, story.broker.inside.idle
    await hours.visit(story.session)
    await hours.go_by(30 * MINUTE)
    assert "input" not in (await hours.why(story.ada))[1]["signals"]
    idle[story.session.id] = 12.0
    text, data = await hours.why(story.ada)
    assert data["signals"]["input"] == 12
    assert "keyboard or mouse in the desktop  12 s ago   <- this counts" in text


async def test_an_engine_that_is_down_makes_no_answer_fail(world, story):
    """What is known is told."""
    with outage(world):
        _, data = await story.hours.why(story.ada)
    assert data["state"] == "ready"


async def test_a_wish_is_told_with_what_is_left_of_it(story):
    """And who asked stands in the changes."""
    await story.broker.gateway.word(story.ada, ["extend", "4h"])
    await story.hours.go_by(HOUR)
    text, data = await story.hours.why(story.ada)
    assert "  somebody asked to keep it         for 3 h more   <- this counts" in text
    assert (data["kept_for"], data["counts"], data["next_in"]) == (3 * HOUR, "keep", 3 * HOUR)
    assert data["changes"][0] == {
        "at": "2030-01-01T09:00:11+00:00",
        "due_at": "2030-01-01T13:00:11+00:00",
        "next": "freeze",
        "signal": "keep",
        "actor": "user:ada",
    }


async def test_a_desktop_that_sleeps_tells_why_and_when_it_is_stopped(story):
    """Nothing keeps it awake any more, so nothing of that is told."""
    hours = story.hours
    await hours.until(story.sleeps, within=2 * HOUR)
    await hours.go_by(2 * HOUR)
    text, data = await hours.why(story.ada)
    assert text.splitlines() == [
        "main sleeps since 2 h: nobody used it for 1 h. The next connect wakes it.",
        "Unless somebody connects, it is stopped in 22 h, at 2030-01-02 10:00 UTC; its home is kept.",
    ]
    assert (data["state"], data["reason"]) == ("frozen", "nobody used it for 1 h")
    assert (data["next"], data["next_in"]) == ("stop", 22 * HOUR + LOOK_EVERY)
    assert data["since"] == "2030-01-01T10:00:21+00:00"
    assert [(c["next"], c["signal"]) for c in data["changes"]] == [
        ("stop", "woke"),
        ("freeze", "woke"),
    ]


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ({"exit_code": 3}, "its container stopped with exit code 3"),
        ({"oom_killed": True}, "its container ran out of memory"),
    ],
)
async def test_a_desktop_that_ended_tells_why(world, story, death, reason):
    """Until the next one runs."""
    world.engine.die(container_name(story.session.id), **death)
    await story.broker.settle()
    story.hours.clock.advance(3 * MINUTE)
    text, data = await story.hours.why(story.ada)
    assert text == f"main stopped 3 min ago: {reason}. The next connect starts it.\n"
    assert (data["state"], data["reason"], data["counts"]) == ("stopped", reason, None)
    await story.broker.route(story.ada)
    assert (await story.hours.why(story.ada))[1]["state"] == "ready"


async def test_a_desktop_that_is_being_stopped_tells_why(world, story):
    """By whoever did it."""
    with outage(world):
        await story.broker.gateway.word(story.ada, ["stop"])
        text, data = await story.hours.why(story.ada)
    assert text == "main is being stopped: ada stopped it.\n"
    assert (data["state"], data["reason"]) == ("stopping", "ada stopped it")


async def test_nothing_is_told_to_be_due_in_the_past(story):
    """A desktop that takes no warning overstays: then it sleeps any moment."""
    story.broker.inside.deaf.add(story.session.id)
    await story.hours.visit(story.session)
    await story.hours.go_by(HOUR - 20)
    story.hours.clock.advance(40)
    assert await story.state() is SessionState.READY
    text, data = await story.hours.why(story.ada)
    assert data["next_in"] == 0
    assert "If nothing happens it goes to sleep in 0 s, at " in text


async def test_what_never_sleeps_says_so(world):
    """For programs, by the lack of a next step."""
    story = await begin(world, freeze_after="never", stop_after="never")
    await story.hours.tick()
    text, data = await story.hours.why(story.ada)
    assert text.endswith("It does not go to sleep by itself.\n")
    assert (data["next"], data["next_in"], data["next_at"]) == (None, None, None)
    assert data["changes"][0]["due_at"] is None


async def test_what_is_stopped_and_never_frozen_says_so(world):
    """Its programs would end."""
    story = await begin(world, freeze_after="never", stop_after="2h")
    await story.hours.tick()
    text, data = await story.hours.why(story.ada)
    assert "If nothing happens it is stopped in 2 h, at 2030-01-01 11:00 UTC;" in text
    assert (data["next"], data["next_in"]) == ("stop", 2 * HOUR)


async def test_the_last_five_changes_are_told_the_newest_first(story):
    """Each wish is one."""
    for hours in range(2, 9):
        await story.broker.gateway.word(story.ada, ["extend", f"{hours}h"])
    _, data = await story.hours.why(story.ada)
    due = [change["due_at"][11:13] for change in data["changes"]]
    assert due == ["17", "16", "15", "14", "13"]


async def test_a_day_of_sleep_is_told_in_the_largest_units(story):
    """Whoever reads it has no calculator."""
    await story.broker.freeze(story.session)
    await story.hours.go_by(DAY - 90 * MINUTE)
    text, _ = await story.hours.why(story.ada)
    assert text.startswith("main sleeps since 22 h 30 min: ")
