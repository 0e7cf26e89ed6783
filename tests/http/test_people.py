"""The admin's API about who people are: what proves them, who invites, groups, blocks, the audit."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from broker.core.blocks import Circle
from broker.core.model import Actor
from broker.core.policy import KEYS
from tests.http.test_admin import ACTOR
from tests.service.harness import new_key
from tests.service.people import PASSWORD, Person, outcome

BY = Actor(ACTOR, None, "local")


@pytest.fixture
async def ada(broker):
    """With a password."""
    return await Person.make(broker)


async def actions(broker, user=None):
    """What the caller was noted for, oldest first."""
    entries = await broker.store.audit(limit=1000)
    return [
        entry.action
        for entry in reversed(entries)
        if entry.actor == ACTOR and (entry.origin, entry.proof) == ("local", None)
    ]


# ----------------------------------------------------------------------------------------- keys


async def test_a_key_is_listed_with_all_that_limits_it(api, broker, ada):
    """And when and from where it was last used."""
    _, line = new_key()
    limits = 'from="192.0.2.0/24",expiry-time="20351231Z" '
    _, made = await api("POST", "/users/ada/keys", json={"key": limits + line})
    assert (made["sources"], made["expires_at"]) == (["192.0.2.0/24"], "2035-12-31T00:00:00+00:00")
    assert (made["verify_required"], made["last_used_at"], made["last_used_from"]) == (
        False,
        None,
        None,
    )
    key, _ = new_key()
    await broker.store.add_key(
        ada.user.id, fingerprint=key.fingerprint, public=key.public, name="used", actor="x"
    )
    broker.authentication.proven(await ada.identify(key))
    await broker.logins.settle()
    _, listed = await api("GET", "/users/ada/keys")
    used = listed["items"][1]
    assert used["last_used_at"] == broker.clock.now().isoformat()
    assert used["last_used_from"] == "192.0.2.7"


@pytest.mark.parametrize("by", ["name", "fingerprint"])
async def test_a_key_is_renamed_and_removed_by_name_or_fingerprint(api, broker, ada, by):
    """What it opened ends; a name that another key has is refused."""
    made = [(await api("POST", "/users/ada/keys", json={"key": new_key()[1]}))[1] for _ in range(2)]
    path = "/users/ada/keys/" + made[0][by].replace("/", "%2F")
    status, renamed = await api("PATCH", path, json={"name": "desk lamp"})
    assert (status, renamed["name"], renamed["fingerprint"]) == (
        200,
        "desk lamp",
        made[0]["fingerprint"],
    )
    path = "/users/ada/keys/" + renamed[by].replace("/", "%2F")
    detail = await api.problem(409, "conflict", "PATCH", path, json={"name": made[1]["name"]})
    assert made[1]["name"] in detail
    await api.problem(400, "bad_request", "PATCH", path, json={"name": " "})
    assert await api("DELETE", path) == (204, None)
    assert broker.connections.ended == [made[0]["fingerprint"]]
    detail = await api.problem(404, "not_found", "DELETE", path)
    assert detail.startswith("ada has no key ")
    await api.problem(404, "not_found", "PATCH", path, json={"name": "x"})
    assert await actions(broker) == ["key.add", "key.add", "key.rename", "key.remove"]


async def test_a_key_of_somebody_else_is_not_found(api, broker, ada):
    """By neither of its words."""
    await broker.user("bob")
    _, made = await api("POST", "/users/bob/keys", json={"key": new_key()[1]})
    for word in (made["name"], made["fingerprint"].replace("/", "%2F")):
        await api.problem(404, "not_found", "DELETE", f"/users/ada/keys/{word}")
    assert len(await broker.store.keys((await broker.store.user("bob")).id)) == 1


# ---------------------------------------------------------------------------- password and code


async def test_a_password_is_set_and_removed(api, broker, ada):
    """What the one before opened ends each time."""
    first = (await ada.type()).credential
    body = {"password": "another horse battery"}
    assert await api("PUT", "/users/ada/password", json=body) == (204, None)
    assert outcome(await ada.type()) == "nobody"
    second = (await ada.type("another horse battery")).credential
    assert await api("DELETE", "/users/ada/password") == (204, None)
    assert outcome(await ada.type("another horse battery")) == "nobody"
    assert broker.connections.ended == [first, second]
    await api.problem(404, "not_found", "DELETE", "/users/ada/password")
    assert await actions(broker) == ["password.set", "password.remove"]


@pytest.mark.parametrize("password", ["short", "x" * 2000, "with a \x00 in it", 5, None])
async def test_a_password_that_cannot_be_set_is_told_without_it(api, ada, password):
    """The old one stays."""
    detail = await api.problem(
        400, "bad_request", "PUT", "/users/ada/password", json={"password": password}
    )
    assert str(password) not in detail
    assert outcome(await ada.type()) == "in"


async def test_a_password_that_is_kept_elsewhere_is_not_set_here(api, broker):
    """The sentence says where."""
    await broker.store.add_user("eve", admin=False, source="ldap", actor="x")
    detail = await api.problem(
        409, "conflict", "PUT", "/users/eve/password", json={"password": PASSWORD}
    )
    assert "checked by ldap" in detail


async def test_codes_are_taken_away_from_whoever_lost_their_phone(api, broker, ada):
    """Recovery codes too; then the password alone lets in, as before."""
    await ada.enrol()
    assert outcome(await ada.type()) == "code"
    assert await api("DELETE", "/users/ada/code") == (204, None)
    assert outcome(await ada.type()) == "in"
    await api.problem(404, "not_found", "DELETE", "/users/ada/code")
    assert await actions(broker) == ["code.remove"]


# ----------------------------------------------------------------------------- disabled, policy


async def test_who_is_disabled_is_out_until_enabled(api, broker, ada):
    """What they have open ends once; twice is as good as once."""
    for _ in range(2):
        status, user = await api("POST", "/users/ada/disable")
        assert (status, user["enabled"]) == (200, False)
    assert outcome(await ada.type()) == "nobody"
    assert broker.connections.ended == [ada.user.id] * 2
    status, user = await api("POST", "/users/ada/enable")
    assert (status, user["enabled"], user["source"]) == (200, True, "local")
    assert outcome(await ada.type()) == "in"
    assert await actions(broker) == ["user.disable", "user.enable"]
    for word in ("enable", "disable"):
        await api.problem(404, "not_found", "POST", f"/users/bob/{word}")


async def test_a_policy_tells_each_value_and_who_says_so(api, broker, ada):
    """In words for people."""
    await ada.ways("key", "key+code", idle__freeze_after="5m", allow__sftp=False)
    _, found = await api("GET", "/users/ada/policy")
    told = {item["key"]: (item["value"], item["from"]) for item in found["items"]}
    assert set(told) == set(KEYS)
    assert told["login.ways"] == ("key, key+code", "group g")
    assert told["idle.freeze_after"] == ("5 min", "group g")
    assert told["allow.sftp"] == ("false", "group g")
    assert told["limits.desktops"] == ("3", "config")
    await api.problem(404, "not_found", "GET", "/users/bob/policy")


# -------------------------------------------------------------------------------------- invites


async def test_an_invite_is_made_listed_used_and_gone(api, broker, ada):
    """The token is told by the answer that makes it, and by nothing else."""
    status, made = await api("POST", "/users/ada/invites", json={})
    assert (status, made["user"], made["state"], made["port"]) == (201, "ada", "open", 2222)
    token = made["login"].removeprefix("invite+")
    assert len(token) == 32
    assert made["expires_at"] == (broker.clock.now() + timedelta(days=3)).isoformat()
    _, listed = await api("GET", "/invites")
    assert token not in str(listed)
    assert listed["items"] == [{k: v for k, v in made.items() if k not in {"login", "port"}}]
    found = await broker.invites.of(token)
    assert found[1].id == ada.user.id
    broker.clock.advance(1)
    _, short = await api("POST", "/users/ada/invites", json={"valid": "1h"})
    broker.clock.advance(3600)
    _, listed = await api("GET", "/invites")
    assert [(i["id"], i["state"]) for i in listed["items"]] == [
        (short["id"], "expired"),
        (made["id"], "open"),
    ]
    assert await api("DELETE", f"/invites/{made['id']}") == (204, None)
    assert await broker.invites.of(token) is None
    await api.problem(404, "not_found", "DELETE", f"/invites/{made['id']}")
    assert await actions(broker) == ["invite.add", "invite.add", "invite.revoke"]


@pytest.mark.parametrize("valid", ["", "soon", "0s", "400d", "99999d", "\x1b"])
async def test_an_invite_is_good_for_a_time(api, broker, ada, valid):
    """Nothing is made by anything else."""
    await api.problem(400, "bad_request", "POST", "/users/ada/invites", json={"valid": valid})
    assert await broker.invites.all() == []


# ------------------------------------------------------------------------------------- recovery


async def test_access_is_recovered_in_one_step(api, broker, ada):
    """Disabled, no admin, blocked: all that is over, and an invite is there."""
    await ada.fail()
    await broker.accounts.set_enabled("ada", enabled=False, actor="x")
    status, made = await api("POST", "/users/ada/recover", json={"admin": True})
    assert status == 201
    assert (await broker.invites.of(made["login"].removeprefix("invite+")))[1].name == "ada"
    user = await broker.store.user("ada")
    assert (user.enabled, user.admin) == (True, True)
    assert broker.blocks.standing() == []
    assert outcome(await ada.type()) == "in"
    assert await actions(broker) == [
        "access.recover",
        "user.enable",
        "user.admin",
        "login.unblock",
        "invite.add",
    ]


async def test_recovery_makes_nobody_an_admin_unasked(api, broker, ada):
    """And takes that from nobody."""
    await api("POST", "/users/ada/recover", json={})
    assert not (await broker.store.user("ada")).admin
    await broker.user("eve", admin=True)
    await api("POST", "/users/eve/recover", json={})
    assert (await broker.store.user("eve")).admin
    await api.problem(404, "not_found", "POST", "/users/bob/recover", json={})


# --------------------------------------------------------------------------------------- groups


async def test_a_group_is_made_changed_joined_left_and_removed(api, broker, ada):
    """Each change holds at once for who is in it."""
    said = {"idle.freeze_after": "5m", "login.ways": ["key"]}
    status, made = await api("POST", "/groups", json={"name": "lab", "policy": said})
    assert (status, made) == (201, {"name": "lab", "priority": 0, "policy": said, "members": []})
    assert await api("PUT", "/groups/lab/members/ada") == (204, None)
    assert outcome(await ada.type()) == "nobody"
    change = {"priority": 7, "policy": {"login.ways": None, "allow.x11": False}}
    status, changed = await api("PATCH", "/groups/lab", json=change)
    said = {"idle.freeze_after": "5m", "allow.x11": False}
    assert (status, changed) == (
        200,
        {"name": "lab", "priority": 7, "policy": said, "members": ["ada"]},
    )
    assert outcome(await ada.type()) == "in"
    assert await api("GET", "/groups") == (200, {"items": [changed], "next": None})
    assert await api("PATCH", "/groups/lab", json={}) == (200, changed)
    assert await api("DELETE", "/groups/lab/members/ada") == (204, None)
    assert (await api("GET", "/groups/lab"))[1]["members"] == []
    assert await api("DELETE", "/groups/lab") == (204, None)
    assert await api("GET", "/groups") == (200, {"items": [], "next": None})
    assert "group.join" in await actions(broker)


async def test_groups_that_cannot_be_are_refused(api, broker, ada):
    """With what is allowed; nothing is changed."""
    await api("POST", "/groups", json={"name": "lab", "policy": {"allow.x11": False}})
    problem = api.problem
    detail = await problem(409, "conflict", "POST", "/groups", json={"name": "lab"})
    assert detail == "The group 'lab' is there already."
    await problem(400, "bad_request", "POST", "/groups", json={"name": "../x"})
    for policy in ({"allow.x11": "maybe"}, {"colour": "red"}, {"limits.desktops": 0}):
        await problem(400, "bad_request", "PATCH", "/groups/lab", json={"policy": policy})
        body = {"name": "new", "policy": policy}
        await problem(400, "bad_request", "POST", "/groups", json=body)
    await problem(400, "bad_request", "PATCH", "/groups/lab", json={"priority": "high"})
    (group,) = await broker.groups.all()
    assert group.policy == {"allow.x11": False}
    for method, path in (
        ("GET", "/groups/none"),
        ("PATCH", "/groups/none"),
        ("DELETE", "/groups/none"),
        ("PUT", "/groups/none/members/ada"),
        ("PUT", "/groups/lab/members/bob"),
        ("DELETE", "/groups/lab/members/bob"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        await problem(404, "not_found", method, path, **body)


# --------------------------------------------------------------------------------------- blocks


async def test_blocks_are_listed_and_lifted(api, broker, ada):
    """A name that nobody has may be somebody's password, typed in the wrong place."""
    await ada.fail()
    broker.clock.advance(1)
    await ada.fail(name="hunter2-hunter2")
    _, listed = await api("GET", "/login-blocks")
    assert [(i["account"], i["place"], i["failures"], i["seconds"]) for i in listed["items"]] == [
        (None, None, 5, 30),
        ("ada", None, 5, 29),
    ]
    assert "hunter2" not in str(listed)
    assert await api("DELETE", "/login-blocks/ada") == (204, None)
    assert outcome(await ada.type()) == "in"
    await api.problem(404, "not_found", "DELETE", "/login-blocks/ada")
    assert await actions(broker) == ["login.unblock"]


