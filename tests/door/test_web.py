"""The HTTP port of a door: what it says itself, what it passes on, and how little that may take."""

from __future__ import annotations

import asyncio
import gzip
import json

import aiohttp
import pytest
from aiohttp import web as aioweb

from broker.core.errors import BrokerUnavailable, DeskError
from broker.door import monitor
from tests.door.webport import OWN_PAGE, PATIENCE, Port

SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; font-src 'self'; media-src 'self' blob:; worker-src 'self';"
        " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "server": "desk",
}

HOST = "Host: desk"


@pytest.fixture
async def port(tmp_path):
    async with Port(tmp_path) as made:
        yield made


@pytest.fixture
async def client(port):
    own_page = {"Origin": port.url}
    async with aiohttp.ClientSession(port.url, headers=own_page, auto_decompress=False) as made:
        yield made


def code_of(answer):
    return json.loads(answer[2])["code"]


# ------------------------------------------------------------------------------ how Desk is


async def test_what_the_broker_says_of_itself_is_passed_on(client):
    """The two pages of it, whatever is asked of them."""
    reply = await client.get("/readyz?verbose")
    assert (reply.status, await reply.text()) == (418, "GET /readyz")
    assert reply.headers["Content-Type"] == "text/x; v=1"
    assert (await client.head("/metrics")).status == 418


async def test_without_a_broker_there_is_a_problem_with_its_code(client, port):
    """And nothing that only an operator should read."""
    port.gateway.error = BrokerUnavailable("away for 1 s")
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
async def test_a_door_lives_without_a_broker(client, port, method):
    """Whoever kills it for the broker's absence would cut its connections."""
    port.gateway.gate.clear()
    reply = await client.request(method, "/healthz")
    assert (reply.status, await reply.text()) == (200, "ok\n" if method == "GET" else "")
    assert port.gateway.asked == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/healthz", 405),
        ("POST", "/readyz", 405),
        ("DELETE", "/x", 404),
        ("POST", "/", 405),
        ("GET", "/index.html", 404),
        ("GET", "/api/v2/users", 404),
        ("GET", "/api/v10", 404),
        ("GET", "/" + "x" * 300, 404),
    ],
)
async def test_what_nothing_answers_the_broker_is_not_asked(client, port, method, path, status):
    assert (await client.request(method, path)).status == status
    assert port.gateway.asked == 0
    assert port.broker.asked == []


async def test_who_is_no_monitor_does_not_hear_how_desk_is(tmp_path):
    """But that it lives."""
    async with Port(tmp_path, monitors=("192.0.2.1/32",), proxies=("127.0.0.1/32",)) as port:
        stranger = "X-Forwarded-For: 192.0.2.1, 192.0.2.2"
        for path in ("/readyz", "/metrics"):
            answer = await port.say(f"GET {path} HTTP/1.1", HOST, stranger)
            assert (answer[0], code_of(answer)) == (403, "access_denied")
            assert "web.monitors does not name the address 192.0.2.2." in answer[2].decode()
        assert (await port.say("GET /healthz HTTP/1.1", HOST, stranger))[0] == 200
        assert port.gateway.asked == 0


async def test_few_requests_are_under_way(client, port):
    """One more is refused at once, and is let in when another has come to its end."""
    port.gateway.gate.clear()
    loop = asyncio.get_running_loop()
    asking = [loop.create_task(client.get("/metrics")) for _ in range(monitor.AT_ONCE)]
    async with asyncio.timeout(PATIENCE):
        while port.gateway.asked < monitor.AT_ONCE:
            await asyncio.sleep(0.001)
        refused = await client.get("/readyz")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await refused.json())["code"] == "full"
        assert (await client.get("/healthz")).status == 200
        port.gateway.gate.set()
        assert {reply.status for reply in await asyncio.gather(*asking)} == {418}
        assert (await client.get("/readyz")).status == 418


async def test_a_broker_that_hangs_is_not_waited_for(client, port, monkeypatch):
    monkeypatch.setattr(monitor, "ANSWER", 0.02)
    port.gateway.gate.clear()
    reply = await client.get("/readyz")
    assert (reply.status, (await reply.json())["code"]) == (503, "broker_unavailable")


# ---------------------------------------------------------------------------------- the API


