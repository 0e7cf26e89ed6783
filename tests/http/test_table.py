"""The table of routes: what is described is what is served."""

from __future__ import annotations

import dataclasses
import json

import pytest
import schemathesis

from broker.http.openapi import document
from broker.http.reference import _PAGE, reference
from broker.http.routes import PREFIX, Route
from broker.http.table import TABLE
from tests.http.beside import make_api

ROUTES = [route for noun in TABLE for route in noun.routes]


def test_the_page_in_docs_is_what_the_table_says():
    """`python -m broker.http.reference` writes it."""
    assert _PAGE.read_text(encoding="utf-8") == reference(TABLE)


async def test_the_document_is_served_and_valid(api):
    """OpenAPI 3.1 by its own schema."""
    status, found = await api("GET", "/openapi.json")
    assert status == 200
    assert found == json.loads(json.dumps(document(TABLE)))
    schemathesis.openapi.from_dict(found).validate()
    assert len({route.name for route in ROUTES}) == len(ROUTES)


async def test_all_that_is_served_is_in_the_table(broker):
    """Nothing is reached past the rules."""
    router = make_api(broker).application().router
    served = {
        (route.method, route.resource.canonical)
        for route in router.routes()
        if route.method != "HEAD"
    }
    assert served == {(route.method, PREFIX + route.plain_path) for route in ROUTES}


@pytest.mark.parametrize("rule", ["needs", "whose"])
def test_a_route_without_a_rule_cannot_be_made(rule):
    """Neither who nor whose goes without saying."""
    said = {f.name: getattr(ROUTES[0], f.name) for f in dataclasses.fields(Route)}
    del said[rule]
    with pytest.raises(TypeError, match=rule):
        Route(**said)


async def test_unknown_parameters_are_refused_by_name(api):
    """A filter with a slip would show everything."""
    detail = await api.problem(400, "bad_request", "GET", "/users?nmae=ada")
    assert detail.startswith("Unknown parameter 'nmae'; allowed: limit, cursor, name")
    detail = await api.problem(400, "bad_request", "GET", "/users?admin=yes")
    assert detail == "admin: allowed is one of true, false."


async def test_lists_come_in_pages_and_by_filters(api, broker):
    """Each item once, whatever was added meanwhile."""
    for name in ("eve", "ada", "bob", "dan"):
        await broker.user(name, admin=name == "dan")
    _, first = await api("GET", "/users?limit=2")
    assert [user["name"] for user in first["items"]] == ["ada", "bob"]
    await broker.user("cy")
    _, rest = await api("GET", "/users", params={"cursor": first["next"]})
    assert [user["name"] for user in rest["items"]] == ["cy", "dan", "eve"]
    assert rest["next"] is None
    _, admins = await api("GET", "/users?admin=true")
    assert [user["name"] for user in admins["items"]] == ["dan"]
    for cursor in ("x", "Wzdd", "WzFd", "bnVsbA=="):
        await api.problem(400, "bad_request", "GET", f"/users?cursor={cursor}")


async def test_the_audit_comes_in_pages(api, broker):
    """Newest first, to its end."""
    for name in ("ada", "bob", "cy"):
        await broker.user(name)
    _, whole = await api("GET", "/audit")
    found, cursor = [], {}
    while cursor is not None:
        _, page = await api("GET", "/audit?limit=2", params=cursor)
        found += page["items"]
        cursor = {"cursor": page["next"]} if page["next"] else None
    assert found == whole["items"]
    await api.problem(400, "bad_request", "GET", "/audit?cursor=WyJhIl0=")
