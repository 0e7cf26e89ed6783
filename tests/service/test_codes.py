"""Setting up one-time codes."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.core.errors import BadRequest, Conflict, NotFound
from tests.service.people import Person


@pytest.fixture
async def ada(world):
    return await Person.make(await world.broker(login={"codes": {"issuer": "Lab 7"}}))


async def test_an_authenticator_learns_the_secret_by_picture_and_by_hand(ada):
    enrolment = await ada.broker.codes.begin(ada.user, actor="user:ada")
    uri = urlsplit(enrolment.uri)
    asked = parse_qs(uri.query)
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Lab%207:ada")
    assert asked == {"secret": [enrolment.secret.replace(" ", "")], "issuer": ["Lab 7"]}
    assert re.fullmatch(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", enrolment.secret)
    lines = enrolment.picture.splitlines()
    assert len(lines) < 30
    assert {len(line) for line in lines if line} == {len(lines[0])}
    assert len(lines[0]) <= 60
    assert set(enrolment.picture) <= set("█▀▄ \n")
    assert enrolment.secret not in repr(enrolment)
    assert asked["secret"][0] not in repr(enrolment)


async def test_recovery_codes_are_told_once_and_kept_as_hashes(ada):
    await ada.enrol()
    assert len(set(ada.recovery)) == 10
    assert all(re.fullmatch(r"([A-Z2-7]{4}-){3}[A-Z2-7]{4}", code) for code in ada.recovery)
    database = (ada.broker.world.directory / "desk.db").read_bytes()
    wal = ada.broker.world.directory / "desk.db-wal"
    database += wal.read_bytes() if wal.exists() else b""
    for code in ada.recovery:
        assert code.encode() not in database
        assert code.replace("-", "").encode() not in database


async def test_a_wrong_code_confirms_nothing(ada):
    await ada.broker.codes.begin(ada.user, actor="user:ada")
    for code in ("", "123", "x"):
        confirming = ada.broker.codes.confirm(ada.user, code, actor="user:ada")
        refused = await ada.broker.refused(BadRequest, confirming)
        assert "clocks" in refused.public
    assert not await ada.broker.codes.wanted(ada.user.id)


async def test_what_was_begun_can_be_begun_anew_and_what_is_confirmed_cannot(ada):
    codes = ada.broker.codes
    first = await codes.begin(ada.user, actor="user:ada")
    await ada.enrol()
    assert ada.secret != first.secret.replace(" ", "")
    await ada.broker.refused(Conflict, codes.begin(ada.user, actor="user:ada"))
    confirming = codes.confirm(ada.user, ada.code(), actor="user:ada")
    await ada.broker.refused(Conflict, confirming)


async def test_without_a_beginning_there_is_nothing_to_confirm(ada):
    await ada.broker.refused(
        NotFound, ada.broker.codes.confirm(ada.user, "123456", actor="user:ada")
    )
    assert not await ada.broker.codes.take(ada.user.id, "123456", actor="user:ada")