async def test_a_cursor_does_not_tell_what_was_typed_as_a_name(api, broker):
    """Not by a hash that anybody can try words against either: it can be somebody's password."""
    for name in ("hunter2", "hunter3"):
        for _ in range(5):
            broker.services.blocks.failed(Circle(name, None), exists=False)
    _, listed = await api("GET", "/login-blocks?limit=1")
    told = base64.urlsafe_b64decode(listed["next"]).decode()
    for name in ("hunter2", "hunter3"):
        assert name not in told
        assert hashlib.sha256(str(Circle(name, None)).encode()).hexdigest() not in told
    _, rest = await api("GET", f"/login-blocks?cursor={listed['next']}")
    assert len(rest["items"]) == 1


# ---------------------------------------------------------------------------------------- audit


async def test_the_audit_is_listed_newest_first(api, broker, ada):
    """In pages; of somebody what they did, and what was done to their account."""
    key = await ada.key()
    broker.authentication.proven(await ada.identify(key))
    await broker.logins.settle()
    await broker.user("bob")
    _, listed = await api("GET", "/audit?limit=3")
    seqs = [entry["seq"] for entry in listed["items"]]
    assert [entry["action"] for entry in listed["items"]] == ["user.add", "login", "key.add"]
    _, rest = await api("GET", f"/audit?limit=3&before={seqs[-1]}")
    assert all(entry["seq"] < seqs[-1] for entry in rest["items"])
    _, hers = await api("GET", "/audit?user=ada")
    assert [entry["action"] for entry in hers["items"]] == [
        "login",
        "key.add",
        "password.set",
        "user.add",
    ]
    assert hers["items"][0]["proof"] == f"key {key.fingerprint}"
    assert hers["items"][0]["origin"] == "192.0.2.7"
    await broker.desktop("ada")
    _, one = await api("GET", "/audit?user=ada&limit=1")
    assert [entry["action"] for entry in one["items"]] == ["desktop.create"]
    assert (await api("GET", "/audit?user=nobody"))[1] == {"items": [], "next": None}


