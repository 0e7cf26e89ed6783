"""Signing on with stock clients by passwords of a real directory, through all that is between."""

# ruff: noqa: E402 - the library is an extra

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("ldap", reason="python-ldap is not installed: pip install '.[ldap]'")

from broker.config.sources import LdapSource
from broker.service.sources import Newcomers, Sources
from broker.sources.registry import build
from broker.system.clock import SystemClock
from tests.sources.conftest import authority, pair, slapd  # noqa: F401 - fixtures
from tests.sources.slapd import GROUPS, PEOPLE
from tests.ssh.test_sign_on import sign_on, site  # noqa: F401 - fixtures

THEIRS = "engine no 1"


@pytest.fixture
async def campus(site, slapd, authority):  # noqa: F811
    """Has the broker ask the directory, by `ldaps`."""
    made = []

    def at(url):
        keys = {"kind": "ldap", "name": "campus", "url": url, "ca": authority.certificate}
        keys |= {"bind_dn": f"uid={{name}},{PEOPLE}", "groups": {f"cn=Staff,{GROUPS}": "staff"}}
        broker = site.broker
        made.extend(build([LdapSource.model_validate(keys | {"timeout": "2s"})], SystemClock()))
        sources = Sources(made[-1:], metrics=broker.metrics)
        broker.authentication._newcomers = Newcomers(
            sources=sources, store=broker.store, groups=broker.groups
        )

    at(slapd.tls_url)
    yield at
    for source in made:
        source.close()


async def test_who_the_directory_knows_is_in_under_their_own_name(sign_on, site, campus):  # noqa: F811
    await site.broker.groups.set("staff", priority=0, policy={}, actor="uid:0")
    assert (await sign_on("ada", name="ada", password=THEIRS)).entered
    user = await site.broker.store.user("ada")
    assert user.source == "campus"
    assert [group.name for group in await site.broker.store.groups_of(user.id)] == ["staff"]


@pytest.mark.parametrize("sign_on", ["OpenSSH"], indirect=True)
async def test_the_shared_name_asks_for_theirs(sign_on, campus):  # noqa: F811
    assert (await sign_on("desk", name="ada", password=THEIRS)).entered


@pytest.mark.parametrize("sign_on", ["OpenSSH"], indirect=True)
async def test_who_it_does_not_know_and_a_wrong_password_are_told_alike(sign_on, site, campus):  # noqa: F811
    wrong = await sign_on("ada", password="engine no 2")
    nobody = await sign_on("eve", password="engine no 2")
    assert not wrong.entered
    assert wrong.text.replace("ada", "eve") == nobody.text
    assert await site.broker.store.users() == []


async def test_a_directory_that_is_away_is_told_in_one_sentence(sign_on, site, campus):  # noqa: F811
    """And keeps out nobody whose password is here."""
    await site.account("bob")
    campus("ldaps://127.0.0.1:1")
    away = await sign_on("ada", password=THEIRS)
    assert not away.entered
    assert "The service that checks passwords does not answer just now." in away.text
    assert "(source_unavailable)" in away.text
    assert "campus" not in away.text
    assert (await sign_on("bob", password="correct horse battery")).entered


@pytest.mark.parametrize("sign_on", ["OpenSSH"], indirect=True)
async def test_people_of_the_directory_come_many_at_once(sign_on, site, campus):  # noqa: F811
    came = await asyncio.gather(*(sign_on("ada", password=THEIRS) for _ in range(5)))
    assert all(outcome.entered for outcome in came)
    assert len(await site.broker.store.users()) == 1
