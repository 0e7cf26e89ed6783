"""Sockets of systemd's: taken by name, once, by whom they were meant for."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from broker.system.activation import handed_on


@pytest.fixture
def first():
    """The first of three listening sockets with numbers in a row, as systemd would hand them on."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        numbers = range(200, 203)
        for one, number in zip(held, numbers, strict=True):
            os.dup2(one.fileno(), number)
        yield numbers[0]
        for number in numbers:
            try:
                os.close(number)
            except OSError:
                continue


def meant(names: str, *, pid: int | None = None) -> dict[str, str]:
    return {
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": names,
        "HOME": "/",
    }


def test_each_has_the_name_that_its_unit_gave_it(first):
    whole = meant("ssh:http:gateway")
    found = handed_on(whole, first=first)
    numbers = {name: sock.fileno() - first for name, sock in found.items()}
    assert numbers == {"ssh": 0, "http": 1, "gateway": 2}
    for sock in found.values():
        assert not os.get_inheritable(sock.fileno())
        assert not sock.getblocking()
        sock.close()
    assert whole == {"HOME": "/"}


def test_of_several_with_one_name_the_first_is_taken(first):
    """The others are closed: nobody would ever accept there."""
    found = handed_on(meant("ssh:ssh:http"), first=first)
    assert sorted(found) == ["http", "ssh"]
    assert found["ssh"].fileno() == first
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first + 1)
    for sock in found.values():
        sock.close()


def test_what_was_meant_for_another_process_is_left_alone(first):
    for whole in (meant("ssh:http:gateway", pid=1), {}):
        assert handed_on(whole, first=first) == {}
        os.fstat(first)
