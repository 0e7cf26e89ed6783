"""Tokens: who is let in by one, to what, and until when."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from broker.core.gateway import Allowance
from broker.core.tokens import Reach, Scope
from broker.service.tokens import GUESSES, MOST
from tests.http.test_admin import ACTOR

CLIENT = "192.0.2.7"
EVERYTHING = ["admin", "read", "sessions", "users"]


def by(secret, client=CLIENT):
    """What a door passes on of a client who shows the secret."""
    return {"headers": {"Authorization": f"Bearer {secret}", "Desk-Client": client}}


@pytest.fixture
async def token(api):
    """Makes a token of a user; gives its secret, or the whole answer."""

    async def make(user="ada", *, whole=False, **body):
        scopes = EVERYTHING if user == "boss" else EVERYTHING[1:]
        body = {"name": "ci", "user": user, "scopes": scopes} | body
        status, made = await api("POST", "/tokens", json=body)
        assert status == 201, made
        return made if whole else made["secret"]

    return make


@pytest.fixture
async def boss(broker):
    return await broker.user("boss", admin=True)


async def test_a_token_lets_its_user_in(door, api, broker, token, boss):
    """The audit names them, the token and the client."""
    made = await token("boss", whole=True, reach="all", name="nightly")
    assert re.fullmatch(r"desk_[A-Za-z0-9_-]{40}", made["secret"])
    assert made["expires_at"] == (broker.clock.now() + timedelta(days=90)).isoformat()
    assert made["made_by"] == ACTOR
    status, found = await door("GET", "/caller", **by(made["secret"]))
    assert (status, found) == (
        200,
        {
            "name": "user:boss",
            "user": "boss",
            "scopes": EVERYTHING,
            "reach": "all",
            "token": made["id"],
            "expires_at": made["expires_at"],
            "csrf": None,
            "admin": True,
            "enrol": False,
            "allowed": [allowance.value for allowance in Allowance],
            "ssh_port": 2222,
        },
    )
    assert (await door("POST", "/users", json={"name": "eve"}, **by(made["secret"])))[0] == 201
    (entry,) = await broker.store.audit(limit=1)
    assert (entry.actor, entry.proof, entry.origin) == (
        "user:boss",
        f"token {made['id']}",
        CLIENT,
    )
    _, listed = await api("GET", "/tokens")
    (shown,) = listed["items"]
    assert shown["last_used_from"] == CLIENT
    assert made["secret"] not in str(listed)
    assert made["secret"] not in str(await broker.store.audit(limit=100))


async def test_the_kernels_admin_is_told_what_they_may(api):
    """A token on the same socket counts for what it is."""
    _, found = await api("GET", "/caller")
    assert (found["name"], found["user"], found["reach"]) == (ACTOR, None, "all")
    assert found["scopes"] == EVERYTHING


async def test_a_token_on_the_admin_socket_counts_for_no_more_than_itself(api, broker, token):
    await broker.user("ada")
    secret = await token(scopes=["read"])
    _, found = await api("GET", "/caller", headers={"Authorization": f"bearer {secret}"})
    assert (found["name"], found["scopes"], found["reach"]) == ("user:ada", ["read"], "own")
    wrong = {"Authorization": "Bearer desk_x"}
    await api.problem(401, "unauthenticated", "GET", "/caller", headers=wrong)


async def test_what_is_no_token_lets_nobody_in(door, broker, token):
    """All alike, whether a route is there or not."""
    await broker.user("ada")
    good = await token(scopes=["read"])
    told = set()
    for shown in (None, "", "Basic YTpi", "Bearer", f"Bearer {good[:-1]}", f"Bearer {good}x",
                  "Bearer \xe9", good):  # fmt: skip
        for path in ("/users", "/nothing"):
            headers = {"Desk-Client": CLIENT} | ({"Authorization": shown} if shown else {})
            told.add(await door.problem(401, "unauthenticated", "GET", path, headers=headers))
            assert door.headers["WWW-Authenticate"] == "Bearer"
            broker.tokens._guesses.succeeded(("token", CLIENT))
    assert len(told) == 1


async def test_a_door_says_where_a_client_is(door, broker, token):
    """Once, and as an address; else it is no door of ours."""
    await broker.user("ada")
    secret = await token(scopes=["read"])
    for said in ([], ["here"], ["192.0.2.7", "192.0.2.8"]):
        headers = [("Authorization", f"Bearer {secret}"), *(("Desk-Client", s) for s in said)]
        await door.problem(403, "access_denied", "GET", "/caller", headers=headers)


@pytest.mark.parametrize("end", ["revoked", "expired", "disabled", "removed"])
async def test_a_token_is_dead_at_once(door, api, broker, token, end):
    """With its user, by its time, or taken back."""
    await broker.user("ada")
    made = await token(whole=True, valid="1h")
    assert (await door("GET", "/caller", **by(made["secret"])))[0] == 200
    match end:
        case "revoked":
            assert await api("DELETE", f"/tokens/{made['id']}") == (204, None)
        case "expired":
            broker.clock.advance(3600)
        case "disabled":
            await broker.accounts.set_enabled("ada", enabled=False, actor="x")
        case "removed":
            await broker.accounts.remove_user("ada", actor="x")
            await broker.user("ada")
    await door.problem(401, "unauthenticated", "GET", "/caller", **by(made["secret"]))


async def test_who_is_no_admin_any_more_has_their_own_alone(door, broker, token, boss):
    """The token says more than its user may."""
    secret = await token("boss", reach="all")
    await broker.store.set_admin(boss.id, admin=False, actor="x")
    _, found = await door("GET", "/caller", **by(secret))
    assert (found["scopes"], found["reach"]) == (["read", "sessions", "users"], "own")
    await broker.user("ada")
    _, listed = await door("GET", "/users", **by(secret))
    assert [user["name"] for user in listed["items"]] == ["boss"]


async def test_nobody_gives_more_than_they_have(door, broker, token, boss):
    """Neither scope nor reach nor time nor somebody else's name."""
    await broker.user("ada")
    own = await token(scopes=["read", "users"], valid="1h")
    make = {"name": "x", "scopes": ["read"], "valid": "30m"}
    for more, status, code in (
        ({"scopes": ["sessions"]}, 403, "access_denied"),
        ({"reach": "all"}, 403, "access_denied"),
        ({"valid": "2h"}, 403, "access_denied"),
        ({"valid": "never"}, 403, "access_denied"),
        ({"user": "boss"}, 404, "not_found"),
        ({"user": "nobody"}, 404, "not_found"),
    ):
        await door.problem(status, code, "POST", "/tokens", json=make | more, **by(own))
    status, made = await door("POST", "/tokens", json=make, **by(own))
    assert (status, made["user"], made["reach"]) == (201, "ada", "own")
    weak = await token("boss", scopes=["read", "users"], reach="all")
    body = make | {"user": "ada"}
    await door.problem(403, "access_denied", "POST", "/tokens", json=body, **by(weak))
    await door.problem(403, "access_denied", "POST", "/users",
                       json={"name": "eve", "admin": True}, **by(weak))  # fmt: skip


