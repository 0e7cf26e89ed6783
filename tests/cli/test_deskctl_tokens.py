"""deskctl with a token, before the real API as a door reaches it."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from broker.core.gateway import CLIENT
from broker.http.admin import AdminApi
from tests.ports import free_port


@web.middleware
async def door(request, handler):
    """Says where a client is, as a door does."""
    headers = request.headers.copy()
    headers[CLIENT] = "192.0.2.7"
    return await handler(request.clone(headers=headers))


@pytest.fixture
def elsewhere(served, away, run, tmp_path):
    """Make a token by the socket, and run deskctl with it over TCP."""
    port = free_port()

    async def open_door():
        broker = served.broker
        api = AdminApi(
            store=broker.store, services=broker.services, ssh_port=2222, reload=broker.reload
        )
        app = api.application("token")
        app.middlewares.insert(0, door)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    runner = served.do(open_door())

    def begin(user, *options):
        secret = run("token", "add", "test", "--user", user, *options, "--quiet")
        file = tmp_path / f"token-{user}"
        file.write_text(secret)
        way = ("--url", f"http://127.0.0.1:{port}", "--token-file", str(file))
        return lambda *words, **more: away(*way, *words, **more)

    yield begin
    served.do(runner.cleanup())


def test_a_token_is_shown_once_and_listed_without_its_secret(served, run):
    """With whose it is, until when, and what it may."""
    served.do(served.broker.user("ada"))
    secret, told = run(
        "token", "add", "nightly build", "--user", "ada", "--scope", "read", "--valid", "30d"
    ).splitlines()
    assert secret.startswith("desk_")
    (token,) = json.loads(run("token", "ls", "--json"))
    assert told == (f"This is shown once: {token['id']}, for ada, until 2030-01-31 09:00:01Z.")
    assert (token["name"], token["scopes"], token["reach"]) == ("nightly build", ["read"], "own")
    assert secret not in run("token", "ls") + run("token", "ls", "--json") + run("audit", "ls")
    endless = run("token", "add", "x", "--user", "ada", "--scope", "read", "--valid", "never")
    assert endless.splitlines()[1].endswith("for ada, without an end.")


def test_a_token_leads_to_what_is_its_users(served, run, elsewhere):
    """Their things alone, by their scopes alone; and it is seen from where it was used."""
    for name in ("ada", "bob"):
        served.do(served.broker.ensure(served.do(served.broker.desktop(name))))
    ada = elsewhere("ada", "--scope", "read")
    told = json.loads(ada("whoami", "--json"))
    assert (told["user"], told["scopes"], told["reach"]) == ("ada", ["read"], "own")
    assert [one["user"] for one in json.loads(ada("session", "ls", "--json"))] == ["ada"]
    assert ada("user", "ls", "--quiet") == "ada"
    other = json.loads(run("session", "ls", "--user", "bob", "--json"))[0]["id"]
    assert ada("session", "show", other, code=1) == "There is no such session. (not_found)"
    own = json.loads(ada("session", "ls", "--json"))[0]["id"]
    assert ada("session", "stop", own, code=1).endswith("(access_denied)")
    assert json.loads(run("token", "ls", "--json"))[0]["last_used_from"] == "192.0.2.7"


def test_an_admins_token_does_what_the_socket_does(served, elsewhere):
    """With everybody's reach."""
    served.do(served.broker.user("root1", admin=True))
    scopes = [
        word for scope in ("read", "users", "sessions", "admin") for word in ("--scope", scope)
    ]
    boss = elsewhere("root1", *scopes, "--reach", "all")
    assert boss("user", "add", "ada").startswith("User ada is there")
    desktop = boss("desktop", "add", "ada", "work", "--quiet")
    session = boss("desktop", "start", desktop, "--quiet")
    assert boss("session", "ls", "--quiet") == session
    assert boss("group", "add", "lab") == "Group lab is there."


def test_a_token_that_was_taken_back_is_told_apart_from_no_broker(served, run, elsewhere):
    """It is refused; asking again helps nobody."""
    served.do(served.broker.user("ada"))
    ada = elsewhere("ada", "--scope", "read")
    assert ada("user", "ls", "-q") == "ada"
    run("token", "rm", run("token", "ls", "-q").strip())
    assert ada("user", "ls", code=1).endswith("(unauthenticated)")
    assert ada("user", "ls", "--watch", code=1).endswith("(unauthenticated)")
    assert ada("events", "follow", code=1).endswith("(unauthenticated)")
