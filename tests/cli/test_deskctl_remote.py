"""deskctl to a broker elsewhere: TLS, tokens, and one sentence for whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading

import pytest
from aiohttp import web

from tests.ports import free_port
from tests.service.harness import PATIENCE
from tests.sources.certificates import authority, signed

TOKEN = "desk_" + "t" * 40


class Elsewhere:
    """An HTTP server in a thread, which answers what `answer` makes of a request."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.answer = lambda request: web.json_response({"items": [], "next": None})
        self.asked: list[tuple[str, str]] = []
        self.port = free_port()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.do(self._open(tls))

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def _open(self, tls) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=tls).start()

    async def _serve(self, request) -> web.StreamResponse:
        self.asked.append((request.path, request.headers.get("Authorization", "")))
        return self.answer(request)

    def close(self) -> None:
        self.do(self.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """An authority and what it signed."""
    folder = tmp_path_factory.mktemp("tls")
    ours = authority(folder, "ours")
    return ours, signed(folder, ours, "host"), authority(folder, "another")


@pytest.fixture(scope="module")
def _door(pairs):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pairs[1].certificate, pairs[1].key)
    made = Elsewhere(tls)
    yield made
    made.close()


@pytest.fixture
def door(_door):
    """With TLS; every answer is an empty list until a test says otherwise."""
    _door.answer = lambda request: web.json_response({"items": [], "next": None})
    _door.asked.clear()
    return _door


@pytest.fixture
def token(tmp_path):
    """A file with a token in it."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


@pytest.fixture
def words(door, token, pairs):
    """What leads to the door."""
    return (
        *("--url", f"https://localhost:{door.port}"),
        *("--token-file", token),
        *("--ca", str(pairs[0].certificate)),
    )


def test_a_token_is_shown_to_whom_the_authority_vouches_for(away, door, words):
    """As a bearer's; the path is the API's."""
    assert json.loads(away(*words, "user", "ls", "--json")) == []
    assert door.asked == [("/api/v1/users", f"Bearer {TOKEN}")]


def test_the_environment_says_where_too(away, door, words):
    """What is typed counts before it."""
    env = dict(zip(("DESK_URL", "DESK_TOKEN_FILE", "DESK_CA"), words[1::2], strict=True))
    away("user", "ls", env=env)
    assert len(door.asked) == 1
    said = away("--socket", "/nowhere", "user", "ls", env=env, code=3)
    assert said.startswith("/nowhere: no broker answers there")
    away("--url", words[1], "user", "ls", env={**env, "DESK_SOCKET": "/nowhere"})
    assert len(door.asked) == 2


def test_whom_nobody_vouches_for_hears_nothing(away, door, words, pairs):
    """Neither this host's authorities nor another one: the token stays here."""
    for ca in ((), ("--ca", str(pairs[2].certificate))):
        said = away(*words[:4], *ca, "user", "ls", code=3)
        assert said.startswith(f"{words[1]}: its certificate does not prove that host (")
        assert said.endswith("--ca FILE names the authority that it is from. (broker_unavailable)")
    assert door.asked == []


def test_a_certificate_of_another_host_is_none(away, door, words, pairs, tmp_path):
    """However well it is signed."""
    other = signed(tmp_path, pairs[0], "other", names="DNS:other.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(other.certificate, other.key)
    imposter = Elsewhere(tls)
    said = away("--url", f"https://localhost:{imposter.port}", *words[2:], "user", "ls", code=3)
    imposter.close()
    assert "does not prove that host (Hostname mismatch" in said
    assert imposter.asked == []


def test_nobody_there_is_one_sentence(away, words):
    """With its own exit code."""
    url = f"https://localhost:{free_port()}"
    assert away("--url", url, *words[2:], "user", "ls", code=3) == (
        f"{url}: no broker answers there; is it running, and is this its address (--url or"
        " DESK_URL)? (broker_unavailable)"
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Bad gateway</html>", status=502, content_type="text/html"),
        lambda: web.Response(text="hello"),
        lambda: web.json_response([1]),
        lambda: web.json_response(["no"], status=404),
        lambda: web.Response(status=302, headers={"Location": "/api/v1/users/"}),
    ],
    ids=["a proxy's page", "text", "a list", "a refusal that is none", "a redirect"],
)
def test_what_no_broker_says_is_not_believed(away, door, words, answer):
    """No traceback, and nobody else is sent the token."""
    door.answer = lambda _: answer()
    assert "no broker answers there" in away(*words, "user", "ls", code=3)
    assert len(door.asked) == 1


