"""Logins by passwords that an outside source checks, beside those that Desk keeps."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import AccessDenied, Blocked, SourceUnavailable
from broker.core.gateway import CodeWanted, Identity, Login
from broker.core.policy import Way
from broker.service.passwords import AT_ONCE, WAITING
from broker.service.sources import Newcomers, Sources
from tests.service.people import ABROAD, HOME, PASSWORD, Person, outcome
from tests.service.test_sources import FakeSource

THEIRS = "known elsewhere"


@pytest.fixture
def campus(broker):
    """The one source of the broker; it knows ada and zoe."""
    source = FakeSource("campus", {"ada": THEIRS, "zoe": THEIRS})
    sources = Sources([source], metrics=broker.metrics)
    broker.authentication._newcomers = Newcomers(
        sources=sources, store=broker.store, groups=broker.groups
    )
    return source


def typed(broker, name, password=THEIRS, address=ABROAD):
    return broker.authentication.check_password(Login(name, None), password, address)


async def test_who_is_vouched_for_is_in_as_whom_they_are(broker, campus):
    identity = await typed(broker, "zoe")
    assert (identity.user, identity.method) == ("zoe", "password")
    assert identity.credential == "password:@campus"
    user = await broker.authentication.still(identity)
    assert (user.id, user.source, user.admin) == (identity.user_id, "campus", False)


async def test_a_wrong_password_and_a_name_that_nobody_has_are_nobody(broker, campus):
    assert await typed(broker, "zoe", "wrong") is None
    assert await typed(broker, "eve") is None
    assert await broker.store.user("zoe") is None


@pytest.mark.parametrize("name", ["root", "Zoe", "zoe ", "zoe\0", "*", "", "zoe,ou=x", "z" * 100])
async def test_what_can_be_no_name_reaches_no_source(broker, campus, name):
    campus.people[name] = THEIRS
    assert await typed(broker, name) is None
    assert campus.asked == []


async def test_a_local_password_is_checked_here_and_told_nobody(broker, campus):
    person = await Person.make(broker)
    assert outcome(await person.type(PASSWORD)) == "in"
    assert campus.asked == []
    assert await person.type(THEIRS) is None
    assert [name for name, _, _ in campus.asked] != ["ada"]
    assert THEIRS not in str(campus.asked)


async def test_a_local_account_without_a_password_is_not_taken_over(broker, campus):
    person = await Person.make(broker, password=None)
    assert await person.type(THEIRS) is None
    assert (await broker.store.user("ada")).source == "local"


async def test_what_an_account_of_a_source_does_locally_counts_no_more(broker, campus):
    """A hash that was left from another life of the account proves nobody."""
    identity = await typed(broker, "zoe")
    hashed = await broker.passwords.hash(PASSWORD)
    await broker.store.set_password(identity.user_id, hashed, actor="uid:0")
    assert await typed(broker, "zoe", PASSWORD) is None
    assert isinstance(await typed(broker, "zoe"), Identity)


async def test_who_is_disabled_or_removed_is_out_at_once(broker, campus):
    identity = await typed(broker, "zoe")
    await broker.store.set_enabled(identity.user_id, enabled=False, actor="uid:0")
    assert await typed(broker, "zoe") is None
    with pytest.raises(AccessDenied):
        await broker.authentication.still(identity)
    await broker.store.set_enabled(identity.user_id, enabled=True, actor="uid:0")
    assert (await broker.authentication.still(identity)).name == "zoe"
    await broker.accounts.remove_user("zoe", actor="uid:0")
    again = await typed(broker, "zoe")
    assert again.user_id != identity.user_id
    with pytest.raises(AccessDenied):
        await broker.authentication.still(identity)


async def test_no_other_credential_is_this_sources(broker, campus):
    identity = await typed(broker, "zoe")
    user = await broker.store.user("zoe")
    holder = broker.authentication._credentials.holder
    assert await holder("zoe", user.id, identity.credential, HOME) == user
    for credential in ("password:@other", "password:@", "password:", "password:campus"):
        assert await holder("zoe", user.id, credential, HOME) is None


async def test_groups_that_the_source_tells_hold_from_this_login_on(broker, campus):
    await broker.groups.set("coded", priority=0, policy={"login.ways": ["key"]}, actor="uid:0")
    campus.groups = frozenset({"coded"})
    assert await typed(broker, "zoe") is None
    campus.groups = frozenset()
    assert outcome(await typed(broker, "zoe")) == "in"


async def test_a_code_is_asked_for_behind_a_sources_password(broker, campus):
    await typed(broker, "zoe")
    person = await Person(broker, await broker.store.user("zoe")).enrol()
    wanted = await typed(broker, "zoe")
    assert isinstance(wanted, CodeWanted)
    shown = await person.show(wanted, person.code())
    assert (shown.method, shown.credential) == ("password+code", "password:@campus")


async def test_a_code_that_is_wanted_and_not_set_up_lets_in_for_that_alone(broker, campus):
    ways = [Way.PASSWORD_CODE]
    await broker.groups.set("strict", priority=0, policy={"login.ways": ways}, actor="uid:0")
    campus.groups = frozenset({"strict"})
    assert outcome(await typed(broker, "zoe")) == "enrol"


async def test_wrong_passwords_of_a_source_make_its_account_wait(broker, campus):
    for _ in range(5):
        assert await typed(broker, "zoe", "wrong") is None
    asked = len(campus.asked)
    with pytest.raises(Blocked):
        await typed(broker, "zoe")
    assert len(campus.asked) == asked


async def test_a_source_that_is_away_blocks_nobody_and_keeps_local_people_in(broker, campus):
    person = await Person.make(broker)
    campus.away = SourceUnavailable("campus: gone")
    for _ in range(8):
        with pytest.raises(SourceUnavailable):
            await typed(broker, "zoe")
    assert outcome(await person.type(PASSWORD)) == "in"
    campus.away = None
    assert outcome(await typed(broker, "zoe")) == "in"


async def test_wrong_local_passwords_count_while_a_source_is_away(broker, campus):
    """Or they could be guessed meanwhile. What is said is what is said to everybody, or local
    accounts would be told from names that nobody has.
    """
    person = await Person.make(broker)
    campus.away = SourceUnavailable("campus: gone")
    for _ in range(5):
        with pytest.raises(SourceUnavailable):
            await person.type("wrong")
    with pytest.raises(Blocked):
        await person.type(PASSWORD)


async def until_hashed(broker, tasks):
    """All of them have had their places, and wait for the source."""
    await asyncio.sleep(0)
    while broker.passwords._taken:
        await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks)


async def test_a_source_that_hangs_takes_no_place_of_local_people(broker, campus):
    person = await Person.make(broker)
    campus.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        crowd = [
            group.create_task(typed(broker, f"u{number}", address=f"192.0.2.{number}"))
            for number in range(AT_ONCE + WAITING - 1)
        ]
        await until_hashed(broker, crowd)
        more = [
            group.create_task(typed(broker, f"v{number}", address=f"192.0.2.{number}"))
            for number in range(5)
        ]
        await until_hashed(broker, more)
        assert outcome(await person.type(PASSWORD)) == "in"
        campus.gate.set()
    assert {task.result() for task in crowd} == {None}


async def test_the_audit_tells_who_came_and_how(broker, campus):
    await typed(broker, "zoe")
    (added,) = [row for row in await broker.store.audit(limit=50) if row.action == "user.add"]
    assert (added.actor, added.proof, added.origin) == ("user:zoe", "password", ABROAD)
    assert added.detail == {"name": "zoe", "admin": False, "source": "campus"}
