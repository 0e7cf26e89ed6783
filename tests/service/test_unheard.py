"""Doors that the broker cannot understand: nobody that they may carry is put to sleep."""

from __future__ import annotations

import pytest
import structlog

from broker.core.model import SessionState
from broker.service.presence import DOOR_SILENCE
from broker.service.watches import LOOK_EVERY
from tests.service.hours import DAY, HOUR, MINUTE, begin

READY, FROZEN, ENDED = SessionState.READY, SessionState.FROZEN, SessionState.ENDED

#: The default policy: asleep an hour after the last activity.
AFTER = HOUR


async def test_nobody_counts_as_away_while_a_door_cannot_be_understood(world):
    """Such a door tries again every second; when it is gone, all time counts anew."""
    story = await begin(world)
    broker, hours = story.broker, story.hours

    async def it_tries() -> None:
        broker.gateway.unheard()

    with structlog.testing.capture_logs() as logs:
        await hours.go_by(3 * AFTER, each=it_tries)
    assert await story.state() is READY
    assert story.told == []
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert len(warnings) == 1
    took = await hours.until(story.sleeps, within=AFTER + 10 * MINUTE)
    assert AFTER <= took <= AFTER + DOOR_SILENCE + 3 * LOOK_EVERY


@pytest.mark.parametrize(
    "policy", [{"max_age": "2h"}, {"freeze_after": "never", "stop_after": "2h"}]
)
async def test_nothing_is_stopped_meanwhile(world, policy):
    """However old it is."""
    story = await begin(world, **policy)

    async def it_tries() -> None:
        story.broker.gateway.unheard()

    await story.hours.go_by(DAY / 4, each=it_tries)
    assert await story.state() is READY


async def test_what_sleeps_is_stopped_all_the_same(world):
    """Nobody can be in it."""
    story = await begin(world, stop_after="2h")
    await story.hours.until(story.sleeps, within=AFTER + 10 * MINUTE)

    async def it_tries() -> None:
        story.broker.gateway.unheard()

    await story.hours.go_by(2 * HOUR + MINUTE, each=it_tries)
    assert await story.state() is ENDED
