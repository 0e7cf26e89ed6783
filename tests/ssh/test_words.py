"""The broker's own words, answered at the door."""

from __future__ import annotations

import time

import pytest

from .clients import Person, frozen, until


def test_word_is_answered(desk: Person) -> None:
    """Both outputs and the status are the gateway's; no desktop is asked for."""
    done = desk.ssh("desk x y")
    assert (done.status, done.out, done.err) == (7, b"answers: x y\n", b"a warning\n")
    assert [call["argv"] for call in desk.calls("word")] == [["x", "y"]]
    assert desk.calls("route", "attached") == []


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("desk", []),
        ("desk 'one two' three", ["one two", "three"]),
        ('"desk" list', ["list"]),
        ("  desk   list  ", ["list"]),
    ],
)
def test_word_is_split_as_a_shell_does(desk: Person, command: str, argv: list[str]) -> None:
    """Quoting means what it means in a shell."""
    desk.ssh(command)
    assert [call["argv"] for call in desk.calls("word")] == [argv]


@pytest.mark.parametrize("command", ["desktop", "echo desk", "./desk x", "desk-x", "sh -c 'desk'"])
def test_what_only_looks_like_a_word(desk: Person, command: str) -> None:
    """Other commands go to the desktop, whatever they contain."""
    desk.ssh(command)
    assert desk.calls("word") == []
    assert len(desk.calls("route")) == 1


def test_big_answer(desk: Person) -> None:
    """5 MB arrive whole."""
    done = desk.ssh("desk big 5000000")
    assert (done.status, len(done.out)) == (3, 5_000_000)


def test_big_answer_waits_for_its_reader(desk: Person) -> None:
    """A reader that stands still makes the door wait, not buffer."""
    before = desk.door.memory()
    process = desk.start("desk big 30000000")
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    with frozen(process):
        time.sleep(0.5)
        grown = desk.door.memory() - before
    assert 1 + len(process.stdout.read()) == 30_000_000
    assert process.wait(10) == 3
    assert grown < 100 << 20


def test_word_on_a_terminal(desk: Person) -> None:
    """With a terminal the answer is the same, and the client leaves with the status."""
    done = desk.ssh("-tt", "desk x")
    assert done.status == 7
    assert b"answers: x" in done.out


def test_word_with_input(desk: Person) -> None:
    """What the client pipes in is not read, and harms nothing."""
    done = desk.ssh("desk x", stdin=b"y" * 1_000_000)
    assert (done.status, done.out) == (7, b"answers: x\n")


def test_client_leaves_while_a_word_waits(desk: Person) -> None:
    """Nobody to answer to is no failure of the door."""
    process = desk.start(f"desk wait {desk.name}")
    until(lambda: desk.calls("word"), 10, "the gateway is asked")
    process.kill()
    process.wait(5)
    desk.door.do("open", gate=desk.name)
    assert desk.ssh("desk on").status == 7
