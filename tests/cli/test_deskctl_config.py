"""deskctl config: what is taken over, as people and programs read it."""

from __future__ import annotations

import json


def test_what_comes_of_each_key_is_told(served, run):
    """Each on a line of its own; then nothing is left to take over."""
    served.broker.config_file.change(starts__at_once=7, template__memory="3g", log_level="error")
    assert run("config", "reload").splitlines() == [
        "starts.at_once   applied",
        "template.memory  broker restarts",
        "log_level        new doors needed",
    ]


def test_programs_get_json(served, run):
    assert json.loads(run("config", "reload", "--json")) == {"changes": []}
    assert run("config", "reload") == "Nothing has changed.\n"
    served.broker.config_file.change(starts__at_once=7)
    told = json.loads(run("config", "reload", "--json"))
    assert told == {"changes": [{"key": "starts.at_once", "effect": "applied"}]}


def test_a_mistake_is_told_with_its_place(served, refused):
    """And nothing has changed."""
    served.broker.config_file.change(starts__at_once="many")
    assert "starts.at_once: found 'many'" in refused("config", "reload")
