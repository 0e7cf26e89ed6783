"""The JSON Schema of the configuration: what editors hold a file against."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from broker.config import parse
from broker.config.schema import document, schema
from broker.core import words
from tests.test_docs import KEYS, ROWS, value_of

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = schema()


def resolved(part):
    return SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part


def at(key):
    part = SCHEMA
    for name in key.split("."):
        part = resolved(part["properties"][name])
    return part


def test_the_file_that_is_shipped_is_the_schema():
    """`.venv/bin/deskd check-config --schema > docs/desk.schema.json` writes it anew."""
    assert (ROOT / "docs/desk.schema.json").read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("key", KEYS)
def test_a_default_can_be_written_as_the_schema_has_it(key):
    """And means what the key means when it is not there."""
    part = at(key)
    if "default" not in part:
        assert ROWS[key] in {"required", "none", "`[]`"}
        return
    data = {"template": {"image": "a"}}
    inner = data
    *sections, last = key.split(".")
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = part["default"]
    found = parse(yaml.safe_dump(data), "x")
    assert value_of(found, key) == value_of(parse("template: {image: a}", "x"), key)
    if "pattern" in part:
        assert re.search(part["pattern"], part["default"])


def test_the_example_has_keys_of_the_schema_alone():
    """And names the schema for editors, where it is."""
    text = (ROOT / "config/desk.yaml").read_text(encoding="utf-8")
    path = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)[1]
    assert (ROOT / "config" / path).resolve() == ROOT / "docs/desk.schema.json"

    def walk(data, part):
        assert part["additionalProperties"] is False
        for name, value in data.items():
            inner = resolved(part["properties"][name])
            if isinstance(value, dict):
                walk(value, inner)
            elif "pattern" in inner:
                assert re.search(inner["pattern"], str(value)), name

    walk(yaml.safe_load(text), SCHEMA)
    assert set(SCHEMA["required"]) == {"template"}


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("idle.freeze_after", ["30m", "1.5h", "never"], ["30", "soon", "30 m", "m"]),
        ("starts.timeout", ["90s", "2M"], ["never", "90"]),
        ("template.memory", ["512m", "2g"], ["2", "2gb", "never"]),
        ("pools.ports", ["20000-29999"], ["20000", "a-b"]),
        ("ssh.listen", ["0.0.0.0:2222", "[::1]:22"], ["2222", "host:22", "::1:22"]),
    ],
)
def test_editors_are_told_how_a_value_is_written(key, good, bad):
    """By a pattern: nobody reads the file while it is typed."""
    pattern = at(key)["pattern"]
    assert all(re.search(pattern, text) for text in good)
    assert not [text for text in bad if re.search(pattern, text)]


@pytest.mark.parametrize("text", ["30s", "90m", "8h", "7d", "0.5s", "never", "1d"])
def test_a_duration_is_written_as_it_was_read(text):
    """In the largest unit without a fraction."""
    assert words.written(words.period(text)) == text


@pytest.mark.parametrize("text", ["0.25k", "35k", "512m", "2g", "1t"])
def test_a_size_is_written_as_it_was_read(text):
    """Likewise."""
    assert words.written_size(words.size(text)) == text


def test_a_set_has_an_order_in_the_schema():
    """Of its own it has none, and the file would differ each time."""
    assert at("login.ways")["default"] == ["key", "password", "password+code"]
