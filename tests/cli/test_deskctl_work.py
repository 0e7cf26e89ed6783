"""deskctl before what destroys, and while something takes its time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from broker.cli import ctl, output
from broker.cli.client import Client
from broker.cli.output import Output

DESTROYING = {
    "user rm ada": ("Take away the account of ada, with what proves them?", "ada"),
    "group rm lab": ("Take away the group lab, with what it says?", "lab"),
}


@pytest.fixture
def things(served):
    served.do(served.broker.user("ada"))
    served.do(served.broker.groups.set("lab", priority=0, policy={}, actor="uid:0"))


@pytest.fixture
def at_a_terminal(monkeypatch):
    """Somebody sits there."""
    monkeypatch.setattr(ctl, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))


def left(run):
    return set((run("user", "ls", "-q") + run("group", "ls", "-q")).split())


@pytest.mark.usefixtures("at_a_terminal", "things")
@pytest.mark.parametrize("words", DESTROYING)
def test_what_destroys_asks_first(run, words):
    """A yes does it; the question goes where no program reads."""
    question, name = DESTROYING[words]
    assert run(*words.split(), "--quiet", input="y\n") == f"{name}\n"
    assert left(run) == {"ada", "lab"} - {name}
    assert question


@pytest.mark.usefixtures("at_a_terminal", "things")
@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
@pytest.mark.parametrize("words", DESTROYING)
def test_any_other_answer_is_a_no(run, words, answer):
    """Exit code 1, and nothing is done."""
    said = run(*words.split(), input=answer, code=1)
    assert DESTROYING[words][0] in said
    assert left(run) == {"ada", "lab"}


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("words", DESTROYING)
def test_where_nobody_can_be_asked_a_program_says_yes(run, refused, words):
    """Before, nothing is asked of the broker."""
    assert refused(*words.split(), code=2, input="y\n") == (
        "This asks first, at a terminal; programs add --yes. (bad_request)"
    )
    assert left(run) == {"ada", "lab"}
    run(*words.split(), "--yes")
    assert left(run) == {"ada", "lab"} - {DESTROYING[words][1]}


# ------------------------------------------------------------------------------------- progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_what_takes_its_time(monkeypatch):
    """And for how long; nothing of it stays, nothing in it commands."""
    screen = Screen()
    monkeypatch.setattr(output.sys, "stderr", screen)
    monkeypatch.setattr(output, "Console", lambda **_: Console(file=screen, force_terminal=True))
    with Output().working("Stopping [b]\x1b[2J") as say:
        say("Starting x: starting")
    shown = screen.getvalue()
    assert "Stopping [b]\\x1b[2J" in shown
    assert "Starting x: starting" in shown
    assert "0:00:0" in shown
    assert "\x1b[2J" not in shown


def test_a_pipe_sees_nothing_of_it(capsys):
    """It is for people."""
    with Output().working("Stopping") as say:
        say("Starting")
    assert capsys.readouterr() == ("", "")


def test_a_start_is_waited_for(served, run, monkeypatch):
    """However often the broker says that it is under way; how it is goes to the terminal."""
    desktop = served.do(served.broker.desktop("ada"))
    under_way = {"id": desktop.id, "session": None, "state": "starting"}
    answers = [under_way, {**under_way, "session": "s"}]
    asked, ask = [], Client.ask

    async def slow(self, method, path, **kwargs):
        asked.append((method, path, kwargs.get("query")))
        return answers.pop(0) if answers else await ask(self, method, path, **kwargs)

    monkeypatch.setattr(Client, "ask", slow)
    told = run("desktop", "start", desktop.id)
    assert asked == [("POST", f"/desktops/{desktop.id}/start", {"wait": "5"})] * 3
    assert told.startswith(f"Desktop {desktop.id} is ready, in the session ")


def test_a_start_that_fails_is_its_sentence(served, refused):
    """No image, no desktop."""
    desktop = served.do(served.broker.desktop("ada"))
    served.world.engine.images.clear()
    assert refused("desktop", "start", desktop.id).endswith("(image_missing)")


def test_verbs_tell_what_came_of_them(served, run):
    """A sentence each."""
    desktop = served.do(served.broker.desktop("ada"))
    session = served.do(served.broker.ensure(desktop))
    assert run("session", "keep", session.id) == (
        f"Session {session.id} is kept until 2030-01-04 09:00:01Z.\n"
    )
    assert run("session", "message", session.id, "Lunch") == f"It is shown in {session.id}.\n"
    served.broker.inside.deaf.add(session.id)
    assert run("session", "message", session.id, "Lunch") == ("Nobody is there who could see it.\n")
    run("session", "freeze", session.id)
    assert run("session", "thaw", session.id) == f"Session {session.id} is awake.\n"
    assert run("desktop", "stop", desktop.id) == f"Desktop {desktop.id} is stopped.\n"
    shown = dict(line.split("  ", 1) for line in run("session", "show", session.id).splitlines())
    assert shown["STATE"].strip() == "ended"
    assert json.loads(run("session", "show", session.id, "--json"))["id"] == session.id


def test_a_terminal_of_few_letters_is_no_trouble(served):
    """What it lacks is written out."""
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl 名"
    served.do(served.broker.user("ada"))
    served.do(served.broker.accounts.add_key("ada", line, actor="uid:0"))
    done = subprocess.run(
        [sys.executable, "-m", "broker.cli.deskctl", "user", "key", "ls", "ada"],
        env={**os.environ, "DESK_SOCKET": str(served.path), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb" \u540d " in done.stdout
