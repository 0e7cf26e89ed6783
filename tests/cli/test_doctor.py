"""deskd doctor: on a state that nobody uses, beside a broker that runs, and what it needs of a host."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from broker.cli import deskd
from broker.cli import doctor as module
from broker.config import load
from broker.db.migrate import head
from broker.service import premises
from broker.service.backup import workplace
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock
from tests.cli.test_deskd import back_to, version_of


def run(*args, code=0):
    """What deskd printed, or complained when it was to fail."""
    with capture_logs():  # they would stand between the lines
        result = CliRunner().invoke(deskd.main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """What the command chooses would hold for every later test."""
    chosen = []
    monkeypatch.setattr(deskd.telemetry, "configure", lambda *how: chosen.append(how))
    return chosen


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path, state):
    """Of a state that has no broker, and of an engine that is not there."""
    path = tmp_path / "desk.yaml"
    path.write_text(
        f"state: {state}\nengine: {{socket: 'unix://{tmp_path}/none'}}\ntemplate: {{image: a}}\n"
    )
    run("migrate", "--config", path)
    load_or_make(state / "ssh_host_key")
    return path


def doctor(config, *words):
    """What it tells programs, but for the engine, which is not there."""
    told = json.loads(run("doctor", "--json", *words, "--config", config, code=1))
    return [
        [one for one in told[name] if one["area"] not in {"engine", "space"}]
        for name in ("found", "left")
    ]


def mends(config, area, pattern):
    """One thing is found, told as what `--fix` does, and is no more when that is done. What keeps a
    broker from starting is told as that, too.
    """
    found, left = doctor(config)
    assert left == found
    (finding,) = [one for one in found if one["area"] != "broker"]
    assert (finding["area"], finding["mends"]) == (area, True)
    assert re.search(pattern, finding["found"]), finding["found"]
    said = run("doctor", "--config", config, code=1)
    assert f"{area}: {finding['found']}: {finding['action']} (--fix does it).\n" in said
    said = run("doctor", "--fix", "--config", config, code=1)
    assert f"{area}: {finding['found']}: mended.\n" in said
    assert doctor(config) == [[], []]


# ------------------------------------------------------------------------- what it mends itself


def test_a_state_that_is_well_is_told_so(config):
    """But for the engine, whose absence is told in one line."""
    said = run("doctor", "--config", config, code=1)
    assert re.fullmatch(r"engine: .*: start the container engine\.\n", said)


@pytest.mark.parametrize("name", ["audit.key", "ssh_host_key", "desk.db", "archive", "."])
def test_files_that_others_may_use(config, state, name):
    """Closed, with what their owner may left as it was."""
    run("doctor", "--config", config, code=1)  # makes what the first broker makes
    (state / "archive").mkdir(mode=0o700, exist_ok=True)
    path = state / name
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(before | 0o044)
    mends(config, "files", f"has mode 0?{before | 0o044:o}, so that others may use it")
    assert stat.S_IMODE(path.stat().st_mode) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_files_of_somebody_else(config, state):
    """Given to whose the state is; what a link leads to is not, nor is a door's socket."""
    outside = state.parent / "outside"
    outside.write_text("")
    os.chown(outside, 4321, -1)
    (state / "link").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(state / "gateway.sock"))
    os.chown(state / "gateway.sock", 4321, -1)
    os.chown(state / "desk.db", 4321, -1)
    mends(config, "files", "belongs to uid 4321, and the state to 0")
    assert (state / "desk.db").stat().st_uid == 0
    assert outside.stat().st_uid == (state / "gateway.sock").stat().st_uid == 4321


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("ssh-rsa x")])
def test_the_host_keys_public_half(config, state, damage):
    """Written again from the other one."""
    public = state / "ssh_host_key.pub"
    before = public.read_bytes()
    damage(public)
    mends(config, "files", "is not the public half of the host key")
    assert public.read_bytes() == before


@pytest.mark.parametrize("name", ["backup.part", "archive/0123456789abcdef.tar.gz.part"])
def test_what_was_killed_left_something(config, state, name):
    """Deleted; not while somebody is at it."""
    path = state / name
    (state / "archive").mkdir(mode=0o700, exist_ok=True)
    path.mkdir() if name == "backup.part" else path.write_text("half")
    mends(config, "files", "is left of a .* that was killed")
    assert not path.exists()


