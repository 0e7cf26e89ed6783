"""Dataclasses as JSON: what is written is read again, and nothing else is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import pytest

from broker.core.codec import BadMessage, Codec


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    text: str


@dataclass(frozen=True)
class Other:
    number: float


@dataclass(frozen=True)
class Outer:
    flag: bool
    whole: int
    number: float
    raw: bytes
    colour: Colour
    maybe: str | None
    inner: Inner
    one_of: Inner | Other | None
    several: tuple[Inner, ...]
    ages: Mapping[Colour, float]


WHOLE = Outer(
    flag=True,
    whole=-3,
    number=1.5,
    raw=bytes(range(256)),
    colour=Colour.RED,
    maybe=None,
    inner=Inner("dä \udcff\x00\U0001f600"),
    one_of=Other(2.0),
    several=(Inner(""), Inner("x")),
    ages={Colour.RED: 0.25},
)

OUTER = Codec(Outer)


def test_what_is_written_is_read_again():
    """In ASCII, whatever stands in it."""
    text = OUTER.write(WHOLE)
    assert text.isascii()
    assert OUTER.read(text) == WHOLE
    assert type(OUTER.read(text).ages) is dict


def test_a_whole_number_is_a_number():
    assert Codec(Other).read('{"number":3}') == Other(3.0)


@pytest.mark.parametrize("value", [Inner("x"), Other(1.0), None])
def test_one_of_several_is_told_apart_by_its_name(value):
    codec = Codec(Inner | Other | None)
    assert codec.read(codec.write(value)) == value


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('"flag":true', '"flag":1', "true or false is wanted"),
        ('"flag":true,', "", "Outer lacks 'flag'"),
        ('"flag"', '"fl\\u001bag"', "Outer has no 'fl\\\\x1bag'"),
        ('"whole":-3', '"whole":true', "a whole number is wanted"),
        ('"whole":-3', '"whole":-3.0', "a whole number is wanted"),
        ('"whole":-3', f'"whole":{1 << 53}', "a whole number is wanted"),
        ('"whole":-3', f'"whole":{"9" * 5000}', "it is no JSON"),
        ('"number":1.5', '"number":NaN', "a number is wanted"),
        ('"number":1.5', '"number":1e999', "a number is wanted"),
        ('"number":1.5', '"number":"1"', "a number is wanted"),
        ('"raw":"', '"raw":"!', "base64 is wanted"),
        ('"raw":"', '"raw":"\\u00e4', "base64 is wanted"),
        ('"red"', '"blue"', "one of red is wanted"),
        ('"maybe":null', '"maybe":7', "something else is wanted"),
        ('"maybe":null', '"maybe":{}', "something else is wanted"),
        ('"is":"Other"', '"is":"Outer"', "'Outer' is unknown"),
        ('"is":"Other",', "", "'None' is unknown"),
        ('"is":"Other"', '"is":["Other"]', "is unknown"),
        ('"several":[', '"several":[7,', "in Outer: Inner is wanted"),
        ('"several":[{"text":""},{"text":"x"}]', '"several":{}', "a list is wanted"),
        ('"ages":{"red":0.25}', '"ages":[]', "a mapping is wanted"),
        ('"ages":{"red"', '"ages":{"blue"', "one of red is wanted"),
        ('{"flag"', '[{"flag"', "it is no JSON"),
    ],
)
def test_anything_else_is_an_error_that_says_where(before, after, problem):
    text = OUTER.write(WHOLE)
    assert before in text
    with pytest.raises(BadMessage, match=problem.replace("(", r"\(")):
        OUTER.read(text.replace(before, after, 1))


def test_nesting_without_end_is_an_error():
    with pytest.raises(BadMessage):
        OUTER.read("[" * 100_000)


def test_an_error_tells_nothing_of_the_values():
    """One of them can be a secret."""
    text = OUTER.write(WHOLE).replace('"x"', '["hunter2"]')
    with pytest.raises(BadMessage) as error:
        OUTER.read(text)
    assert "hunter2" not in str(error.value)
    assert str(error.value) == "in Outer: in Inner: text is wanted"
