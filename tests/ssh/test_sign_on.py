"""Signing on with stock clients, at a real door before the real authentication over a real state:
every way, what each policy makes of it, and what becomes of accounts that are not as they were.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import paramiko
import pytest
import structlog

from broker.door.app import Door
from broker.door.limits import Limits
from tests.scratch import new_directory
from tests.service.harness import World
from tests.service.people import PASSWORD
from tests.service.people import Person as Account
from tests.ssh.clients import HOST, Terminal, run

#: What answers `ssh` instead of a person, by what the question has in it.
ASKPASS = """#!/bin/sh
case "$1" in
  *"User name"*) echo "$ANSWER_NAME" ;;
  *assword*) echo "$ANSWER_PASSWORD" ;;
  *"One-time code"*) echo "$ANSWER_CODE" ;;
  *) exit 1 ;;
esac
"""

#: A word of the broker's: whoever gets an answer is in, and nothing was started for it.
WORD = "desk list"
IN = "You have no desktop yet"


@dataclass
class Outcome:
    entered: bool
    text: str
    asked: list[str] = field(default_factory=list)


@dataclass
class Site:
    """A door, the broker behind it, and the folder of whoever comes."""

    broker: object
    door: Door
    folder: Path
    host_key: asyncssh.SSHKey

    async def account(self, name="ada", **options) -> Account:
        return await Account.make(self.broker, name, **options)

    def new_key(self, name: str) -> tuple[Path, str]:
        """The file of a new key, and its line."""
        file = self.folder / name
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)], check=True
        )
        return file, file.with_suffix(".pub").read_text()

    async def key_of(self, account: Account) -> Path:
        file, line = self.new_key("id")
        await self.broker.accounts.add_key(account.name, line, actor="uid:0")
        return file


@pytest.fixture
async def site():
    folder = new_directory()
    askpass = folder / "askpass"
    askpass.write_text(ASKPASS)
    askpass.chmod(askpass.stat().st_mode | stat.S_IXUSR)
    world = await World.create(new_directory())
    broker = await world.broker()
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    door = Door(broker.gateway, host_key, limits=Limits(report_every=60.0))
    await door.start()
    known = host_key.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[{HOST}]:{door.port} {known}\n")
    yield Site(broker, door, folder, host_key)
    await door.close(0.5)
    await world.close()
    shutil.rmtree(folder)
    shutil.rmtree(world.directory)


# -------------------------------------------------------------------------------------- clients


def _openssh(site, login, *, key, name, password, code) -> Outcome:
    argv = ["ssh", "-F", "none", "-p", str(site.door.port), "-l", login]
    for option in (
        f"UserKnownHostsFile={site.folder / 'known_hosts'}",
        "NumberOfPasswordPrompts=1",
        "PreferredAuthentications=publickey,keyboard-interactive",
        "IdentitiesOnly=yes",
        f"IdentityFile={key or 'none'}",
    ):
        argv += ["-o", option]
    answers = {"ANSWER_NAME": name, "ANSWER_PASSWORD": password, "ANSWER_CODE": code}
    done = run(
        [*argv, HOST, WORD],
        env={
            "PATH": "/usr/bin:/bin",
            "SSH_ASKPASS": str(site.folder / "askpass"),
            "SSH_ASKPASS_REQUIRE": "force",
            **answers,
        },
    )
    return Outcome(done.status == 0, (done.out + done.err).decode())


def _plink(site, login, *, key, name, password, code) -> Outcome:
    argv = [
        "plink",
        "-ssh",
        "-P",
        str(site.door.port),
        "-l",
        login,
        "-noagent",
        "-no-antispoof",
        "-v",
    ]
    argv += ["-hostkey", site.host_key.get_fingerprint()]
    if key is not None:
        ppk = key.with_suffix(".ppk")
        subprocess.run(["puttygen", str(key), "-o", str(ppk)], check=True)
        argv += ["-i", str(ppk)]
    answers = {"User name": name, "assword": password, "One-time code": code}
    asked = []
    with Terminal([*argv, HOST, WORD]) as terminal:
        questions = "|".join(answers)
        while True:
            found = terminal.expect(
                rf"({questions})[^\n]*: |{IN}|FATAL|Access denied|access_denied".encode(),
                30,
            )
            word = (found[1] or b"").decode()
            if not word or word in asked:
                entered = IN.encode() in found[0]
                return Outcome(entered, terminal.seen.decode(errors="replace"), asked)
            asked.append(word)
            terminal.send(answers[word].encode() + b"\n")


def _paramiko(site, login, *, key, name, password, code) -> Outcome:
    answers = {"User name: ": name, "Password: ": password, "One-time code: ": code}
    asked = []

    def answer(_title, instruction, prompts):
        if instruction:
            asked.append(instruction)
        asked.extend(prompt for prompt, _ in prompts)
        return [answers[prompt] for prompt, _ in prompts]

    transport = paramiko.Transport((HOST, site.door.port))
    try:
        transport.start_client(timeout=20)
        try:
            left = ["keyboard-interactive"]
            if key is not None:
                left = transport.auth_publickey(
                    login, paramiko.Ed25519Key.from_private_key_file(str(key))
                )
            if left:
                left = transport.auth_interactive(login, answer)
        except paramiko.SSHException as error:
            banner = (transport.get_banner() or b"").decode()
            return Outcome(False, f"{banner} {error}", asked)
        if left:
            return Outcome(False, f"still wanted: {left}", asked)
        channel = transport.open_session(timeout=20)
        channel.exec_command(WORD)
        text = (channel.makefile().read() + channel.makefile_stderr().read()).decode()
        return Outcome(IN in text, text, asked)
    finally:
        transport.close()


CLIENTS = {"OpenSSH": _openssh, "PuTTY": _plink, "paramiko": _paramiko}


@pytest.fixture(params=CLIENTS)
def sign_on(request, site):
    """Sign on with that client: `await sign_on(LOGIN, key=…, password=…, code=…)`."""

    async def attempt(login, *, key=None, name="", password="", code="") -> Outcome:
        return await asyncio.to_thread(
            CLIENTS[request.param],
            site,
            login,
            key=key,
            name=name,
            password=password,
            code=code,
        )

    return attempt


# ------------------------------------------------------------------------------------ the table

WRONG = "000000"

#: ways of the group · whether a code is set up · what is given: key, password, code · who gets in
TABLE = {
    "a key, where it is enough": (["key"], False, "key", True),
    "a key, where a code is wanted too": (["key+code"], True, "key code", True),
    "a key, and a wrong code": (["key+code"], True, "key wrong-code", False),
    "a key, where passwords are wanted": (["password"], False, "key", False),
    "a password, where it is enough": (["password"], False, "password", True),
    "a wrong password": (["password"], False, "wrong-password", False),
    "a password, where keys are wanted": (["key"], False, "password", False),
    "a password and a code": (["password+code"], True, "password code", True),
    "a password and a wrong code": (["password+code"], True, "password wrong-code", False),
    "a password and a code that was set up freely": (["password"], True, "password code", True),
    "a wrong password and a right code": (["password+code"], True, "wrong-password code", False),
}


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("login", ["desk", "ada"])
async def test_what_is_given_and_what_it_is_worth(site, sign_on, case, login):
    """By the shared name, which asks for one where no key tells it, and by one's own."""
    ways, coded, given, enters = TABLE[case]
    ada = await site.account()
    key = await site.key_of(ada)
    if coded:
        await ada.enrol()
    await ada.ways(*ways)
    given = given.split()
    outcome = await sign_on(
        login,
        key=key if "key" in given else None,
        name="ada",
        password=PASSWORD if "password" in given else "wrong password",
        code=ada.code() if "code" in given else WRONG,
    )
    assert outcome.entered is enters, outcome.text


