"""Where the broker hears what doors pass on: by whom, how much, and by the door's own other end."""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
import pytest
import structlog
from aiohttp import web

from broker.core.gateway import CLIENT
from broker.http import doorstep
from broker.http.apisocket import ApiSocket
from broker.system import peer, sockets
from broker.system.peer import Peer, child_of
from tests.door.webport import PATIENCE, Port

REFUSED = "connection refused at the API"


class Api:
    def __init__(self, folder):
        self.path = folder / "api.sock"
        self.bound = sockets.bind_unix(self.path, mode=0o600, gid=None)
        self.bound.listen(16)
        self.open_again = asyncio.Event()
        self.server = None

    async def start(self, app=None, **options):
        if app is None:
            app = web.Application()
            app.router.add_get("/api/v1/who", self._who)
            app.router.add_get("/api/v1/wait", self._wait)
        self.server = ApiSocket(
            app,
            **{
                "uids": [os.getuid()],
                "door_of": child_of(os.getppid()),
                "requests": 4,
                **options,
            },
        )
        await self.server.start(self.bound.dup())

    async def _who(self, request):
        return web.Response(text=request.headers.get(CLIENT, "nobody"))

    async def _wait(self, request):
        await self.open_again.wait()
        return web.Response(text="done")

    async def get(self, path, **options):
        connector = aiohttp.UnixConnector(str(self.path))
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.get(f"http://broker{path}", **options) as reply,
        ):
            return reply.status, await reply.text()


@pytest.fixture
async def api(tmp_path):
    made = Api(tmp_path)
    yield made
    made.open_again.set()
    if made.server is not None:
        await made.server.close()
    made.bound.close()


async def test_a_door_is_heard(api):
    await api.start()
    assert await api.get("/api/v1/who", headers={CLIENT: "192.0.2.7"}) == (200, "192.0.2.7")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"uids": [os.getuid() + 1]}, "no front door's user"),
        ({"door_of": child_of(1)}, "no front door"),
    ],
)
async def test_who_is_no_door_is_not(api, options, reason):
    """Another's process, or one that is no child of the broker's own parent: nothing is read."""
    await api.start(**options)
    with structlog.testing.capture_logs() as logs, pytest.raises(aiohttp.ClientConnectionError):
        await api.get("/api/v1/who")
    assert {line["reason"] for line in logs if line["event"] == REFUSED} == {reason}


CHILD = """
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
try:
    line.send(b"GET /api/v1/who HTTP/1.1\\r\\nHost: x\\r\\nDesk-Client: 127.0.0.1\\r\\n\\r\\n")
    print(len(line.recv(100)), flush=True)
except ConnectionError:
    print(0, flush=True)
"""


async def test_what_a_door_starts_is_no_door(api):
    await api.start()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(api.path), stdout=-1
    )
    assert (await child.communicate())[0] == b"0\n"


async def test_a_door_has_so_many_requests_under_way(api, monkeypatch):
    """And some connections whose end was not seen yet; another door has its own."""
    await api.start()
    loop = asyncio.get_running_loop()
    asking = [loop.create_task(api.get("/api/v1/wait")) for _ in range(25)]
    async with asyncio.timeout(PATIENCE):
        while sum(one.done() for one in asking) < 5:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(doorstep, "peer_of", lambda _: Peer(pid=1, uid=os.getuid(), gid=0))
    monkeypatch.setattr(peer, "parent_of", lambda _: os.getppid())
    assert (await api.get("/api/v1/who"))[0] == 200
    api.open_again.set()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert done.count((200, "done")) == 20
    assert sum(isinstance(one, aiohttp.ClientConnectionError) for one in done) == 5


async def test_a_door_begins_so_many_in_a_second(api, monkeypatch):
    monkeypatch.setattr(doorstep, "_now", lambda: 0.0)
    await api.start()
    heard = 0
    for _ in range(50):
        try:
            heard += (await api.get("/api/v1/who"))[0] == 200
        except aiohttp.ClientConnectionError:
            continue
    assert heard == 40


async def test_a_request_may_take_its_time(api, monkeypatch):
    """Other than at the gateway, a connection has not to say which door it is."""
    monkeypatch.setattr(doorstep, "PATIENCE", 0.05)
    await api.start()
    asking = asyncio.get_running_loop().create_task(api.get("/api/v1/wait"))
    await asyncio.sleep(0.2)
    api.open_again.set()
    assert await asking == (200, "done")


async def test_who_does_not_say_what_they_want_is_cut_off(api, monkeypatch):
    monkeypatch.setattr("broker.http.apisocket._PATIENCE", 0.1)
    await api.start()
    reader, writer = await asyncio.open_unix_connection(api.path)
    writer.write(b"GET /api/v1/who HTTP/1.1\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()


async def test_what_is_asked_when_the_broker_stops_gets_a_moment(api, monkeypatch):
    """No event stream holds it back; who comes then waits in the socket for the next broker."""
    monkeypatch.setattr("broker.http.apisocket._GRACE", 0.1)
    await api.start()
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_unix_connection(api.path)
    writer.write(b"GET /api/v1/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    async with asyncio.timeout(PATIENCE):
        await api.server.close()
        assert await reader.read() == b""
        writer.close()
        waiting = loop.create_task(api.get("/api/v1/who"))
        await asyncio.sleep(0.05)
        await api.start()
        assert await waiting == (200, "nobody")


async def test_the_two_ends_understand_each_other(api, tmp_path):
    """A request by a door's port, to the broker's own socket."""
    await api.start()
    (tmp_path / "door").mkdir()
    port = Port(tmp_path / "door")
    port.api._path = api.path
    async with port:
        status, _, text = await port.say("GET /api/v1/who HTTP/1.1", "Host: desk")
    assert (status, text) == (200, b"127.0.0.1")
