"""deskctl's way to the broker: HTTP over the admin socket, or with a token through a door."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from broker.cli.output import safe
from broker.core.errors import AccessDenied, BrokerUnavailable, DeskError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

#: Seconds: stopping a desktop is the longest thing that an admin asks for.
_TIMEOUT = 120.0

#: Seconds without a sign of life of one that tells what happens: a comment comes each 15.
_SILENCE = 60.0

#: Seconds until a connection must be there.
_CONNECT = 10.0


@dataclass(frozen=True, slots=True)
class Remote:
    """A broker behind its door."""

    url: str
    """`https://host:port`, nothing behind it."""
    token: str = field(repr=False)
    trust: ssl.SSLContext | None
    """Whose certificates count; None where there is no TLS."""


class Refused(DeskError):
    """The broker answered with a problem document."""

    def __init__(self, code: str, public: str) -> None:
        super().__init__(public=public)
        self.code = code  # type: ignore[misc] # the broker's code, not this class's


class _NoBroker(Exception):
    """An answer that no broker gives."""


class Client:
    """One call at a time to `/api/v1`, over an admin socket or to a remote broker."""

    def __init__(self, place: Path | Remote, *, timeout: float = _TIMEOUT) -> None:
        """`timeout` is how many seconds one answer may take."""
        self._place = place
        self._timeout = timeout

    def call(
        self, method: str, path: str, *, body: Any = None, query: dict[str, str] | None = None
    ) -> Any:
        """The answer's JSON, `{}` when it has none; of a list all pages, unless the query has its
        `limit`. Raises `DeskError`.
        """
        return asyncio.run(self.ask(method, path, body=body, query=query))

    async def ask(
        self, method: str, path: str, *, body: Any = None, query: dict[str, str] | None = None
    ) -> Any:
        """Like `call`, for whoever has a loop of their own."""
        asked = query or {}
        answer = page = await self._answer(method, path, body, asked)
        while "limit" not in asked and "items" in page and page.get("next") is not None:
            page = await self._answer(method, path, body, {**asked, "cursor": page["next"]})
            answer["items"] += page["items"]
        return answer

    async def _answer(self, method: str, path: str, body: Any, query: dict[str, str]) -> Any:
        limit = aiohttp.ClientTimeout(total=self._timeout, sock_connect=_CONNECT)
        async with self._reply(method, path, body=body, query=query, limit=limit) as reply:
            return {} if reply.status == 204 else await _document(reply)

    async def events(
        self, *, after: int | None = None, query: dict[str, str] | None = None
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Entries of the audit as they are written, from behind the entry of that number on; None
        when the line is up, and now and then while nothing happens. Ends when the broker closes
        it. Raises `DeskError`.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
        last = {} if after is None else {"Last-Event-ID": str(after)}
        async with self._reply("GET", "/events", limit=limit, query=query, headers=last) as reply:
            yield None
            async for line in reply.content:
                if line.startswith(b"data:"):
                    yield json.loads(line.removeprefix(b"data:"))
                elif line.startswith(b":"):
                    yield None

    @asynccontextmanager
    async def _reply(
        self,
        method: str,
        path: str,
        *,
        limit: aiohttp.ClientTimeout,
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One that is no refusal. Raises `DeskError`, also for what breaks while it is read."""
        base, connector, own = self._way()
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limit) as session,
                session.request(
                    method,
                    f"{base}/api/v1{path}",
                    json=body,
                    params=query,
                    headers={**own, **(headers or {})},
                    # Whoever else is meant would be sent the token, too.
                    allow_redirects=False,
                ) as reply,
            ):
                if reply.status >= 400:
                    raise _refused(await _document(reply), reply.reason or "")
                if reply.status >= 300:
                    raise _NoBroker  # noqa: TRY301 - as what aiohttp raises for other answers
                yield reply
        except (aiohttp.ClientError, OSError, ValueError, _NoBroker) as error:
            raise self._unavailable(error) from error

    def _way(self) -> tuple[str, aiohttp.BaseConnector, dict[str, str]]:
        """Where, over what, and what says who asks."""
        if isinstance(self._place, Path):
            return "http://desk", aiohttp.UnixConnector(str(self._place)), {}
        trust = self._place.trust
        connector = aiohttp.TCPConnector() if trust is None else aiohttp.TCPConnector(ssl=trust)
        return self._place.url, connector, {"Authorization": f"Bearer {self._place.token}"}

    def _unavailable(self, error: Exception) -> DeskError:
        match self._place:
            case _ if isinstance(error, TimeoutError) and not isinstance(
                error, aiohttp.ClientConnectionError
            ):
                return BrokerUnavailable(
                    public=f"The broker did not answer within {self._timeout:.0f} s; what was asked"
                    " for may be done or not."
                )
            case Path() as socket if isinstance(error.__cause__, PermissionError):
                return AccessDenied(
                    public=f"{socket}: you may not use it; root, the broker's own user and the"
                    " group desk-admin may."
                )
            case Path() as socket:
                return BrokerUnavailable(
                    public=f"{socket}: no broker answers there; is it running, and is this its"
                    " socket (--socket or DESK_SOCKET)?"
                )
            case Remote(url=url) if isinstance(error, aiohttp.ClientSSLError):
                return BrokerUnavailable(
                    public=f"{url}: its certificate does not prove that host ({_reason(error)});"
                    " --ca FILE names the authority that it is from."
                )
            case Remote(url=url):
                return BrokerUnavailable(
                    public=f"{url}: no broker answers there; is it running, and is this its address"
                    " (--url or DESK_URL)?"
                )


def _reason(error: aiohttp.ClientSSLError) -> str:
    """OpenSSL's own words, without its numbers."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")
    return "TLS failed"


async def _document(reply: aiohttp.ClientResponse) -> dict[str, Any]:
    """Raises `ValueError` or `_NoBroker` for what no broker says."""
    found = await reply.json(content_type=None)
    if not isinstance(found, dict):
        raise _NoBroker
    return found


def _refused(problem: dict[str, Any], reason: str) -> DeskError:
    code, detail = str(problem.get("code", "internal")), str(problem.get("detail", reason))
    if code == BrokerUnavailable.code:  # the door's word for it
        return BrokerUnavailable(public=detail)
    # One sentence, whatever it is: lines of its own would look like ours.
    return Refused(safe(code), safe(detail))
