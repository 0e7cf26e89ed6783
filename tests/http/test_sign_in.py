"""Signing in with a browser, as a door passes it on: cookies, what they reach, and how they end."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from broker.core.policy import Way
from broker.core.tokens import ALL_SCOPES, Scope, csrf_of
from broker.service.happenings import LOOK
from broker.service.signins import MOST
from tests.http.test_events import ended, event, resting
from tests.service.people import PASSWORD, Person

CLIENT = {"Desk-Client": "198.51.100.9"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
OVER = "You are signed out: sign in again."


class Visitor:
    """What a door says of one browser, and keeps for it."""

    def __init__(self, door, person, client="198.51.100.9") -> None:
        self.door, self.person, self.client = door, person, client
        self.cookie = None

    def headers(self, method="GET", **more):
        told = {"Desk-Client": self.client, "User-Agent": FIREFOX}
        if self.cookie is not None:
            told["Desk-Sign-In"] = self.cookie
            if method != "GET":
                told["Desk-CSRF"] = csrf_of(self.cookie)
        return told | more

    async def __call__(self, method, path, **more):
        found = await self.door(method, path, headers=self.headers(method), **more)
        if "Desk-Sign-In" in self.door.headers:
            self.cookie = self.door.headers["Desk-Sign-In"] or None
        return found

    async def problem(self, status, code, method, path, **more):
        headers = more.pop("headers", None) or self.headers(method)
        return await self.door.problem(status, code, method, path, headers=headers, **more)

    async def sign_in(self, password=PASSWORD):
        body = {"user": self.person.name, "password": password}
        status, found = await self("POST", "/sign-in", json=body)
        assert status == 200, found
        return found


@pytest.fixture
async def ada(broker, door):
    return Visitor(door, await Person.make(broker))


@pytest.fixture
async def boss(broker, door):
    await broker.user("boss", admin=True)
    await broker.accounts.set_password("boss", PASSWORD, actor="x")
    person = Person(broker, await broker.store.user("boss"))
    return Visitor(door, person)


async def wrong(visitor, path, body):
    return await visitor.problem(401, "unauthenticated", "POST", path, json=body)


async def test_a_password_signs_a_browser_in(ada, broker):
    """It has its user's own things, and the audit names the browser."""
    status, ways = await ada("GET", "/sign-in")
    assert (status, ways) == (200, {"password": True, "oidc": None, "ssh_port": 2222})
    assert await ada.sign_in() == {"user": "ada", "ticket": None}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ada.cookie)
    status, caller = await ada("GET", "/caller")
    assert status == 200
    assert (caller["user"], caller["reach"], caller["admin"]) == ("ada", "own", False)
    assert set(caller["scopes"]) == ALL_SCOPES - {Scope.ADMIN}
    assert (caller["csrf"], caller["enrol"]) == (csrf_of(ada.cookie), False)
    assert "browser" in caller["allowed"]
    _, made = await ada("POST", "/desktops", json={"name": "work"})
    (entry,) = await broker.store.audit(subject=made["id"])
    _, (only,) = 0, (await ada("GET", "/sign-ins"))[1]["items"]
    assert (entry.actor, entry.proof, entry.origin) == (
        "user:ada", f"browser {only['id']}", "198.51.100.9",
    )  # fmt: skip
    assert only == {
        "id": only["id"],
        "user": "ada",
        "made_at": broker.clock.now().isoformat(),
        "last_used_at": broker.clock.now().isoformat(),
        "address": "198.51.100.9",
        "browser": "Firefox 140",
        "current": True,
    }


async def test_an_administrator_reaches_everybodys_things(boss, ada):
    await ada.sign_in()
    await boss.sign_in()
    _, caller = await boss("GET", "/caller")
    assert (set(caller["scopes"]), caller["reach"], caller["admin"]) == (ALL_SCOPES, "all", True)
    _, all_of_them = await boss("GET", "/sign-ins")
    assert [each["user"] for each in all_of_them["items"]] == ["boss", "ada"] or [
        each["user"] for each in all_of_them["items"]
    ] == ["ada", "boss"]
    _, hers = await boss("GET", "/sign-ins?user=ada")
    (only,) = hers["items"]
    assert not only["current"]
    assert (await boss("DELETE", f"/sign-ins/{only['id']}"))[0] == 204
    await ada.problem(401, "unauthenticated", "GET", "/caller")