async def test_a_request_to_the_api_is_passed_on_whole(client, port):
    """Method, address, body, and what the API reads of its headers."""

    async def made(request):
        return aioweb.json_response(
            {"id": 7},
            status=201,
            headers={"Location": "/api/v1/users/7", "ETag": '"1"', "Retry-After": "9"},
        )

    port.broker.reply = made
    reply = await client.post(
        "/api/v1/users?limit=3&name=a%20b",
        json={"name": "grace"},
        headers={
            "Authorization": "Bearer desk_x",
            "Idempotency-Key": "k1",
            "Accept": "application/json",
            "Last-Event-ID": "12",
        },
    )
    assert (reply.status, await reply.json()) == (201, {"id": 7})
    for name, value in (("Location", "/api/v1/users/7"), ("ETag", '"1"'), ("Retry-After", "9")):
        assert reply.headers[name] == value
    (asked,) = port.broker.asked
    assert (asked.method, asked.raw_path) == ("POST", "/api/v1/users?limit=3&name=a%20b")
    assert json.loads(port.broker.bodies[0]) == {"name": "grace"}
    wanted = {
        "Authorization": "Bearer desk_x",
        "Idempotency-Key": "k1",
        "Accept": "application/json",
        "Last-Event-ID": "12",
        "Content-Type": "application/json",
        "Desk-Client": "127.0.0.1",
    }
    assert wanted.items() <= dict(asked.headers).items()


async def test_nothing_else_of_the_client_s_headers_is_passed_on(port):
    """Least of all what the door itself says, what is between two hops, and what a hop would drop."""
    await port.say(
        "GET /api/v1/users HTTP/1.1",
        HOST,
        "Connection: keep-alive, X-Secret",
        "X-Secret: a",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic eDp5",
        "Cookie: a=b",
        "Origin: http://elsewhere",
        "Desk-Client: 203.0.113.9",
        "desk_client: 203.0.113.9",
        "DESK-ACTOR: root",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Host: elsewhere",
        "Forwarded: for=203.0.113.9",
        "Accept-Encoding: gzip",
    )
    (asked,) = port.broker.asked
    own = {"Host": "broker", "Connection": "close"}
    assert dict(asked.headers) == {**own, "Desk-Client": "127.0.0.1"}


async def test_a_client_behind_a_listed_proxy_is_who_the_proxy_says(tmp_path):
    async with Port(tmp_path, proxies=("127.0.0.1/32",), monitors=("192.0.2.7/32",)) as port:
        forwarded = "X-Forwarded-For: 198.51.100.1, 192.0.2.7"
        assert (await port.say("GET /api/v1/x HTTP/1.1", HOST, forwarded))[0] == 200
        assert port.broker.asked[0].headers["Desk-Client"] == "192.0.2.7"
        assert (await port.say("GET /readyz HTTP/1.1", HOST, forwarded))[0] == 418


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere/api/v1/users",
        "https://desk/api/v1/users",
        "//api/v1/users",
        "/api/v1//users",
        "/api//v1/users",
        "/api/v1/../../metrics",
        "/api/v1/./users",
        "/api/v1/..",
        "/api/v1/..%2f..%2fmetrics",
        "/api/v1/%2e%2e/users",
        "/api/v1/%2E%2E/users",
        "/api/v1/users%2fada",
        "/api/v1/users%5cada",
        "/api/v1/users\\ada",
        "/api/v1/users%00",
        "/api/v1/users%zz",
        "/api/v1/users%",
        "/api/v1/%252e%252e/users",
        "/api/v1/users#x",
        "/api/v1/us\xe9rs",
        '/api/v1/users?q="',
        "*",
    ],
)
async def test_an_address_that_can_be_read_in_two_ways_is_passed_on_in_none(port, target):
    status, _, _ = await port.say(f"GET {target} HTTP/1.1", HOST)
    assert status in {400, 404}
    assert port.broker.asked == []


@pytest.mark.parametrize(
    "target", ["/api/v1", "/api/v1/", "/api/v1/users/ada.b/keys/a%20b", "/api/v1/x?a=/../b&c=%2F"]
)
async def test_an_address_that_can_be_read_in_one_way_is_passed_on_as_it_is(port, target):
    assert (await port.say(f"GET {target} HTTP/1.1", HOST))[0] == 200
    assert [asked.raw_path for asked in port.broker.asked] == [target]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
