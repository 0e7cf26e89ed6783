"""Whether a desktop answers, asked of a real sshd in this process."""

from __future__ import annotations

import asyncio
import socket

import asyncssh
import pytest

from broker.core.gateway import Endpoint
from broker.service.files import Access
from broker.service.ready import XPRA_SOCKET, SshProbe
from tests.clocks import ManualClock
from tests.service.harness import PATIENCE

ANSWER = b"P\x01\x00\x00\x00\x00\x00\x00"


class Clock(ManualClock):
    """Its pauses are over when the loop has done everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = 0

    async def sleep(self, seconds: float) -> None:
        self.pauses += 1
        await asyncio.sleep(0)


class Desktop(asyncssh.SSHServer):
    """An sshd whose xpra answers as it is told."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside

    def unix_connection_requested(self, dest_path):
        self.inside.asked.append(dest_path)
        how = self.inside.answers.pop(0) if len(self.inside.answers) > 1 else self.inside.answers[0]
        if how == "refuse":
            return False
        return lambda reader, writer: self._talk(how, reader, writer)

    async def _talk(self, how, reader, writer):
        self.inside.requests.append(await reader.read(4096))
        if how == "answer":
            writer.write(ANSWER)
        writer.close()


class Inside:
    """What a test looks at and sets."""

    def __init__(self) -> None:
        self.answers = ["answer"]
        self.asked: list[str] = []
        self.requests: list[bytes] = []
        self.host = asyncssh.generate_private_key("ssh-ed25519")
        self.client = asyncssh.generate_private_key("ssh-ed25519")
        self.access = Access(
            host_key=self.host.export_public_key().decode().strip(),
            client_key=self.client.export_private_key().decode(),
        )


@pytest.fixture
def inside():
    """What is in the desktop."""
    return Inside()


@pytest.fixture
async def endpoint(inside, tmp_path):
    """Where the desktop's sshd listens."""
    allowed = tmp_path / "authorized_keys"
    allowed.write_bytes(inside.client.export_public_key())
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Desktop(inside),
        server_host_keys=[inside.host],
        authorized_client_keys=str(allowed),
    )
    yield Endpoint("127.0.0.1", server.get_port())
    server.close()
    await server.wait_closed()


@pytest.fixture
def closed():
    """Where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Endpoint("127.0.0.1", sock.getsockname()[1])


async def wait(clock, endpoints, access):
    async with asyncio.timeout(PATIENCE):
        await SshProbe(clock).wait(endpoints, access)


async def test_a_desktop_whose_xpra_speaks_is_ready(endpoint, inside):
    """It is asked for its id on its own socket, through its own sshd."""
    clock = Clock()
    await wait(clock, [endpoint], inside.access)
    assert inside.asked == [XPRA_SOCKET]
    assert inside.requests[0].startswith(b"P\x00\x00\x00")
    assert b"5:hello" in inside.requests[0]
    assert clock.pauses == 0


async def test_a_socket_that_is_not_there_or_dead_is_asked_again(endpoint, inside):
    """A socket's file alone is no sign of life."""
    inside.answers = ["refuse", "hang up", "refuse", "answer"]
    clock = Clock()
    await wait(clock, [endpoint], inside.access)
    assert len(inside.asked) == 4
    assert clock.pauses == 3


async def test_the_next_endpoint_is_tried(endpoint, closed, inside):
    """Where the bridge address cannot be reached, the published port may be."""
    await wait(Clock(), [closed, endpoint], inside.access)
    assert inside.asked == [XPRA_SOCKET]


@pytest.mark.parametrize("what", ["host_key", "client_key"])
async def test_another_hosts_key_or_a_refused_login_is_no_answer(endpoint, inside, what):
    """Whoever listens there is not our desktop; the probe goes on until it is stopped."""
    other = Inside().access
    access = Access(
        **{"host_key": inside.access.host_key, "client_key": inside.access.client_key}
        | {what: getattr(other, what)}
    )
    clock = Clock()
    probing = asyncio.get_running_loop().create_task(SshProbe(clock).wait([endpoint], access))
    async with asyncio.timeout(PATIENCE):
        while clock.pauses < 2:
            await asyncio.wait({probing}, timeout=0.01)
    assert not probing.done()
    assert inside.asked == []
    probing.cancel()
    await asyncio.wait({probing})
