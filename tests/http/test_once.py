"""Calls with an `Idempotency-Key`."""

from __future__ import annotations

import asyncio

import pytest

from broker.http import once


def key(text="k1"):
    return {"Idempotency-Key": text}


async def test_a_call_is_done_once(api, broker):
    """Whoever asks again gets the first answer, from the next broker too."""
    first = await api("POST", "/users", json={"name": "ada"}, headers=key())
    assert first[0] == 201
    assert "Idempotent-Replayed" not in api.headers
    again = await api("POST", "/users", json={"name": "ada"}, headers=key())
    assert again == first
    assert api.headers["Idempotent-Replayed"] == "true"
    assert api.headers["Content-Type"].startswith("application/json")
    assert len(await broker.store.users()) == 1
    await api.problem(409, "conflict", "POST", "/users", json={"name": "ada"}, headers=key("k2"))


async def test_an_answer_outlives_the_broker(api, broker, world, serve):
    """It is in the state."""
    first = await api("POST", "/users", json={"name": "ada"}, headers=key())
    other = await serve(await world.broker(), "token")
    secret = (await api("POST", "/tokens", json={"user": "ada", "name": "x", "scopes": ["users"]}))[
        1
    ]["secret"]
    assert first[0] == 201
    headers = {"Authorization": f"Bearer {secret}", "Desk-Client": "192.0.2.1"} | key()
    assert (await other("POST", "/users/ada/invites", json={}, headers=headers))[0] == 201
    detail = await other.problem(
        409, "conflict", "POST", "/users/ada/invites", json={}, headers=headers
    )
    assert "told once" in detail


async def test_another_call_with_the_key_is_refused(api, broker):
    """Another body, path or query."""
    await api("POST", "/users", json={"name": "ada"}, headers=key())
    detail = await api.problem(
        409, "conflict", "POST", "/users", json={"name": "bob"}, headers=key()
    )
    assert detail.startswith("Idempotency-Key: it was used for another call.")
    await api.problem(409, "conflict", "POST", "/groups", json={"name": "ada"}, headers=key())
    assert len(await broker.store.users()) == 1


async def test_of_many_at_once_one_does_it(api, broker):
    """The others wait for its answer."""
    found = await asyncio.gather(
        *(api("POST", "/users", json={"name": "ada"}, headers=key()) for _ in range(8))
    )
    assert {status for status, _ in found} == {201}
    assert len({body["id"] for _, body in found}) == 1


async def test_a_refusal_may_be_another_one_next_time(api, broker):
    """It is not kept."""
    await api.problem(404, "not_found", "POST", "/users/ada/enable", headers=key())
    await broker.user("ada")
    assert (await api("POST", "/users/ada/enable", headers=key()))[0] == 200


async def test_what_nobody_knows_the_end_of_is_not_done_again(api, broker):
    """The broker stopped while it worked on it."""

    async def crash(*_args, **_kwargs):
        raise RuntimeError

    adding, broker.services.accounts.add_user = broker.services.accounts.add_user, crash
    await api.problem(500, "internal", "POST", "/users", json={"name": "ada"}, headers=key())
    broker.services.accounts.add_user = adding
    await api.problem(409, "interrupted", "POST", "/users", json={"name": "ada"}, headers=key())


async def test_a_day_later_it_is_another_call(api, broker):
    """And is refused or done as such."""
    await api("POST", "/users", json={"name": "ada"}, headers=key())
    broker.clock.advance(86_401)
    assert (await api("POST", "/users", json={"name": "bob"}, headers=key()))[0] == 201


async def test_keys_are_bounded(api, broker, monkeypatch):
    """In length, in number, and by caller."""
    for bad in ("", "x" * 129, "a\xe9"):
        await api.problem(
            400, "bad_request", "POST", "/users", json={"name": "a"}, headers=key(bad)
        )
    monkeypatch.setattr(once, "MOST", 1)
    assert (await api("POST", "/users", json={"name": "a"}, headers=key("x" * 128)))[0] == 201
    await api.problem(429, "full", "POST", "/users", json={"name": "b"}, headers=key("y"))
    assert (await api("POST", "/users", json={"name": "b"}))[0] == 201


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_the_same_twice_anyway_needs_no_key(api, broker, method):
    """Only what makes something is kept."""
    await broker.user("ada")
    await api(method, "/users/ada", headers=key())
    if method == "DELETE":
        await api.problem(404, "not_found", method, "/users/ada", headers=key())
