"""Showing desktops to guests by the API: for owners, and for whoever comes by a link."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.core.digest import hashed
from broker.core.tokens import Reach, Scope, csrf_of
from broker.service.guests import ANSWER_WITHIN
from tests.http.beside import make_api
from tests.service.test_shares import HOSTILE, asleep

CLIENT = {"Desk-Client": "198.51.100.7"}


class Owner:
    """Ada, who asks by a token of hers."""

    def __init__(self, door, secret, desktop) -> None:
        self.door, self.desktop = door, desktop
        self.headers = {**CLIENT, "Authorization": f"Bearer {secret}"}

    async def __call__(self, method, path, **more):
        return await self.door(method, path, headers=self.headers, **more)

    async def problem(self, status, code, method, path, **more):
        return await self.door.problem(status, code, method, path, headers=self.headers, **more)

    async def share(self, **said):
        status, made = await self("POST", f"/desktops/{self.desktop.id}/shares", json=said)
        assert status == 201, made
        return made


async def token(broker, name, number, *, admin=False):
    user = await broker.store.user(name) or await broker.user(name, admin=admin)
    secret = f"desk_{number:040}"
    await broker.store.add_token(
        user.id, token_hash=hashed(secret), name="t", scopes=list(Scope),
        reach=Reach.ALL if admin else Reach.OWN, expires_at=None, most=9, actor="x",
    )  # fmt: skip
    return secret


@pytest.fixture
async def ada(door, broker):
    desktop = await broker.desktop("ada")
    await broker.ensure(desktop)
    return Owner(door, await token(broker, "ada", 1), desktop)


class Guest:
    """A guest's page, and what the door keeps of it."""

    def __init__(self, door) -> None:
        self.door, self.secret = door, None

    async def come(self, link, name="Eve"):
        body = {"token": link.partition("#")[2], "name": name}
        status, told = await self.door("POST", "/guests", json=body, headers=CLIENT)
        assert status == 201, told
        self.secret = self.door.headers["Desk-Guest"]
        assert self.secret not in json.dumps(told)
        self.csrf = told["csrf"]
        return told

    def headers(self, **more):
        return {**CLIENT, "Desk-Guest": self.secret, **more}

    async def show(self, query=""):
        status, told = await self.door("GET", f"/guest{query}", headers=self.headers())
        assert status == 200, told
        return told


@pytest.fixture
async def eve(door, broker, ada):
    """Somebody who came and waits."""
    guest = Guest(door)
    guest.share = await ada.share(mode="rw", valid="1h")
    await guest.come(guest.share["link"])
    guest.id = (await broker.store.share(guest.share["id"])).guests[0].id
    guest.path = f"/shares/{guest.share['id']}/guests/{guest.id}"
    await asleep(broker)
    return guest


async def test_a_share_is_made_and_its_link_told_once(broker, ada):
    made = await ada.share()
    link = made.pop("link")
    assert link.startswith("http://127.0.0.1:8080/join#")
    assert (made["mode"], made["guests"], made["user"], made["desktop"]) == (
        "ro",
        [],
        "ada",
        "main",
    )
    _, told = await ada("GET", "/shares")
    assert told["items"] == [made]
    assert link.partition("#")[2] not in json.dumps(told)
    for query, count in (
        (f"?desktop={ada.desktop.id}", 1),
        ("?desktop=x", 0),
        ("?user=ada", 1),
        ("?user=bob", 0),
    ):
        assert len((await ada("GET", f"/shares{query}"))[1]["items"]) == count


@pytest.mark.parametrize(
    "body",
    [{"mode": "rx"}, {"valid": "25h"}, {"valid": "0s"}, {"valid": "soon"}, {"more": 1}, []],
)
async def test_a_share_that_cannot_be_is_400(ada, body):
    path = f"/desktops/{ada.desktop.id}/shares"
    await ada.problem(400, "bad_request", "POST", path, json=body)


async def test_who_may_not_share_is_403(broker, ada):
    await broker.groups.set("closed", priority=0, policy={"allow.share": False}, actor="x")
    await broker.groups.join(await broker.store.user("ada"), "closed", actor="x")
    path = f"/desktops/{ada.desktop.id}/shares"
    await ada.problem(403, "access_denied", "POST", path, json={})


async def test_a_call_that_is_repeated_makes_one_share(ada, door):
    """Whose link comes no second time."""
    path, key = f"/desktops/{ada.desktop.id}/shares", {"Idempotency-Key": "k"}
    status, _ = await door("POST", path, json={}, headers={**ada.headers, **key})
    assert status == 201
    await door.problem(409, "conflict", "POST", path, json={}, headers={**ada.headers, **key})
    assert len((await ada("GET", "/shares"))[1]["items"]) == 1


async def test_nobody_consents_for_an_owner(broker, api, door, ada, eve):
    """Neither an admin nor the kernel's; to end it they may."""
    boss = Owner(door, await token(broker, "boss", 2, admin=True), ada.desktop)
    for path in (f"/desktops/{ada.desktop.id}/shares", f"{eve.path}/let-in"):
        said = await boss.problem(403, "access_denied", "POST", path, json={})
        assert "nobody else consents" in said
        await api.problem(403, "access_denied", "POST", path, json={})
    assert (await eve.show())["state"] == "asked"
    assert (await boss("POST", f"{eve.path}/refuse"))[0] == 200
    assert (await api("DELETE", f"/shares/{eve.share['id']}"))[0] == 204
    for method, path in (("POST", "/desktops/0/shares"), ("POST", "/shares/0/guests/0/let-in")):
        await boss.problem(404, "not_found", method, path, json={})


