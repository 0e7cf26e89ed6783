"""The pages for browsers, the cookies that they never see, and from where a request may come."""

from __future__ import annotations

import gzip
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web as aioweb

from broker.door.statics import BUILT, UNBUILT
from tests.door.test_web import HOST, SECURITY, code_of
from tests.door.webport import OWN_PAGE, Port

SCRIPT = b"export const one = 1;\n" * 200
ASSET = "/assets/home-ABCDEFGH.js"
PAGES = {
    "/": "index.html",
    "/admin": "admin.html",
    "/join": "join.html",
    "/desktop/0123456789abcdef": "desktop.html",
}


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "alone").mkdir()
    for name in PAGES.values():
        (folder / name).write_text(f"<title>{name}</title>")
    (folder / "alone" / "index.html").write_text("of the image")
    (folder / "assets" / "home-ABCDEFGH.js").write_bytes(SCRIPT)
    (folder / "assets" / "plain.css").write_text("a{}")
    (folder / "LICENSE.some.txt").write_text("MPL")
    return folder


@pytest.fixture
async def port(tmp_path, built):
    async with Port(tmp_path, built=built) as made:
        yield made


# ---------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("query", ["", "?view", "?a=/../b"])
async def test_each_page_has_its_address(port, path, query):
    """It is asked for anew each time, for the next version may be another; nobody else is asked."""
    status, headers, body = await port.say(f"GET {path}{query} HTTP/1.1", HOST)
    assert (status, body) == (200, f"<title>{PAGES[path]}</title>".encode())
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert {k: v for k, v in SECURITY.items() if k != "cache-control"}.items() <= headers.items()
    assert (port.broker.asked, port.gateway.asked) == ([], 0)


async def test_what_has_its_hash_in_its_name_is_kept_for_ever(port):
    _, headers, _ = await port.say(f"GET {ASSET} HTTP/1.1", HOST)
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    _, headers, _ = await port.say("GET /assets/plain.css HTTP/1.1", HOST)
    assert headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "GZIP"])
async def test_what_is_large_comes_packed_to_who_takes_it(port, accepted):
    _, headers, body = await port.say(f"GET {ASSET} HTTP/1.1", HOST, f"Accept-Encoding: {accepted}")
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "accept-encoding")
    assert len(body) < len(SCRIPT) / 5
    assert gzip.decompress(body) == SCRIPT


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"])
async def test_and_as_it_is_to_who_does_not(port, accepted):
    _, headers, body = await port.say(f"GET {ASSET} HTTP/1.1", HOST, f"Accept-Encoding: {accepted}")
    assert "content-encoding" not in headers
    assert body == SCRIPT


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_what_a_browser_has_it_is_not_sent_again(port, accepted):
    """By the tag of what it has, packed or not, among others or made weak on the way."""
    accept = f"Accept-Encoding: {accepted}"
    _, headers, _ = await port.say(f"GET {ASSET} HTTP/1.1", HOST, accept)
    tag = headers["etag"]
    for known in (tag, f'"x", {tag}', f"W/{tag}"):
        line = await port.line()
        text = f"GET {ASSET} HTTP/1.1\r\n{HOST}\r\n{accept}\r\nIf-None-Match: {known}\r\n\r\n"
        line.send(text.encode())
        status, headers = await line.head()
        assert (status, headers["etag"]) == (304, tag)
    assert (await port.say(f"GET {ASSET} HTTP/1.1", HOST, 'If-None-Match: "x"'))[0] == 200


