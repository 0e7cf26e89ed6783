"""What was typed, made or shown once, and whether any of it is in the log, at any level, or in an
error: over a real door before the real authentication.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import sys

import asyncssh
import pyotp
import pytest
import sqlalchemy
import structlog

from broker import telemetry
from broker.core.errors import DeskError
from broker.door.app import Door
from broker.door.limits import Limits
from broker.service.sources import Newcomers, Sources
from tests.scratch import new_directory
from tests.service.harness import World
from tests.service.people import Person
from tests.service.test_sources import FakeSource

PASSWORD, MISTYPED, THEIRS = "seeded-pass-0001", "seeded-wrong-0002", "seeded-source-0003"


class Client(asyncssh.SSHClient):
    """Answers questions by what is in them."""

    def __init__(self, name="", password="", code=""):
        self.answers = {"User name": name, "Password": password, "One-time code": code}

    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [self.answers[prompt.rstrip(": ")] for prompt, _ in prompts]


@pytest.fixture
def log(monkeypatch):
    """All that was logged, as Desk logs it, down to DEBUG; what it holds back included."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level, quiet = root.handlers[:], root.level, telemetry.QUIET
    levels = {name: logging.getLogger(name).level for name in quiet}
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    telemetry.configure("json", logging.DEBUG)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.configure(**config)


@pytest.fixture
async def site(log):
    world = await World.create(new_directory())
    world.broker_ = broker = await world.broker()
    source = FakeSource("campus", {"zoe": THEIRS})
    broker.authentication._newcomers = Newcomers(
        sources=Sources([source], metrics=broker.metrics), store=broker.store, groups=broker.groups
    )
    door = Door(broker.gateway, asyncssh.generate_private_key("ssh-ed25519"), limits=Limits())
    await door.start()
    world.port = door.port
    yield world
    await door.close(0.1)
    await world.close()
    shutil.rmtree(world.directory)


async def say(site, command, *, login="desk", key=None, name="", password="", code=""):
    """What the broker answers, or why nobody was let in; and what the door said beside."""
    client = Client(name, password, code)
    try:
        async with asyncssh.connect(
            "127.0.0.1",
            site.port,
            username=login,
            client_keys=[key] if key else None,
            password=password if login != "desk" and not code else None,
            client_factory=lambda: client,
            known_hosts=None,
            config=None,
            agent_path=None,
        ) as connection:
            done = await connection.run(command)
            return done.stdout + done.stderr
    except asyncssh.Error as error:
        return str(error)


async def test_no_secret_is_in_the_log_or_in_an_error(site, log):
    broker = site.broker_
    ada = await Person.make(broker, "ada", password=PASSWORD)
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = key.export_public_key().decode()
    invited = asyncssh.generate_private_key("ssh-ed25519")
    secrets = {"a password": PASSWORD, "a mistyped one": MISTYPED, "a source's": THEIRS}
    secrets["a hash"] = (await broker.store.password(ada.user.id)).hash
    secrets["a private key"] = key.export_private_key().decode().splitlines()[2]
    told = []

    # -- keys, invites, codes and passwords that are made
    await broker.accounts.add_key("ada", line, actor="uid:0")
    _, secrets["an invite"] = await broker.invites.make(ada.user, actor="uid:0")
    told.append(await say(site, "desk keys", login=f"invite+{secrets['an invite']}", key=invited))
    told.append(await say(site, "desk keys", login=f"invite+{secrets['an invite']}", key=key))
    begun = json.loads(await say(site, "desk code enrol --json", key=key))
    totp = pyotp.TOTP(begun["secret"])
    secrets |= {"a secret": begun["secret"], "its URI": begun["uri"]}
    secrets["the first code"] = totp.at(broker.clock.now())
    told.append(await say(site, "desk code confirm 123456", key=key))
    made = json.loads(
        await say(site, f"desk code confirm {secrets['the first code']} --json", key=key)
    )
    secrets |= {f"recovery code {n}": code for n, code in enumerate(made["recovery"])}
    broker.clock.advance(60)
    secrets["a code"] = totp.at(broker.clock.now())

    # -- what is typed, right and wrong
    for login in ("ada", "desk"):
        for password, code in (
            (PASSWORD, secrets["a code"]),
            (PASSWORD, secrets["recovery code 0"]),
            (MISTYPED, ""),
            (PASSWORD, "918273"),
        ):
            told.append(
                await say(
                    site, "desk whoami", login=login, name="ada", password=password, code=code
                )
            )
    told.append(await say(site, "desk whoami", login="zoe", password=THEIRS))
    made = json.loads(await say(site, "desk password new --json", key=key))
    secrets["a made password"] = made["password"]
    told += [await say(site, "desk list", login="ada", password=MISTYPED) for _ in range(7)]

    # -- a state that breaks under it
    engine = broker.real_store._do._engine
    async with engine.begin() as connection:
        await connection.execute(sqlalchemy.text("ALTER TABLE password RENAME COLUMN hash TO gone"))
        await connection.execute(sqlalchemy.text("ALTER TABLE codes RENAME COLUMN secret TO gone"))
    for work in (
        broker.accounts.set_password("ada", secrets["a made password"], actor="uid:0"),
        broker.codes.begin(await broker.user("eve"), actor="uid:0"),
        broker.store.begin_codes(ada.user.id, secrets["a secret"], actor="uid:0"),
        broker.store.set_password(ada.user.id, secrets["a hash"], actor="uid:0"),
    ):
        with pytest.raises(DeskError) as caught:
            await work
        structlog.get_logger().exception("as a defect would be", exc_info=caught.value)
        told += [caught.value.public, str(caught.value)]

    audit = repr(await broker.store.audit(limit=1000))
    written = log.getvalue()
    assert "client authenticated" in written
    assert "no column named hash" in written
    for name, secret in secrets.items():
        assert secret not in written, name
        assert secret not in audit, name
        assert not [one for one in told if secret in one], name
    assert sum("proved by" in one for one in told) == 3, "the right ones let in"
