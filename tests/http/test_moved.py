"""A state that moved says the same by the API as before, wherever it went."""

from __future__ import annotations

import asyncio

import pytest

from broker.db import backup
from broker.db.connect import connect
from broker.db.copying import copying
from broker.db.store import SqlStore
from broker.http.routes import Page
from broker.http.table import TABLE
from tests.contract.postgres import AUDIT_KEY, PostgresDatabase
from tests.service.harness import Broker, Fate, new_key

#: Lists that `lived_in` puts something into.
FILLED = {"/users", "/groups", "/tokens", "/desktops", "/sessions", "/leases", "/audit"}


async def lived_in(api) -> None:
    """Something of every noun."""
    _, line = new_key()
    await api("POST", "/users", json={"name": "ada", "keys": [line], "admin": True})
    await api("POST", "/users", json={"name": "bob"})
    await api("POST", "/users/bob/invites", json={})
    await api("PUT", "/users/bob/password", json={"password": "not for anybody"})
    await api("POST", "/groups", json={"name": "lab", "policy": {"idle.freeze_after": "2h"}})
    await api("PUT", "/groups/lab/members/ada")
    body = {"user": "ada", "name": "ci", "scopes": ["read"], "reach": "own"}
    await api("POST", "/tokens", json=body)
    for user, name in (("ada", "main"), ("ada", "work"), ("bob", "main")):
        status, desktop = await api("POST", "/desktops", json={"user": user, "name": name})
        assert status == 201, desktop
        status, session = await api("POST", f"/desktops/{desktop['id']}/start")
        assert status == 201, session
    await api("POST", f"/sessions/{session['id']}/keep")
    await api("POST", f"/desktops/{desktop['id']}/stop")


async def answers(api):
    """What each list says, and each thing in it that has an address of its own."""
    said = {}
    for route in (route for noun in TABLE for route in noun.routes):
        if route.method != "GET" or not isinstance(route.answers.get(200), Page):
            continue
        if not route.parameters:
            _, said[route.path] = await api("GET", route.path)
    for user in said["/users"]["items"]:
        for below in ("", "/keys", "/invites", "/policy"):
            path = f"/users/{user['name']}{below}"
            said[path] = await api("GET", path)
    for noun in ("desktops", "sessions"):
        for thing in said[f"/{noun}"]["items"]:
            said[thing["id"]] = await api("GET", f"/{noun}/{thing['id']}")
    said["verify"] = await api("GET", "/audit/verify")
    return said


async def to_postgresql(world, tmp_path):
    target = PostgresDatabase(tmp_path, template="template0").at(tmp_path)
    async with copying(world.directory / "desk.db", target):
        pass
    return target


async def to_a_backup(world, tmp_path):
    target = tmp_path / "copy.db"
    await asyncio.to_thread(backup.copy, world.directory / "desk.db", target)
    return target


@pytest.mark.parametrize("move", [to_postgresql, to_a_backup])
async def test_a_state_that_moved_says_the_same(world, broker, serve, tmp_path, move):
    api = await serve(broker)
    await lived_in(api)
    before = await answers(api)
    assert all(page["items"] for path, page in before.items() if path in FILLED)
    target = await move(world, tmp_path)
    await broker.abandon()
    there = Broker(world, SqlStore(await connect(target), world.clock, AUDIT_KEY), Fate())
    world.brokers.append(there)
    await there.settle()
    assert await answers(await serve(there)) == before
