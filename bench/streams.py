"""Bytes through a stock client: all at once, one at a time, and without end."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from tests.ssh.clients import end, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


def download(command: list[str], size: int) -> float:
    """Seconds from the word `go` to the last of so many bytes."""
    asked = f"echo; read go; exec head -c {size} /dev/zero"
    with _client(command, asked) as client, open(os.devnull, "wb") as sink:
        client.stdout.read(1)
        began = time.perf_counter()
        client.stdin.write(b"\n")
        came = 0
        while moved := os.splice(client.stdout.fileno(), sink.fileno(), _CHUNK):
            came += moved
        took = time.perf_counter() - began
    _demand(came == size, command)
    return took


def upload(command: list[str], size: int) -> float:
    """Seconds from the far end's first byte to its last: nothing but the transfer."""
    source = os.memfd_create("zeros")
    try:
        os.truncate(source, size)
        with _client(command, f"echo; head -c {size} | wc -c", stdin=source) as client:
            client.stdout.read(1)
            began = time.perf_counter()
            told = client.stdout.read(32)
            took = time.perf_counter() - began
    finally:
        os.close(source)
    _demand(told.strip() == str(size).encode(), command)
    return took


@contextmanager
def echo(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A connection whose far end says again what it hears."""
    with _client(command, "exec cat") as client:
        round_trips(client, 20)
        yield client


def round_trips(client: subprocess.Popen[bytes], count: int) -> float:
    """The median of the milliseconds until a byte comes back."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        client.stdin.write(b"x")
        _demand(client.stdout.read(1) == b"x", client.args)
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.001)
    return median(taken)


@contextmanager
def endless(command: list[str]) -> Iterator[None]:
    """Bulk data from there, read as fast as it comes."""
    words = [*command, "echo; exec cat /dev/zero"]
    with open(os.devnull, "wb") as sink:
        client = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment()
        )
        try:
            client.stdout.read(1)
            reader = subprocess.Popen(["cat"], stdin=client.stdout, stdout=sink)
            try:
                yield
            finally:
                reader.kill()
                reader.wait()
        finally:
            end(client)


@contextmanager
def _client(
    command: list[str], asked: str, stdin: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    client = subprocess.Popen(
        [*command, asked], stdin=stdin, stdout=subprocess.PIPE, bufsize=0, env=environment()
    )
    try:
        yield client
    finally:
        end(client)


def _demand(held: bool, command: object) -> None:
    if not held:
        raise RuntimeError(f"not all bytes came through {command}")
