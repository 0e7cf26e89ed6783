"""The broker has the sources of its configuration from the start, or does not start."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import yaml

from broker.app import Broker
from broker.config import parse
from broker.core.errors import BadRequest, ConfigError
from broker.db.migrate import migrate
from broker.db.place import database_of
from broker.system.clock import SystemClock


@pytest.fixture
def config(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    secret = tmp_path / "secret"
    entry = {"kind": "webhook", "name": "portal", "url": "https://x/", "secret": str(secret)}
    data = {
        "state": str(state),
        "template": {"image": "a"},
        "engine": {"socket": f"unix://{tmp_path}/none"},
        "login": {"sources": [entry]},
    }
    return parse(yaml.safe_dump(data), "desk.yaml")


async def test_a_source_that_cannot_be_made_is_told_before_anything_is_opened(config):
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError) as raised:
            await Broker.build(config, SystemClock(), stack)
    assert "'portal': secret: " in raised.value.public
    assert list(config.state.iterdir()) == []


async def test_the_broker_asks_what_its_configuration_lists(config, tmp_path):
    (tmp_path / "secret").write_text("x")
    await migrate(database_of(config))
    async with AsyncExitStack() as stack:
        broker = await Broker.build(config, SystemClock(), stack)
        assert [desk.source.name for desk in broker._services.sources._desks] == ["portal"]
        await broker._services.close()


async def test_an_admin_makes_accounts_of_these_sources_and_no_others(config, tmp_path):
    (tmp_path / "secret").write_text("x")
    await migrate(database_of(config))
    async with AsyncExitStack() as stack:
        services = (await Broker.build(config, SystemClock(), stack))._services
        add = services.accounts.add_user
        made = await add("ada", admin=False, keys=[], source="portal", actor="uid:0")
        assert made.source == "portal"
        assert (await add("bob", admin=False, keys=[], actor="uid:0")).source == "local"
        with pytest.raises(BadRequest) as raised:
            await add("eve", admin=False, keys=[], source="campus", actor="uid:0")
        assert raised.value.public == "There is no source 'campus'; allowed are local, portal."
        await services.close()
