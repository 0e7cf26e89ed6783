"""The `desk` command's line in and line out, and how much of it one desktop gets."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.core.gateway import WordReply
from broker.service import commands
from broker.service.commands import AT_ONCE, MOST_REPLY, MOST_REQUEST, PER_MINUTE, Desk
from tests.clocks import ManualClock


class Writer:
    """Keeps what is written, and in what pieces."""

    def __init__(self):
        self.parts = []

    def write(self, data):
        self.parts.append(data)

    async def drain(self):
        pass

    @property
    def reply(self):
        line = b"".join(self.parts)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        return json.loads(line)


class Caller:
    """A desktop and the broker that it asks."""

    def __init__(self):
        self.asked = []
        self.clock = ManualClock()
        self.desk = Desk(self.answer, self.clock)
        self.reply = WordReply(stdout="it sleeps at nine\n", stderr="", status=0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, argv):
        self.asked.append(list(argv))
        await self.gate.wait()
        return self.reply

    async def send(self, line, *, ends=True):
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(line)
        if ends:
            reader.feed_eof()
        await self.desk.hear(reader, writer)
        return writer


@pytest.fixture
def caller():
    """A desktop that may ask."""
    return Caller()


def line(*argv):
    return json.dumps({"argv": list(argv)}).encode() + b"\n"


async def test_a_question_is_answered(caller):
    """The words go in, output and status come back; nobody waits for the stream's end."""
    writer = await caller.send(line("extend", "2h"), ends=False)
    assert caller.asked == [["extend", "2h"]]
    assert writer.reply == {"stdout": "it sleeps at nine\n", "stderr": "", "status": 0}


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"\n",
        b"hello\n",
        b'{"argv": "status"}\n',
        b'{"argv": ["a", 1]}\n',
        b'{"arg": []}\n',
        b"[1]\n",
        b"3\n",
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
        b'{"argv": ["status"]} trailing\n',
    ],
)
async def test_nonsense_gets_one_sentence(caller, request_line):
    """And asks the broker nothing."""
    reply = (await caller.send(request_line)).reply
    assert reply["stderr"] == "desk: This is no request of the desk command.\n"
    assert reply["status"] == 1
    assert caller.asked == []


async def test_a_request_without_end_is_refused(caller):
    """After 4 KiB nothing more is read."""
    reply = (await caller.send(b'{"argv": ["' + b"x" * MOST_REQUEST, ends=False)).reply
    assert "more than a command" in reply["stderr"]
    assert caller.asked == []


async def test_whoever_says_nothing_is_not_waited_for(caller, monkeypatch):
    """The rest of the request has its time."""
    monkeypatch.setattr(commands, "_REQUEST_WITHIN", 0.01)
    reply = (await caller.send(b'{"argv": [', ends=False)).reply
    assert "did not come to its end" in reply["stderr"]


async def test_an_answer_has_its_time(caller, monkeypatch):
    """The command inside waits a second longer, and is to be told."""
    monkeypatch.setattr(commands, "_ANSWER_WITHIN", 0.01)
    caller.gate.clear()
    reply = (await caller.send(line("start"))).reply
    assert "took too long" in reply["stderr"]


async def test_so_many_are_answered_at_once(caller):
    """One more is told so, and its turn comes when another is done."""
    caller.gate.clear()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(caller.send(line(str(n)))) for n in range(AT_ONCE)]
        while len(caller.asked) < AT_ONCE:
            await asyncio.sleep(0)
        reply = (await caller.send(line("one more"))).reply
        assert "at once" in reply["stderr"]
        caller.gate.set()
    assert {task.result().reply["status"] for task in waiting} == {0}
    assert (await caller.send(line("now"))).reply["status"] == 0


async def test_so_many_are_answered_in_a_minute(caller):
    """Refusals do not count, so that whoever waits a minute is served."""
    for _ in range(PER_MINUTE):
        assert (await caller.send(line())).reply["status"] == 0
    caller.clock.advance(59)
    assert "times a minute" in (await caller.send(line())).reply["stderr"]
    caller.clock.advance(1)
    assert (await caller.send(line())).reply["status"] == 0
    assert len(caller.asked) == PER_MINUTE + 1


async def test_a_reply_is_bounded(caller):
    """What is too long is replaced, not cut: half an answer is a wrong one."""
    caller.reply = WordReply(stdout="x" * MOST_REPLY, stderr="", status=0)
    reply = (await caller.send(line())).reply
    assert (reply["stdout"], reply["status"]) == ("", 1)
    assert "too long" in reply["stderr"]


async def test_a_long_reply_goes_out_in_pieces(caller):
    """A peer that takes a byte a packet holds up nobody else for long."""
    caller.reply = WordReply(stdout="ü" * 1000, stderr="", status=3)
    writer = await caller.send(line())
    assert writer.reply == {"stdout": "ü" * 1000, "stderr": "", "status": 3}
    assert max(map(len, writer.parts)) <= 512
