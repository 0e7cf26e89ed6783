"""The admin's API over its Unix socket: every route, and every way to be refused."""

from __future__ import annotations

import os
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from broker.core import errors
from broker.core.gateway import Attachment
from broker.http import callers
from tests.service.harness import new_key, outage

ACTOR = f"uid:{os.geteuid()}"

# --------------------------------------------------------------------------------- users, keys


async def test_a_user_is_added_listed_and_removed(api, broker):
    """With a key; the kernel's word of who called stands in the audit."""
    _, line = new_key()
    status, made = await api("POST", "/users", json={"name": "ada", "admin": True, "keys": [line]})
    assert status == 201
    assert (made["name"], made["admin"], made["enabled"], made["keys"]) == ("ada", True, True, 1)
    assert datetime.fromisoformat(made["created_at"]) == broker.clock.now()
    assert await api("GET", "/users") == (200, {"items": [made], "next": None})
    assert await api("DELETE", "/users/ada") == (204, None)
    assert await api("GET", "/users") == (200, {"items": [], "next": None})
    assert {entry.actor for entry in await broker.store.audit(subject=made["id"])} == {ACTOR}


async def test_a_name_alone_makes_a_user(api):
    """No admin, no keys."""
    _, made = await api("POST", "/users", json={"name": "ada"})
    assert (made["admin"], made["keys"]) == (False, 0)


async def test_keys_are_added_listed_and_removed(api):
    """A fingerprint holds '/' and '+', and is found all the same."""
    await api("POST", "/users", json={"name": "ada"})
    seen = []
    while not any("/" in fingerprint for fingerprint in seen):
        offered, line = new_key()
        status, made = await api("POST", "/users/ada/keys", json={"key": line})
        assert status == 201
        assert made["fingerprint"] == offered.fingerprint
        number = f"-{len(seen) + 1}" if seen else ""
        assert (made["type"], made["name"]) == ("ssh-ed25519", f"ada@laptop{number}")
        seen.append(made["fingerprint"])
    _, listed = await api("GET", "/users/ada/keys")
    assert [key["fingerprint"] for key in listed["items"]] == seen
    for fingerprint in seen:
        assert await api("DELETE", f"/users/ada/keys/{fingerprint}") == (204, None)
    assert await api("GET", "/users/ada/keys") == (200, {"items": [], "next": None})


async def test_users_and_keys_that_cannot_be_had_are_refused(api):
    """Taken, unknown, reserved, damaged: a code and a sentence each."""
    _, line = new_key()
    await api("POST", "/users", json={"name": "ada", "keys": [line]})
    problem = api.problem
    assert await problem(409, "conflict", "POST", "/users", json={"name": "ada"}) == (
        "The name 'ada' is taken."
    )
    assert "reserved" in await problem(400, "bad_request", "POST", "/users", json={"name": "root"})
    await problem(409, "conflict", "POST", "/users", json={"name": "bob", "keys": [line]})
    await problem(409, "conflict", "POST", "/users/ada/keys", json={"key": line})
    await problem(400, "bad_request", "POST", "/users/ada/keys", json={"key": "ssh-ed25519 A"})
    await problem(404, "not_found", "POST", "/users/nobody/keys", json={"key": line})
    await problem(404, "not_found", "GET", "/users/nobody/keys")
    await problem(404, "not_found", "DELETE", "/users/nobody")
    await problem(404, "not_found", "DELETE", "/users/ada/keys/SHA256:x")


async def test_a_hostile_name_comes_back_escaped(api):
    """Nothing that a terminal would obey."""
    detail = await api.problem(404, "not_found", "DELETE", "/users/a%1b%5b2J%0a")
    assert detail == "There is no user 'a\\x1b[2J\\n'."


# -------------------------------------------------------------------------- desktops, sessions


async def test_desktops_are_listed_with_owner_and_state(api, broker):
    """Removed ones only when all are asked for, and those of removed users marked."""
    main = await broker.desktop("ada")
    await broker.ensure(main)
    lab = await broker.desktop("ada", "lab")
    _, listed = await api("GET", "/desktops")
    assert [(d["user"], d["name"], d["state"]) for d in listed["items"]] == [
        ("ada", "lab", "stopped"),
        ("ada", "main", "ready"),
    ]
    assert listed["items"][1]["uid"] == main.uid
    assert await api("DELETE", f"/desktops/{lab.id}") == (204, None)
    _, listed = await api("GET", "/desktops")
    assert [d["name"] for d in listed["items"]] == ["main"]
    await broker.accounts.remove_user("ada", actor="uid:0")
    _, listed = await api("GET", "/desktops?all=1")
    assert [(d["user"], d["name"], d["removed"]) for d in listed["items"]] == [
        ("ada (removed)", "lab", True),
        ("ada (removed)", "main", True),
    ]
    await broker.user("ada")
    _, listed = await api("GET", "/desktops?all=1")
    assert {d["user"] for d in listed["items"]} == {"ada (removed)"}


