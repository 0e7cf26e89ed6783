"""Whoever is in a desktop is asked whether somebody may come in: in the real image."""

from __future__ import annotations

import asyncio
import re

import pytest

from broker.service.dial import dial
from broker.service.inside import Question
from tests.e2e.test_inside import PATIENCE, Broker, broker, desktop, pointer  # noqa: F401 - fixtures

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GUEST = "0123456789abcdef"

#: What is to be text wherever it is shown.
HOSTILE = "<b>Eve</b> & $(reboot)"

QUESTION = Question(
    title="Somebody asks to come in",
    text=f"A guest who calls themselves “{HOSTILE}”, from 192.0.2.7, asks to see this desktop.",
    about=GUEST,
    lasts=60.0,
)


async def shown(broker):  # noqa: F811
    """Where the notification is: left, top, width, height."""
    windows = await broker.says("xwininfo -root -tree")
    places = re.findall(r'"xfce4-notifyd".*?(\d+)x(\d+)\+\d+\+\d+\s+\+(\d+)\+(\d+)', windows)
    # It has small ones of its own that are not on the screen.
    width, height, left, top = max(tuple(map(int, place)) for place in places)
    return left, top, width, height


@pytest.mark.parametrize(("button", "word"), [(56, "let-in"), (130, "refuse")])
async def test_a_button_answers_the_question(broker, button, word):  # noqa: F811
    """By the same word that whoever has but a terminal says."""
    await broker.until_it_listens()
    assert await broker.inside.ask(broker.session.id, QUESTION)
    left, top, width, height = await shown(broker)
    async with broker.viewer() as send:
        for pressed in (0, 1, 0):
            send(pointer(left + width - button, top + height - 28, pressed=pressed))
            await broker.says("true")
        async with asyncio.timeout(PATIENCE):
            while not broker.asked:
                await broker.says("true")
        send(pointer(0, 0, pressed=0))
    assert broker.asked == [["share", word, GUEST]]
    await broker.says("pkill notify-send; true")


async def test_a_line_on_each_terminal_tells_the_words(broker):  # noqa: F811
    """What a guest calls themselves is text there."""
    async with await dial(broker.endpoint, broker.access) as connection:
        terminal = await connection.create_process("echo here; cat", term_type="xterm")
        await terminal.stdout.readline()
        assert await broker.inside.ask(broker.session.id, QUESTION)
        line = (await terminal.stdout.readuntil(" ***")).strip()
    assert line == (
        f"*** Desk: {QUESTION.text} Say 'desk share let-in {GUEST}' or 'desk share refuse {GUEST}'. ***"
    )
    await broker.says("pkill notify-send; true")
