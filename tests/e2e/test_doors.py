"""Broker and front doors are processes of their own: what becomes of people when one of them ends."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from broker.cli.client import Client
from broker.core.errors import BrokerUnavailable
from broker.core.messages import PROTOCOL
from tests.e2e.desk import ROOT, Instance, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

BROKER, DOOR = "deskd broker", "door.worker"
CHUNK, PAUSE = 50_000, 0.05


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the package, from which children are started: it can be exchanged under them."""
    package = tmp_path_factory.mktemp("installed")
    for folder in ("broker", "migrations"):
        shutil.copytree(ROOT / folder, package / folder)
    return package


@pytest.fixture(scope="module")
def desk(tmp_path_factory, engine_host, desktop_image, installed):
    state = tmp_path_factory.mktemp("doors") / "state"
    instance = Instance(
        state, engine=engine_host, image=desktop_image, settings={"ssh": {"doors": 2}}
    )
    instance.before = ["env", f"PYTHONPATH={installed}", "DOCKER_HOST=unix:///x", "SECRET=yes"]
    try:
        instance.start()
        yield instance
    finally:
        instance.purge()


@pytest.fixture(scope="module")
def ada(desk):
    ada = desk.person("ada")
    desk.ok(ada, "true")
    return ada


def attached(desk) -> int:
    """As the broker knows; nobody while it is away."""
    try:
        found = Client(desk.state / "admin.sock").call("GET", "/sessions")
    except BrokerUnavailable:
        return 0
    return sum(session["attached"] for session in found["items"])


def reload(desk, **settings) -> None:
    """Have the configuration taken over, with those settings."""
    taken = len(desk.events("configuration taken over"))
    desk.write_config(**settings)
    desk.process.send_signal(signal.SIGHUP)
    until(
        lambda: len(desk.events("configuration taken over")) > taken,
        within=60,
        what="the successors",
    )


