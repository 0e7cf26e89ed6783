"""Hypothesis asks whatever the OpenAPI document allows, and what it does not: every answer is one
that the document describes. `DESCRIBED=200` asks so often of each operation.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from structlog.testing import capture_logs

from broker.core.model import Actor, new_id
from broker.core.shares import Mode
from broker.http.openapi import document
from broker.http.table import TABLE
from tests.http.beside import CLIENT, Beside
from tests.service.harness import new_key

#: Examples of each operation, of what is allowed and of what is not.
EXAMPLES = int(os.environ.get("DESCRIBED", "5"))

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]

#: It has no end; tests of its own hold it to the document.
ENDLESS = {"follow_events"}

SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(document(TABLE))))
OPERATIONS = {
    found.ok().definition.raw["operationId"]: found.ok() for found in SCHEMA.get_all_operations()
}


@pytest.fixture(scope="module")
def beside():
    """One broker for all: what one operation makes, the next ones find."""
    with capture_logs():
        made = Beside()
        yield made
        made.close()


async def things(broker):
    """By path, what is there to be found; made anew where it was taken away."""
    await broker.maintenance.resume(actor=Actor("x"))
    user = await broker.store.user("ada") or await broker.user("ada")
    if not user.enabled:
        await broker.accounts.set_enabled("ada", enabled=True, actor="x")
    keys = await broker.store.keys(user.id)
    key = keys[0] if keys else await broker.accounts.add_key("ada", new_key()[1], actor="x")
    desktop = await broker.desktop("ada")
    session = await broker.sessions.ensure(desktop, actor="x")
    invite, _ = await broker.invites.make(user, valid=None, actor="x")
    await broker.store.set_group("lab", priority=0, policy={}, actor="x")
    share = await broker.store.add_share(
        desktop.id, token_hash=new_id(), mode=Mode.LOOK, most=99, actor="x",
        expires_at=broker.clock.now() + timedelta(hours=1),
    )  # fmt: skip
    guest = await broker.store.add_guest(
        share.id, secret_hash=new_id(), name="Eve", address="::1", asked=9, most=9, actor="x"
    )
    ids = {
        "shares": share.id,
        "desktops": desktop.id,
        "sessions": session.id,
        "invites": invite.id,
        "tokens": "0" * 16,
    }
    names = {"groups": "lab", "templates": "default"}
    return lambda noun: {
        "id": ids.get(noun),
        "name": names.get(noun, "ada"),
        "user": "ada",
        "guest": guest.id,
        "key": key.fingerprint,
        "account": "ada",
    }


@pytest.fixture(scope="module")
def headers(beside):
    """Of an administrator who may everything, and of a member."""
    secrets = [
        beside.do(beside.token("boss", admin=True, number=1)),
        beside.do(beside.token("ada", admin=False, number=2)),
    ]
    return [{"Authorization": f"Bearer {secret}"} | CLIENT for secret in secrets]


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - ENDLESS))
def test_every_answer_is_described(beside, headers, name):
    """And none of them is the fault of the broker."""
    operation = OPERATIONS[name]
    known = beside.do(things(beside.broker))(operation.path.split("/")[1])
    there = {one.name: known[one.name] for one in operation.path_parameters}
    cases = [
        operation.as_strategy(mode, path_parameters=values)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for values in ([there, None] if there else [None])
    ]

    @given(case=st.one_of(cases), who=st.sampled_from(headers))
    @settings(
        max_examples=EXAMPLES * len(cases),
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= 5,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case, who):
        case.call_and_validate(base_url=beside.url, headers=who, checks=CHECKS)

    ask()


def test_each_operation_is_asked():
    """Those that are in the table."""
    assert OPERATIONS.keys() == {route.name for noun in TABLE for route in noun.routes}
