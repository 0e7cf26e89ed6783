"""Much data each way while every side rekeys: what comes out is what went in.

`DESK_BULK` is how many MiB go each way: `DESK_BULK=3072 pytest tests/ssh/test_clients_bulk.py -s`
takes minutes and prints how long each way took.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from .clients import DoorProcess, Person, end, run
from .inner import InnerSshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
SIZE = int(os.environ.get("DESK_BULK", "40")) * MIB
#: Short runs rekey as often as long ones do.
LIMIT = 16 * MIB if SIZE >= 1024 * MIB else MIB

pytestmark = pytest.mark.timeout(120 if SIZE < 1024 * MIB else 1800)

# A stream that no place of it is like another, made as fast as it is sent.
_SOURCE = (
    f"head -c {SIZE} /dev/zero | openssl enc -aes-128-ctr -nosalt"
    " -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000000"
)


@pytest.fixture(scope="module")
def digest() -> str:
    return run(["sh", "-c", f"{_SOURCE} | sha256sum"], timeout=600).out.split()[0].decode()


@pytest.fixture(scope="module")
def rekeying() -> Iterator[InnerSshd]:
    """An sshd that rekeys as often as the others."""
    sshd = InnerSshd()
    try:
        sshd.start(f"RekeyLimit {LIMIT >> 20}M\n")
        yield sshd
    finally:
        sshd.stop()


def _hashed(stream: object) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _both_ways(person: Person, digest: str, *options: str) -> None:
    """Down and up at the same time, each on a connection of its own, then both on one."""
    began = time.monotonic()
    down = person.start(*options, f"{_SOURCE}; exit 3")
    up = subprocess.Popen(
        ["bash", "-c", f"{_SOURCE} | {' '.join(person.argv)} {' '.join(options)} desk sha256sum"],
        stdout=subprocess.PIPE,
        env=person.env,
    )
    try:
        assert _hashed(down.stdout) == digest
        assert down.wait(10) == 3
        out, _ = up.communicate(timeout=1800)
        assert out.split()[0].decode() == digest
        _tell("at once, a connection each", began)
        began = time.monotonic()
        echo = subprocess.Popen(
            ["bash", "-c", f"{_SOURCE} | {' '.join(person.argv)} {' '.join(options)} desk cat"],
            stdout=subprocess.PIPE,
            env=person.env,
        )
        try:
            assert _hashed(echo.stdout) == digest
        finally:
            end(echo)
        _tell("there and back on one connection", began)
    finally:
        end(up)


def _tell(what: str, began: float) -> None:
    taken = time.monotonic() - began
    print(f"{what}: {SIZE / MIB:.0f} MiB each way in {taken:.1f} s", file=sys.stderr)


def test_every_side_rekeys(
    rekeying: InnerSshd, lane: str, digest: str, new_person: Callable[..., Person]
) -> None:
    """The client, the door on both of its sides, and the desktop's sshd, each by its own count."""
    limits = {"outer_rekey": LIMIT, "inner_rekey": LIMIT}
    door = DoorProcess(rekeying, fast=lane == "fast", limits=limits)
    try:
        person = new_person(door)
        _both_ways(person, digest, "-o", f"RekeyLimit={LIMIT >> 20}M")
    finally:
        complaint = door.close()
    assert not complaint, complaint


def test_rekeys_at_the_defaults(desk: Person, digest: str) -> None:
    """Nobody was told anything: beyond a gigabyte the door rekeys by itself."""
    _both_ways(desk, digest)


def test_the_client_rekeys(desk: Person, digest: str) -> None:
    """By what a person may write into their configuration; the door keeps its defaults."""
    _both_ways(desk, digest, "-o", "RekeyLimit=16M")