async def test_a_head_has_the_length_and_no_body(port):
    line = await port.line()
    line.send(f"HEAD {ASSET} HTTP/1.1\r\n{HOST}\r\n\r\n".encode())
    status, headers = await line.head()
    assert (status, headers["content-length"]) == (200, str(len(SCRIPT)))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/../index.html",
        "/assets/..%2findex.html",
        "/assets/none-ABCDEFGH.js",
        "/assets//home-ABCDEFGH.js",
        "/index.html",
        "/alone/index.html",
        "/desktop/",
        "/desktop/..",
        "/desktop/a/b",
        "/desktop/%61",
        "/desktop/" + "a" * 65,
        "/%2e/",
        "/admin/",
        "/etc/passwd",
    ],
)
async def test_nothing_else_is_there(port, path):
    answer = await port.say(f"GET {path} HTTP/1.1", HOST)
    assert (answer[0], code_of(answer)) == (404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_pages_are_to_be_read_alone(port, method):
    status, headers, _ = await port.say(f"{method} / HTTP/1.1", HOST, OWN_PAGE)
    assert (status, headers["allow"]) == (405, "get, head")


@pytest.mark.parametrize("path", PAGES)
async def test_a_tree_that_was_never_built_says_how(tmp_path, path):
    async with Port(tmp_path, built=tmp_path / "none") as port:
        status, headers, body = await port.say(f"GET {path} HTTP/1.1", HOST)
        assert (status, body.decode()) == (503, UNBUILT)
        assert headers["cache-control"] == "no-store"
        assert (await port.say("GET /healthz HTTP/1.1", HOST))[0] == 200


def test_what_the_sentence_names_is_there():
    assert (BUILT.parent / "build.sh").is_file()


# -------------------------------------------------------------------------------- the cookies


def cookies_of(port):
    (asked,) = port.broker.asked
    return {name: value for name, value in asked.headers.items() if name.startswith("Desk-")}


async def test_what_cookies_hold_the_broker_is_told_by_headers(port):
    """Of Desk's own alone, and never a cookie."""
    await port.say(
        "GET /api/v1/caller HTTP/1.1",
        HOST,
        "Cookie: other=1; desk=aa-bb_C; desk-guest=gg;desk-state = ss.tt",
        "Cookie: __Host-desk=no; session=x",
        "Desk-Sign-In: forged",
        "Desk-State: forged",
        "Desk-CSRF: shown",
    )
    assert cookies_of(port) == {
        "Desk-Client": "127.0.0.1",
        "Desk-Sign-In": "aa-bb_C",
        "Desk-Guest": "gg",
        "Desk-State": "ss.tt",
        "Desk-CSRF": "shown",
    }
    assert "Cookie" not in port.broker.asked[0].headers


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "\x7f", "ä", "x" * 129, "a,b", '"'])
async def test_what_no_broker_made_is_not_told(port, value):
    await port.say("GET /api/v1/caller HTTP/1.1", HOST, f"Cookie: desk={value}")
    if port.broker.asked:  # else it was no HTTP
        assert cookies_of(port) == {"Desk-Client": "127.0.0.1"}


async def test_whoever_shows_a_token_comes_by_that_alone(port):
    await port.say(
        "POST /api/v1/users HTTP/1.1", HOST, "Authorization: Bearer desk_x", "Cookie: desk=aa"
    )
    assert cookies_of(port) == {"Desk-Client": "127.0.0.1"}
    assert port.broker.asked[0].headers["Authorization"] == "Bearer desk_x"


def answering(port, **headers):
    async def reply(request):
        return aioweb.Response(headers={k.replace("_", "-"): v for k, v in headers.items()})

    port.broker.reply = reply


async def set_cookies(port, *more):
    line = await port.line()
    request = "\r\n".join(("GET /api/v1/caller HTTP/1.1", HOST, *more))
    line.send(f"{request}\r\n\r\n".encode())
    text = (await line.reader.readuntil(b"\r\n\r\n")).decode()
    assert "desk-sign-in:" not in text.lower()
    assert "desk-state:" not in text.lower()
    return {
        one.partition(": ")[2] for one in text.split("\r\n") if one.lower().startswith("set-cookie")
    }


async def test_the_broker_sets_cookies_by_headers_that_nobody_else_gets(port):
    answering(port, Desk_Sign_In="aa", Desk_State="ss")
    assert await set_cookies(port) == {
        "desk=aa; Path=/; HttpOnly; SameSite=Strict",
        "desk-state=ss; Path=/; HttpOnly; SameSite=Lax; Max-Age=600",
    }
    answering(port, Desk_Sign_In="", Desk_Guest="gg")
    assert await set_cookies(port) == {
        "desk=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0",
        "desk-guest=gg; Path=/; HttpOnly; SameSite=Strict",
    }
    answering(port, Desk_Sign_In="a; Domain=elsewhere")
    assert await set_cookies(port) == set()