async def disabled(site, ada):
    await site.broker.store.set_enabled(ada.user.id, enabled=False, actor="uid:0")


async def removed(site, ada):
    await site.broker.accounts.remove_user("ada", actor="uid:0")


@pytest.mark.parametrize("end", [disabled, removed])
async def test_an_account_that_is_gone_is_like_one_that_never_was(site, sign_on, end):
    ada = await site.account()
    key = await site.key_of(ada)
    await end(site, ada)
    for given in (key, None):
        gone = await sign_on("ada", key=given, password=PASSWORD)
        never = await sign_on("eve", key=given, password=PASSWORD)
        assert not gone.entered
        assert not never.entered
        assert gone.asked == never.asked


async def test_an_invite_binds_the_key_that_comes_with_it_once(site, sign_on):
    """Who comes second, or with nothing, is told what to do."""
    ada = await site.account(password=None)
    _, token = await site.broker.invites.make(ada.user, actor="uid:0")
    key, _ = site.new_key("mine")
    other, _ = site.new_key("other")
    without = await sign_on(f"invite+{token}", password="x")
    assert not without.entered
    assert (without.text + "".join(without.asked)).count("ssh-keygen -t ed25519") == 1
    first = await sign_on(f"invite+{token}", key=key)
    assert first.entered, first.text
    second = await sign_on(f"invite+{token}", key=other)
    assert not second.entered
    assert "This invite is unknown, used or expired" in re.sub(r"\s+", " ", second.text)
    assert (await sign_on("desk", key=key)).entered


