"""A desktop without an engine: a real sshd, behind it a VNC server that plays a script, and the
gateway that leads there.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from broker.core.errors import NotFound, Unauthenticated
from broker.core.gateway import Allowance, Endpoint, Identity, Right, Route, Seat
from broker.door import screen
from broker.door.attendance import Attendance
from broker.door.limits import Limits
from broker.door.rooms import Rooms
from broker.system.tasks import Tasks
from tests.door import webport
from tests.door.webport import PATIENCE, Port

SECRET, GUEST = "s" * 43, "g" * 43
DESKTOP, SESSION = "0123456789abcdef", "5e55"

ADA = Identity(
    user_id="u-ada",
    user="ada",
    desktop=None,
    credential="web:w1",
    method="browser",
    address="127.0.0.1",
    allowed=tuple(Allowance),
)
EVE = replace(ADA, user="Eve", credential="share:s1/g1", method="guest", allowed=())


def route_to(inner, *, session_id=SESSION):
    return Route(
        session_id=session_id,
        desktop_id=DESKTOP,
        desktop="main",
        display=1000,
        user="desk",
        endpoints=(Endpoint("127.0.0.1", inner.port),),
        host_key=inner.host_key,
        client_key=inner.client_key,
    )


class SeatGateway(webport.Gateway):
    """Ada has the one desktop, by her cookie; Eve is her guest."""

    def __init__(self, route):
        super().__init__()
        self.route = route
        self.rights = tuple(Right)
        self.guest_rights = ()
        self.sentences = []
        self.refusal = None
        self.seats = []
        self.events = []
        self.reports = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def seat(self, secret, address, *, desktop_id, look, wake, progress):
        self.seats.append((desktop_id, look, wake, address))
        if self.refusal is not None:
            raise self.refusal
        for sentence in self.sentences:
            progress(sentence)
        await self.hold.wait()
        if secret != (GUEST if desktop_id is None else SECRET):
            raise Unauthenticated(public="Sign in again.")
        if desktop_id not in {None, DESKTOP}:
            raise NotFound(public=f"There is no desktop {desktop_id}.")
        if desktop_id is None:
            return Seat(identity=EVE, desktop="", route=self.route, rights=self.guest_rights)
        return Seat(identity=ADA, desktop="main", route=self.route, rights=self.rights)

    async def lost(self, session_id):
        self.events.append(("lost", session_id))

    async def attached(self, door, attachment):
        self.events.append(("attached", attachment))

    async def detached(self, door, attachment_id):
        self.events.append(("detached", attachment_id))

    async def report(self, door, activities):
        self.reports.append(activities)

    async def carries(self, door, load):
        pass


class VncServer:
    """Takes whoever comes through the handshake, and keeps what they say then."""

    def __init__(self, path):
        self.path = path
        self.said = bytearray()
        """By all of them, behind the handshake and in order."""
        self.shared = []
        self.writers = []
        self.size = (64, 48)
        self.paints = None
        """What it sends to whoever asked for a picture."""
        self.deaf = False
        """Whether it reads nothing more."""
        self.flood = False
        """Whether it sends without an end."""
        self._server = None

    async def open(self):
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        self.path.chmod(0o777)

    async def close(self):
        if self._server is not None:
            self._server.close()
            self.deaf = False
            for writer in self.writers:
                writer.transport.abort()
            self._server = None
            self.path.unlink(missing_ok=True)
            await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        self.writers.append(writer)
        try:
            writer.write(b"RFB 003.008\n")
            assert await reader.readexactly(12) == b"RFB 003.008\n"
            writer.write(b"\x01\x01")
            assert await reader.readexactly(1) == b"\x01"
            writer.write(bytes(4))
            self.shared.append(await reader.readexactly(1))
            writer.write(server_init(*self.size))
            while self.deaf:
                await asyncio.sleep(0.05)
            while self.flood:
                writer.write(b"\x02" * 65536)
                await writer.drain()
            while data := await reader.read(65536):
                self.said += data
                if self.paints is not None and b"\x03\0" in data:
                    writer.write(self.paints)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def heard(self, data):
        """Wait until all that was said is this."""
        async with asyncio.timeout(PATIENCE):
            while len(self.said) < len(data):
                await asyncio.sleep(0.002)
        assert bytes(self.said) == data


def server_init(width, height, name=b"ada:1"):
    picture = width.to_bytes(2, "big") + height.to_bytes(2, "big")
    pixels = bytes((32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0))
    return picture + pixels + len(name).to_bytes(4, "big") + name


class Page:
    """What a page does with its web socket."""

    def __init__(self, socket):
        self.socket = socket
        self.progress = []
        self.ready = None
        self.got = bytearray()

    async def be_ready(self):
        """Until the desktop is; return what is told of it."""
        while self.ready is None:
            told = await self._told()
            if "progress" in told:
                self.progress.append(told["progress"])
            else:
                self.ready = told["ready"]
        return self.ready

    async def go(self):
        if self.ready is None:
            await self.be_ready()
        await self.socket.send_str('{"go": true}')

    async def shake_hands(self, shared=b"\x00"):
        """Until the picture could come."""
        await self.go()
        assert await self.read(12) == b"RFB 003.008\n"
        await self.say(b"RFB 003.008\n")
        assert await self.read(2) == b"\x01\x01"
        await self.say(b"\x01")
        assert await self.read(4) == bytes(4)
        await self.say(shared)
        await self.read(len(server_init(64, 48)))

    async def say(self, data):
        await self.socket.send_bytes(data)

    async def read(self, count):
        while len(self.got) < count:
            message = await self._next()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            self.got += message.data
        data = bytes(self.got[:count])
        del self.got[:count]
        return data

    async def end(self):
        """The code by which it ends, and the sentence."""
        while True:
            message = await self._next()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra
            if message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}:
                return self.socket.close_code, None

    async def _told(self):
        message = await self._next()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def _next(self):
        async with asyncio.timeout(PATIENCE):
            return await self.socket.receive()


class RoomPort(Port):
    """The HTTP port with what makes a desktop of browsers."""

    def __init__(self, folder, inner, *, places, most=8, most_per_user=4, limits=None, **settings):
        gateway = SeatGateway(route_to(inner))
        self.inner = inner
        self.background = Tasks()
        limits = limits or Limits(report_every=60.0)
        self.attendance = Attendance(gateway, limits, self.background, lambda: None)
        self.rooms = Rooms(gateway, self.attendance, limits, most=most, most_per_user=most_per_user)
        made = [place(self.rooms) for place in places]
        super().__init__(folder, places=made, gateway=gateway, **settings)
        self.vnc = VncServer(inner.shared / "vnc.sock")
        self._client = None

    async def __aenter__(self):
        await super().__aenter__()
        await self.vnc.open()
        self.attendance.start()
        self._client = aiohttp.ClientSession(self.url)
        return self

    async def __aexit__(self, *error):
        await self._client.close()
        await self.rooms.close()
        await super().__aexit__(*error)
        await self.attendance.close()
        await self.background.close(grace=1)
        await self.vnc.close()

    def headers(self, *, cookie=f"desk={SECRET}; desk-guest={GUEST}", origin=True, **more):
        headers = {k.replace("_", "-"): v for k, v in more.items()}
        if cookie is not None:
            headers["Cookie"] = cookie
        if origin is not None:
            headers["Origin"] = self.url if origin is True else origin
        return headers

    @asynccontextmanager
    async def page(self, path=f"/ws/desktops/{DESKTOP}/screen", **how):
        async with self._client.ws_connect(
            path, headers=self.headers(**how), max_msg_size=0
        ) as socket:
            yield Page(socket)

    async def ended(self, path=f"/ws/desktops/{DESKTOP}/screen", **how):
        """How a page ends that did nothing to bring that about."""
        async with self.page(path, **how) as page:
            return await page.end()

    async def empty_rooms(self):
        async with asyncio.timeout(PATIENCE):
            await self.rooms.empty()


def at(inner, monkeypatch):
    """Have doors find the screen of a desktop where this sshd sees it."""
    monkeypatch.setattr(screen, "SOCKET", str(inner.shared / "vnc.sock"))