async def test_a_method_that_the_api_does_not_know_is_refused(port, method):
    target = "desk:443" if method == "CONNECT" else "/api/v1/users"
    status, _, _ = await port.say(f"{method} {target} HTTP/1.1", HOST, OWN_PAGE)
    assert status in {400, 404, 405}
    assert port.broker.asked == []


async def test_an_answer_to_head_has_its_length_and_no_body(port):
    async def some(request):
        return aioweb.Response(body=b"x" * 1000)

    port.broker.reply = some
    line = await port.line()
    line.send(b"HEAD /api/v1/users HTTP/1.1\r\nHost: desk\r\n\r\n" * 2)
    for _ in range(2):
        status, headers = await line.head()
        assert (status, headers["content-length"]) == (200, "1000")
    line.close()


async def test_no_content_stays_none(client, port):
    async def gone(request):
        return aioweb.Response(status=204)

    port.broker.reply = gone
    reply = await client.delete("/api/v1/users/ada")
    assert (reply.status, await reply.read()) == (204, b"")


async def test_an_event_is_there_when_it_happens(port):
    """Nothing on the way waits for more; and who leaves is gone at once for the broker too."""
    told = asyncio.Queue()

    async def events(request):
        answer = aioweb.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while True:
            await answer.write(await told.get())

    port.broker.reply = events
    line = await port.line()
    line.send(b"GET /api/v1/events HTTP/1.1\r\nHost: desk\r\nLast-Event-ID: 4\r\n\r\n")
    status, headers = await line.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert port.broker.asked[0].headers["Last-Event-ID"] == "4"
    pieces = line.pieces()
    for text in (b"id: 5\n\n", b": still here\n\n"):
        told.put_nowait(text)
        async with asyncio.timeout(PATIENCE):
            assert await anext(pieces) == text
    line.close()
    async with asyncio.timeout(PATIENCE):
        await port.broker.left.wait()


async def test_a_large_answer_comes_whole(client, port):
    whole = bytes(range(256)) * 20_000

    async def many(request):
        return aioweb.Response(body=whole)

    port.broker.reply = many
    reply = await client.get("/api/v1/audit")
    assert await reply.read() == whole


# ----------------------------------------------------------------------- a broker that is away


async def test_a_broker_that_is_away_is_waited_for_as_long_as_is_said(client, port):
    """Then the answer says when to come again; no connection to it is tried."""
    port.gateway.absent = True
    reply = await client.get("/api/v1/users")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert (await reply.json())["code"] == "broker_unavailable"
    assert port.gateway.waited == [2.0]
    assert port.broker.asked == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_broker_that_does_not_listen_is_away(client, port, method):
    await port.broker.close()
    reply = await client.request(method, "/api/v1/users")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert (await reply.json())["code"] == "broker_unavailable"


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("GET", 503, "broker_unavailable"),
        ("POST", 502, "interrupted"),
        ("DELETE", 502, "interrupted"),
    ],
)
async def test_a_broker_that_dies_before_it_answers(client, port, method, status, code):
    """Whether it has done what was asked, nobody knows: that is said where it matters, and nothing
    is asked twice.
    """

    async def dies(request):
        request.transport.abort()
        return aioweb.Response()

    port.broker.reply = dies
    reply = await client.request(method, "/api/v1/users")
    assert (reply.status, (await reply.json())["code"]) == (status, code)
    assert len(port.broker.asked) == 1


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [("GET", 503, "broker_unavailable"), ("POST", 502, "interrupted")],
)
async def test_who_waits_where_no_broker_listens_any_more_is_told(
    client, port, method, status, code
):
    """The socket outlives it, and what waits there ends with nobody. What is answered already goes
    on.
    """
    told = asyncio.Queue()

    async def slow(request):
        answer = aioweb.StreamResponse()
        if request.path.endswith("events"):
            await answer.prepare(request)
        await answer.write(await told.get())
        return answer

    port.broker.reply = slow
    stream = await client.get("/api/v1/events")
    loop = asyncio.get_running_loop()
    asking = loop.create_task(client.request(method, "/api/v1/users"))
    async with asyncio.timeout(PATIENCE):
        while len(port.broker.asked) < 2:
            await asyncio.sleep(0.01)
        port.gateway.left.set()
        reply = await asking
        assert (reply.status, (await reply.json())["code"]) == (status, code)
        told.put_nowait(b"more")
        assert await stream.read() == b"more"
    assert port.api._unanswered == set()