async def test_a_code_is_wanted_behind_the_password(ada):
    await ada.person.enrol()
    found = await ada.sign_in()
    assert found["user"] is None
    assert ada.cookie is None
    shown = {"ticket": found["ticket"], "code": ada.person.code()}
    told = await wrong(ada, "/sign-in/code", shown | {"code": "000000"})
    other = Visitor(ada.door, ada.person, "192.0.2.99")
    assert await wrong(other, "/sign-in/code", shown) == told
    status, found = await ada("POST", "/sign-in/code", json=shown)
    assert (status, found) == (200, {"user": "ada", "ticket": None})
    assert ada.cookie is not None
    assert await wrong(other, "/sign-in/code", shown) == told


async def test_all_that_is_wrong_is_answered_alike(ada, broker):
    """Whether the name is somebody's is told by nothing, nor which part was wrong."""
    await broker.user("bob")  # who has no password
    told = set()
    for user, password in [
        ("ada", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("", ""), ("ada\n", PASSWORD),
        ("A" * 256, "x" * 16_384), ("<script>", "'; --"), ("ädä", "ü"),
    ]:  # fmt: skip
        told.add(await wrong(ada, "/sign-in", {"user": user, "password": password}))
        assert "Desk-Sign-In" not in ada.door.headers
    told.add(await wrong(ada, "/sign-in/code", {"ticket": "x", "code": "123456"}))
    told.add(await wrong(ada, "/sign-in/link", {"token": "x" * 43}))
    told.add(await wrong(ada, "/sign-in/link", {"token": ""}))
    assert len(told) == 1


async def test_the_blocks_are_those_of_ssh(ada):
    """Wrong passwords over SSH make a browser wait, and the other way round."""
    await ada.person.fail(3)
    for _ in range(2):
        await wrong(ada, "/sign-in", {"user": "ada", "password": "wrong"})
    body = {"user": "ada", "password": PASSWORD}
    await ada.problem(429, "blocked", "POST", "/sign-in", json=body)
    assert int(ada.door.headers["Retry-After"]) == 30
    ada.person.broker.clock.advance(31)
    await ada.sign_in()


async def test_an_address_that_tries_many_names_waits(ada, broker):
    """Others do not, and a right one in between begins anew."""
    for n in range(19):
        await wrong(ada, "/sign-in", {"user": f"user{n}", "password": "guessed"})
    await ada.sign_in()
    ada.cookie = None
    for n in range(20):
        await wrong(ada, "/sign-in", {"user": f"other{n}", "password": "guessed"})
    body = {"user": "ada", "password": PASSWORD}
    await ada.problem(429, "blocked", "POST", "/sign-in", json=body)
    await ada.problem(429, "blocked", "POST", "/sign-in/link", json={"token": "x" * 43})
    await Visitor(ada.door, ada.person, "192.0.2.1").sign_in()
    broker.clock.advance(11)
    await ada.sign_in()


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "x" * 4000, "a b", "'\"<>"])
async def test_a_cookie_of_nobody_lets_nobody_in(ada, cookie):
    headers = CLIENT | {"Desk-Sign-In": cookie}
    told = await ada.problem(401, "unauthenticated", "GET", "/caller", headers=headers)
    assert told == OVER


async def test_without_a_cookie_nobody_is_let_in(ada):
    await ada.problem(401, "unauthenticated", "GET", "/caller")
    headers = CLIENT | {"Cookie": "desk=x; __Host-desk=x"}
    await ada.problem(401, "unauthenticated", "GET", "/caller", headers=headers)


async def test_the_kernels_socket_looks_at_no_cookie(ada, api):
    """There the kernel says who calls."""
    await ada.sign_in()
    _, caller = await api("GET", "/caller", headers={"Desk-Sign-In": ada.cookie})
    assert (caller["user"], caller["csrf"]) == (None, None)
    assert caller["name"].startswith("uid:")


@pytest.mark.parametrize("shown", [None, "", "x", "right, of another", "the secret"])
async def test_what_changes_something_must_come_from_a_page_of_ours(ada, boss, shown, broker):
    """A page of others can send the cookie along, and cannot know the rest."""
    await ada.sign_in()
    await boss.sign_in()
    said = {"right, of another": csrf_of(boss.cookie), "the secret": ada.cookie}.get(shown, shown)
    headers = ada.headers() | ({} if said is None else {"Desk-CSRF": said})
    for method, path, body in [
        ("POST", "/desktops", {}), ("PUT", "/users/ada/password", {"password": "x" * 20}),
        ("DELETE", "/sign-ins/x", None), ("PATCH", "/users/ada/keys/x", {"name": "y"}),
        ("POST", "/sign-out", None),
    ]:  # fmt: skip
        told = await ada.problem(403, "access_denied", method, path, json=body, headers=headers)
        assert "Desk-CSRF" in told
    assert await broker.store.desktops() == []
    assert (await ada.door("GET", "/caller", headers=headers))[0] == 200


