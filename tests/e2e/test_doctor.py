"""deskd doctor on a real engine: what was done to containers, networks, volumes and rules past Desk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress

import pytest
from docker.errors import APIError, NotFound

from tests.e2e.desk import Instance, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, engine_host, desktop_image):
    """Of two people whose desktops run on, and whose broker is stopped."""
    state = tmp_path_factory.mktemp("desk") / "state"
    instance = Instance(state, engine=engine_host, image=desktop_image)
    try:
        instance.start()
        people = [instance.person(name) for name in ("ada", "bob")]
        begun = [
            subprocess.Popen(
                [*instance.ssh_command(person), "touch mine"],
                env=instance.env,
                stdin=subprocess.DEVNULL,
            )
            for person in people
        ]
        assert [client.wait(90) for client in begun] == [0, 0]
        instance.sessions = {s["user"]: s["id"] for s in instance.listing("sessions")}
        instance.desktops = {d["user"]: d["id"] for d in instance.listing("desktops")}
        instance.stop()
        yield instance
    finally:
        instance.purge()


@pytest.fixture
def engine(desk):
    client = desk.client()
    yield client
    client.close()


def doctor(desk, *words):
    """What was found and is left, of what this instance has, and not of the host's shortcomings."""
    done = desk.deskd("doctor", "--json", *words)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    host = {"engine", "versions", "space", "limits", *(() if firewalled() else ("firewall",))}
    return [
        sorted((one["area"], one["action"]) for one in told[name] if one["area"] not in host)
        for name in ("found", "left")
    ]


def firewalled():
    """Whether this host lets us see tables."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = shutil.which("nft", path=path)
    listed = program and subprocess.run([program, "list", "tables"], capture_output=True)
    return bool(listed) and listed.returncode == 0


def paused(container):
    """The engine gives up on one whose programs are busy just then."""
    with suppress(APIError):
        container.pause()
    container.reload()
    return container.status == "paused"


def test_what_was_done_to_containers_is_mended(desk, engine):
    """One paused, one removed, one that is of nobody: the third is of another instance, and stays.
    Rules that somebody took away as well.
    """
    label = dict([desk.label().split("=")])
    ours = {**label, "desk.session": "0" * 16, "desk.desktop": "0" * 16}
    theirs = {**ours, "desk.instance": "f" * 16}
    ada, bob = (desk.sessions[name] for name in ("ada", "bob"))
    rules = [("firewall", "put them back")] if firewalled() else []
    try:
        for name, labels in (("desk-stray", ours), ("desk-theirs", theirs)):
            engine.containers.create(desk.image, name=f"{name}-{os.getpid()}", labels=labels)
        running = desk.containers()
        until(lambda: paused(running[ada]), what="the pause")
        running[bob].remove(force=True)
        if rules:
            desk.remove_rules()
        wanted = [
            ("containers", "let it go on"),
            ("containers", "remove it"),
            *rules,
            ("records", "end it"),
        ]
        assert doctor(desk) == [wanted, wanted]
        assert doctor(desk, "--fix") == [wanted, []]
        now = desk.containers()
        assert {session: c.status for session, c in now.items()} == {ada: "running"}
        assert engine.containers.get(f"desk-theirs-{os.getpid()}")
    finally:
        for name in ("desk-stray", "desk-theirs"):
            try:
                engine.containers.get(f"{name}-{os.getpid()}").remove(force=True)
            except NotFound:
                continue


@pytest.fixture
def at_rest(desk):
    """Nothing runs, and the records know."""
    for container in desk.containers().values():
        container.remove(force=True)
    doctor(desk, "--fix")


def test_a_network_that_is_gone_is_made_again(desk, engine, at_rest):
    """Without any container in it."""
    (network,) = engine.networks.list(filters={"label": desk.label()})
    network.remove()
    found, left = doctor(desk, "--fix")
    assert ("network", "make it again") in found
    assert left == []
    assert len(engine.networks.list(filters={"label": desk.label()})) == 1


def test_homes_are_told_of_and_left_alone(desk, engine, at_rest):
    """One that is missing, one that is of no desktop."""
    label = dict([desk.label().split("=")])
    engine.volumes.create("desk-home-0000000000000000", labels=label)
    missing = f"desk-home-{desk.desktops['bob']}"
    engine.volumes.get(missing).remove()
    found, left = doctor(desk, "--fix")
    assert [area for area, _ in left] == ["homes", "homes"]
    assert left == found
    names = {volume.name for volume in engine.volumes.list(filters={"label": desk.label()})}
    assert names == {"desk-home-0000000000000000", f"desk-home-{desk.desktops['ada']}"}


def test_homes_go_into_a_backup_and_come_back(desk, engine, at_rest, tmp_path):
    """On an engine that has lost them; what was in them is what it was."""
    file = tmp_path / "desk.tar"
    done = desk.deskd("backup", str(file), "--homes", "--json")
    assert desk.desktops["ada"] in json.loads(done.stdout)["homes"]
    for volume in engine.volumes.list(filters={"label": desk.label()}):
        volume.remove()
    shutil.rmtree(desk.state)
    done = desk.deskd("restore", str(file))
    assert done.returncode == 0, done.stderr
    name = f"desk-home-{desk.desktops['ada']}"
    mounted = {name: {"bind": "/mnt", "mode": "ro"}}
    # Raises where it is not there.
    engine.containers.run(
        desk.image, ["/mnt/mine"], entrypoint="/bin/ls", user="0:0", volumes=mounted, remove=True
    )
