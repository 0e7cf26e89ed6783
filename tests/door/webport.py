"""The HTTP port of a door on a real socket, before a broker's API that is a few handlers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace

from aiohttp import web

from broker.config import WebConfig
from broker.core.errors import BrokerUnavailable
from broker.core.gateway import HttpReply
from broker.door.api import Api
from broker.door.clients import Clients
from broker.door.monitor import Monitor
from broker.door.origin import Origins
from broker.door.statics import Statics
from broker.door.visitors import Visitors
from broker.door.web import Pages
from broker.door.websettings import WebSettings

#: What a browser says with whatever its page at that host sends.
OWN_PAGE = "Origin: http://desk"

#: Seconds after which a test has hung.
PATIENCE = 10.0

PLAIN = WebSettings.of(WebConfig())


class Gateway:
    """What the broker says of itself, and whether it is there."""

    def __init__(self):
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.absent = False
        self.left = asyncio.Event()
        self.waited = []

    async def http(self, method, path):
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return HttpReply(status=418, content_type="text/x; v=1", body=f"{method} {path}".encode())

    async def there(self, wait):
        self.waited.append(wait)
        if self.absent:
            raise BrokerUnavailable("away")

    async def away(self, wait):
        await self.left.wait()
        self.left.clear()


class Broker:
    """An API on a Unix socket: it keeps what it was asked, and answers by `reply`."""

    def __init__(self, path):
        self.path = path
        self.asked = []
        self.bodies = []
        self.left = asyncio.Event()
        """Somebody who was waiting is gone."""
        self.reply = self._echo
        self._runner = None

    async def open(self):
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def close(self):
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request):
        self.asked.append(request)
        self.bodies.append(await request.read())
        try:
            return await self.reply(request)
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _echo(self, request):
        return web.Response(text=f"{request.method} {request.raw_path}\n")


class Port:
    """The port itself, and what stands behind it."""

    def __init__(
        self, folder, *, tls=None, host="127.0.0.1", built=None, places=(), gateway=None, **settings
    ):
        built = folder / "built" if built is None else built
        self._host = host
        self.settings = replace(PLAIN, tls=tls is not None, **settings)
        self.gateway = gateway or Gateway()
        self.broker = Broker(folder / "api.sock")
        self.clients = Clients(self.settings)
        self.api = Api(self.broker.path, self.gateway, self.settings)
        monitor = Monitor(self.gateway, self.clients)
        origins = Origins(self.clients, self.settings)
        pages = Pages(
            (Statics.read(built), monitor, self.api, *places),
            self.clients,
            origins,
            self.settings,
            lives=(self.api.live,),
        )
        self.visitors = Visitors(
            pages.application(), self.clients, self.settings, tls=tls or (lambda: None)
        )
        self.listener = self.address = None
        self._lines = []

    async def __aenter__(self):
        await self.broker.open()
        await self.visitors.prepare()
        self.listener = socket.socket()
        self.listener.bind((self._host, 0))
        self.address = self.listener.getsockname()
        self.visitors.open(self.listener)
        return self

    async def __aexit__(self, *_):
        self.gateway.gate.set()
        for line in self._lines:
            line.close()
        await self.visitors.close(0.1)
        await self.broker.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.address[1]}"

    async def line(self, **options):
        self._lines.append(Line(*await asyncio.open_connection(*self.address, **options)))
        return self._lines[-1]

    async def empty(self):
        """Wait until nobody is there."""
        async with asyncio.timeout(PATIENCE):
            while self.visitors._crowd.size:
                await asyncio.sleep(0.01)

    async def say(self, *lines, body=b"", **options):
        """Send one request as it stands, and return the answer: status, headers, body."""
        line = await self.line(**options)
        try:
            line.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            return await line.answer()
        finally:
            line.close()


class Line:
    """A connection of a client that is no library."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def head(self):
        """The status and headers of the next answer."""
        async with asyncio.timeout(PATIENCE):
            text = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = text.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(first.split()[1]), headers

    async def answer(self):
        status, headers = await self.head()
        async with asyncio.timeout(PATIENCE):
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = b"".join([piece async for piece in self.pieces()])
            else:
                body = await self.reader.read()
        return status, headers, body

    async def pieces(self):
        """Of an answer in chunks, to its end. Raises `IncompleteReadError` when it has none."""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def rest(self):
        """All that comes until the end; a reset is one."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self):
        self.writer.transport.abort()


def trust(certificate):
    """A client's context that knows that certificate alone."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    return context