async def test_a_token_needs_no_csrf_and_counts_before_the_cookie(ada, api):
    """It is no browser's to send along."""
    await ada.sign_in()
    body = {"name": "ci", "user": "ada", "scopes": ["read"]}
    _, made = await api("POST", "/tokens", json=body)
    headers = ada.headers() | {"Authorization": f"Bearer {made['secret']}"}
    _, caller = await ada.door("GET", "/caller", headers=headers)
    assert (caller["token"], caller["csrf"]) == (made["id"], None)
    await ada.problem(403, "access_denied", "POST", "/desktops", json={}, headers=headers)


async def test_signing_out_ends_it_and_what_is_open_by_it(ada, broker):
    await ada.sign_in()
    (only,) = (await ada("GET", "/sign-ins"))[1]["items"]
    secret = ada.cookie
    assert (await ada("POST", "/sign-out"))[0] == 204
    assert ada.cookie is None
    assert broker.connections.ended == [f"web:{only['id']}"]
    headers = CLIENT | {"Desk-Sign-In": secret}
    assert await ada.problem(401, "unauthenticated", "GET", "/caller", headers=headers) == OVER


async def test_it_ends_after_a_time_without_use_and_after_so_long_at_all(ada, broker):
    await ada.sign_in()
    for _ in range(13):  # of 12 hours without a word of them each
        broker.clock.advance(12 * 3600 - 61)
        assert (await ada("GET", "/caller"))[0] == 200
    broker.clock.advance(12 * 3600)
    assert await ada.problem(401, "unauthenticated", "GET", "/caller") == OVER
    ada.cookie = None
    await ada.sign_in()
    for _ in range(13):
        broker.clock.advance(12 * 3600 - 61)
        assert (await ada("GET", "/caller"))[0] == 200
    broker.clock.advance(11 * 3600)
    assert (await ada("GET", "/caller"))[0] == 200
    broker.clock.advance(3600 + 13 * 61)
    assert await ada.problem(401, "unauthenticated", "GET", "/caller") == OVER


async def test_those_that_are_over_are_forgotten_and_listed_no_more(ada, broker):
    await ada.sign_in()
    (only,) = (await ada("GET", "/sign-ins"))[1]["items"]
    broker.clock.advance(12 * 3600)
    ada.cookie = None
    await ada.sign_in()
    assert len((await ada("GET", "/sign-ins"))[1]["items"]) == 1
    assert len(await broker.store.sign_ins()) == 2
    await broker.sign_ins.look()
    assert len(await broker.store.sign_ins()) == 1
    assert broker.connections.ended == [f"web:{only['id']}"]


async def test_what_takes_away_the_proof_ends_the_sign_in(ada, broker):
    """Within the very call, and what is open by it."""
    for change in (
        lambda: broker.accounts.set_password("ada", "another horse", actor="x"),
        lambda: broker.accounts.remove_password("ada", actor="x"),
        lambda: broker.accounts.set_enabled("ada", enabled=False, actor="x"),
    ):
        await broker.accounts.set_enabled("ada", enabled=True, actor="x")
        await broker.accounts.set_password("ada", PASSWORD, actor="x")
        ada.cookie = None
        await ada.sign_in()
        (only,) = (await ada("GET", "/sign-ins"))[1]["items"]
        broker.connections.ended.clear()
        await change()
        who = {f"web:{only['id']}", ada.person.user.id}
        assert who & set(broker.connections.ended)
        assert await ada.problem(401, "unauthenticated", "GET", "/caller") == OVER
        assert await broker.store.sign_ins() == []
    await broker.accounts.set_enabled("ada", enabled=True, actor="x")
    await ada.problem(401, "unauthenticated", "GET", "/caller")


async def test_whoever_may_use_no_browser_is_told_and_gets_no_cookie(ada, broker):
    """Whoever did until now is out."""
    await ada.sign_in()
    await ada.person.ways(allow__browser=False)
    assert await ada.problem(401, "unauthenticated", "GET", "/caller") == OVER
    body = {"user": "ada", "password": PASSWORD}
    told = await ada.problem(403, "access_denied", "POST", "/sign-in", json=body)
    assert "browser" in told
    assert "Desk-Sign-In" not in ada.door.headers