def test_a_backup_that_is_being_made_is_left_alone(config, state):
    """Its directory is held."""
    with workplace(state):
        assert doctor(config, "--fix") == [[], []]


def test_an_older_schema(config, state):
    """Migrated, a copy first."""
    back_to(state / "desk.db", "0003")
    (finding,), _ = doctor(config)
    assert (finding["area"], finding["action"], finding["mends"]) == (
        "schema",
        "deskd migrate",
        True,
    )
    assert doctor(config, "--fix")[1] == []
    assert version_of(state / "desk.db") == head()
    assert (state / "desk.db.0003.backup").exists()


# ------------------------------------------------------------------------- what it only tells


def only_told(config, area, pattern, action):
    (finding,), left = doctor(config, "--fix")
    assert left == [finding]
    assert (finding["area"], finding["mends"]) == (area, False)
    assert re.search(pattern, finding["found"]), finding["found"]
    assert re.search(action, finding["action"]), finding["action"]


@pytest.mark.parametrize(
    "told",
    [
        "login: {sources: [{kind: webhook, name: portal, url: 'https://x/', secret: SECRET}]}\n",
        (
            "oidc: {name: sso, issuer: 'https://x', client_id: desk, client_secret: SECRET}\n"
            "web: {url: 'https://desk.example'}\n"
        ),
    ],
)
def test_secrets_that_everybody_may_read(config, tmp_path, told):
    """The files are not ours: nothing is changed."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    with config.open("a") as file:
        file.write(told.replace("SECRET", str(secret)))
    only_told(config, "files", "everybody may read the secret in it", f"chmod o= {secret}")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644


def test_a_restore_that_was_killed(config, state):
    """To be repeated."""
    (state / "restore.part").mkdir()
    only_told(config, "files", "is left of a restore that was killed", "deskd restore again")


def test_little_room(config, state, monkeypatch):
    """Of bytes and of inodes."""
    monkeypatch.setattr(premises.shutil, "disk_usage", lambda _: (100 << 30, 0, 1 << 20))
    told = json.loads(run("doctor", "--json", "--config", config, code=1))["found"]
    (finding,) = [one for one in told if one["area"] == "space"]
    assert finding["found"] == f"{state} has 1.0 MB free, and wants 1.0 GB"


def test_too_few_descriptors(config):
    """Of the process that has the state."""
    limited = "ulimit -n 1000; exec sleep 60"
    with subprocess.Popen(["/bin/sh", "-c", limited]) as process:
        try:
            while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                time.sleep(0.01)
            found = [
                repair.finding.found
                for repair in premises.examine(load(config), owner=os.getuid(), holder=process.pid)
            ]
        finally:
            process.kill()
    assert found == [f"process {process.pid} may have 1000 descriptors, and ssh.limits wants 12544"]


def test_a_newer_schema_is_left_alone(config, state):
    """And nothing else is looked at: this code would not understand it."""
    with closing(sqlite3.connect(state / "desk.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    told = json.loads(run("doctor", "--fix", "--json", "--config", config, code=1))
    assert "made by a newer Desk" in str(told["left"])
    assert version_of(state / "desk.db") == "9999"


# ------------------------------------------------------------------------- beside a broker


def test_a_running_broker_does_its_part(served, config, monkeypatch):
    """It is asked, for it alone may write; what is of the host is done here."""
    state = served.path.parent
    config.write_text(f"state: {state}\ntemplate: {{image: a}}\n")
    served.world.engine.networks.clear()
    monkeypatch.setattr(module, "_schema", lambda *_: ([], []))
    with StateLock(state / "lock"):
        told = json.loads(run("doctor", "--json", "--config", config, code=1))
        assert told["running"]
        assert [one["area"] for one in told["left"] if one["area"] != "limits"] == ["network"]
        told = json.loads(run("doctor", "--fix", "--json", "--config", config))
        assert told["left"] == []
    assert served.world.engine.networks


def test_a_broker_that_does_not_answer_is_told(config, state):
    """The state is left alone."""
    with StateLock(state / "lock"):
        found, left = doctor(config, "--fix")
    assert [one["area"] for one in found if one["area"] != "limits"] == ["broker"]
    assert found == left
