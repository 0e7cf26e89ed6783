"""A broker whose admin's API answers on a Unix socket, and its client."""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from broker.system.sockets import bind_unix
from tests.http.beside import make_api
from tests.service.conftest import broker, directory, world  # noqa: F401 - fixtures


class Api:
    """A client of the API, which also remembers the last answer's headers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.headers = None

    async def __call__(self, method, path, *, base="/api/v1", **kwargs):
        """The status and the JSON of the answer, None when it has none."""
        async with self._session.request(method, f"http://desk{base}{path}", **kwargs) as reply:
            self.headers = reply.headers
            if reply.content_type == "text/event-stream":
                return reply.status, None  # it has no end
            return reply.status, await reply.json(
                content_type=None
            ) if reply.status != 204 else None

    def stream(self, path, **kwargs):
        """The answer, to be read as it comes."""
        return self._session.get(f"http://desk/api/v1{path}", **kwargs)

    async def problem(self, status, code, method, path, **kwargs):
        """The detail of the problem document that the request must be refused with."""
        found, body = await self(method, path, **kwargs)
        assert (found, body["code"]) == (status, code), body
        assert self.headers["Content-Type"] == "application/problem+json; charset=utf-8"
        assert body["status"] == status
        assert body["type"] == f"desk:{code}"
        assert set(body) == {"type", "title", "status", "code", "detail"}
        assert body["detail"].endswith(".")
        assert "Traceback" not in body["detail"]
        return body["detail"]


@pytest.fixture
async def serve(tmp_path):
    """Serves the API of a broker over a real socket; gives its client."""
    async with AsyncExitStack() as stack:

        async def open_for(broker, trust="kernel"):  # noqa: F811 - fixtures
            runner = web.AppRunner(make_api(broker).application(trust), access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            path = tmp_path / f"{trust}.sock"
            await web.SockSite(runner, bind_unix(path, mode=0o600, gid=None)).start()
            connector = aiohttp.UnixConnector(str(path))
            return Api(await stack.enter_async_context(aiohttp.ClientSession(connector=connector)))

        yield open_for


@pytest.fixture
async def api(broker, serve):  # noqa: F811 - fixtures
    """The API of the broker."""
    return await serve(broker)


@pytest.fixture
async def door(broker, serve):  # noqa: F811 - fixtures
    """The API of the broker as front doors reach it: who calls shows a token."""
    return await serve(broker, "token")
