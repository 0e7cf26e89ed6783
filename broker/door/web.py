"""The HTTP port of a door: it says that it lives, and passes the rest to the broker.

What it passes on must not keep anybody from logging in, nor wait: whoever asks how Desk is asks often.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from broker.core.errors import (
    AccessDenied,
    BrokerUnavailable,
    CapacityExhausted,
    DeskError,
    Interrupted,
)
from broker.door.answers import problem, secure
from broker.door.api import Refused
from broker.door.clients import source_of
from broker.door.crowd import Pace
from broker.door.visitors import Visitor

if TYPE_CHECKING:
    from broker.core.gateway import Gateway
    from broker.door.api import Api
    from broker.door.clients import Clients
    from broker.door.websettings import WebSettings

log = structlog.get_logger()

#: Requests that the broker is asked how it is at a time.
AT_ONCE = 32

#: Seconds for its answer.
ANSWER = 10.0

#: Seconds between two lines of the log on refusals of one kind.
_QUIET = 60.0

#: Seconds for whoever still sends what was refused to see so.
_LINGER = 1.0

#: What the broker answers to whoever may watch.
_WATCHED = {"/readyz", "/metrics"}

_API = "/api/v1"

_WATCHERS = "web.monitors does not name the address {}."


class Pages:
    """What is where on the HTTP port."""

    def __init__(self, gateway: Gateway, api: Api, clients: Clients, settings: WebSettings) -> None:
        self._gateway = gateway
        self._api = api
        self._clients = clients
        self._headers = settings.headers
        self._pace = Pace(settings.rate, settings.rate_per_address, 0.0)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._unsaid: Counter[str] = Counter()
        """Refusals that no line of the log tells of, by their code,"""
        self._said: dict[str, float] = {}
        """and when one last did."""

    def application(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(self._api.live)
        app.on_response_prepare.append(self._finish)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._page(request)
        except Refused as refused:
            return await _refuse(request, refused.answer)
        except DeskError as error:
            self._note(error)
            return _problem(error)

    def _note(self, error: DeskError) -> None:
        """Not each: strangers bring these about, as often as they like."""
        self._unsaid[error.code] += 1
        now = _now()
        if now - self._said.get(error.code, float("-inf")) >= _QUIET:
            self._said[error.code] = now
            count = self._unsaid.pop(error.code)
            log.info("not passed on", code=error.code, problem=str(error), requests=count)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if request.version not in {HttpVersion10, HttpVersion11}:
            raise Refused(505, "HTTP/1.1 is spoken here.")
        if sum(len(name) + len(value) for name, value in request.raw_headers) > self._headers:
            raise Refused(431, f"Headers may have {self._headers} bytes at most.")
        client = self._client(request)
        await asyncio.sleep(self._pace.pause(source_of(client), _now()))
        path = request.raw_path.partition("?")[0]
        if path == _API or path.startswith(f"{_API}/"):
            return await self._api.pass_on(request, client)
        if path not in {"/healthz", *_WATCHED}:
            raise Refused(404, "There is nothing at this address.", code="not_found")
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            refused = Refused(405, "This is to be read alone.")
            refused.answer.headers[hdrs.ALLOW] = "GET, HEAD"
            raise refused
        if path == "/healthz":
            return web.Response(text="ok\n")
        if not self._clients.may_watch(client):
            raise AccessDenied(f"{client} is no monitor", public=_WATCHERS.format(client))
        return await self._watch(request.method, path)

    def _client(self, request: web.Request) -> str:
        assert isinstance(request.protocol, Visitor)
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        return self._clients.of(request.protocol.address, forwarded)

    async def _watch(self, method: str, path: str) -> web.Response:
        if self._places.locked():
            raise CapacityExhausted(f"{AT_ONCE} requests are under way")
        async with self._places:
            try:
                async with asyncio.timeout(ANSWER):
                    reply = await self._gateway.http(method, path)
            except TimeoutError:
                raise BrokerUnavailable(f"no answer in {ANSWER:g} s") from None
        return web.Response(
            status=reply.status, body=reply.body, headers={hdrs.CONTENT_TYPE: reply.content_type}
        )

    async def _finish(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Before the headers of each answer go."""
        secure(answer.headers)
        assert isinstance(request.protocol, Visitor)
        # What comes behind the wish for another protocol could be of that one.
        if request.protocol.is_last() or hdrs.UPGRADE in request.headers:
            answer.force_close()
            answer.headers[hdrs.CONNECTION] = "close"


async def _refuse(request: web.Request, answer: web.Response) -> web.Response:
    """What is still on its way is not read, or it could come without end: but for a while it may
    stand there, for what is closed in the middle of it takes the answer along.
    """
    if request.can_read_body:
        await answer.prepare(request)
        await answer.write_eof()
        await asyncio.sleep(_LINGER)
    return answer


def _now() -> float:
    return asyncio.get_running_loop().time()


def _problem(error: DeskError) -> web.Response:
    """One of the places where errors become words, for what the broker was not there to say."""
    match error:
        case AccessDenied():
            return problem(403, error.code, error.public)
        case Interrupted():
            return problem(502, error.code, error.public)
        case _:
            return problem(503, error.code, error.public, again=True)