def test_a_door_whose_broker_is_away_says_so(away, door, words):
    """The same code as for a socket without one."""
    problem = {"code": "broker_unavailable", "detail": "The broker does not answer."}
    door.answer = lambda _: web.json_response(problem, status=503)
    said = away(*words, "user", "ls", code=3)
    assert said == "The broker does not answer. (broker_unavailable)"


def test_a_refusal_commands_no_terminal(away, door, words):
    """Whoever sent it."""
    problem = {"code": "x\x1b[2J", "detail": "No\x1b[2J\nway.\u202e"}
    door.answer = lambda _: web.json_response(problem, status=403)
    assert away(*words, "user", "ls", code=1) == r"No\x1b[2J\nway.\u202e (x\x1b[2J)"


@pytest.mark.parametrize(
    "url",
    [
        "http://desk.example",
        "http://192.0.2.1:8080",
        "https://",
        "desk.example",
        "https://a:b@desk.example",
        "https://desk.example/api",
        "https://desk.example?x",
        "https://desk.example:99999",
        "https://[::1",
        "ftp://desk.example",
        "",
    ],
)
def test_an_address_that_is_none_is_told(away, token, url):
    """Among them every one that would show the token to the wire."""
    said = away("--url", url, "--token-file", token, "user", "ls", code=2)
    assert said.startswith("--url: found '")
    assert "allowed is https://HOST" in said


def test_loopback_needs_no_tls(away, token):
    """Nobody reads along there."""
    plain = Elsewhere(None)
    for host in ("127.0.0.1", "localhost"):
        away("--url", f"http://{host}:{plain.port}/", "--token-file", token, "user", "ls")
    plain.close()
    assert [path for path, _ in plain.asked] == ["/api/v1/users"] * 2


def test_two_ways_at_once_are_none(away, words):
    """Which of them is meant?"""
    said = away("--socket", "/x", *words, "user", "ls", code=2)
    assert said == "--socket and --url are two ways to a broker: choose one. (bad_request)"


def test_no_token_is_told(away, words, tmp_path):
    """Nothing of what a file holds instead is printed."""
    said = away(*words[:2], "user", "ls", code=2)
    assert said.startswith("--url needs a token: --token-file FILE or DESK_TOKEN_FILE")
    for content, wanted in (
        (None, "the token cannot be read: No such file"),
        (b"\xff\xfe", "the token cannot be read: that is no token"),
        (b"", "allowed is one token"),
        (b"secret one\nsecret two\n", "allowed is one token"),
    ):
        file = tmp_path / "odd"
        if content is not None:
            file.write_bytes(content)
        said = away(*words[:2], "--token-file", str(file), "user", "ls", code=2)
        assert said.startswith(f"{file}: {wanted}")
        assert "secret" not in said


def test_no_token_is_an_argument(away):
    """It would stand in the list of processes."""
    assert "No such option" in away("--token", TOKEN, "user", "ls", code=2)


def test_an_authority_that_is_none_is_told(away, words, tmp_path):
    """Absent, or no certificate."""
    file = tmp_path / "ca.pem"
    for content, wanted in ((None, "No such file"), ("hello", "there is no certificate in PEM")):
        if content is not None:
            file.write_text(content)
        said = away(*words[:4], "--ca", str(file), "user", "ls", code=2)
        assert said.startswith(f"{file}: {wanted}")
