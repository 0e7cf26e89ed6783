"""The broker dies by kill -9: records and containers agree again, and nobody's work is lost."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.e2e.desk import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture
def desk(new_desk):
    instance = new_desk()
    instance.start()
    return instance


def agree(desk) -> bool:
    """Every record has its container, and every container its record."""
    records = {session["id"]: session["state"] for session in desk.listing("sessions")}
    containers = {session: c.status for session, c in desk.containers().items()}
    return set(records) == set(containers) and all(
        (records[session], containers[session]) == ("ready", "running") for session in records
    )


def test_at_rest_running_desktops_are_adopted_and_not_restarted(desk):
    """kill -9, start again: the same containers, started when they were; homes intact."""
    people = [desk.person(name) for name in ("ada", "bob")]
    for person in people:
        desk.ok(
            person, f"echo {person.name} > mine; nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid"
        )
    before = {s: (c.id, c.attrs["State"]["StartedAt"]) for s, c in desk.containers().items()}
    desk.kill()
    desk.start()
    assert agree(desk)
    assert {
        s: (c.id, c.attrs["State"]["StartedAt"]) for s, c in desk.containers().items()
    } == before
    for person in people:
        told = desk.ok(person, "cat mine; ps -o comm= -p $(cat pid)")
        assert told == f"{person.name}\nsleep\n"


@pytest.mark.parametrize("after", [0.0, 0.4, 1.5])
def test_while_five_desktops_start(desk, after):
    """Whatever the moment: after the next start both sides agree, and everybody gets in."""
    people = [desk.person(f"user{number}") for number in range(5)]
    clients = [
        subprocess.Popen(
            [*desk.ssh_command(person), "true"],
            env=desk.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for person in people
    ]
    until(lambda: len(desk.listing("sessions")) >= min(5, 4), what="starts")
    time.sleep(after)
    desk.kill()
    for client in clients:
        client.wait(30)
    desk.start()
    until(lambda: agree(desk), within=120, what="agreement")
    for person in people:
        desk.ok(person, "echo kept > file")
    desk.kill()
    desk.start()
    assert agree(desk)
    for person in people:
        assert desk.ok(person, "cat file") == "kept\n"
    assert len(desk.containers()) == 5


def test_a_container_killed_from_outside_is_replaced_at_the_next_connect(desk):
    """Its session ends with the reason; the next connect has the same home in a new container."""
    ada = desk.person("ada")
    desk.ok(ada, "echo kept > file")
    (container,) = desk.containers().values()
    container.kill()
    assert desk.ok(ada, "cat file") == "kept\n"
    (new,) = desk.containers().values()
    assert new.id != container.id


def test_an_interactive_client_is_told_when_its_desktop_is_stopped(desk):
    """A person at a terminal reads a sentence, and gets their shell back."""
    ada = desk.person("ada")
    desk.ok(ada, "true")
    client = subprocess.Popen(
        desk.ssh_command(ada, "-tt"),
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: desk.listing("sessions")[0]["attached"] == 1, what="the attachment")
    (session,) = desk.listing("sessions")
    assert desk.deskctl("session", "stop", session["id"]).returncode == 0
    _, told = client.communicate(timeout=20)
    assert client.returncode == 255
    assert b"desk" in told
    assert not desk.containers()


def test_a_stopped_broker_leaves_desktops_running_and_says_nothing_odd(desk):
    """SIGTERM ends the broker with exit 0 in seconds; containers go on; nothing is a traceback."""
    desk.ok(desk.person("ada"), "true")
    process = desk.process
    desk.stop()
    assert process.returncode == 0
    assert [c.status for c in desk.containers().values()] == ["running"]
    assert "Traceback" not in desk.log.read_text()
