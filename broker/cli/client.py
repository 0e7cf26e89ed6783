"""deskctl's way to the broker: HTTP over the admin socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from broker.core.errors import AccessDenied, BrokerUnavailable, DeskError

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds: stopping a desktop is the longest thing that an admin asks for.
_TIMEOUT = 120.0


class Refused(DeskError):
    """The broker answered with a problem document."""

    def __init__(self, code: str, public: str) -> None:
        super().__init__(public=public)
        self.code = code  # type: ignore[misc] # the broker's code, not this class's


class Client:
    """One call at a time to `/api/v1`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def call(
        self, method: str, path: str, *, body: Any = None, query: dict[str, str] | None = None
    ) -> Any:
        """The answer's JSON, `{}` when it has none; of a list all pages, unless the query has its
        `limit`. Raises `DeskError`.
        """
        return asyncio.run(self._whole(method, path, body, query or {}))

    async def _whole(self, method: str, path: str, body: Any, query: dict[str, str]) -> Any:
        answer = page = await self._call(method, path, body, query)
        while "limit" not in query and "items" in page and page.get("next") is not None:
            page = await self._call(method, path, body, {**query, "cursor": page["next"]})
            answer["items"] += page["items"]
        return answer

    async def _call(self, method: str, path: str, body: Any, query: dict[str, str]) -> Any:
        connector = aiohttp.UnixConnector(str(self._socket))
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(
                    method, f"http://desk/api/v1{path}", json=body, params=query
                ) as reply,
            ):
                answer: Any = {} if reply.status == 204 else await reply.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, PermissionError):
                raise AccessDenied(
                    public=f"{self._socket}: you may not use it; root, the broker's own user and"
                    " the group desk-admin may."
                ) from error
            raise BrokerUnavailable(
                public=f"{self._socket}: no broker answers there; is it running, and is this its"
                " socket (--socket or DESK_SOCKET)?"
            ) from error
        if reply.status >= 400:
            raise Refused(answer.get("code", "internal"), answer.get("detail", reply.reason))
        return answer
