"""deskd's short commands: check-config and migrate, and how they refuse."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic import command
from click.testing import CliRunner

from broker.cli.deskd import main
from broker.db.migrate import head
from broker.db.migrate import run as migrations
from broker.db.sqlite import open_engine as sqlite_engine
from broker.system.lock import StateLock


@pytest.fixture
def state(tmp_path):
    """The state directory of the configuration."""
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path, state):
    """A configuration that is good."""
    path = tmp_path / "desk.yaml"
    path.write_text(f"state: {state}\ntemplate:\n  image: desk:latest\n")
    return path


def run(*args, code=0, env=None):
    """What deskd printed, or complained when it was to fail."""
    result = CliRunner().invoke(main, [str(arg) for arg in args], env=env)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


# -------------------------------------------------------------------------------- check-config


def test_a_good_configuration_is_good(config, state):
    """Nothing is made by looking."""
    assert run("check-config", "--config", config) == f"{config}: good.\n"
    assert run("check-config", env={"DESK_CONFIG": str(config)}) == f"{config}: good.\n"
    assert not state.exists()


def test_each_mistake_is_a_line_with_its_place(config):
    """Exit code 78, as sysexits.h has it."""
    config.write_text("state: var\ntemplate:\n  image: desk\n  memory: 5\ncolour: red\n")
    said = run("check-config", "--config", config, code=78)
    assert [line.split(": ")[:2] for line in said.splitlines()] == [
        [f"{config}:1", "state"],
        [f"{config}:4", "template.memory"],
        [f"{config}:5", "colour"],
    ]
    assert said.endswith("(config)\n")


def test_the_schema_for_editors_needs_no_file(tmp_path):
    """It is that of this version."""
    printed = run("check-config", "--schema", "--config", tmp_path / "absent.yaml")
    assert json.loads(printed)["properties"]["state"]["default"] == "/var/lib/desk"


def test_programs_read_what_is_wrong(config):
    """The exit code is the same."""
    assert json.loads(run("check-config", "--json", "--config", config))["good"]
    config.write_text("template: {image: desk}\ncolour: red\n")
    result = CliRunner().invoke(main, ["check-config", "--json", "--config", str(config)])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["good"], len(told["problems"])) == (78, False, 1)
    assert told["problems"][0].startswith(f"{config}:2: colour: this key is unknown")


@pytest.mark.parametrize("command", ["check-config", "migrate", "serve"])
def test_a_configuration_that_is_not_there_stops_every_command(tmp_path, command):
    """With the option that names one."""
    said = run(command, "--config", tmp_path / "absent.yaml", code=78)
    assert said == (
        f"{tmp_path}/absent.yaml: there is no such file; name one with --config. (config)\n"
    )


# ------------------------------------------------------------------------------------- migrate


def test_the_state_is_made_and_then_up_to_date(config, state):
    """Private to its owner."""
    first = run("migrate", "--config", config)
    assert first.startswith(f"{state}/desk.db: the schema went from nothing to ")
    assert run("migrate", "--config", config) == f"{state}/desk.db: the schema is up to date.\n"
    assert state.stat().st_mode & 0o007 == 0
    assert (state / "desk.db").stat().st_mode & 0o777 == 0o600


def test_a_state_is_copied_before_it_is_changed(config, state):
    """And who migrates is told where to."""
    run("migrate", "--config", config)
    back_to(state / "desk.db", "0003")
    told = json.loads(run("migrate", "--json", "--config", config))
    copy = state / "desk.db.0003.backup"
    assert (told["before"], told["backup"]) == ("0003", str(copy))
    assert version_of(copy) == "0003"
    back_to(state / "desk.db", "0003")
    said = run("migrate", "--config", config)
    assert said.endswith(f"What was there before is in {copy}.\n")
    assert version_of(state / "desk.db") == head()


def back_to(database, version):
    engine = sqlite_engine(database, foreign_keys=False)

    async def go():
        await migrations(engine, lambda config: command.downgrade(config, version))
        await engine.dispose()

    asyncio.run(go())


def version_of(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def test_the_state_of_a_running_broker_is_left_alone(config, state):
    """Its pid is told."""
    run("migrate", "--config", config)
    with StateLock(state / "lock"):
        said = run("migrate", "--config", config, code=1)
    assert f"another broker (process {os.getpid()}) uses this state" in said
    assert said.endswith("(state_unusable)\n")


def test_a_state_of_a_newer_desk_is_refused(config, state):
    """In words that say so, though the caller is no log."""
    run("migrate", "--config", config)
    with sqlite3.connect(state / "desk.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999_future'")
    database.close()
    said = run("migrate", "--config", config, code=1)
    assert "9999_future" in said
    assert said.count("\n") == 1
    assert not list(state.glob("*.backup"))


def test_a_state_that_is_no_database_is_refused(config, state):
    """And is not overwritten."""
    state.mkdir()
    (state / "desk.db").write_text("junk " * 1000)
    said = run("migrate", "--config", config, code=1)
    assert str(state / "desk.db") in said
    assert said.count("\n") == 1
    assert (state / "desk.db").read_text().startswith("junk")


def test_a_state_that_cannot_be_made_is_told(config, state):
    """A file stands in its place."""
    state.write_text("")
    said = run("migrate", "--config", config, code=1)
    assert said == f"{state}: cannot be used: File exists. (state_unusable)\n"


# -------------------------------------------------------------------------------------- broker


NO_PARENT = (
    "'deskd broker' is for 'deskd serve' alone, which holds the state for it: run that."
    " (state_unusable)\n"
)


def test_a_broker_without_its_parent_is_refused(config):
    """Before it reads anything: two could use one state."""
    assert run("broker", "--config", config, code=1) == NO_PARENT
    assert run("broker", "--parent", "1", "--gateway", "3", code=1) == NO_PARENT


def test_a_broker_that_was_not_given_the_lock_is_refused(config, state):
    """Though it says so; with the lock of another holder in the way, and without."""
    run("migrate", "--config", config)
    words = ("broker", "--parent", os.getppid(), "--gateway", 0, "--api", 0)
    with StateLock(state / "lock"), (state / "lock").open() as mine:
        for lock in (mine.fileno(), 0, 987):
            done = CliRunner().invoke(
                main, [str(word) for word in (*words, "--lock", lock)], input=config.read_text()
            )
            assert (done.exit_code, done.stderr) == (1, NO_PARENT)


# ------------------------------------------------------------------------------------- process


def test_the_command_itself_runs(config):
    """As a process: exit codes, one sentence, no traceback."""

    def deskd(*args):
        return subprocess.run(
            [sys.executable, "-m", "broker.cli.deskd", *args],
            capture_output=True,
            text=True,
            check=False,
        )

    good = deskd("check-config", "--config", str(config))
    assert (good.returncode, good.stdout, good.stderr) == (0, f"{config}: good.\n", "")
    config.write_text("log: loud\n")
    bad = deskd("check-config", "--config", str(config))
    assert (bad.returncode, bad.stdout) == (78, "")
    assert "Traceback" not in bad.stderr
    assert deskd("nothing").returncode == 2
    assert "deskd, version" in deskd("--version").stdout
