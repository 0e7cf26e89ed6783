"""Desktops sleep and wake: stories of people, lived side by side in one real Desk whose times are
short; each test asks for the end of one.
"""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import docker.errors
import pytest

from tests.e2e.desk import HOST, Instance, until
from tests.e2e.screens import xvfb
from tests.e2e.test_xpra import attached, shown

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

#: Seconds. The broker looks every ten: at the second look behind the last sign of life it warns, at
#: the third it freezes. What programs compute keeps nobody here: a start does, for a while.
IDLE = {"freeze_after": "18s", "warn_before": "5s", "stop_after": "40s", "busy_cpu": 64}
AWAKE_FOR = 18

#: Seconds in which what must happen by itself has happened, on a busy machine.
LATEST = 90

#: Counts in the shell's own memory; a start from the beginning would show.
COUNT = (
    "n=0; while sleep 0.2; do n=$((n+1)); echo $n > count.new; mv count.new count; done"
    " </dev/null >/dev/null 2>&1 & echo $!"
)


def session_of(desk, name):
    """The person's live session, or None."""
    found = [s for s in desk.listing("sessions") if s["user"] == name]
    return found[0] if found else None


def container_of(desk, name):
    return desk.containers()[session_of(desk, name)["id"]]


def status_of(desk, name):
    return container_of(desk, name).status


def ended(desk, session_id):
    """When a session ended, in microseconds since 1970, and why; None while it lives."""
    with closing(sqlite3.connect(desk.state / "desk.db")) as connection:
        return connection.execute(
            "select changed_at, reason from session where id = ? and state = 'ended'", [session_id]
        ).fetchone()


def idle_shell(desk, ada):
    """It is warned on its terminal, then told why it ends; the desktop sleeps, and wakes as it was."""
    counter = desk.ok(ada, COUNT).strip()
    counted = int(until(lambda: desk.ssh(ada, "cat count").stdout, what="the counter"))
    before = container_of(desk, "ada").id
    with desk.terminal(ada) as terminal:
        assert terminal.process.wait(LATEST) == 255
        warned, told, told_last = terminal.text.rpartition("Your desktop sleeps: ")
    assert "*** Desk: Nobody used this desktop for" in warned
    assert "it sleeps in" in warned
    assert told, warned
    assert told_last.startswith("nobody used it for")
    assert "Connect again to wake it." in told_last
    until(lambda: status_of(desk, "ada") == "paused", within=5, what="the pause")
    why = desk.ok(ada, "desk why")
    assert "main sleeps since" in why
    assert "nobody used it for" in why
    assert status_of(desk, "ada") == "paused", "asking why wakes nobody"
    began = time.monotonic()
    pid, now = desk.ok(ada, f"ps -o pid= -p {counter}; cat count").split()
    took = time.monotonic() - began
    assert (container_of(desk, "ada").id, pid) == (before, counter)
    assert int(now) >= counted
    until(lambda: int(desk.ok(ada, "cat count")) > int(now), what="the counter's next step")
    assert took < 5, "a cold start takes no longer"


def typing(desk, bob):
    """Keys on a terminal keep a desktop awake beyond its time, and its shell with it."""
    desk.ok(bob, "true")
    with desk.terminal(bob) as terminal:
        end = time.monotonic() + 2 * AWAKE_FOR
        while time.monotonic() < end:
            terminal.type("\n")
            time.sleep(2)
        assert terminal.process.poll() is None
    assert session_of(desk, "bob")["state"] == "ready"


def extended_inside(desk, cleo):
    """`desk extend` inside the desktop keeps it, and `why` names who asked."""
    desk.ok(cleo, "true")
    extend = "sh -c 'desk extend 10m'"
    until(lambda: desk.ssh(cleo, extend).returncode == 0, within=30, what="the broker's answer")
    with desk.terminal(cleo) as terminal:
        end = time.monotonic() + 2 * AWAKE_FOR
        while time.monotonic() < end:
            assert terminal.process.poll() is None
            time.sleep(1)
    why = json.loads(desk.ok(cleo, "desk why --json"))
    assert (why["state"], why["counts"]) == ("ready", "keep")
    assert any(change["actor"] == "user:cleo" for change in why["changes"])


