"""The way to the broker's API: a request is passed on whole, its answer as it comes.

What the client sent is not passed on as bytes: the address must be one that can be read in one way
alone, of the headers those go on that are listed here, and the body is read to its end and framed
anew. So the broker never waits for a client, and there is nothing that the two could read differently.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

import aiohttp
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from broker.core.errors import BrokerUnavailable, CapacityExhausted, Interrupted
from broker.core.gateway import CLIENT, COOKIES
from broker.core.tokens import CSRF
from broker.door import cookies
from broker.door.answers import Refused, cut
from broker.door.asking import Guard
from broker.door.clients import source_of
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from broker.door.asking import Asker
    from broker.door.source import Source
    from broker.door.websettings import WebSettings

log = structlog.get_logger()

_ROOT = "/api/v1"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

#: Each part begins with something else than a dot, and nothing in it can become a slash, a
#: backslash or a NUL: so none is empty, `.` or `..`, however often it is decoded.
_PART = r"(?:[A-Za-z0-9_~!$&'()*+,;=:@-]|%(?!2[EeFf5]|5[Cc]|00)[0-9A-Fa-f]{2})"
_TARGET = re.compile(
    rf"/api/v1(?:/{_PART}(?:{_PART}|\.)*)*/?(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{{2}})*)?"
)

#: All that the API is told of what the client sent; of cookies, what those of Desk hold.
_ASKED = (
    hdrs.ACCEPT,
    hdrs.AUTHORIZATION,
    hdrs.CONTENT_TYPE,
    CSRF,
    "Idempotency-Key",
    hdrs.IF_MATCH,
    hdrs.IF_NONE_MATCH,
    "Last-Event-ID",
    hdrs.USER_AGENT,
)

#: Of an answer, what is between the door and its peers alone.
_OWN = {
    name.lower()
    for name in (
        *(hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.PROXY_AUTHENTICATE, hdrs.TRAILER),
        *(hdrs.TRANSFER_ENCODING, hdrs.UPGRADE, hdrs.SERVER, hdrs.DATE, CLIENT),
        *COOKIES,
    )
}

_MAYBE = (
    "The connection to the broker broke in the middle of this: it may be done or not. Look before"
    " you ask again."
)


class Presence(Protocol):
    """Whether there is a broker."""

    async def there(self, wait: float) -> None:
        """Wait for it. Raises `BrokerUnavailable` when it does not come in `wait` seconds."""

    async def away(self, wait: float) -> None:
        """Wait until it has been away for `wait` seconds."""


class Broken(Exception):
    """The connection to the broker, before an answer."""


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """The library asks anew what is idempotent. But who deletes what is deleted already is told
    that it was not there.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken(type(error).__name__) from None


