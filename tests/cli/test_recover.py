"""deskd recover-access, on a state that nobody uses and beside a broker that runs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from broker.cli import deskd
from broker.cli import recover as recovering
from broker.core.digest import hashed
from broker.db.opening import open_store
from broker.system.clock import SystemClock
from broker.system.lock import StateLock
from tests.service.people import Person


@pytest.fixture
def config(tmp_path):
    """Of a state that has no broker."""
    path = tmp_path / "desk.yaml"
    path.write_text(f"state: {tmp_path}/state\ntemplate:\n  image: desk:latest\n")
    run("migrate", "--config", path)
    return path


def run(*args, code=0):
    """What deskd printed, or complained when it was to fail."""
    with capture_logs() as logs:
        result = CliRunner().invoke(deskd.main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "invite+" not in str(logs)
    return result.stdout if code == 0 else result.stderr


def on(config, work):
    """What comes of the work on the state's store."""

    async def do():
        store = await open_store(config.parent / "state" / "desk.db", SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(do())


async def _lost(store):
    """Disabled, and nothing proves them."""
    ada = await store.add_user("ada", admin=False, actor="x")
    await store.set_enabled(ada.id, enabled=False, actor="x")


def token_of(said):
    return re.search(r"^ssh -p \d+ invite\+([\w-]{32})@", said, re.MULTILINE)[1]


def test_access_is_recovered_where_no_broker_runs(config):
    """Enabled, an admin, invited; the audit says who did it, in a chain that is whole."""
    on(config, _lost)
    said = run("recover-access", "ada", "--admin", "--config", config, "--host", "desk.example")
    first, command, _ = said.splitlines()
    assert first == "ada is let in again and is an admin, by a key that this binds:"
    assert command == f"ssh -p 2222 invite+{token_of(said)}@desk.example"

    async def look(store):
        _, user = await store.invite_of(hashed(token_of(said)))
        entries = await store.audit(actor=f"uid:{os.getuid()}")
        return user, [(e.action, e.origin) for e in entries], await store.verify_audit()

    user, entries, verification = on(config, look)
    assert (user.name, user.enabled, user.admin) == ("ada", True, True)
    assert entries[::-1] == [
        ("access.recover", "local"),
        ("user.enable", "local"),
        ("user.admin", "local"),
        ("invite.add", "local"),
    ]
    assert verification.problem is None
    assert token_of(said).encode() not in (config.parent / "state" / "desk.db").read_bytes()


def test_nobody_becomes_an_admin_unasked(config):
    """And an invite is good for as long as is said."""
    on(config, _lost)
    said = run("recover-access", "ada", "--config", config, "--valid", "1h")
    assert said.startswith("ada is let in again, by a key that this binds:\n")

    async def look(store):
        return await store.invite_of(hashed(token_of(said)))

    invite, user = on(config, look)
    assert not user.admin
    assert abs(invite.expires_at - invite.made_at - timedelta(hours=1)) < timedelta(seconds=30)


def test_a_running_broker_is_asked(served, config):
    """It knows of blocks; it is another process, so its own lock stands in the way."""
    state = served.path.parent
    config.write_text(f"state: {state}\ntemplate:\n  image: desk:latest\n")
    ada = served.do(Person.make(served.broker))
    served.do(ada.fail())
    assert served.broker.blocks.standing()
    with StateLock(state / "lock"):
        said = run("recover-access", "ada", "--config", config)
    assert served.broker.blocks.standing() == []
    assert served.do(served.broker.invites.of(token_of(said)))[1].name == "ada"
    with StateLock(state / "lock"):
        assert run("recover-access", "bob", "--config", config, code=1) == (
            "There is no user 'bob'. (not_found)\n"
        )


def test_a_broker_that_does_not_answer_is_told(config):
    """The state is left alone."""
    on(config, _lost)
    state = config.parent / "state"
    with StateLock(state / "lock"):
        said = run("recover-access", "ada", "--config", config, code=3)
    assert said == (
        f"{state}: process {os.getpid()} uses this state, and its broker does not answer: try"
        " again in a moment, or stop it first. (broker_unavailable)\n"
    )


def test_what_cannot_be_is_one_sentence(config, tmp_path):
    """Nothing is changed then."""
    on(config, _lost)
    assert run("recover-access", "bob", "--config", config, code=1) == (
        "There is no user 'bob'. (not_found)\n"
    )
    said = run("recover-access", "ada", "--config", config, "--valid", "soon", code=2)
    assert said.startswith("valid: found 'soon';")

    async def look(store):
        return (await store.user("ada")).enabled

    assert not on(config, look)
    config.write_text(f"state: {tmp_path}/none\ntemplate:\n  image: desk:latest\n")
    said = run("recover-access", "ada", "--config", config, code=1)
    assert said == f"{tmp_path}/none: cannot be used: No such file or directory. (state_unusable)\n"


def test_who_is_neither_root_nor_the_owner_is_refused(config, monkeypatch):
    """Before anything is looked at."""
    on(config, _lost)
    monkeypatch.setattr(recovering.os, "geteuid", lambda: 12345)
    said = run("recover-access", "ada", "--config", config, code=1)
    assert said == (
        f"{config.parent}/state: recover-access is for root and for its owner, who has uid"
        f" {os.getuid()} (access_denied)\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can do as another")
def test_what_root_does_leaves_the_state_to_its_owner(config):
    """A file of root's would keep the broker out."""
    on(config, _lost)
    state = config.parent / "state"
    for path in (state, *state.rglob("*")):
        os.chown(path, 65534, 65534)
    for parent in (config.parent, *config.parent.parents):
        if parent.stat().st_uid == 0 and parent.as_posix().startswith("/tmp/pytest"):
            parent.chmod(0o755)
    (state / "lock").unlink(missing_ok=True)
    command = [sys.executable, "-m", "broker.cli.deskd", "recover-access", "ada"]
    done = subprocess.run(
        [*command, "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.stat().st_uid for path in state.rglob("*")} == {65534}