async def test_a_broker_that_says_nothing_is_given_up(tmp_path):
    """Before its answer, and in the middle of it."""
    async with Port(tmp_path, answer_timeout=0.2) as port:
        never = asyncio.Event()

        async def hangs(request):
            answer = aioweb.StreamResponse()
            if request.path.endswith("/begun"):
                await answer.prepare(request)
                await answer.write(b"some")
            await never.wait()
            return answer

        port.broker.reply = hangs
        assert (await port.say("GET /api/v1/x HTTP/1.1", HOST))[0] == 503
        line = await port.line()
        line.send(b"GET /api/v1/x/begun HTTP/1.1\r\nHost: desk\r\n\r\n")
        assert (await line.head())[0] == 200
        assert not (await line.rest()).endswith(b"0\r\n\r\n")
        line.close()


@pytest.mark.parametrize("length", [None, "1000"])
async def test_an_answer_that_broke_off_is_not_taken_for_all_of_it(port, length):
    """Be it in chunks or of a length."""

    async def breaks(request):
        answer = aioweb.StreamResponse()
        if length is not None:
            answer.content_length = int(length)
        await answer.prepare(request)
        await answer.write(b"some")
        request.transport.abort()
        return answer

    port.broker.reply = breaks
    async with aiohttp.ClientSession(port.url) as client:
        reply = await client.get("/api/v1/audit")
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientError):
            await reply.read()
    assert (await port.say("GET /healthz HTTP/1.1", HOST))[0] == 200


# ---------------------------------------------------------------------------------- every answer


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /healthz HTTP/1.1", HOST),
        ("GET /readyz HTTP/1.1", HOST),
        ("GET /nothing HTTP/1.1", HOST),
        ("GET /api/v1/users HTTP/1.1", HOST),
        ("GET /api/v1//users HTTP/1.1", HOST),
        ("POST /api/v1/users HTTP/1.1", HOST),
        ("GET / HTTP/1.1", HOST),
        ("PUT /healthz HTTP/1.1", HOST),
        ("this is no HTTP",),
        ("GET / HTTP/1.1", HOST, "Expect: the unexpected"),
    ],
)
async def test_every_answer_says_what_it_may_be_used_for(port, lines):
    """Also to what is no HTTP; and whatever the broker says of that, the door's word counts."""

    async def careless(request):
        return aioweb.Response(
            headers={
                "Content-Security-Policy": "default-src *",
                "Server": "a/1",
                "Desk-Client": "b",
            }
        )

    port.broker.reply = careless
    _, headers, _ = await port.say(*lines)
    assert SECURITY.items() <= headers.items()
    assert "desk-client" not in headers


async def test_what_the_broker_compressed_stays_so(client, port):
    """The door takes nothing apart."""
    body = gzip.compress(b"x" * 1000)

    async def small(request):
        return aioweb.Response(body=body, headers={"Content-Encoding": "gzip"})

    port.broker.reply = small
    reply = await client.get("/api/v1/audit")
    assert (reply.headers["Content-Encoding"], await reply.read()) == ("gzip", body)


async def test_an_answer_whose_end_is_the_connection_s_breaks_off_with_an_error(port):
    """To a client of HTTP/1.0, which has no chunks."""

    async def breaks(request):
        answer = aioweb.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"some")
        request.transport.abort()
        return answer

    port.broker.reply = breaks
    line = await port.line()
    line.send(b"GET /api/v1/audit HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(PATIENCE):
            await line.reader.read()


async def test_what_the_broker_lets_be_kept_may_be_kept(client, port):
    async def kept(request):
        return aioweb.Response(headers={"Cache-Control": "max-age=60"})

    port.broker.reply = kept
    assert (await client.get("/api/v1/openapi.json")).headers["Cache-Control"] == "max-age=60"


async def test_a_fault_of_the_door_s_own_is_told_without_its_details(client, port):
    """To the client; the log has them."""
    port.gateway.error = ValueError("a secret")
    reply = await client.get("/readyz")
    assert reply.status == 500
    assert (await reply.json())["code"] == DeskError.code
    assert "secret" not in await reply.text()