async def test_over_https_they_are_this_host_s_alone(tmp_path):
    """As a listed proxy in front says, or where the pages are said to be."""
    proxied = {"proxies": ("127.0.0.1/32",)}
    for settings, more in (
        (proxied, ("X-Forwarded-Proto: https",)),
        ({"origin": "https://desk.example"}, ()),
    ):
        async with Port(tmp_path, **settings) as port:
            answering(port, Desk_Sign_In="aa")
            assert await set_cookies(port, *more, "Cookie: desk=plain; __Host-desk=mine") == {
                "__Host-desk=aa; Path=/; HttpOnly; SameSite=Strict; Secure"
            }
            assert cookies_of(port)["Desk-Sign-In"] == "mine"


# --------------------------------------------------------------------------------- the origin

CHANGE = "POST /api/v1/users HTTP/1.1"


@asynccontextmanager
async def refusing(port, *lines):
    answer = await port.say(CHANGE, HOST, "Cookie: desk=aa", *lines)
    assert (answer[0], code_of(answer)) == (403, "access_denied")
    assert port.broker.asked == []
    yield json.loads(answer[2])["detail"]


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "http://desk.elsewhere",
        "http://elsewhere",
        "http://desk:8080",
        "http://desk:80",
        "https://desk",
        "http://desk/",
        "HTTP://desk",
        "http://desk http://elsewhere",
        "http://xdesk",
        "desk",
    ],
)
async def test_what_another_page_may_have_sent_is_refused(port, origin):
    lines = () if origin is None else (f"Origin: {origin}",)
    async with refusing(port, *lines) as said:
        assert "the pages at http://desk alone" in said


async def test_two_origins_are_none(port):
    async with refusing(port, OWN_PAGE, "Origin: http://elsewhere"):
        pass


async def test_what_the_own_pages_send_is_passed_on(port):
    """And whatever is but read, or has a token."""
    cookie = "Cookie: desk=aa"
    assert (await port.say(CHANGE, HOST, cookie, OWN_PAGE))[0] == 200
    assert (await port.say("GET /api/v1/users HTTP/1.1", HOST, cookie))[0] == 200
    assert (await port.say(CHANGE, HOST, "Authorization: Bearer desk_x"))[0] == 200
    for word in ("Bearer", "Basic YTpi", "bearer desk_x", ""):
        async with refusing_later(port, f"Authorization: {word}"):
            pass


@asynccontextmanager
async def refusing_later(port, *lines):
    before = len(port.broker.asked)
    assert (await port.say(CHANGE, HOST, *lines))[0] == 403
    assert len(port.broker.asked) == before
    yield


async def test_where_the_pages_are_said_to_be_they_are_nowhere_else(tmp_path):
    """Whatever name the request came to."""
    async with Port(tmp_path, origin="https://desk.example") as port:
        async with refusing(port, OWN_PAGE) as said:
            assert "https://desk.example" in said
        assert (await port.say(CHANGE, HOST, "Origin: https://desk.example"))[0] == 200


async def test_only_a_listed_proxy_says_that_it_was_https(tmp_path):
    forwarded, https = "X-Forwarded-Proto: https", "Origin: https://desk"
    async with Port(tmp_path) as port, refusing(port, forwarded, https):
        pass
    async with Port(tmp_path, proxies=("127.0.0.1/32",)) as port:
        async with refusing(port, forwarded, OWN_PAGE):
            pass
        async with refusing(port, "X-Forwarded-Proto: http", https):
            pass
        assert (await port.say(CHANGE, HOST, forwarded, https))[0] == 200


async def test_a_refused_body_is_not_read(port):
    """The answer is there before it, and stands."""
    body = b"x" * 100_000
    answer = await port.say(CHANGE, HOST, f"Content-Length: {len(body)}", body=body)
    assert (answer[0], answer[1]["connection"]) == (403, "close")


async def test_a_stock_client_gets_the_pages(port):
    async with aiohttp.ClientSession(port.url) as client, client.get(ASSET) as reply:
        assert await reply.read() == SCRIPT