class Api:
    """Its requests under way, over all connections of one door."""

    guard = Guard.CHANGES

    def __init__(self, path: Path, presence: Presence, settings: WebSettings) -> None:
        """`path` is the broker's socket for this."""
        self._path = path
        self._presence = presence
        self._settings = settings
        self._client: aiohttp.ClientSession | None = None
        self._asked = 0
        self._unanswered: set[asyncio.Timeout] = set()
        """Those of which nothing is answered yet."""
        self._by_source: Counter[Source] = Counter()

    async def live(self, _app: web.Application) -> AsyncIterator[None]:
        """Be ready for as long as the application is."""
        # Each request has a connection of its own: one that was kept could lead to a broker that
        # is gone, and whether that one had heard the request nobody would know.
        connector = aiohttp.UnixConnector(str(self._path), force_close=True, limit=0)
        patience = self._settings.answer_timeout
        self._client = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=patience, sock_connect=patience),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_once,),
            skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT),
        )
        tasks = Tasks()
        tasks.start(self._watch(), name="broker away")
        async with self._client:
            yield
            await tasks.close()

    async def _watch(self) -> None:
        """A connection can wait in a socket that nobody listens at: the end of the last broker does
        not end it.
        """
        while True:
            await self._presence.away(self._settings.patience)
            for scope in self._unanswered:
                scope.reschedule(asyncio.get_running_loop().time())
            self._unanswered.clear()

    def answers(self, path: str) -> bool:
        return path == _ROOT or path.startswith(f"{_ROOT}/")

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        """Its answer, sent. Raises `Refused` for what the broker is not asked, `DeskError` when it
        gave no answer, and `ConnectionError` when one of the two left in the middle of it.
        """
        headers = _asked(request)
        with self._place(asker.client):
            body = await self._body(request)
            await self._presence.there(self._settings.patience)
            with self._turn():
                told = {**headers, **asker.secrets.held, CLIENT: asker.client}
                reply = await self._ask(request, told, body)
                async with reply:
                    return await self._send(request, reply, secure=asker.secure)

    # ------------------------------------------------------------------------------ its bounds

    @contextmanager
    def _place(self, client: str) -> Iterator[None]:
        source, most = source_of(client), self._settings.requests_per_address
        if self._by_source[source] >= most:
            raise CapacityExhausted(f"{most} requests of {source} are under way")
        self._by_source[source] += 1
        try:
            yield
        finally:
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._asked >= self._settings.requests:
            raise CapacityExhausted(f"{self._asked} requests are under way")
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    async def _body(self, request: web.Request) -> bytes | None:
        if not request.can_read_body:
            return None
        most = self._settings.body
        if (request.content_length or 0) > most:
            raise Refused(413, f"A body may have {most} bytes at most.")
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > most:
                        raise Refused(413, f"A body may have {most} bytes at most.")
        except TimeoutError:
            raise Refused(408, "The body did not come in time.") from None
        except web.RequestPayloadError:
            raise Refused(400, "The body cannot be read.") from None
        return bytes(body)

    # ----------------------------------------------------------------------------- the broker

    async def _ask(
        self, request: web.Request, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        assert self._client is not None
        url = URL(f"http://broker{request.raw_path}", encoded=True)
        try:
            async with self._answered():
                return await self._client.request(
                    request.method, url, headers=headers, data=body, allow_redirects=False
                )
        except aiohttp.ClientConnectorError as error:
            raise BrokerUnavailable(f"its API cannot be reached: {error}") from None
        except (aiohttp.ClientError, Broken, OSError) as error:
            problem = f"its API did not answer: {error or type(error).__name__}"
            if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
                raise BrokerUnavailable(problem) from None
            raise Interrupted(problem, public=_MAYBE) from None

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Raises `TimeoutError` when there is no broker any more that could."""
        async with asyncio.timeout(None) as scope:
            self._unanswered.add(scope)
            try:
                yield
            finally:
                self._unanswered.discard(scope)

    async def _send(
        self, request: web.Request, reply: aiohttp.ClientResponse, *, secure: bool
    ) -> web.StreamResponse:
        headers = CIMultiDict(
            (name, value) for name, value in reply.headers.items() if name.lower() not in _OWN
        )
        cookies.keep(reply.headers, headers, secure=secure)
        answer = web.StreamResponse(status=reply.status, reason=reply.reason, headers=headers)
        await answer.prepare(request)
        try:
            async for piece in reply.content.iter_any():
                await answer.write(piece)
        except (aiohttp.ClientError, OSError) as error:
            cut(request.transport)
            raise ConnectionResetError(f"cut short: {type(error).__name__}") from None
        await answer.write_eof()
        return answer


def _asked(request: web.Request) -> dict[str, str]:
    """What the broker is told of the request's headers. Raises `Refused`."""
    if request.method not in _METHODS:
        raise Refused(405, "That is no method of the API.", allow=_METHODS)
    if not _TARGET.fullmatch(request.raw_path):
        raise Refused(404, "There is nothing at this address.", code="not_found")
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
        raise Refused(400, "Of the transfer encodings chunked alone is known.")
    if hdrs.CONTENT_ENCODING in request.headers:
        raise Refused(415, "Bodies are taken as they are, without Content-Encoding.")
    asked = {}
    for name in _ASKED:
        values = request.headers.getall(name, ())
        if len(values) > 1:
            raise Refused(400, f"{name} may stand there once.")
        if values and not (values[0].isascii() and values[0].isprintable()):
            raise Refused(400, f"{name} has characters that a header may not have.")
        if values:
            asked[name] = values[0]
    return asked
