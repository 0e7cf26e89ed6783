"""What a stranger can take of the HTTP port, each bound by the abuse that it stops."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest
import structlog
from aiohttp import web as aioweb

from tests.door.test_web import HOST, code_of
from tests.door.webport import OWN_PAGE, PATIENCE, Port

GET = b"GET /healthz HTTP/1.1\r\nHost: desk\r\n\r\n"
POST = f"POST /api/v1/users HTTP/1.1\r\n{OWN_PAGE}"


@pytest.fixture
async def port(tmp_path):
    async with Port(tmp_path) as made:
        yield made


async def drip(line, data, every):
    """A byte at a time, until the other side has had enough of it."""
    for at in range(len(data)):
        if line.writer.transport.is_closing():
            return
        line.send(data[at : at + 1])
        await asyncio.sleep(every)


# ------------------------------------------------------------------------------------- slowness


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET /healthz HTTP/1.1\r\nHost: d", GET + b"GET /heal"]
)
async def test_headers_that_do_not_end_are_not_waited_for(tmp_path, begun):
    """By the letter or not at all, of the first request or of the next."""
    async with Port(tmp_path, header_timeout=0.3) as port:
        line = await port.line()
        line.send(begun)
        dripping = asyncio.get_running_loop().create_task(drip(line, b"x" * 400, 0.02))
        since = time.monotonic()
        heard = await line.rest()
        assert 0.2 < time.monotonic() - since < 3
        assert heard.count(b"200 OK") == (1 if begun.startswith(GET) else 0)
        dripping.cancel()
        line.close()
        await port.empty()


async def test_an_idle_connection_ends(tmp_path):
    async with Port(tmp_path, header_timeout=0.3) as port:
        line = await port.line()
        line.send(GET)
        assert (await line.answer())[0] == 200
        await line.rest()
        line.close()


async def test_a_body_that_does_not_end_is_not_waited_for(tmp_path):
    """Though something of it always comes; the broker hears nothing of it."""
    async with Port(tmp_path, body_timeout=0.3) as port:
        line = await port.line()
        line.send(f"{POST}\r\nHost: desk\r\nContent-Length: 1000\r\n\r\n".encode())
        dripping = asyncio.get_running_loop().create_task(drip(line, b"x" * 400, 0.02))
        answer = await line.answer()
        assert (answer[0], code_of(answer)) == (408, "bad_request")
        assert answer[1]["connection"] == "close"
        await line.rest()
        dripping.cancel()
        line.close()
        assert port.broker.asked == []


@pytest.mark.parametrize("pipelined", [1, 4000])
async def test_an_answer_that_nobody_takes_is_given_up(tmp_path, pipelined):
    """A long one, or many short ones: what waits for the client is bounded, in size and time."""
    numbers = dict.fromkeys(("rate", "rate_per_address", "requests_per_connection"), 1_000_000)
    async with Port(tmp_path, stall_timeout=0.3, **numbers) as port:
        sent = 0

        async def endless(request):
            nonlocal sent
            answer = aioweb.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(b"x" * 65536)
                sent += 65536

        port.broker.reply = endless
        line = await port.line(limit=1024)
        line.writer.transport.pause_reading()
        request = GET if pipelined > 1 else b"GET /api/v1/audit HTTP/1.1\r\nHost: desk\r\n\r\n"
        for _ in range(25 if pipelined > 1 else 1):
            line.send(request * pipelined)
        await port.empty()
        if pipelined == 1:
            await port.broker.left.wait()
        assert sent < 32 << 20
        line.close()


async def test_the_end_of_an_answer_that_nobody_takes_is_given_up_too(tmp_path):
    """Though the door itself has nothing more to do with it."""
    async with Port(tmp_path, stall_timeout=0.3, header_timeout=0.2) as port:

        async def some(request):
            return aioweb.Response(body=b"x" * 60_000)

        port.broker.reply = some
        port.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(port.address)
            client.send(b"GET /api/v1/audit HTTP/1.1\r\nHost: desk\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                while not port.broker.asked:
                    await asyncio.sleep(0.01)
            await port.empty()


# ----------------------------------------------------------------------------------------- size


async def test_a_body_is_as_long_as_the_api_takes_it(port):
    body = b"x" * port.settings.body
    lines = (POST, HOST, f"Content-Length: {len(body)}")
    assert (await port.say(*lines, body=body))[0] == 200
    assert port.broker.bodies == [body]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_without_an_end_is_cut(port, chunked):
    """Announced or in chunks; the broker hears nothing of it."""
    line = await port.line()
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 999999999"
    line.send(f"{POST}\r\nHost: desk\r\n{framing}\r\n\r\n".encode())
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    sent = 0

    async def flood():
        nonlocal sent
        while not line.writer.transport.is_closing():
            line.send(piece)
            sent += len(piece)
            await line.writer.drain()
            await asyncio.sleep(0)

    flooding = asyncio.get_running_loop().create_task(flood())
    answer = await line.answer()
    assert (answer[0], code_of(answer)) == (413, "bad_request")
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({flooding})
    assert flooding.exception() is None or isinstance(flooding.exception(), ConnectionError)
    line.close()
    assert port.broker.asked == []


async def test_a_body_that_is_announced_too_long_is_refused_before_it_comes(port):
    """The connection stays for a moment: what is closed while somebody sends can take the answer
    along.
    """
    line = await port.line()
    line.send(f"{POST}\r\nHost: desk\r\nContent-Length: 999999999\r\n\r\n".encode())
    answer = await line.answer()
    assert (answer[0], code_of(answer)) == (413, "bad_request")
    since = time.monotonic()
    assert await line.rest() == b""
    assert 0.5 < time.monotonic() - since < 3


async def test_a_header_is_as_long_as_the_configuration_says(tmp_path):
    async with Port(tmp_path, header=4 << 10) as port:
        for length, status in ((4000, 200), (5000, 400)):
            answer = await port.say("GET /healthz HTTP/1.1", HOST, f"X: {'x' * length}")
            assert answer[0] == status
            answer = await port.say(f"GET /healthz?{'x' * length} HTTP/1.1", HOST)
            assert answer[0] == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([f"X: {'x' * 7000}"], 200),
        ([f"X: {'x' * 9000}"], 400),
        ([f"X-{at}: {'x' * 5000}" for at in range(4)], 431),
        ([f"X-{at}: x" for at in range(70)], 400),
        ([f"{'X' * 9000}: x"], 400),
    ],
)
async def test_headers_are_bounded_each_and_together(port, lines, status):
    assert (await port.say("GET /healthz HTTP/1.1", HOST, *lines))[0] == status


async def test_the_line_with_the_address_is_bounded(port):
    assert (await port.say(f"GET /api/v1/{'x' * 9000} HTTP/1.1", HOST))[0] == 400
    assert port.broker.asked == []


async def test_headers_without_an_end_are_cut(port):
    """However fast they come."""
    line = await port.line()
    line.send(b"GET /healthz HTTP/1.1\r\nX: ")
    for _ in range(64):
        line.send(b"x" * 65536)
    assert (await line.head())[0] == 400
    line.close()


# --------------------------------------------------------------------------------------- numbers


async def test_one_address_has_so_many_connections(tmp_path):
    """The next one is closed at once, and let in when another has gone."""
    async with Port(tmp_path, connections_per_address=3) as port:
        lines = [await port.line() for _ in range(3)]
        for line in lines:
            line.send(GET)
            assert (await line.answer())[0] == 200
        over = await port.line()
        assert await over.rest() == b""
        over.close()
        lines.pop().close()
        async with asyncio.timeout(PATIENCE):
            while port.visitors._crowd.size > 2:
                await asyncio.sleep(0.01)
        assert (await port.say("GET /healthz HTTP/1.1", HOST))[0] == 200
        for line in lines:
            line.close()


async def test_who_may_not_come_is_closed_at_once(tmp_path):
    """Without TLS, whoever is neither this host nor a proxy of it."""
    async with Port(tmp_path) as port:
        port.clients.may_come = {"127.0.0.1": False}.__getitem__
        line = await port.line()
        assert await line.rest() == b""
        assert port.visitors._crowd.size == 0


async def test_whoever_comes_from_where_they_go_to_is_this_host(tmp_path):
    async with Port(tmp_path, host="127.0.0.7") as port:
        for local, known in (("127.0.0.7", "127.0.0.1"), ("127.0.0.8", "127.0.0.8")):
            answer = await port.say("GET /api/v1/x HTTP/1.1", HOST, local_addr=(local, 0))
            assert answer[0] == 200
            assert port.broker.asked[-1].headers["Desk-Client"] == known


async def test_a_proxy_has_as_many_connections_as_there_are(tmp_path):
    async with Port(
        tmp_path, connections=4, connections_per_address=1, proxies=("127.0.0.1/32",)
    ) as port:
        lines = [await port.line() for _ in range(4)]
        for line in lines:
            line.send(GET)
            assert (await line.answer())[0] == 200
        over = await port.line()
        assert await over.rest() == b""
        for line in (over, *lines):
            line.close()


@pytest.mark.parametrize(
    "numbers", [{"arrivals_per_address": 10}, {"arrivals": 10, "proxies": ("127.0.0.1/32",)}]
)
async def test_who_comes_when_many_do_waits_for_their_turn(tmp_path, numbers):
    """Of all, and of one address; nothing is made for them until then: TLS least of all."""
    async with Port(tmp_path, **numbers) as port:
        since = time.monotonic()
        for _ in range(24):
            assert (await port.say("GET /healthz HTTP/1.1", HOST))[0] == 200
        assert 0.3 < time.monotonic() - since < 3


@pytest.mark.parametrize("forwarded", [None, "192.0.2.7"])
@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/api/v1/x"])
async def test_requests_come_so_often(tmp_path, path, forwarded):
    """Whatever they ask, on however many connections: others wait for their turn, and so does what
    is pipelined behind.
    """
    numbers = {"rate": 10} if forwarded is None else {"rate_per_address": 10}
    async with Port(tmp_path, proxies=("127.0.0.1/32",), **numbers) as port:
        lines = [await port.line() for _ in range(4)]
        said = f"X-Forwarded-For: {forwarded}\r\n" if forwarded else ""
        request = f"GET {path} HTTP/1.1\r\nHost: desk\r\n{said}\r\n".encode()
        since = time.monotonic()
        for line in lines:
            line.send(request * 6)
        for line in lines:
            for _ in range(1 if path == "/nothing" else 6):
                await line.answer()
        took = time.monotonic() - since
        assert took < 3
        assert path == "/nothing" or took > 0.3


async def test_a_refused_body_that_goes_on_is_not_read(port):
    """Not even to throw it away: that would be work without an end."""
    line = await port.line()
    line.send(f"{POST}\r\nHost: desk\r\nContent-Length: 999999999\r\n\r\n".encode())
    assert (await line.answer())[0] == 413
    sent = 0
    with suppress(ConnectionError):
        for _ in range(1000):
            line.send(b"x" * 65536)
            async with asyncio.timeout(PATIENCE):
                await line.writer.drain()
            sent += 65536
    assert sent < 16 << 20
    assert port.broker.asked == []


async def test_a_connection_ends_behind_so_many_answers(tmp_path):
    """What was sent beyond is not looked at."""
    async with Port(tmp_path, requests_per_connection=3) as port:
        line = await port.line()
        line.send(GET * 5)
        for number in range(3):
            _, headers, _ = await line.answer()
            assert ("connection" in headers) == (number == 2)
        assert await line.rest() == b""
        line.close()


async def test_the_broker_works_at_so_many_requests(tmp_path):
    """Of all, and of one address; one more is told when to come again, and other pages answer."""
    async with Port(
        tmp_path, requests=4, requests_per_address=3, proxies=("127.0.0.1/32",)
    ) as port:
        never = asyncio.Event()

        async def hangs(request):
            await never.wait()
            return aioweb.Response()

        port.broker.reply = hangs

        async def ask(client):
            line = await port.line()
            line.send(
                f"GET /api/v1/x HTTP/1.1\r\nHost: desk\r\nX-Forwarded-For: {client}\r\n\r\n".encode()
            )
            return line

        async def refused(client):
            line = await ask(client)
            answer = await line.answer()
            line.close()
            assert (answer[0], code_of(answer), answer[1]["retry-after"]) == (503, "full", "1")

        lines = [await ask("192.0.2.1") for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            while len(port.broker.asked) < 3:
                await asyncio.sleep(0.01)
        await refused("192.0.2.1")
        lines.append(await ask("192.0.2.2"))
        async with asyncio.timeout(PATIENCE):
            while len(port.broker.asked) < 4:
                await asyncio.sleep(0.01)
        await refused("192.0.2.3")
        assert (await port.say("GET /healthz HTTP/1.1", HOST))[0] == 200
        never.set()
        for line in lines:
            assert (await line.answer())[0] == 200
            line.close()
        assert (port.api._asked, port.api._by_source) == (0, {})


async def test_a_slow_body_takes_no_place_of_the_broker_s(tmp_path):
    """But one of its own address."""
    async with Port(tmp_path, requests=1, requests_per_address=2) as port:
        slow = await port.line()
        slow.send(f"{POST}\r\nHost: desk\r\nContent-Length: 10\r\n\r\n".encode())
        assert (await port.say("GET /api/v1/x HTTP/1.1", HOST))[0] == 200
        other = await port.line()
        other.send(f"{POST}\r\nHost: desk\r\nContent-Length: 10\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            while sum(port.api._by_source.values()) < 2:
                await asyncio.sleep(0.01)
        assert (await port.say("GET /api/v1/x HTTP/1.1", HOST))[0] == 503
        slow.close()
        other.close()


# -------------------------------------------------------------------------------------- smuggling


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("body", [b"", b"hello", CHUNKED, b"0\r\n\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Content-Length: +5",),
        ("Content-Length: -5",),
        ("Content-Length: 0x5",),
        ("Content-Length: 5, 5",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length:\x0b5",),
        (" Content-Length: 5",),
        ("X: a\nContent-Length: 5",),
        ("X: a\rContent-Length: 5",),
        ("X: \x00",),
    ],
)
async def test_a_request_that_two_could_read_differently_reaches_nobody(port, lines, body):
    """With what one of the two would take for its body, and nothing behind that could be an error
    of its own; the connection is over.
    """
    line = await port.line()
    line.send("\r\n".join((POST, HOST, *lines)).encode("latin-1") + b"\r\n\r\n" + body)
    assert (await line.answer())[0] == 400
    assert await line.rest() == b""
    assert port.broker.asked == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: elsewhere",),
        ("Authorization: a", "Authorization: b"),
        ("Idempotency-Key: a", "Idempotency-Key: b"),
        ("Authorization: Bearer \xff",),
        ("Authorization: Bearer \xc3\xa9",),
        ("Content-Encoding: gzip", "Content-Length: 0"),
    ],
)
async def test_headers_that_two_could_read_differently_reach_nobody(port, lines):
    status, _, _ = await port.say("GET /api/v1/x HTTP/1.1", HOST, *lines)
    assert status in {400, 415}
    assert port.broker.asked == []


async def test_what_comes_behind_a_refused_request_is_not_looked_at(port):
    """It can be the body of that one."""
    line = await port.line()
    behind = b"GET /api/v1/behind HTTP/1.1\r\nHost: desk\r\n\r\n"
    line.send(b"GET /api/v1//x HTTP/1.1\r\nHost: desk\r\n\r\n" + behind)
    assert (await line.answer())[0] == 404
    assert await line.rest() == b""
    assert port.broker.asked == []


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/2.0", "HTTP/1.12", "HTTX/1.1", ""])
async def test_another_http_is_refused(port, version):
    status, _, _ = await port.say(f"GET /api/v1/x {version}".strip(), HOST)
    assert status in {400, 505}
    assert port.broker.asked == []


async def test_a_request_without_a_host_is_refused(port):
    assert (await port.say("GET /api/v1/x HTTP/1.1", "X: y"))[0] == 400


@pytest.mark.parametrize(
    "lines",
    [
        (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
    ],
)
async def test_an_upgrade_is_not_made(port, lines):
    """The request is answered as if nobody had wished it, the connection ends, and what came behind
    is of nobody's protocol.
    """
    line = await port.line()
    text = "\r\n".join(("GET /api/v1/x HTTP/1.1", HOST, *lines)) + "\r\n\r\n"
    line.send(text.encode() + b"GET /api/v1/behind HTTP/1.1\r\nHost: desk\r\n\r\n")
    status, headers, _ = await line.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await line.rest() == b""
    line.close()
    (asked,) = port.broker.asked
    assert asked.raw_path == "/api/v1/x"
    assert "Upgrade" not in asked.headers


async def test_what_the_broker_reads_of_a_body_is_what_the_door_read(port):
    """In chunks, with extensions and trailers: it gets bytes and their number."""
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    assert (await port.say(POST, HOST, "Transfer-Encoding: chunked", body=body))[0] == 200
    (asked,) = port.broker.asked
    assert port.broker.bodies == [b"abcde"]
    assert asked.headers["Content-Length"] == "5"
    assert "Transfer-Encoding" not in asked.headers
    assert "X-Trailer" not in asked.headers


async def test_chunks_that_are_none_reach_nobody(port):
    for body in (b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n"):
        status, _, _ = await port.say(POST, HOST, "Transfer-Encoding: chunked", body=body)
        assert status == 400
    assert port.broker.asked == []


async def test_a_body_that_breaks_off_reaches_nobody(port):
    line = await port.line()
    line.send(f"{POST}\r\nHost: desk\r\nContent-Length: 10\r\n\r\nabc".encode())
    async with asyncio.timeout(PATIENCE):
        while not port.api._by_source:
            await asyncio.sleep(0.01)
    line.writer.write_eof()
    line.close()
    async with asyncio.timeout(PATIENCE):
        while port.api._by_source:
            await asyncio.sleep(0.01)
    assert port.broker.asked == []


async def test_a_client_that_wants_to_be_asked_for_its_body_is(port):
    """As curl with a long one."""
    line = await port.line()
    line.send(f"{POST}\r\nHost: desk\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
    assert (await line.head())[0] == 100
    line.send(b"hello")
    assert (await line.answer())[0] == 200
    assert port.broker.bodies == [b"hello"]
    line.close()


async def test_strangers_do_not_fill_the_log(tmp_path):
    """Whatever they send, and whether the broker is there or not."""
    async with Port(tmp_path, proxies=("127.0.0.1/32",)) as port:
        port.gateway.absent = True
        with structlog.testing.capture_logs() as logs:
            for at in range(20):
                await port.say(f"nonsense {at}")
                await port.say(f"GET /nothing/{at} HTTP/1.1", HOST)
                await port.say(f"GET /api/v1/{at} HTTP/1.1", HOST)
                await port.say("GET /metrics HTTP/1.1", HOST, "X-Forwarded-For: 192.0.2.7")
    assert sorted(line["code"] for line in logs) == ["access_denied", "broker_unavailable"]


async def test_a_door_that_takes_nobody_more_ends_behind_the_answers_under_way(port):
    """As one does that another replaces."""
    go = asyncio.Event()

    async def waits(request):
        await go.wait()
        return aioweb.Response(text="done")

    port.broker.reply = waits
    idle, busy = await port.line(), await port.line()
    for _ in range(2):
        idle.send(GET)
        assert "connection" not in (await idle.answer())[1]
    busy.send(b"GET /api/v1/x HTTP/1.1\r\nHost: desk\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        while not port.broker.asked:
            await asyncio.sleep(0.01)
    port.visitors.accept_no_more()
    idle.send(GET)
    assert (await idle.answer())[1]["connection"] == "close"
    assert await idle.rest() == b""
    with pytest.raises(ConnectionError):
        await port.line()
    go.set()
    assert (await busy.answer())[2] == b"done"
    assert await busy.rest() == b""
    for line in (idle, busy):
        line.close()
