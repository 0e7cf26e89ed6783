"""The HTTP port of a door: what the broker answers, and what there is without one."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from broker.core.errors import BrokerUnavailable
from broker.core.gateway import HttpReply
from broker.door.web import application


class Gateway:
    error = None

    async def http(self, method, path):
        if self.error is not None:
            raise self.error
        return HttpReply(status=418, content_type="text/x; v=1", body=f"{method} {path}".encode())


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
async def client(gateway):
    async with TestClient(TestServer(application(gateway))) as made:
        yield made


async def test_what_the_broker_answers_is_passed_on(client):
    reply = await client.post("/a/b?c")
    assert (reply.status, await reply.text()) == (418, "POST /a/b")
    assert reply.headers["Content-Type"] == "text/x; v=1"


async def test_without_a_broker_there_is_a_problem_with_its_code(client, gateway):
    """And nothing that only an operator should read."""
    gateway.error = BrokerUnavailable("away for 30 s")
    reply = await client.get("/healthz")
    assert reply.status == 503
    assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert await reply.json() == {
        "type": "desk:broker_unavailable",
        "title": "broker unavailable",
        "status": 503,
        "code": "broker_unavailable",
        "detail": BrokerUnavailable.default,
    }