async def test_a_policy_that_wants_more_wants_it_of_browsers_too(ada, broker):
    """Keys alone, or a code that is to be set up first."""
    await ada.sign_in()
    await ada.person.ways("password+code")
    _, caller = await ada("GET", "/caller")
    assert caller["enrol"]
    for method, path in [("GET", "/desktops"), ("POST", "/desktops"), ("GET", "/users/ada")]:
        told = await ada.problem(403, "access_denied", method, path)
        assert told == "You have to set up a one-time code before anything else."
    await ada.person.ways("key")
    assert await ada.problem(401, "unauthenticated", "GET", "/caller") == OVER
    await wrong(ada, "/sign-in", {"user": "ada", "password": PASSWORD})
    assert (await ada("GET", "/sign-in"))[1]["password"] is True
    broker.policies.replace(replace(broker.policies._default, ways=frozenset({Way.KEY})))
    assert (await ada("GET", "/sign-in"))[1]["password"] is False


async def test_of_many_browsers_the_one_not_used_for_longest_ends(ada, broker):
    await ada.sign_in()
    first = ada.cookie
    for _ in range(MOST):
        broker.clock.advance(1)
        ada.cookie = None
        await ada.sign_in()
    headers = CLIENT | {"Desk-Sign-In": first}
    assert await ada.problem(401, "unauthenticated", "GET", "/caller", headers=headers) == OVER
    assert (await ada("GET", "/caller"))[0] == 200
    assert len(broker.connections.ended) == 1


async def test_another_users_sign_in_looks_like_one_that_is_missing(ada, broker):
    other = Visitor(ada.door, await Person.make(broker, "bob"))
    await other.sign_in()
    (theirs,) = (await other("GET", "/sign-ins"))[1]["items"]
    await ada.sign_in()
    told = {
        await ada.problem(404, "not_found", "DELETE", f"/sign-ins/{sign_in}")
        for sign_in in (theirs["id"], "0" * 16, "x'--")
    }
    assert told == {"There is no such sign-in."}
    assert (await other("GET", "/caller"))[0] == 200
    assert [each["user"] for each in (await ada("GET", "/sign-ins"))[1]["items"]] == ["ada"]


async def test_events_come_by_cookie_for_as_long_as_it_counts(ada, broker):
    """Its end is an event itself, and the last one."""
    await ada.sign_in()
    async with ada.door.stream("/events", headers=ada.headers()) as reply:
        await broker.desktop("ada", "seen")
        assert (await event(reply))[1] == "desktop.create"
        assert (await ada("POST", "/sign-out"))[0] == 204
        assert (await event(reply))[1] == "sign-in.end"
        await resting(broker)
        broker.clock.advance(LOOK)
        await ended(reply)


async def test_no_secret_is_in_the_log_the_state_or_the_audit(ada, broker, world):
    """Password, cookie, ticket and code among them, right and wrong ones."""
    with capture_logs() as logs:
        await ada.person.enrol()
        ticket = (await ada.sign_in())["ticket"]
        code = ada.person.code()
        await wrong(ada, "/sign-in/code", {"ticket": ticket, "code": "918273"})
        await ada("POST", "/sign-in/code", json={"ticket": ticket, "code": code})
        await wrong(ada, "/sign-in", {"user": "ada", "password": "wr0ng-secret-5"})
        await wrong(ada, "/sign-in/link", {"token": "L" * 43})
        await ada("POST", "/sign-out")
    secrets = [PASSWORD, ticket, code, "918273", "wr0ng-secret-5", "L" * 43]
    told = repr(logs) + repr(await broker.store.audit(limit=1000))
    state = b"".join(path.read_bytes() for path in world.directory.glob("desk.db*"))
    for secret in secrets:
        assert secret not in told
        assert secret.encode() not in state


async def test_the_cookie_is_nowhere_in_the_state(ada, broker, world):
    """Its hash alone is."""
    with capture_logs() as logs:
        await ada.sign_in()
        await ada("GET", "/caller")
    assert ada.cookie not in repr(logs) + repr(await broker.store.audit(limit=1000))
    state = b"".join(path.read_bytes() for path in world.directory.glob("desk.db*"))
    assert ada.cookie.encode() not in state
    assert csrf_of(ada.cookie).encode() not in state


async def test_a_sign_in_outlives_the_broker(ada, world, serve):
    """The next one knows it still."""
    await ada.sign_in()
    ada.door = await serve(await world.broker(), "token")
    assert (await ada("GET", "/caller"))[0] == 200