async def test_the_whole_chain_is_handed_out_in_pages(api, broker, ada):
    """Oldest first, each entry once, as the store has it."""
    after, seen = 0, []
    while page := (await api("GET", f"/audit/chain?after={after}&limit=1"))[1]["items"]:
        seen += page
        after = page[-1]["seq"]
    assert [e["hash"] for e in seen] == [e.hash for e in await broker.store.audit_chain()]
    assert len(seen) >= 2


async def test_a_changed_entry_is_named(api, broker, ada):
    """Until then all is well."""
    status, found = await api("GET", "/audit/verify")
    last = (await broker.store.audit(limit=1))[0]
    assert status == 200
    assert found == {
        "entries": last.seq,
        "head": {"seq": last.seq, "hash": last.hash},
        "problem": None,
    }
    async with broker.real_store._engine.begin() as database:
        await database.execute(text("DROP TRIGGER IF EXISTS audit_no_update"))
        for (name,) in await database.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")
        ):
            await database.execute(text(f'DROP TRIGGER "{name}"'))
        await database.execute(text("UPDATE audit SET actor = 'uid:666' WHERE seq = 1"))
    _, found = await api("GET", "/audit/verify")
    assert found["entries"] == 0
    assert "1" in found["problem"]
    assert (await api("GET", "/audit/verify?after=1"))[1]["problem"] is None
    await api.problem(404, "not_found", "GET", "/audit/verify?after=9999")


