"""deskctl that goes on: lists that are watched, events that are followed, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from types import SimpleNamespace

import pytest

from broker.cli import ctl_events, ctl_watch
from broker.cli.client import Client
from broker.core.errors import BrokerUnavailable
from tests.service.harness import PATIENCE
from tests.service.people import Person


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Whoever looks again does so at once; an event is waited for."""
    monkeypatch.setattr(ctl_watch, "_PERIOD", 0.01)
    monkeypatch.setattr(ctl_watch, "_MOMENT", 0.0)
    monkeypatch.setattr(ctl_events, "_PAUSE", 0.01)


@pytest.fixture
def while_it_prints(monkeypatch):
    """What was printed, each in its turn: after it a step of the test; after the last Ctrl-C."""

    def begin(module, *steps):
        printed, left = [], list(steps)

        def echo(text=""):
            printed.append(text)
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(module, "click", SimpleNamespace(echo=echo))
        return printed

    return begin


def test_a_list_is_printed_again_when_it_changed(served, run, while_it_prints):
    """And only then, in a pipe; Ctrl-C is its good end."""
    served.do(served.broker.user("ada"))
    printed = while_it_prints(ctl_watch, lambda: served.do(served.broker.user("bob")))
    assert run("user", "ls", "--watch", "--quiet") == ""
    assert printed == ["ada", "ada\nbob"]


def test_what_no_event_tells_of_is_looked_at_again(served, run, while_it_prints):
    """Blocks end by themselves."""
    person = served.do(Person.make(served.broker))
    printed = while_it_prints(ctl_watch, lambda: served.do(person.fail()))
    run("login-block", "ls", "--watch", "--json")
    assert [len(json.loads(line)) for line in printed] == [0, 1]
    assert not any(path.endswith("/events") for _, path in served.asked)


def test_where_events_tell_nothing_else_is_asked(served, run, while_it_prints, monkeypatch):
    """A look for each change: the period between two is never waited for."""
    served.do(served.broker.user("ada"))
    printed = while_it_prints(ctl_watch, lambda: None)
    monkeypatch.setattr(ctl_watch, "_PERIOD", 3600.0)
    looks = []
    ask = Client.ask

    async def watched(self, *args, **kwargs):
        looks.append(args)
        if len(looks) == 2:
            # The line is up: what wakes it from now on is the event alone.
            served.do(served.broker.user("bob"))
        return await ask(self, *args, **kwargs)

    monkeypatch.setattr(Client, "ask", watched)
    run("user", "ls", "--watch", "-q")
    assert printed == ["ada", "ada\nbob"]
    assert 2 <= len(looks) <= 3


def test_a_broker_that_comes_back_goes_on_being_watched(served, run, while_it_prints, monkeypatch):
    """What it said last stands there until then."""
    served.do(served.broker.user("ada"))
    printed = while_it_prints(ctl_watch, lambda: away.extend([BrokerUnavailable()] * 3))
    away, ask = [], Client.ask

    async def trouble(self, *args, **kwargs):
        if away:
            if len(away) == 1:
                served.do(served.broker.user("bob"))
            raise away.pop()
        return await ask(self, *args, **kwargs)

    monkeypatch.setattr(Client, "ask", trouble)
    run("user", "ls", "--watch", "-q")
    assert printed == ["ada", "ada\nbob"]


def test_a_broker_that_is_away_is_asked_again_though_no_event_comes(
    served, run, while_it_prints, monkeypatch
):
    """The line that tells of them can hang longer than the broker is away."""
    served.do(served.broker.user("ada"))
    printed = while_it_prints(ctl_watch, lambda: None)
    looks, ask = [], Client.ask

    async def silent(self, **kwargs):
        yield None
        await asyncio.Event().wait()

    async def once_away(self, *args, **kwargs):
        looks.append(args)
        if len(looks) == 2:
            served.do(served.broker.user("bob"))
            raise BrokerUnavailable
        return await ask(self, *args, **kwargs)

    monkeypatch.setattr(Client, "events", silent)
    monkeypatch.setattr(Client, "ask", once_away)
    run("user", "ls", "--watch", "-q")
    assert printed == ["ada", "ada\nbob"]


def test_a_broker_that_was_never_there_is_not_waited_for(run):
    """Its exit code says so."""
    run("user", "ls", "--watch", "-q", code=3)


