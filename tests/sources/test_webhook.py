"""A web service is asked in one form, and believed when it answers in one."""

from __future__ import annotations

import asyncio
import json
import ssl
import time

import pytest
from aiohttp import web

from broker.config.sources import WebhookSource
from broker.core.errors import ConfigError, SourceUnavailable
from broker.core.outside import Found, Refused
from broker.sources.webhook import _LONGEST, Webhook
from tests.sources import certificates
from tests.sources.harness import Listener

PASSWORD = "correct horse"
SECRET = "known to both"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def hook(secret):
    def make(url, **keys):
        config = {"kind": "webhook", "name": "portal", "url": url, "secret": secret, **keys}
        return Webhook(WebhookSource.model_validate(config))

    return make


@pytest.fixture
async def serve():
    """Runs a handler at `/check` on loopback; returns its address."""
    runners = []

    async def start(handler, tls=None):
        application = web.Application()
        application.router.add_route("*", "/check", handler)
        runner = web.AppRunner(application, access_log=None)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        scheme = "http" if tls is None else "https"
        return f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/check"

    yield start
    for runner in runners:
        await runner.cleanup()


async def asked(source, name="ada", password=PASSWORD):
    return await source.check(name, password, address="192.0.2.7")


def answering(body, **more):
    async def handler(request):
        return web.Response(
            **{"body": body, "content_type": "application/json", **more},
        )

    return handler


async def test_what_is_asked_is_who_with_what_and_from_where(hook, serve):
    seen = []

    async def handler(request):
        seen.append((request.method, request.headers.copy(), await request.json()))
        return web.json_response({"ok": True})

    url = await serve(handler)
    assert await asked(hook(url)) == Found(source="portal", name="ada", groups=frozenset())
    ((method, headers, question),) = seen
    assert method == "POST"
    assert question == {"user": "ada", "password": PASSWORD, "address": "192.0.2.7"}
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert "Cookie" not in headers


async def test_groups_are_those_that_are_mapped(hook, serve):
    url = await serve(answering(b'{"ok": true, "groups": ["Staff", "chess", "admin"]}'))
    answer = await asked(hook(url, groups={"Staff": ["staff", "people"], "Guests": "guests"}))
    assert answer.groups == {"staff", "people"}


@pytest.mark.parametrize(
    ("body", "known"), [('{"ok": false}', False), ('{"ok": false, "known": true}', True)]
)
async def test_a_no_is_no_and_may_say_that_the_name_is_known(hook, serve, body, known):
    assert await asked(hook(await serve(answering(body.encode())))) == Refused(known=known)


@pytest.mark.parametrize("password", ["", "\0", "a\0b", "\ud800", "x" * 1025])
async def test_what_can_be_no_password_is_not_asked(hook, password):
    async with Listener().serving() as listener:
        source = hook(f"http://127.0.0.1:{listener.port}/")
        assert await asked(source, password=password) == Refused(known=False)
    assert listener.connections == 0


HOSTILE_BODIES = [
    b"",
    b"ok",
    b"true",
    b"null",
    b"[]",
    b"{}",
    b'{"ok": 1}',
    b'{"ok": "true"}',
    b'{"ok": null}',
    b'{"OK": true}',
    b'{"ok": true, "user": "eve"}',
    b'{"ok": true, "groups": "staff"}',
    b'{"ok": true, "groups": {"staff": 1}}',
    b'{"ok": true, "groups": [1]}',
    b'{"ok": true, "groups": null}',
    b'{"ok": true',
    b'{"ok": true}{"ok": true}',
    b"\xff\xfe",
    '{"ok": true}'.encode("utf-16"),
    b"[" * 50_000,
    b'{"ok":' * 10_000,
    b"<html>ok</html>",
]


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=lambda body: ascii(body[:30]))
async def test_what_is_no_answer_proves_nobody(hook, serve, body):
    with pytest.raises(SourceUnavailable) as raised:
        await asked(hook(await serve(answering(body))))
    assert raised.value.public == SourceUnavailable.default
    assert len(str(raised.value)) < 320