def seconds(event) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def upload(desk, person, number, over) -> tuple[str, str]:
    """What was sent until it was over and what arrived, by their hashes."""
    client = subprocess.Popen(
        [*desk.ssh_command(person), "sha256sum"],
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    sent = hashlib.sha256()
    for chunk in itertools.count():
        piece = hashlib.sha256(f"{number} {chunk}".encode()).digest() * (CHUNK // 32)
        sent.update(piece)
        client.stdin.write(piece)
        client.stdin.flush()
        if over.wait(PAUSE):
            break
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    return sent.hexdigest(), out.decode().split()[0]


def download(desk, person, number, over) -> tuple[str, str]:
    del over  # the desktop sees a file
    slowly = (
        f"while [ ! -e over ]; do printf '%0{CHUNK}d' {number}; sleep {PAUSE}; done"
        " | tee >(sha256sum >&2); sleep 0.2"
    )
    done = desk.ssh(person, f'bash -c "{slowly}"', timeout=90)
    assert done.returncode == 0, done
    return hashlib.sha256(done.stdout).hexdigest(), done.stderr.decode().split()[0]


def test_a_broker_that_is_killed_cuts_nobody_off(desk, ada):
    """Twenty transfers and shells: none drops, none corrupts; who comes meanwhile waits for the
    next broker, and that one knows them all.
    """
    over = threading.Event()
    with ThreadPoolExecutor(14) as pool, ExitStack() as stack:
        stack.callback(over.set)
        shells = [stack.enter_context(desk.terminal(ada)) for _ in range(6)]
        moved = [
            pool.submit(move, desk, ada, number, over)
            for number, move in enumerate([upload, download] * 7)
        ]
        until(lambda: attached(desk) == 20, what="twenty that are attached")
        (broker,) = desk.children(BROKER)
        os.kill(broker, signal.SIGKILL)
        assert desk.ok(ada, "echo came meanwhile") == "came meanwhile\n"
        until(lambda: attached(desk) == 20, what="a broker that knows them all")
        assert desk.children(BROKER) != [broker]
        for number, shell in enumerate(shells):
            shell.type(f"echo still-{number}-$((40+2))\n")
            until(lambda s=shell, n=number: f"still-{n}-42" in s.text, what="the shell's answer")
        over.set()
        desk.ok(ada, "touch over")
        for one in moved:
            sent, arrived = one.result()
            assert sent == arrived


def test_a_door_that_dies_takes_its_own_connections_alone(desk, ada):
    """The broker knows it within a second; another door takes its place."""
    doors = desk.children(DOOR)
    assert len(doors) == 2
    with ExitStack() as stack:
        shells = [stack.enter_context(desk.terminal(ada)) for _ in range(8)]
        until(lambda: attached(desk) == 8, what="eight that are attached")
        os.kill(doors[0], signal.SIGKILL)
        died = time.monotonic()
        until(lambda: attached(desk) < 8 or time.monotonic() - died > 2, what="the broker's word")
        time.sleep(0.5)
        alive = [shell for shell in shells if shell.process.poll() is None]
        assert attached(desk) == len(alive)
        for shell in alive:
            shell.type("echo still-$((40+2))\n")
            until(lambda s=shell: "still-42" in s.text, what="the shell's answer")
        until(lambda: len(desk.children(DOOR)) == 2, what="the next door")
    gone = desk.events("front door gone")[-1]
    (end,) = [event for event in desk.events("ended by itself") if event["pid"] == doors[0]]
    assert seconds(gone) - seconds(end) < 1
    assert desk.ok(ada, "echo again") == "again\n"


def test_doors_are_replaced_under_a_loop_of_connects(desk, ada):
    """None is refused, none is cut; what a door carries it carries to the end, and then ends."""
    doors = desk.children(DOOR)
    over, failed, made = threading.Event(), [], []

    def come_and_go():
        while not over.is_set():
            done = desk.ssh(ada, "echo here")
            made.append(done)
            if done.returncode != 0 or done.stdout != b"here\n":
                failed.append(done)

    with ThreadPoolExecutor(3) as pool, ExitStack() as stack:
        stack.callback(over.set)
        shells = [stack.enter_context(desk.terminal(ada)) for _ in range(4)]
        until(lambda: attached(desk) >= 4, what="four that stay")
        loops = [pool.submit(come_and_go) for _ in range(3)]
        until(lambda: len(made) > 5, what="connects")
        reload(desk, ssh={"patience": "29s"})
        before = len(made)
        until(lambda: len(made) > before + 5, what="more connects")
        over.set()
        for loop in loops:
            loop.result()
        assert failed == []
        for number, shell in enumerate(shells):
            shell.type(f"echo still-{number}-$((40+2))\n")
            until(lambda s=shell, n=number: f"still-{n}-42" in s.text, what="the shell's answer")
        assert set(desk.children(DOOR)) & set(doors), "somebody must still be carried"
        assert attached(desk) == 4
    until(lambda: not set(desk.children(DOOR)) & set(doors), what="the end of the old doors")
    assert len(desk.children(DOOR)) == 2


def test_doors_stay_when_nothing_of_theirs_has_changed(desk, ada):
    """They remember whom to turn away; nor is the broker started again that can take it over."""
    reload(desk)
    until(lambda: len(desk.children(DOOR)) == 2, what="the end of those of before")
    doors, (broker,) = desk.children(DOOR), desk.children(BROKER)
    reload(desk, idle={"freeze_after": "2h"})
    assert desk.children(DOOR) == doors
    assert desk.children(BROKER) == [broker]
    assert desk.events("configuration applied")[-1]["applied"] == ["idle.freeze_after"]
    assert desk.ok(ada, "echo here") == "here\n"


def test_deskctl_has_another_configuration_taken_over(desk, ada):
    """And prints what comes of each key; a mistake is told with its place, and changes nothing."""
    doors, broker = desk.children(DOOR), desk.children(BROKER)
    desk.write_config(idle={"freeze_after": "90m"}, ssh={"patience": "27s", "doors": 3})
    done = desk.deskctl("config", "reload")
    assert (done.returncode, done.stderr) == (0, "")
    told = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert told["idle.freeze_after"] == "applied"
    assert told["ssh.patience"] == "doors are replaced"
    assert told["ssh.doors"] == "restart needed"
    until(lambda: len(set(desk.children(DOOR)) - set(doors)) == 2, what="the next doors")
    assert desk.children(BROKER) == broker
    desk.write_config(idle={"freeze_after": "soon"})
    done = desk.deskctl("config", "reload")
    assert done.returncode != 0
    assert "idle.freeze_after: found 'soon'" in done.stderr
    desk.write_config(template={"memory": "3g"})
    assert "broker restarts" in desk.deskctl("config", "reload").stdout
    until(lambda: desk.children(BROKER) not in ([], broker), what="the next broker")
    assert desk.ok(ada, "echo here") == "here\n"
    broker = desk.children(BROKER)
    reload(desk)
    until(lambda: desk.children(BROKER) not in ([], broker), what="the broker after it")
    until(lambda: len(desk.children(DOOR)) == 2, what="the end of those of before")


def test_what_cannot_be_taken_over_changes_nothing(desk, ada):
    """A mistake, or a key that wants a stop, is told in the log, and everybody stays."""
    doors, broker = desk.children(DOOR), desk.children(BROKER)
    for spoilt, word in (
        ({"ssh": {"nonsense": 1}}, "configuration not taken over"),
        ({"ssh": {"doors": 3}}, "a part of the configuration waits"),
    ):
        told = len(desk.events(word))
        desk.write_config(**spoilt)
        desk.process.send_signal(signal.SIGHUP)
        until(lambda n=told, w=word: len(desk.events(w)) > n, what="its word")
    # Nor does a broker read it that is started afresh.
    os.kill(broker[0], signal.SIGKILL)
    assert desk.ok(ada, "echo here") == "here\n"
    desk.write_config()
    assert "ssh.nonsense" in desk.events("configuration not taken over")[-1]["problem"]
    assert "ssh.doors" in desk.events("a part of the configuration waits")[-1]["problem"]
    assert desk.children(DOOR) == doors
    assert len(desk.children(BROKER)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give doors a user of their own")
def test_a_door_has_no_rights(desk, ada):
    """Neither root's, nor any file of the state, nor the engine."""
    door = desk.children(DOOR)[0]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{door}/status").read_text().splitlines()
    )
    uid = status["Uid"].split()[0]
    assert int(uid) > 2_000_000_000
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {uid}
    assert status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    tasks = list(Path(f"/proc/{door}/task").iterdir())
    assert len(tasks) > 1
    assert all("NoNewPrivs:\t1" in (task / "status").read_text() for task in tasks)
    open_files = [os.readlink(fd) for fd in Path(f"/proc/{door}/fd").iterdir()]
    assert not [file for file in open_files if file.startswith(str(desk.state / "desk.db"))]
    unprivileged = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    socket = desk.engine.removeprefix("unix://")
    for path in (desk.state / "desk.db", desk.state / "ssh_host_key", desk.config, socket):
        read = subprocess.run([*unprivileged, "test", "-r", str(path)], check=False)
        assert read.returncode != 0, path
    host_key = (desk.state / "ssh_host_key").read_text().splitlines()[2]
    for part in ("cmdline", "environ"):
        assert host_key.encode() not in Path(f"/proc/{door}/{part}").read_bytes()
    environments = [
        Path(f"/proc/{pid}/environ").read_bytes() for pid in (door, desk.children(BROKER)[0])
    ]
    for name in (b"DOCKER_HOST=", b"SECRET="):
        assert [name in whole for whole in environments] == [False, True]


def test_an_upgrade_under_a_running_parent(desk, ada, installed):
    """The next broker has other code than the doors, which it cannot understand: others take
    their place, and those carry on what they have until its end.
    """
    doors, (broker,) = set(desk.children(DOOR)), desk.children(BROKER)
    messages = installed / "broker/core/messages.py"
    with desk.terminal(ada) as shell:
        until(lambda: attached(desk) == 1, what="the shell")
        code = messages.read_text()
        assert f'PROTOCOL = "{PROTOCOL}"' in code
        messages.write_text(code.replace(PROTOCOL, f"{PROTOCOL}-next"))
        os.kill(broker, signal.SIGKILL)
        until(lambda: len(set(desk.children(DOOR)) - doors) == 2, within=60, what="new doors")
        assert desk.ok(ada, "echo here") == "here\n"
        shell.type("echo still-$((40+2))\n")
        until(lambda: "still-42" in shell.text, what="the shell's answer")
        (carrying,) = set(desk.children(DOOR)) & doors
        unheard = "a door cannot be understood; while it is there, nobody counts as away"
        assert len(desk.events(unheard)) == 1
        refused = "the versions of door and broker differ"
        assert len(desk.events(refused)) <= len(doors)
    until(lambda: carrying not in desk.children(DOOR), what="the end of the old door")
    assert len(desk.children(DOOR)) == 2


def test_the_parent_takes_its_children_with_it(desk, ada):
    """Whatever ended it: the next one finds ports and state free at once."""
    children = [*desk.children(BROKER), *desk.children(DOOR)]
    assert len(children) == 3
    desk.kill()
    desk.start()
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert desk.ok(ada, "echo again") == "again\n"
