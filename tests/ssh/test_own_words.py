"""People and their own keys, passwords and codes, by words from a stock OpenSSH."""

from __future__ import annotations

import asyncio
import json
import shutil

import pyotp
import pytest

from tests.ssh.clients import HOST, run
from tests.ssh.test_sign_on import site  # noqa: F401 - a fixture


@pytest.fixture
def ssh(site):  # noqa: F811 - a fixture
    """Says a word with a key; its exit status, output and complaint."""

    async def say(key, *command):
        argv = ["ssh", "-F", "none", "-p", str(site.door.port), "-l", "desk", "-i", str(key)]
        for option in (
            f"UserKnownHostsFile={site.folder / 'known_hosts'}",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ):
            argv += ["-o", option]
        done = await asyncio.to_thread(run, [*argv, HOST, *command], env={"PATH": "/usr/bin:/bin"})
        return done.status, done.out.decode(), done.err.decode()

    return say


pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")


async def test_a_person_changes_their_key(site, ssh):  # noqa: F811 - a fixture
    """A new one is added as it was pasted, with what limits it, and takes the old one away."""
    ada = await site.account()
    old = await site.key_of(ada)
    new, line = site.new_key("new")
    status, told, _ = await ssh(old, f'desk keys add from="{HOST}/32" {line}')
    assert status == 0
    assert "it is called new." in told
    status, told, _ = await ssh(new, "desk", "keys", "--json")
    mine, added = json.loads(told)
    assert (added["name"], added["sources"]) == ("new", [f"{HOST}/32"])
    assert mine["last_used_from"] == HOST
    assert (await ssh(new, "desk keys rm id"))[0] == 0
    assert (await ssh(old, "desk whoami"))[0] == 255
    status, _, complaint = await ssh(new, "desk keys rm new")
    assert status == 0, complaint  # the password is another way in
    assert (await ssh(new, "desk whoami"))[0] == 255


async def test_a_person_sets_up_codes_from_a_terminal_of_theirs(site, ssh):  # noqa: F811 - a fixture
    """Where the policy wants them: nothing but that until then, and the picture is whole."""
    ada = await site.account()
    key = await site.key_of(ada)
    await ada.ways("key+code")
    assert (await ssh(key, "desk list"))[0] == 1
    status, told, _ = await ssh(key, "desk code enrol")
    assert status == 0
    assert told.count("█") > 100
    secret = json.loads((await ssh(key, "desk code enrol --json"))[1])["secret"]
    code = pyotp.TOTP(secret).at(site.broker.clock.now())
    status, told, _ = await ssh(key, f"desk code confirm {code}")
    assert (status, len(told.splitlines())) == (0, 11)
    assert (await ssh(key, "desk whoami"))[0] == 255  # the code is asked for now


async def test_the_last_way_in_stays(site, ssh):  # noqa: F811 - a fixture
    """One sentence, and a status that a program reads."""
    ada = await site.account(password=None)
    key = await site.key_of(ada)
    status, told, complaint = await ssh(key, "desk keys rm id")
    assert (status, told) == (1, "")
    assert complaint.startswith("desk: That is your last way in")
    assert (await ssh(key, "desk whoami"))[0] == 0