async def test_a_desktop_is_removed_and_its_home_kept(api, broker, world):
    """Running or not."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    assert await api("DELETE", f"/desktops/{desktop.id}") == (204, None)
    assert world.home(desktop).uid == desktop.uid
    await broker.check()


async def test_a_home_is_deleted_only_by_naming_the_desktop_again(api, broker, world):
    """Anything else than its id is a mistake, an empty word too."""
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    for word in ("", "1", "true", "0" * 16):
        detail = await api.problem(
            400, "bad_request", "DELETE", f"/desktops/{desktop.id}", params={"with_home": word}
        )
        assert "must repeat the desktop's id" in detail
    assert world.home(desktop)
    path = f"/desktops/{desktop.id}?with_home={desktop.id}"
    assert await api("DELETE", path) == (204, None)
    assert world.engine.volumes == {}
    await api.problem(404, "not_found", "DELETE", path)


async def test_sessions_are_listed_and_stopped(api, broker):
    """With who is in them; stopping twice is success."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    broker.presence.attached(
        "door",
        Attachment(id="a", session_id=session.id, user="ada", peer="p", client="c"),
    )
    _, listed = await api("GET", "/sessions")
    (item,) = listed["items"]
    assert (item["id"], item["user"], item["desktop"], item["state"]) == (
        session.id,
        "ada",
        "main",
        "ready",
    )
    assert (item["attached"], item["port"], item["display"], item["address"]) == (
        1,
        session.port,
        session.display,
        session.address,
    )
    for _ in range(2):
        status, ended = await api("POST", f"/sessions/{session.id}/stop")
        assert (status, ended["state"], ended["reason"]) == (200, "ended", "an admin stopped it")
    assert await api("GET", "/sessions") == (200, {"items": [], "next": None})
    await api.problem(404, "not_found", "POST", "/sessions/nope/stop")


async def test_a_session_whose_desktop_was_forgotten_is_not_shown(api, broker):
    """Its record can go while the list is being made."""
    session = await broker.ensure(await broker.desktop())

    async def none(**_):
        return []

    async def gone(_desktop_id):
        return None

    broker.real_store.desktops, broker.real_store.desktop = none, gone
    assert await api("GET", "/sessions") == (200, {"items": [], "next": None})
    await api.problem(404, "not_found", "POST", f"/sessions/{session.id}/stop")
    await api.problem(404, "not_found", "GET", f"/sessions/{session.id}/why")


async def test_a_desktop_without_an_owner_is_still_listed(api, broker):
    """The list is where an admin would look for it."""
    await broker.desktop()

    async def none():
        return []

    async def nobody(_user_id):
        return None

    broker.real_store.users, broker.real_store.user_by_id = none, nobody
    _, listed = await api("GET", "/desktops")
    assert [d["user"] for d in listed["items"]] == ["?"]


async def test_leases_are_listed_as_people_write_them(api, broker):
    """An address with its dots."""
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    _, listed = await api("GET", "/leases")
    assert {(lease["kind"], lease["value"]) for lease in listed["items"]} == {
        ("port", str(session.port)),
        ("display", str(session.display)),
        ("address", session.address),
        ("uid", str(desktop.uid)),
    }
    by_kind = {lease["kind"]: lease for lease in listed["items"]}
    assert by_kind["port"]["session_id"] == session.id
    assert by_kind["uid"]["session_id"] is None


