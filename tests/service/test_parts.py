"""The small parts below the sessions: files, the host's bridge, places to start."""

from __future__ import annotations

import ipaddress
import stat

import asyncssh
import pytest

from broker.core.errors import EngineUnavailable, StateUnusable
from broker.core.model import SessionId
from broker.core.spec import bridge_name, network_name
from broker.service.files import SessionKeys
from tests.service.harness import outage

ID = SessionId("0123456789abcdef")

# --------------------------------------------------------------------------------------- files


@pytest.fixture
def keys(tmp_path):
    """A directory of sessions."""
    return SessionKeys(tmp_path / "state" / "sessions")


def test_the_files_of_a_session_are_private_to_the_broker(keys, tmp_path):
    """The directory is closed; what the container is given is readable by any uid inside."""
    files = keys.make(ID, uid=200_007)
    root = tmp_path / "state" / "sessions"
    for directory in (root, root / ID):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    given = {mount.source for mount in files.mounts}
    for path in (root / ID).iterdir():
        wanted = 0o444 if str(path) in given else 0o400
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path.name
    assert not any("client_key" in source for source in given)


def test_the_accounts_inside_are_root_nobody_and_the_desktops_own(keys, tmp_path):
    """With the desktop's uid, so that its files are its own."""
    keys.make(ID, uid=200_007)
    text = (tmp_path / "state" / "sessions" / ID / "passwd").read_text()
    assert "desk:x:200007:200007:Desk:/home/desk:/bin/bash" in text
    assert [line.split(":")[0] for line in text.splitlines()] == ["root", "nobody", "desk"]
    assert "desk:x:200007:\n" in (tmp_path / "state" / "sessions" / ID / "group").read_text()


def test_the_pinned_key_is_the_containers_and_the_client_key_is_let_in(keys, tmp_path):
    """The two halves fit."""
    keys.make(ID, uid=200_007)
    access = keys.access(ID)
    directory = tmp_path / "state" / "sessions" / ID
    host = asyncssh.read_private_key(directory / "host_key")
    assert host.export_public_key().decode().strip() == access.host_key
    client = asyncssh.import_private_key(access.client_key)
    assert client.export_public_key() == (directory / "authorized_keys").read_bytes()


def test_files_are_made_once(keys):
    """A start that is carried on finds the same keys."""
    keys.make(ID, uid=200_007)
    before = keys.access(ID)
    keys.make(ID, uid=200_007)
    assert keys.access(ID) == before
    assert keys.existing() == [ID]


def test_files_that_a_crash_left_half_made_are_made_anew(keys, tmp_path):
    """Without the last file none counts."""
    keys.make(ID, uid=200_007)
    before = keys.access(ID)
    (tmp_path / "state" / "sessions" / ID / "complete").unlink()
    keys.make(ID, uid=200_007)
    assert keys.access(ID) != before


def test_removed_files_are_gone_and_stay_gone(keys):
    """Removing twice is success; what is gone opens nothing."""
    keys.make(ID, uid=200_007)
    keys.remove(ID)
    keys.remove(ID)
    assert keys.existing() == []
    with pytest.raises(StateUnusable) as caught:
        keys.access(ID)
    assert ID in str(caught.value)


def test_a_directory_that_cannot_be_written_is_said(keys, tmp_path):
    """For the operator with its path, for people without."""
    root = tmp_path / "state" / "sessions"
    root.rmdir()
    root.write_text("a file")
    with pytest.raises(StateUnusable) as caught:
        keys.make(ID, uid=200_007)
    assert str(root) in str(caught.value)
    assert str(root) not in caught.value.public


# ---------------------------------------------------------------------------------------- host


def network(text):
    return ipaddress.IPv4Network(text)


async def test_the_bridge_takes_the_first_free_subnet(world):
    """Not one that the host routes, nor one that another network has."""
    world.engine.held_subnets = {"10.213.4.0/22"}
    broker = await world.broker(routed=lambda _own: [network("10.213.0.0/22")])
    pools = await broker.host.pools()
    assert str(ipaddress.IPv4Address(pools.addresses.first)) == "10.213.8.4"
    assert len(pools.addresses) == 1000
    assert world.engine.networks == {network_name(broker.host.instance): "10.213.8.0/22"}


async def test_the_bridge_of_an_earlier_broker_is_kept(world):
    """The found subnet counts, whatever is configured or routed by now."""
    first = await world.broker()
    later = await world.broker(
        routed=lambda _own: [ipaddress.IPv4Network("10.0.0.0/8")],
        pool="10.99.0.0/16",
    )
    assert await later.host.pools() == await first.host.pools()
    assert len(bridge_name(later.host.instance)) <= 15


async def test_a_pool_that_is_routed_whole_is_refused(world):
    """The operator reads which key to change."""
    broker = await world.broker(
        reconciled=False,
        routed=lambda _own: [network("10.0.0.0/8")],
    )
    refused = await broker.refused(EngineUnavailable, broker.host.pools())
    assert "network.pool 10.213.0.0/16" in str(refused)


async def test_the_engine_is_asked_for_the_bridge_once(world):
    """And again only while it was down."""
    broker = await world.broker(reconciled=False)
    with outage(world):
        await broker.refused(EngineUnavailable, broker.host.pools())
    assert await broker.host.pools() is await broker.host.pools()
    assert world.engine.calls.count("ensure_network") == 1
    assert world.engine.calls.count("network") == 2
