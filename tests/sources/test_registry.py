"""Sources are made as the file lists them; what a kind needs is told at the start."""

from __future__ import annotations

import sys

import pytest

from broker.config import sources as config
from broker.core.errors import ConfigError
from broker.sources.registry import _KINDS, build
from broker.sources.webhook import Webhook
from tests.clocks import ManualClock


@pytest.fixture
def webhook(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    keys = {"kind": "webhook", "name": "portal", "url": "https://x/", "secret": secret}
    return config.WebhookSource.model_validate(keys)


@pytest.fixture
def directory():
    keys = {"kind": "ldap", "name": "campus", "url": "ldaps://x", "bind_dn": "uid={name},dc=x"}
    return config.LdapSource.model_validate(keys)


def test_every_kind_of_the_file_can_be_made():
    assert set(_KINDS) == set(config._KINDS.values())


def test_sources_are_in_their_order(webhook, directory):
    pytest.importorskip("ldap", reason="python-ldap is not installed: pip install '.[ldap]'")
    made = build([webhook, directory], ManualClock())
    assert [source.name for source in made] == ["portal", "campus"]
    assert all(source.create for source in made)
    for source in made:
        source.close()


def test_a_library_that_is_missing_is_told_at_the_start(webhook, directory, monkeypatch):
    """And is needed by nobody else."""
    monkeypatch.setitem(sys.modules, "ldap", None)
    monkeypatch.delitem(sys.modules, "broker.sources.ldap", raising=False)
    (made,) = build([webhook], ManualClock())
    assert isinstance(made, Webhook)
    with pytest.raises(ConfigError) as raised:
        build([webhook, directory], ManualClock())
    assert raised.value.public == (
        "login.sources: 'campus' is of the kind ldap, and the library for that is missing;"
        " install it with: pip install 'desk-broker[ldap]'."
    )