@pytest.mark.parametrize(
    "path",
    ["/audit?limit=0", "/audit?limit=1001", "/audit?limit=-1", "/audit?limit=x", "/audit?before=0",
     "/audit/chain?after=%C2%B2", "/audit/verify?after=" + "9" * 30],
)  # fmt: skip
async def test_a_number_that_is_none_is_told_what_is_allowed(api, path):
    """By its name."""
    detail = await api.problem(400, "bad_request", "GET", path)
    assert "allowed is a number from" in detail


# -------------------------------------------------------------------------------------- secrets


async def test_no_secret_is_logged_or_told_again(api, broker, ada):
    """A password, a token, what makes codes and the codes themselves: each is seeded, and nothing
    that is logged, listed or refused has it.
    """
    with capture_logs() as logs:
        secrets = {"seeded secret password"}
        await api("PUT", "/users/ada/password", json={"password": "seeded secret password"})
        bad = {"password": "seeded secret password\n", "more": "seeded secret password"}
        told = [await api("PUT", "/users/ada/password", json=bad)]
        told.append(await api("PUT", "/users/bob/password", json={"password": "seeded secret x"}))
        secrets.add("seeded secret")
        _, made = await api("POST", "/users/ada/invites", json={})
        secrets.add(made["login"].removeprefix("invite+"))
        await ada.enrol()
        secrets |= {ada.secret, *ada.recovery}
        await ada.show(await ada.type("seeded secret password"), "000000")
        lists = ("/users", "/users/ada/keys", "/users/ada/policy", "/invites", "/login-blocks",
                 "/groups", "/audit", "/audit/chain", "/audit/verify")  # fmt: skip
        told += [await api("GET", path) for path in lists]
        await broker.landed()
    everything = f"{logs} {told}"
    for secret in secrets:
        assert secret not in everything
        assert base64.b64encode(secret.encode()).decode() not in everything