async def test_nobody_is_given_more_than_they_may(api, broker):
    """And a token is whole or not there."""
    await broker.user("ada")
    make = {"name": "x", "scopes": ["read"], "user": "ada"}
    for more, status, code in (
        ({"scopes": ["admin"]}, 409, "conflict"),
        ({"reach": "all"}, 409, "conflict"),
        ({"scopes": []}, 400, "bad_request"),
        ({"scopes": ["root"]}, 400, "bad_request"),
        ({"name": "\x1b"}, 400, "bad_request"),
        ({"name": " "}, 400, "bad_request"),
        ({"name": "x" * 65}, 400, "bad_request"),
        ({"valid": "soon"}, 400, "bad_request"),
        ({"user": None}, 400, "bad_request"),
        ({"user": "bob"}, 404, "not_found"),
    ):
        await api.problem(status, code, "POST", "/tokens", json=make | more)
    assert await broker.tokens.all() == []
    for number in range(MOST):
        await broker.store.add_token(
            (await broker.store.user("ada")).id, token_hash=f"{number}", name="x",
            scopes=[Scope.READ], reach=Reach.OWN, expires_at=None, most=MOST, actor="x",
        )  # fmt: skip
    assert "at most 100 tokens" in await api.problem(409, "conflict", "POST", "/tokens", json=make)


async def test_who_guesses_has_to_wait_and_nobody_else(door, broker, token):
    """A token that was right lately is right, whoever else is at its address."""
    await broker.user("ada")
    known, unused = await token(scopes=["read"]), await token(scopes=["read"])
    assert (await door("GET", "/caller", **by(known)))[0] == 200
    with capture_logs() as logs:
        for number in range(GUESSES.after):
            wrong = by(f"desk_{number:040}")
            await door.problem(401, "unauthenticated", "GET", "/caller", **wrong)
        await door.problem(429, "blocked", "GET", "/caller", **by("desk_" + "z" * 40))
    assert int(door.headers["Retry-After"]) == GUESSES.first
    assert sum(line["event"] == "tokens are guessed" for line in logs) == 1
    assert "desk_" not in str(logs)
    assert (await door("GET", "/caller", **by(known)))[0] == 200
    await door.problem(429, "blocked", "GET", "/caller", **by(unused))
    assert (await door("GET", "/caller", **by(unused, client="192.0.2.8")))[0] == 200
    broker.clock.advance(GUESSES.first)
    assert (await door("GET", "/caller", **by(unused)))[0] == 200


async def test_many_guesses_at_once_are_looked_up_a_few_at_a_time(door, broker):
    """And those that come when the address waits already are not looked up at all."""
    looked = 0

    async def slow(_hash):
        nonlocal looked
        looked += 1
        await asyncio.sleep(0.001)

    broker.real_store.token_of = slow
    tries = (door("GET", "/caller", **by(f"desk_{n:040}")) for n in range(60))
    found = [status for status, _ in await asyncio.gather(*tries)]
    assert set(found) == {401, 429}
    assert looked <= GUESSES.after + 4


async def test_a_use_is_noted_once_a_minute(door, broker, token):
    """Not at every call."""
    await broker.user("ada")
    made = await token(whole=True)
    used = []
    for _ in range(3):
        await door("GET", "/caller", **by(made["secret"]))
        used.append((await broker.store.token(made["id"])).last_used_at)
        broker.clock.advance(30)
    assert used[0] == used[1] < used[2]
