"""The HTTP port of a door: what it says itself, what it passes on, and how little that may take."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from broker.core.errors import BrokerUnavailable
from broker.core.gateway import HttpReply
from broker.door import web
from broker.door.web import application


class Gateway:
    def __init__(self):
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def http(self, method, path):
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return HttpReply(status=418, content_type="text/x; v=1", body=f"{method} {path}".encode())


@pytest.fixture
async def gateway():
    return Gateway()


@pytest.fixture
async def client(gateway):
    async with TestClient(TestServer(application(gateway))) as made:
        yield made
        gateway.gate.set()


async def test_what_the_broker_answers_is_passed_on(client):
    reply = await client.get("/a/b?c")
    assert (reply.status, await reply.text()) == (418, "GET /a/b")
    assert reply.headers["Content-Type"] == "text/x; v=1"
    assert (await client.head("/a")).status == 418


async def test_without_a_broker_there_is_a_problem_with_its_code(client, gateway):
    """And nothing that only an operator should read."""
    gateway.error = BrokerUnavailable("away for 1 s")
    reply = await client.get("/readyz")
    assert reply.status == 503
    assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert reply.headers["Retry-After"] == "1"
    assert await reply.json() == {
        "type": "desk:broker_unavailable",
        "title": "broker unavailable",
        "status": 503,
        "code": "broker_unavailable",
        "detail": BrokerUnavailable.default,
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_door_lives_without_a_broker(client, gateway, method):
    """Whoever kills it for the broker's absence would cut its connections."""
    gateway.gate.clear()
    reply = await client.request(method, "/healthz")
    assert (reply.status, await reply.text()) == (200, "ok\n" if method == "GET" else "")
    assert gateway.asked == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/healthz", 405),
        ("POST", "/readyz", 405),
        ("DELETE", "/x", 405),
        ("GET", "/" + "x" * 300, 404),
    ],
)
async def test_what_nothing_answers_the_broker_is_not_asked(client, gateway, method, path, status):
    assert (await client.request(method, path)).status == status
    assert gateway.asked == 0


async def test_few_requests_are_under_way(client, gateway):
    """One more is refused at once, and is let in when another has come to its end."""
    gateway.gate.clear()
    loop = asyncio.get_running_loop()
    asking = [loop.create_task(client.get("/metrics")) for _ in range(web.AT_ONCE)]
    async with asyncio.timeout(10):
        while gateway.asked < web.AT_ONCE:
            await asyncio.sleep(0.001)
        refused = await client.get("/readyz")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await refused.json())["code"] == "full"
        assert (await client.get("/healthz")).status == 200
        gateway.gate.set()
        assert {reply.status for reply in await asyncio.gather(*asking)} == {418}
        assert (await client.get("/readyz")).status == 418


async def test_a_broker_that_hangs_is_not_waited_for(client, gateway, monkeypatch):
    monkeypatch.setattr(web, "ANSWER", 0.02)
    gateway.gate.clear()
    reply = await client.get("/readyz")
    assert (reply.status, (await reply.json())["code"]) == (503, "broker_unavailable")
