"""What a connection that proved nobody is worth a penalty for, when not all could be judged."""

from __future__ import annotations

import asyncssh
import pytest
import structlog

from broker.core.errors import BrokerUnavailable, CapacityExhausted
from broker.core.gateway import Offence
from broker.door.app import Door
from broker.door.limits import Limits
from tests.door.static import StaticGateway
from tests.ssh.raw import Boolean, String, stranger


class Judge(StaticGateway):
    """Raises what the password says, or says no."""

    async def check_password(self, login, password, address):
        match password:
            case "full":
                raise CapacityExhausted("too many wait")
            case "away":
                raise BrokerUnavailable("away for 1 s")


@pytest.fixture
async def door():
    door = Door(Judge({}), asyncssh.generate_private_key("ssh-ed25519"), limits=Limits())
    await door.start()
    door.offences = []
    door._entrance.offended = lambda _, offence: door.offences.append(offence)
    yield door
    await door.close(0.1)


async def leave_after(door, *passwords):
    """Try each, and go."""
    async with stranger(door) as client:
        for number, password in enumerate(passwords, 1):
            head = (String(b"ada"), String(b"ssh-connection"), String(b"password"))
            client.say(50, *head, Boolean(False), String(password.encode()))
            while client.heard.count(51) < number:
                await client.cut(0.01)
    await door.empty()


@pytest.mark.parametrize(
    ("passwords", "offences"),
    [
        ([], [Offence.NOAUTH]),
        (["wrong"], [Offence.AUTHFAIL]),
        (["full"], []),
        (["away", "full", "away"], []),
        (["full", "wrong"], [Offence.AUTHFAIL]),
        (["wrong", "away"], [Offence.AUTHFAIL]),
    ],
)
async def test_what_nobody_could_judge_is_no_offence_and_excuses_none(door, passwords, offences):
    """Whoever floods a broker would make it excuse what else they try."""
    await leave_after(door, *passwords)
    assert door.offences == offences


async def test_a_flood_that_is_refused_is_none_of_the_log(door):
    with structlog.testing.capture_logs() as lines:
        await leave_after(door, "full", "full", "wrong")
        assert lines == []
        await leave_after(door, "away")
    assert [line["event"] for line in lines] == ["identity unavailable"]
