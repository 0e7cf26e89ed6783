"""One-time codes that people set up in a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pyotp
import pytest
from structlog.testing import capture_logs

from tests.http.test_sign_in import Visitor, ada, boss, wrong  # noqa: F401 - fixtures
from tests.service.people import Person


async def enrol(visitor):
    """Set up codes in the page; the recovery codes."""
    _, begun = await visitor("POST", "/users/ada/code")
    visitor.person.secret = begun["secret"]
    shown = {"code": visitor.person.code()}
    status, found = await visitor("POST", "/users/ada/code/confirm", json=shown)
    assert status == 200, found
    return found["recovery"]


async def test_a_code_is_set_up_in_a_page(ada, broker):  # noqa: F811 - fixture
    """It is asked for from then on, and recovery codes are told once."""
    await ada.sign_in()
    assert (await ada("GET", "/users/ada/code"))[1] == {"enrolled": False, "recovery_left": 0}
    status, begun = await ada("POST", "/users/ada/code")
    assert status == 200
    assert pyotp.parse_uri(begun["uri"]).secret == begun["secret"]
    assert (await ada("GET", "/users/ada/code"))[1]["enrolled"] is False
    await ada.problem(400, "bad_request", "POST", "/users/ada/code/confirm", json={"code": "1"})
    recovery = await enrol(ada)
    assert len(set(recovery)) == 10
    assert (await ada("GET", "/users/ada/code"))[1] == {"enrolled": True, "recovery_left": 10}
    await ada.problem(409, "conflict", "POST", "/users/ada/code")
    (entry,) = [e for e in await broker.store.audit() if e.action == "code.confirm"]
    assert re.fullmatch(r"browser [0-9a-f]{16}", entry.proof)
    ada.cookie = None
    assert (await ada.sign_in())["user"] is None
    ticket = (await ada.sign_in())["ticket"]
    shown = {"ticket": ticket, "code": recovery[3].lower().replace("-", " ")}
    assert (await ada("POST", "/sign-in/code", json=shown))[0] == 200
    assert (await ada("GET", "/users/ada/code"))[1]["recovery_left"] == 9
    await wrong(ada, "/sign-in/code", shown)


async def test_the_picture_is_of_the_address_and_nothing_else(ada):  # noqa: F811 - fixture
    """An SVG that any page may show: no script, no style, no link."""
    await ada.sign_in()
    _, begun = await ada("POST", "/users/ada/code")
    drawn = ET.fromstring(begun["qr"])
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "viewBox" in drawn.attrib
    assert {each.tag.rpartition("}")[2] for each in drawn.iter()} <= {"svg", "path"}
    named = {name for each in drawn.iter() for name in each.attrib}
    assert named <= {"viewBox", "d", "fill", "stroke", "transform", "width", "height", "version"}


async def test_whoever_must_set_one_up_does_so_and_goes_on(ada):  # noqa: F811 - fixture
    """In the browser in which they signed in; others that they were in are out."""
    await ada.person.ways("password+code")
    other = Visitor(ada.door, ada.person)
    await other.sign_in()
    await ada.sign_in()
    assert (await ada("GET", "/caller"))[1]["enrol"] is True
    await ada.problem(403, "access_denied", "GET", "/desktops")
    await enrol(ada)
    assert (await ada("GET", "/caller"))[1]["enrol"] is False
    assert (await ada("GET", "/desktops"))[0] == 200
    await other.problem(401, "unauthenticated", "GET", "/caller")


async def test_nobody_sets_one_up_for_somebody_else(ada, boss, api, broker):  # noqa: F811
    """An administrator neither: they would know the secret. Others are not even told of it."""
    bob = Visitor(ada.door, await Person.make(broker, "bob"))
    for visitor in (ada, boss, bob):
        await visitor.sign_in()
    for path, body in (("/users/ada/code", None), ("/users/ada/code/confirm", {"code": "123456"})):
        told = await boss.problem(403, "access_denied", "POST", path, json=body)
        assert told == await api.problem(403, "access_denied", "POST", path, json=body)
        await bob.problem(404, "not_found", "POST", path, json=body)
    assert await broker.store.codes(ada.person.user.id) is None
    assert (await boss("GET", "/users/ada/code"))[0] == 200
    await bob.problem(404, "not_found", "GET", "/users/ada/code")


@pytest.mark.parametrize("key", ["again", "x" * 128])
async def test_a_secret_is_told_by_no_second_answer(ada, key):  # noqa: F811 - fixture
    await ada.sign_in()
    headers = ada.headers("POST") | {"Idempotency-Key": key}
    status, _ = await ada.door("POST", "/users/ada/code", headers=headers)
    assert status == 200
    await ada.problem(409, "conflict", "POST", "/users/ada/code", headers=headers)


async def test_no_secret_is_in_the_log_or_the_audit(ada, broker):  # noqa: F811 - fixture
    with capture_logs() as logs:
        await ada.sign_in()
        recovery = await enrol(ada)
    told = repr(logs) + repr(await broker.store.audit(limit=1000))
    for secret in (ada.person.secret, *recovery):
        assert secret not in told