async def test_a_guest_comes_in(broker, ada, eve):
    """And learns nothing of whose desktop it is."""
    told = await eve.show()
    assert told == {
        "state": "asked",
        "mode": "rw",
        "expires_at": eve.share["expires_at"],
        "reason": None,
        "csrf": csrf_of(eve.secret),
    }
    status, guest = await ada("POST", f"{eve.path}/let-in")
    assert (status, guest["state"], guest["name"]) == (200, "in", "Eve")
    assert guest["address"] == CLIENT["Desk-Client"]
    told = await eve.show()
    assert told["state"] == "in"
    assert not [word for word in ("ada", "main", ada.desktop.id) if word in json.dumps(told)]
    await ada.problem(409, "stale_state", "POST", f"{eve.path}/refuse")
    status, gone = await ada("POST", f"{eve.path}/end")
    assert (status, gone["state"]) == (200, "ended")
    assert (await eve.show())["reason"] == "Whoever shares this desktop has let you go."
    assert broker.connections.ended == [f"share:{eve.share['id']}/{eve.id}"]


async def test_a_guest_waits_for_news(broker, ada, eve):
    """What is as the page knows it is told when it is another."""
    waiting = asyncio.get_running_loop().create_task(eve.show("?state=asked"))
    await asleep(broker, 2)
    assert not waiting.done()
    await ada("POST", f"{eve.path}/let-in")
    assert (await waiting)["state"] == "in"
    assert (await eve.show("?state=asked"))["state"] == "in"


async def test_a_page_that_waits_holds_up_no_stop(broker, ada, eve):
    waiting = asyncio.get_running_loop().create_task(eve.show("?state=asked"))
    await asleep(broker, 2)
    application = make_api(broker).application("token")
    for close in application.on_shutdown:
        await close(application)
    assert (await asyncio.wait_for(waiting, 5))["state"] == "asked"


async def test_a_guest_whom_nobody_answers_hears_so(broker, ada, eve):
    broker.clock.advance(ANSWER_WITHIN)
    await broker.landed()
    told = await eve.show("?state=asked")
    assert (told["state"], told["reason"][:15]) == ("refused", "Nobody answered")
    await ada.problem(409, "stale_state", "POST", f"{eve.path}/let-in")


async def test_a_guest_leaves(door, broker, ada, eve):
    """By their own page alone; the cookie goes with that."""
    for more in ({}, {"Desk-CSRF": "x" * 32}, {"Desk-CSRF": "\udcff"}):
        headers = {key: value.encode(errors="replace").decode() for key, value in more.items()}
        await door.problem(
            403, "access_denied", "POST", "/guest/leave", headers=eve.headers(**headers)
        )
    status, _ = await door("POST", "/guest/leave", headers=eve.headers(**{"Desk-CSRF": eve.csrf}))
    assert (status, door.headers["Desk-Guest"]) == (204, "")
    assert (await eve.show())["state"] == "left"


async def test_whoever_is_nobodys_guest_is_401(door):
    for headers in (CLIENT, {**CLIENT, "Desk-Guest": "x" * 43}, {**CLIENT, "Desk-Guest": ""}):
        await door.problem(401, "unauthenticated", "GET", "/guest", headers=headers)
        await door.problem(401, "unauthenticated", "POST", "/guest/leave", headers=headers)


async def test_a_link_that_leads_nowhere_is_404(door, broker, ada):
    for said in ("x" * 43, "", "x"):
        body = {"token": said, "name": "Eve"}
        await door.problem(404, "not_found", "POST", "/guests", json=body, headers=CLIENT)
    made = await ada.share()
    await ada("DELETE", f"/shares/{made['id']}")
    body = {"token": made["link"].partition("#")[2], "name": "Eve"}
    await door.problem(404, "not_found", "POST", "/guests", json=body, headers=CLIENT)
    assert (await ada("GET", "/shares"))[1]["items"] == []


async def test_a_desktop_that_sleeps_is_409(door, broker, ada):
    made = await ada.share()
    (session,) = await broker.store.live_sessions()
    await broker.freeze(session)
    body = {"token": made["link"].partition("#")[2], "name": "Eve"}
    await door.problem(409, "session_ended", "POST", "/guests", json=body, headers=CLIENT)


async def test_a_hostile_name_is_text(door, broker, ada):
    """In lists and events as it was said; what steers is no name."""
    made = await ada.share()
    await Guest(door).come(made["link"], HOSTILE)
    _, told = await ada("GET", "/shares")
    assert told["items"][0]["guests"][0]["name"] == HOSTILE
    _, audit = await ada("GET", "/audit?limit=1")
    assert audit["items"][0]["detail"]["name"] == HOSTILE
    for name in ("", " ", "x" * 41, "a\x1b[2J", "a\u202e", "\u0000"):
        body = {"token": made["link"].partition("#")[2], "name": name}
        said = await door.problem(400, "bad_request", "POST", "/guests", json=body, headers=CLIENT)
        assert said.isprintable()


async def test_a_guest_of_another_share_is_missing(ada, eve):
    """One names both, or nobody."""
    other = await ada.share()
    for path in (
        f"/shares/{other['id']}/guests/{eve.id}",
        f"/shares/{eve.share['id']}/guests/{'0' * 16}",
    ):
        for verb in ("let-in", "refuse", "end"):
            await ada.problem(404, "not_found", "POST", f"{path}/{verb}")