async def test_an_engine_that_is_down_is_503(api, broker, world):
    """The session waits for it in STOPPING."""
    session = await broker.ensure(await broker.desktop())
    with outage(world):
        detail = await api.problem(
            503, "engine_unavailable", "POST", f"/sessions/{session.id}/stop"
        )
        assert detail.endswith("Try again in a minute.")
    _, listed = await api("GET", "/sessions")
    assert listed["items"][0]["state"] == "stopping"


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body: invalid JSON"),
        (b"{", "the body: invalid JSON"),
        (b"\xff", "the body: invalid JSON"),
        (b"[]", "the body: input should be an object"),
        (b"{}", "name: field required."),
        (b'{"name": 5}', "name: input should be a valid string."),
        (b'{"name": "ada", "keys": [5]}', "keys.0: input should be a valid string."),
        (b'{"name": "ada", "root": true}', "root: extra inputs are not permitted."),
        (b'{"name": "\\ud800"}', "the body: invalid JSON"),
        (b'{"name": "' + b"a" * 300 + b'"}', "name: string should have at most 256 characters."),
        (b'{"name": "ada", "keys": [' + b'"",' * 100 + b'""]}', "keys: tuple should have at most"),
    ],
)
async def test_a_body_that_is_not_wanted_is_told_where(api, broker, body, said):
    """One sentence that names the field; nothing is made."""
    detail = await api.problem(400, "bad_request", "POST", "/users", data=body)
    assert detail.startswith(said)
    assert await broker.store.users() == []


async def test_a_body_that_is_too_large_is_not_read(api, broker):
    """A quarter of a megabyte is a hundred keys."""
    await api.problem(413, "bad_request", "POST", "/users", data=b"x" * (257 << 10))
    assert await broker.store.users() == []


@pytest.mark.parametrize(
    ("status", "code", "method", "base", "path"),
    [
        (404, "not_found", "GET", "/api/v1", "/nothing"),
        (404, "not_found", "GET", "", "/"),
        (404, "not_found", "GET", "/api/v2", "/users"),
        (404, "not_found", "DELETE", "/api/v1", "/users/"),
        (405, "bad_request", "PUT", "/api/v1", "/users"),
        (405, "bad_request", "GET", "/api/v1", "/sessions/x/stop"),
    ],
)
async def test_unknown_routes_and_methods_are_problems_too(api, status, code, method, base, path):
    """Never a page of the library's."""
    detail = await api.problem(status, code, method, path, base=base)
    assert f"'{base}{path}'" in detail


async def test_a_refused_method_names_those_that_are_allowed(api):
    """In the header that is meant for it."""
    await api.problem(405, "bad_request", "PUT", "/users")
    assert {m.strip() for m in api.headers["Allow"].split(",")} >= {"GET", "POST"}


@pytest.mark.parametrize("path", ["/users", "/nothing"])
async def test_who_is_no_admin_gets_nothing(api, monkeypatch, path):
    """Not even whether a route exists; the log tells who tried."""
    monkeypatch.setattr(callers, "is_admin", lambda _peer: False)
    with capture_logs() as logs:
        detail = await api.problem(403, "access_denied", "GET", path)
    assert "group desk-admin" in detail
    assert logs[0]["detail"] == f"uid {os.geteuid()} called GET /api/v1{path}"


async def test_a_caller_who_left_is_not_asked_for(api, monkeypatch):
    """There is no socket any more to ask the kernel about."""

    def gone(_sock):
        raise errors.AccessDenied("the caller left")

    monkeypatch.setattr(callers, "peer_of", gone)
    await api.problem(403, "access_denied", "GET", "/users")


async def test_a_crash_is_500_without_its_traceback(api, broker):
    """The caller reads one sentence, the operator everything."""

    async def crash():
        raise RuntimeError("secret of the inside")

    broker.real_store.users = crash
    with capture_logs() as logs:
        detail = await api.problem(500, "internal", "GET", "/users")
    assert "secret" not in detail
    (entry,) = [entry for entry in logs if entry["event"] == "request failed"]
    assert entry["exc_info"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest, 400),
        (errors.AccessDenied, 403),
        (errors.NotFound, 404),
        (errors.Conflict, 409),
        (errors.StaleState, 409),
        (errors.SessionEnded, 409),
        (errors.CapacityExhausted, 429),
        (errors.EngineUnavailable, 503),
        (errors.ImageMissing, 503),
        (errors.ShuttingDown, 503),
        (errors.StateUnusable, 503),
        (errors.IllegalTransition, 500),
    ],
)
async def test_each_error_has_its_status_and_keeps_its_detail_inside(api, broker, error, status):
    """The code is the error's, the sentence its public one."""

    async def fail():
        raise error("for the operator alone")

    broker.real_store.users = fail
    detail = await api.problem(status, error.code, "GET", "/users")
    assert detail == error.default