def test_what_is_refused_meanwhile_ends_it_in_a_sentence(served, run, while_it_prints):
    """Whose keys are watched is gone."""
    served.do(served.broker.user("ada"))
    while_it_prints(
        ctl_watch, lambda: served.do(served.broker.accounts.remove_user("ada", actor="uid:0"))
    )
    said = run("user", "key", "ls", "ada", "--watch", code=1)
    assert said == "There is no user 'ada'. (not_found)\n"


def test_events_are_followed(served, run, while_it_prints):
    """From now on, each on a line; none of what was before."""
    served.do(served.broker.user("ada"))
    printed = while_it_prints(ctl_events, lambda: served.do(served.broker.user("bob")))
    asked = Client.ask

    async def newest(self, *args, **kwargs):
        found = await asked(self, *args, **kwargs)
        served.do(served.broker.accounts.set_enabled("ada", enabled=False, actor="uid:7"))
        return found

    Client.ask = newest
    try:
        assert run("events", "follow", "--action", "user.") == ""
    finally:
        Client.ask = asked
    first, second = printed
    assert first.startswith("2030-01-01 ")
    assert " uid:7 user.disable " in first
    assert " user.add " in second


def test_nothing_is_left_out_when_the_line_breaks(served, run, while_it_prints, monkeypatch):
    """It goes on behind the last entry that was printed."""
    events = Client.events
    breaks = iter([1, 2, 100])

    async def brittle(self, **kwargs):
        left = next(breaks)
        async for entry in events(self, **kwargs):
            yield entry
            left -= entry is not None
            if left <= 0:
                raise BrokerUnavailable

    monkeypatch.setattr(Client, "events", brittle)
    for name in ("ada", "bob", "cyd", "dan"):
        served.do(served.broker.user(name))
    last = served.do(served.broker.store.audit(limit=1))[0].seq
    printed = while_it_prints(ctl_events, *[lambda: None] * (last - 1))
    run("events", "follow", "--after", "0", "-q")
    assert printed == [str(seq) for seq in range(1, last + 1)]


def test_events_of_no_broker_are_none(run):
    """With its code."""
    run("events", "follow", code=3)
    run("events", "follow", "--after", "1", code=3)


def test_an_event_is_a_document_and_harmless(served, run, while_it_prints):
    """JSON for programs; for people nothing that commands a terminal."""
    detail = {"what": "x\x1b[2J\n\u202e"}
    note = served.broker.store.note(
        actor="uid:0", action="session.message", subject="s", detail=detail
    )
    served.do(note)
    last = served.do(served.broker.store.audit(limit=1))[0].seq
    printed = while_it_prints(ctl_events)
    run("events", "follow", "--after", str(last - 1))
    assert printed[0].endswith(r"session.message s what=x\x1b[2J\n\u202e")
    printed = while_it_prints(ctl_events)
    run("events", "follow", "--after", str(last - 1), "--json")
    assert json.loads(printed[0])["detail"] == detail


class Terminal:
    """A process on a terminal of so many columns and lines."""

    def __init__(self, *words, columns=80, lines=24, env) -> None:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # Who began in the background of a shell without a terminal is deaf to Ctrl-C, and so are all
        # that it starts.
        hearing = ["env", "--default-signal=INT"]
        self.process = subprocess.Popen(
            [*hearing, sys.executable, "-m", "broker.cli.deskctl", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", **env, "COLUMNS": "", "LINES": ""},
            start_new_session=True,
        )
        os.close(theirs)
        self.ours, self.seen = ours, ""

    def until(self, text) -> None:
        """Read on until it stands there."""
        end = time.monotonic() + 3 * PATIENCE
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0, end - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 65536).decode()

    def close(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.ours)


def test_a_terminal_is_drawn_upon_in_place(served):
    """On the other screen, which Ctrl-C leaves with nothing of it; the titles are bold."""
    env = {"DESK_SOCKET": str(served.path)}
    for name in ("ada", *(f"user{at}" for at in range(9))):
        served.do(served.broker.user(name))
    terminal = Terminal("user", "ls", "--watch", lines=8, env=env)
    try:
        terminal.until("… and 4 lines more")
        assert "\x1b[?1049h" in terminal.seen
        assert "\x1b[1mNAME" in terminal.seen
        for at in range(9):
            served.do(served.broker.accounts.remove_user(f"user{at}", actor="uid:0"))
        terminal.seen = ""
        served.do(served.broker.user("zoe"))
        terminal.until("zoe")
        assert "\x1b[2J" not in terminal.seen
    finally:
        code = terminal.close()
    assert code == 0