async def test_who_tries_too_often_waits_and_is_told_so(site, sign_on):
    """The same for a name that nobody has; the key is never blocked."""
    ada = await site.account()
    key = await site.key_of(ada)
    texts = []
    for name in ("ada", "eve"):
        for _ in range(6):
            outcome = await sign_on(name, password="wrong password")
            assert not outcome.entered
        texts.append(re.sub(r"\s+", " ", outcome.text))
    assert all("Too many wrong passwords or codes for this account" in text for text in texts)
    assert not (await sign_on("ada", password=PASSWORD)).entered
    assert (await sign_on("ada", key=key)).entered


async def test_whoever_has_to_set_up_a_code_may_do_nothing_else(site, sign_on):
    ada = await site.account()
    key = await site.key_of(ada)
    await ada.ways("key+code")
    outcome = await sign_on("desk", key=key)
    assert not outcome.entered
    assert "desk code enrol" in outcome.text


async def test_what_a_group_does_not_allow_is_refused_at_the_door(site):
    """With the reason, and nothing is started for it."""
    ada = await site.account()
    key = await site.key_of(ada)
    await ada.ways(allow__forward_local=False)
    argv = ["ssh", "-F", "none", "-p", str(site.door.port), "-i", str(key), "-o", "BatchMode=yes"]
    argv += ["-o", f"UserKnownHostsFile={site.folder / 'known_hosts'}", "-W", "localhost:22"]
    done = await asyncio.to_thread(run, [*argv, f"desk@{HOST}"])
    assert done.status != 0
    assert b"forwards are not allowed here" in done.err
    assert not await site.broker.store.desktops()


async def test_nothing_that_was_typed_is_in_the_log(site, sign_on):
    ada = await site.account()
    await ada.enrol()
    _, token = await site.broker.invites.make(ada.user, actor="uid:0")
    code = ada.code()
    with structlog.testing.capture_logs() as lines:
        assert (await sign_on("ada", password=PASSWORD, code=code)).entered
        await sign_on("ada", password="wr0ng-s3cret")
        await sign_on(f"invite+{token}", key=site.new_key("mine")[0])
    assert not any(
        secret in repr(lines) for secret in (PASSWORD, "wr0ng-s3cret", code, token, ada.secret)
    )