@pytest.mark.parametrize(
    "status", [201, 204, 206, 301, 302, 307, 308, 400, 401, 403, 404, 429, 500, 503]
)
async def test_a_yes_with_another_status_is_none(hook, serve, status):
    url = await serve(answering(b'{"ok": true}', status=status))
    with pytest.raises(SourceUnavailable) as raised:
        await asked(hook(url))
    assert str(status) in str(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nobody_is_followed_elsewhere(hook, serve, status):
    """Where it leads would be told the password, and would be believed."""
    reached = []

    async def elsewhere(request):
        reached.append(await request.text())
        return web.json_response({"ok": True})

    there = await serve(elsewhere)
    url = await serve(answering(b"", status=status, headers={"Location": there}))
    with pytest.raises(SourceUnavailable):
        await asked(hook(url))
    assert reached == []


@pytest.mark.parametrize(
    "kind", ["text/html", "text/plain", "application/octet-stream", "application/json2"]
)
async def test_a_yes_that_is_no_json_is_none(hook, serve, kind):
    with pytest.raises(SourceUnavailable):
        await asked(hook(await serve(answering(b'{"ok": true}', content_type=kind))))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_answer_is_not_read_to_its_end(hook, serve, chunked):
    sent = 0

    async def handler(request):
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if not chunked:
            response.content_length = 1 << 30
        await response.prepare(request)
        while sent < 64 << 20:
            await response.write(b" " * 65536)
            sent += 65536
        return response

    with pytest.raises(SourceUnavailable) as raised:
        await asked(hook(await serve(handler)))
    assert str(_LONGEST) in str(raised.value)
    assert sent < 32 << 20


async def test_a_compressed_answer_is_not_unpacked(hook, serve):
    async def handler(request):
        response = web.json_response({"ok": True})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    with pytest.raises(SourceUnavailable):
        await asked(hook(await serve(handler)))


async def test_an_answer_that_drips_is_away_in_time(hook, serve):
    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        await asked(hook(await serve(handler), timeout="0.3s"))
    assert time.monotonic() - began < 4


async def test_a_server_that_never_answers_is_away_in_time(hook):
    async with Listener().serving() as listener:
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            await asked(hook(f"http://127.0.0.1:{listener.port}/", timeout="0.3s"))
        assert time.monotonic() - began < 4
        assert listener.connections == 1


@pytest.mark.parametrize(
    "answer", [b"\0" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, b"220 smtp\r\n"]
)
async def test_what_is_no_web_service_is_away(hook, answer):
    async with Listener(answer).serving() as listener:
        with pytest.raises(SourceUnavailable) as raised:
            await asked(hook(f"http://127.0.0.1:{listener.port}/", timeout="0.5s"))
    assert len(str(raised.value)) < 320
    assert PASSWORD not in str(raised.value)


async def test_a_proxy_of_the_environment_is_not_asked(hook, serve, monkeypatch):
    async with Listener().serving() as listener:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        url = await serve(answering(b'{"ok": true}'))
        assert isinstance(await asked(hook(url)), Found)
    assert listener.connections == 0


# -------------------------------------------------------------------------------------- TLS


@pytest.fixture
def tls(pair):
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(pair.certificate, pair.key)
    return made


async def test_a_certificate_of_the_named_authority_is_believed(hook, serve, tls, authority):
    url = await serve(answering(b'{"ok": true}'), tls)
    assert isinstance(await asked(hook(url, ca=authority.certificate)), Found)


@pytest.mark.parametrize("whose", ["nobody's", "another authority's", "another name's"])
async def test_a_certificate_that_proves_nothing_gets_no_password(
    hook, serve, tls, authority, tmp_path, whose
):
    if whose == "another name's":
        other = certificates.signed(tmp_path, authority, "other", "DNS:elsewhere.example")
        tls.load_cert_chain(other.certificate, other.key)
    asks = []

    async def handler(request):
        asks.append(await request.text())
        return web.json_response({"ok": True})

    ca = {
        "nobody's": None,
        "another authority's": certificates.authority(tmp_path, "third").certificate,
        "another name's": authority.certificate,
    }[whose]
    with pytest.raises(SourceUnavailable) as raised:
        await asked(hook(await serve(handler, tls), ca=ca))
    why = "mismatch" if whose == "another name's" else "unable to get local issuer certificate"
    assert why in str(raised.value)
    assert asks == []


# ------------------------------------------------------------------------------ what is told


async def test_neither_password_nor_secret_is_in_any_error(hook, serve, caplog):
    """Also of a service that answers with what it was told."""

    async def echo(request):
        return web.Response(text=json.dumps(await request.json()), content_type="application/json")

    for url in (await serve(echo), "http://127.0.0.1:1/"):
        with pytest.raises(SourceUnavailable) as raised:
            await asked(hook(url))
        error = raised.value
        while error is not None:
            assert PASSWORD not in f"{error} {error!r} {error.args}"
            assert SECRET not in f"{error} {error!r} {error.args}"
            error = error.__cause__ or error.__context__
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "its first line is no secret"),
        (b"\n\n", "its first line is no secret"),
        (b"a\x00b", "its first line is no secret"),
        (b"\xff\xff", "it is no text"),
    ],
)
def test_a_secret_that_is_none_is_told_at_start(hook, tmp_path, content, why):
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        hook("https://x/", secret=path)
    assert raised.value.public == (
        f"login.sources: 'portal': secret: {path} cannot be used: {why}."
    )


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file or directory"), (b"x", "it holds no certificate")]
)
def test_an_authority_that_is_none_is_told_at_start(hook, tmp_path, content, why):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        hook("https://x/", ca=path)
    assert raised.value.public == f"login.sources: 'portal': ca: {path} cannot be used: {why}."
