"""What a change of the configuration needs: key by key, and of all of them together."""

from __future__ import annotations

import pytest
import yaml

from broker.config import Config, parse
from broker.config.changes import (
    _RULES,
    Change,
    Needs,
    all_needs,
    changes,
    held_back,
    keys_of,
    needs,
    value_of,
)

KEYS = list(keys_of(Config))
PLAIN = "template: {image: a}\n"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_been_thought_about(key):
    """Whoever adds one says what it needs."""
    assert isinstance(needs(key), Needs)


def test_a_key_that_nobody_thought_about_is_none():
    with pytest.raises(KeyError):
        needs("nonsense.key")


def test_every_rule_is_of_a_key_that_there_is():
    """Or of a section of such."""
    for rule in _RULES:
        assert any(key == rule or key.startswith(f"{rule}.") for key in KEYS), rule


def test_a_change_is_told_by_its_key_with_what_it_needs():
    """Once each, in the order of the file, however it is written."""
    before = parse(PLAIN, "x")
    after = parse(
        PLAIN + "starts: {timeout: 2m}\nssh: {listen: '127.0.0.1:22', patience: 30s, drain: 1h}\n"
        "pools: {uids: 3000-4000, ports: 20000-20001}\n",
        "x",
    )
    assert changes(before, after) == [
        Change("ssh.listen", Needs.STOP),
        Change("ssh.drain", Needs.DOORS),
        Change("pools.ports", Needs.BROKER),
        Change("pools.uids", Needs.STOP),
        Change("starts.timeout", Needs.NOTHING),
    ]
    assert changes(before, before) == []
    assert all_needs(changes(before, after)) == Needs.STOP | Needs.DOORS | Needs.BROKER
    assert all_needs([]) is Needs.NOTHING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "ssh: {listen: '127.0.0.1:22', drain: 1h}\n"),
        ("ssh: {listen: '127.0.0.1:22'}\n", "ssh: {listen: '127.0.0.1:23', drain: 1h}\n"),
        ("ssh: {listen: '127.0.0.1:22'}\n", "ssh: {drain: 1h}\n"),
        ("ssh: {listen: '127.0.0.1:22'}\n", "idle: {freeze_after: 2h}\n"),
        ("pools: {uids: 3000-4000}\n", "ssh: {drain: 1h}\n"),
        ("", "pools:\n  uids: 3000-4000\n"),
    ],
)
def test_what_waits_for_a_stop_stays_as_it_was_and_the_rest_is_taken(before, after):
    """Whether it was written before, or is now, or both."""
    keys = [key for key in KEYS if needs(key) & Needs.STOP]
    old, new = parse(PLAIN + before, "x"), parse(PLAIN + after, "x")
    merged = parse(held_back(PLAIN + before, PLAIN + after, keys), "x")
    for key in KEYS:
        wanted = old if key in keys else new
        assert value_of(merged, key) == value_of(wanted, key), key


def test_where_nothing_waits_the_text_is_left_as_it_is():
    """With its comments and lines, which sentences name."""
    text = "# mine\n" + PLAIN
    assert held_back(PLAIN, text, []) is text
    assert yaml.safe_load(held_back(PLAIN, text, ["state"])) == {"template": {"image": "a"}}