def sent_to_sleep(desk, dora):
    """`desk sleep` freezes at once; what slept for its time is stopped, and its home is kept."""
    desk.ok(dora, "echo kept > file")
    session = session_of(desk, "dora")["id"]
    assert "main sleeps" in desk.ok(dora, "desk sleep")
    assert status_of(desk, "dora") == "paused"
    _, reason = until(lambda: ended(desk, session), within=LATEST, what="the stop")
    assert reason.startswith("it slept for")
    assert session not in desk.containers()
    assert "main stopped" in desk.ok(dora, "desk why")
    assert desk.ok(dora, "cat file") == "kept\n"


def killed_from_outside(desk, finn):
    """Its session ends within a second, with the reason; the next connect has the same home."""
    desk.ok(finn, "echo kept > file")
    session = session_of(desk, "finn")["id"]
    container_of(desk, "finn").kill()
    died = time.time()
    at, reason = until(lambda: ended(desk, session), within=10, what="the end")
    assert reason == "its container stopped with exit code 137"
    assert at / 1_000_000 - died < 1
    assert session_of(desk, "finn") is None
    assert desk.ok(finn, "cat file") == "kept\n"
    assert session_of(desk, "finn")["id"] != session


def pause(container):
    """Pause it; the kernel can fail to freeze a busy one in the time that runc gives it."""
    for _ in range(4):
        try:
            return container.pause()
        except docker.errors.APIError as error:
            if "unable to freeze" not in str(error):
                raise
    return container.pause()


def paused_from_outside(desk, gus):
    """A desktop that should run is woken again, and nobody in it was sent away."""
    desk.ok(gus, "true")
    container = container_of(desk, "gus")
    with desk.terminal(gus) as terminal:
        until(lambda: session_of(desk, "gus")["attached"] == 1, what="the attachment")
        pause(container)
        until(lambda: status_of(desk, "gus") == "running", within=10, what="the waking")
        terminal.type("echo still-$((40+2))\n")
        until(lambda: "still-42" in terminal.text, what="the shell's answer")
    assert container_of(desk, "gus").id == container.id


def watched_by_xpra(desk, hal):
    """A client that shows the desktop, and whose user does nothing, keeps nobody awake."""
    desk.ok(hal, "true")
    with (
        xvfb(desk.home, "1300x900") as screen,
        attached(desk, hal, f"ssh://desk@{HOST}:{desk.ssh_port}/", screen) as client,
    ):
        shown(screen)
        assert status_of(desk, "hal") == "running"
        client.wait(LATEST)
    assert status_of(desk, "hal") == "paused"
    desk.ok(hal, "pgrep -x xfce4-session && xdpyinfo > /dev/null")


STORIES = {
    "dora": sent_to_sleep,
    "ada": idle_shell,
    "bob": typing,
    "cleo": extended_inside,
    "finn": killed_from_outside,
    "gus": paused_from_outside,
    "hal": watched_by_xpra,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, engine_host, desktop_image):
    """All stories, begun one behind the other; each ends in its own time."""
    state = tmp_path_factory.mktemp("sleep") / "state"
    desk = Instance(state, engine=engine_host, image=desktop_image, settings={"idle": IDLE})
    try:
        desk.start()
        with ThreadPoolExecutor(len(STORIES)) as pool:
            yield {
                name: pool.submit(story, desk, desk.person(name)) for name, story in STORIES.items()
            }
    finally:
        desk.purge()


@pytest.mark.parametrize("name", STORIES, ids=[story.__name__ for story in STORIES.values()])
def test_story(outcomes, name):
    """What the story's own sentence says."""
    outcomes[name].result(timeout=200)
