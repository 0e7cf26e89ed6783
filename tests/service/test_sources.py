"""Whom of the sources is asked about whom, and what becomes of people whom one vouches for."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from broker.config import parse
from broker.core.errors import CapacityExhausted, SourceUnavailable
from broker.core.model import Actor
from broker.core.outside import Found, Refused
from broker.service.groups import Groups
from broker.service.policies import Policies
from broker.service.sources import AT_ONCE, WAITING, Newcomers, Sources
from broker.telemetry import Metrics
from tests.clocks import ManualClock
from tests.contract.stores import SqliteFile

HERE = "192.0.2.7"


class FakeSource:
    """Knows passwords and groups by name; `away` is what it raises, `gate` what it waits for."""

    def __init__(self, name, people=(), *, create=True, known=False, groups=()):
        self.name, self.create = name, create
        self.people = dict(people)
        self.known = known
        self.groups = frozenset(groups)
        self.away = None
        self.gate = None
        self.asked = []
        self.most = self.now = 0
        self.closed = False

    async def check(self, name, password, *, address):
        self.asked.append((name, password, address))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.now -= 1
        if self.away is not None:
            raise self.away
        if name in self.people and self.people[name] == password:
            return Found(source=self.name, name=name, groups=self.groups)
        return Refused(known=self.known and name in self.people)

    def close(self):
        self.closed = True


@pytest.fixture
def database(tmp_path):
    return SqliteFile(tmp_path)


@pytest.fixture
async def store(database):
    made = await database.open(ManualClock())
    yield made
    await made.close()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def sources(metrics):
    return lambda *several: Sources(several, metrics=metrics)


@pytest.fixture
def newcomers(store, sources):
    policies = Policies(store=store, default=parse("template: {image: a}", "x").policy)

    def of(*several):
        groups = Groups(store=store, policies=policies)
        return Newcomers(sources=sources(*several), store=store, groups=groups)

    return of


@pytest.fixture
def admit(newcomers):
    def of(*several):
        those = newcomers(*several)
        return lambda name, password: those.admit(name, password, address=HERE)

    return of


async def audited(store):
    return [(row.actor, row.action, row.detail) for row in reversed(await store.audit(limit=100))]


# ------------------------------------------------------------------------------ who is asked


async def test_the_first_that_vouches_decides(sources):
    first, second = FakeSource("a", {"ada": "x"}), FakeSource("b", {"ada": "x", "bob": "y"})
    both = sources(first, second)
    assert (await both.check("ada", "x", address=HERE)).source == "a"
    assert second.asked == []
    assert (await both.check("bob", "y", address=HERE)).source == "b"
    assert first.asked[-1] == second.asked[-1] == ("bob", "y", HERE)


async def test_one_that_knows_the_name_leaves_no_other_a_say(sources):
    """Somebody else may have the same name there."""
    first = FakeSource("a", {"ada": "x"}, known=True)
    second = FakeSource("b", {"ada": "y"})
    assert await sources(first, second).check("ada", "y", address=HERE) is None
    assert second.asked == []


async def test_one_that_is_away_leaves_no_other_a_say(sources):
    first, second = FakeSource("a"), FakeSource("b", {"ada": "x"})
    first.away = SourceUnavailable("a: gone")
    with pytest.raises(SourceUnavailable):
        await sources(first, second).check("ada", "x", address=HERE)
    assert second.asked == []


async def test_one_that_makes_no_accounts_is_asked_about_its_own_alone(sources):
    quiet = FakeSource("a", {"ada": "x"}, create=False)
    asked = sources(quiet)
    assert await asked.check("ada", "x", address=HERE) is None
    assert quiet.asked == []
    assert (await asked.check("ada", "x", address=HERE, source="a")).source == "a"


async def test_a_source_that_is_gone_from_the_configuration_proves_nobody(sources):
    other = FakeSource("b", {"ada": "x"})
    assert await sources(other).check("ada", "x", address=HERE, source="a") is None
    assert other.asked == []


@pytest.mark.parametrize(
    "name", ["", "Ada", "root", "desk", "a" * 32, "ada*", "ada\0", "ádá", " ada"]
)
async def test_what_can_be_no_user_is_not_asked_about(sources, name):
    source = FakeSource("a", {name: "x"})
    assert await sources(source).check(name, "x", address=HERE) is None
    assert source.asked == []


@pytest.mark.parametrize("password", ["", "\0", "x\0y", "\udc80", "x" * 1025])
async def test_what_can_be_no_password_is_not_asked_about(sources, password):
    source = FakeSource("a", {"ada": password})
    assert await sources(source).check("ada", password, address=HERE) is None
    assert source.asked == []


async def test_few_are_asked_about_at_once_few_wait_and_the_rest_is_told_so(sources, metrics):
    source = FakeSource("a", {f"u{i}": "x" for i in range(200)})
    source.gate = asyncio.Event()
    asked = sources(source)
    async with asyncio.TaskGroup() as group:
        held = [
            group.create_task(asked.check(f"u{i}", "x", address=HERE))
            for i in range(AT_ONCE + WAITING)
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(source.asked) == AT_ONCE
        with pytest.raises(CapacityExhausted):
            await asked.check("late", "x", address=HERE)
        held[0].cancel()
        held[-1].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        again = group.create_task(asked.check("u100", "x", address=HERE))
        await asyncio.sleep(0)
        source.gate.set()
    assert again.result().name == "u100"
    assert source.most == AT_ONCE
    assert b'outcome="full",source="a"} 1.0' in metrics.render()


async def test_the_operator_is_told_why_and_the_user_is_not(sources, metrics):
    source = FakeSource("a")
    source.away = SourceUnavailable("a: 'connection refused'")
    with structlog.testing.capture_logs() as logs, pytest.raises(SourceUnavailable) as raised:
        await sources(source).check("ada", "hunter2", address=HERE)
    (line,) = logs
    assert (line["source"], line["problem"]) == ("a", "a: 'connection refused'")
    assert "hunter2" not in str(logs)
    assert "refused" not in raised.value.public
    assert b'outcome="unavailable",source="a"} 1.0' in metrics.render()


async def test_all_are_closed(sources):
    several = FakeSource("a"), FakeSource("b")
    sources(*several).close()
    assert all(source.closed for source in several)


# ---------------------------------------------------------------------------------- accounts


async def test_who_proves_themselves_gets_an_account_once(store, admit):
    source = FakeSource("campus", {"ada": "x"})
    ask = admit(source)
    made = await ask("ada", "x")
    assert (made.name, made.admin, made.source, made.enabled) == ("ada", False, "campus", True)
    assert await ask("ada", "x") == made
    assert await audited(store) == [
        ("user:ada", "user.add", {"name": "ada", "admin": False, "source": "campus"})
    ]
    (row,) = await store.audit(limit=10)
    assert (row.proof, row.origin) == ("password", HERE)


async def test_who_does_not_gets_none(store, admit):
    ask = admit(FakeSource("campus", {"ada": "x"}), FakeSource("b", {"bob": "x"}, create=False))
    assert await ask("ada", "y") is None
    assert await ask("bob", "x") is None
    assert await store.users() == []


async def test_a_local_account_is_never_taken_over(store, admit):
    """Nor is its password, or anything typed for it, told to a source."""
    local = await store.add_user("ada", admin=True, actor="test")
    source = FakeSource("campus", {"ada": "x"}, groups={"staff"})
    await store.set_group("staff", priority=1, policy={}, actor="test")
    assert await admit(source)("ada", "x") is None
    assert await store.user("ada") == local
    assert await store.groups_of(local.id) == []
    ((name, password, _),) = source.asked
    assert name != "ada"
    assert password != "x"


async def test_a_local_account_costs_as_many_questions_as_a_name_that_nobody_has(store, admit):
    await store.add_user("ada", admin=False, actor="test")
    first, second = FakeSource("a"), FakeSource("b")
    ask = admit(first, second)
    for name in ("ada", "nobody"):
        assert await ask(name, "x") is None
    assert len(first.asked) == len(second.asked) == 2
    first.away = SourceUnavailable("a: gone")
    for name in ("ada", "nobody"):
        with pytest.raises(SourceUnavailable):
            await ask(name, "x")


async def test_an_account_is_its_own_sources_alone(store, admit):
    first, second = FakeSource("a", {"ada": "x"}), FakeSource("b", {"ada": "y"})
    ask = admit(first, second)
    assert (await ask("ada", "y")).source == "b"
    assert await ask("ada", "x") is None
    assert (await ask("ada", "y")).source == "b"


async def test_one_that_makes_no_accounts_proves_those_that_were_made(store, admit):
    made = await store.add_user("ada", admin=False, source="campus", actor="test")
    assert await admit(FakeSource("campus", {"ada": "x"}, create=False))("ada", "x") == made


async def test_a_disabled_account_is_not_asked_about(store, admit):
    source = FakeSource("campus", {"ada": "x"})
    ask = admit(source)
    made = await ask("ada", "x")
    await store.set_enabled(made.id, enabled=False, actor="test")
    assert await ask("ada", "x") is None
    assert source.asked[-1][0] != "ada"


async def test_groups_follow_what_the_source_says_at_each_login(store, admit):
    for name in ("staff", "chess", "admins"):
        await store.set_group(name, priority=1, policy={}, actor="test")
    source = FakeSource("campus", {"ada": "x"}, groups={"staff", "chess", "unheard"})
    ask = admit(source)
    user = await ask("ada", "x")
    await store.join_group(user.id, "admins", actor="test")
    names = lambda groups: {group.name for group in groups}  # noqa: E731
    assert names(await store.groups_of(user.id)) == {"staff", "chess", "admins"}
    source.groups = frozenset({"chess"})
    assert await ask("ada", "y") is None
    assert names(await store.groups_of(user.id)) == {"staff", "chess", "admins"}
    await ask("ada", "x")
    assert names(await store.groups_of(user.id)) == {"chess", "admins"}


@pytest.mark.parametrize("theirs", ["campus", "local", "other"])
async def test_an_account_that_is_made_meanwhile_counts_as_it_is(store, newcomers, theirs):
    """Whoever asks twice at once gets one account; an admin who is quicker keeps the name."""
    source = FakeSource("campus", {"ada": "x"})
    source.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(newcomers(source).admit("ada", "x", address=HERE))
        while not source.asked:
            await asyncio.sleep(0)
        quicker = await store.add_user("ada", admin=False, source=theirs, actor=Actor("uid:0"))
        source.gate.set()
    assert asked.result() == (quicker if theirs == "campus" else None)


async def test_a_crowd_of_one_person_gets_one_account(store, admit):
    ask = admit(FakeSource("campus", {"ada": "x"}))
    made = await asyncio.gather(*(ask("ada", "x") for _ in range(10)))
    assert {user.id for user in made} == {user.id for user in await store.users()}
    assert len(await store.users()) == 1
