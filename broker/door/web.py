"""The HTTP port of a door: which of its parts answers, and what holds for every answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from broker.core.errors import (
    AccessDenied,
    Conflict,
    DeskError,
    Interrupted,
    NotFound,
    Unauthenticated,
)
from broker.door.answers import Refused, problem, secure
from broker.door.asking import Asker, Guard
from broker.door.clients import source_of
from broker.door.cookies import Secrets
from broker.door.crowd import Pace
from broker.door.endings import Ended, in_http
from broker.door.visitors import Visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.door.asking import Place
    from broker.door.clients import Clients
    from broker.door.origin import Origins
    from broker.door.websettings import WebSettings

    Life = Callable[[web.Application], AsyncIterator[None]]

log = structlog.get_logger()

#: Seconds between two lines of the log on refusals of one kind.
_QUIET = 60.0

#: Seconds for whoever still sends what was refused to see so.
_LINGER = 1.0


class Pages:
    """What is where on the HTTP port."""

    def __init__(
        self,
        places: Sequence[Place],
        clients: Clients,
        origins: Origins,
        settings: WebSettings,
        *,
        lives: Sequence[Life] = (),
    ) -> None:
        """`lives` are what must live for as long as it does."""
        self._places = places
        self._clients = clients
        self._origins = origins
        self._headers = settings.headers
        self._pace = Pace(settings.rate, settings.rate_per_address, 0.0)
        self._lives = lives
        self._unsaid: Counter[str] = Counter()
        """Refusals that no line of the log tells of, by their code,"""
        self._said: dict[str, float] = {}
        """and when one last did."""

    def application(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.extend(self._lives)
        app.on_response_prepare.append(self._finish)
        app.router.add_route("*", "/{path:(?s:.*)}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._page(request)
        except Refused as refused:
            return await _refuse(request, refused.answer)
        except Ended as ended:
            return in_http(ended)
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
        asker = self._asker(request)
        await asyncio.sleep(self._pace.pause(source_of(asker.client), _now()))
        path = request.raw_path.partition("?")[0]
        for place in self._places:
            if place.answers(path):
                return await self._at(place, request, asker)
        raise Refused(404, "There is nothing at this address.", code="not_found")

    async def _at(self, place: Place, request: web.Request, asker: Asker) -> web.StreamResponse:
        is_read = request.method in {hdrs.METH_GET, hdrs.METH_HEAD}
        match place.guard:
            case Guard.NOTHING if not is_read:
                raise Refused(405, "This is to be read alone.", allow=("GET", "HEAD"))
            case Guard.CHANGES if not is_read:
                self._origins.check(request, _peer(request))
            case Guard.EVERYTHING:
                self._origins.check(request, _peer(request))
        return await place.answer(request, asker)

    def _asker(self, request: web.Request) -> Asker:
        peer = _peer(request)
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        client = self._clients.of(peer, forwarded)
        name = request.transport.get_extra_info("peername") if request.transport else None
        is_https = self._origins.secure(request, peer)
        return Asker(
            client=client,
            port=name[1] if name and not self._clients.is_proxy(peer) else None,
            secure=is_https,
            secrets=Secrets.of(request, secure=is_https),
        )

    async def _finish(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Before the headers of each answer go."""
        secure(answer.headers)
        assert isinstance(request.protocol, Visitor)
        is_last = request.protocol.is_last()
        if answer.status == 101:
            return
        # What comes behind the wish for another protocol could be of that one.
        if is_last or hdrs.UPGRADE in request.headers:
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


def _peer(request: web.Request) -> str:
    assert isinstance(request.protocol, Visitor)
    return request.protocol.address


def _now() -> float:
    return asyncio.get_running_loop().time()


def _problem(error: DeskError) -> web.Response:
    """One of the places where errors become words, for what the broker was not there to say."""
    match error:
        case Unauthenticated():
            return problem(401, error.code, error.public)
        case AccessDenied():
            return problem(403, error.code, error.public)
        case NotFound():
            return problem(404, error.code, error.public)
        case Conflict():
            return problem(409, error.code, error.public)
        case Interrupted():
            return problem(502, error.code, error.public)
        case _:
            return problem(503, error.code, error.public, again=True)
