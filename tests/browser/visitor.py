"""A browser without a page: cookies, Origin and CSRF kept as one keeps them, for what is asked by hand."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from tests.browser.rfb import Ended, Viewer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Larger than any message of a relay.
_NO_LIMIT = 0


class Visitor:
    """Whoever came to that address; entered, it has cookies of its own."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.csrf: str | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Cookies of an address without a name are kept by none but the unsafe one.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str | None
    ) -> tuple[int, Any]:
        """Status and answer. A header that is None is left out of those that a page would send."""
        sent: dict[str, str | None] = {}
        if method not in ("GET", "HEAD"):
            sent = {"Origin": self.origin, "Desk-CSRF": self.csrf}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if isinstance(body, dict):
            sent["Content-Type"] = "application/json"
        asked = {name: value for name, value in sent.items() if value is not None}
        async with self.session.request(
            method, self.origin + path, data=data, headers=asked, allow_redirects=False
        ) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if "json" in reply.content_type else text

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of one that must go well."""
        status, answer = await self.ask(method, f"/api/v1{path}", body)
        assert status < 300, (method, path, status, answer)
        return answer

    async def sign_in(self, user: str, password: str) -> None:
        await self.api("POST", "/sign-in", {"user": user, "password": password})
        self.csrf = (await self.api("GET", "/caller"))["csrf"]

    async def guest_in(self, token: str, name: str) -> None:
        """Ask to be let in; whether one is, `GET /guest` tells."""
        await self.api("POST", "/guests", {"token": token, "name": name})
        self.csrf = (await self.api("GET", "/guest"))["csrf"]

    @asynccontextmanager
    async def relay(
        self, path: str, **headers: str | None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A web socket of the door's: as a page opens it, but for the named headers."""
        sent = {"Origin": self.origin} | {k.replace("_", "-"): v for k, v in headers.items()}
        asked = {name: value for name, value in sent.items() if value is not None}
        async with self.session.ws_connect(
            self.origin + path, headers=asked, max_msg_size=_NO_LIMIT
        ) as socket:
            yield socket

    @asynccontextmanager
    async def screen(self, path: str, *, begun: bool = True) -> AsyncIterator[Screen]:
        """The screen behind that path, with its first picture asked for if it is to be begun."""
        async with self.relay(path) as socket:
            ready, progress = await told(socket)
            await socket.send_str('{"go": true}')
            screen = Screen(socket, ready, progress)
            if begun:
                await screen.begin()
            yield screen


class Screen(Viewer):
    """What a viewer was told before the picture, and the picture."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        ready: dict[str, Any],
        progress: list[str],
    ) -> None:
        super().__init__(socket)
        self.socket, self.ready, self.progress = socket, ready, progress


async def told(socket: aiohttp.ClientWebSocketResponse) -> tuple[dict[str, Any], list[str]]:
    """What the door says when it is ready, and what it said of the way there. Raises `Ended`."""
    progress = []
    while True:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Ended(socket.close_code, str(message.extra or message.data))
        said = json.loads(message.data)
        if "ready" in said:
            return said["ready"], progress
        progress.append(said["progress"])
