"""What systemd is told, over a real socket of its kind."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from broker.system.notify import Notifier, ParentNotifier
from broker.system.tasks import Tasks


@pytest.fixture
def heard(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify.sock"))
        sock.setblocking(False)
        yield sock


def told(sock) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


def environment(sock, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": sock.getsockname(), "HOME": "/", **more}


def test_the_life_of_a_service_is_told(heard):
    notifier = Notifier.of(environment(heard))
    notifier.ready("Serves")
    notifier.status("Drains")
    notifier.stopping()
    assert told(heard) == [
        "READY=1\nSTATUS=Serves",
        "STATUS=Drains",
        "STOPPING=1\nSTATUS=Stops",
    ]


def test_an_abstract_name_is_understood():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0desk-test-{os.getpid()}")
        sock.setblocking(False)
        Notifier.of({"NOTIFY_SOCKET": f"@desk-test-{os.getpid()}"}).ready("Serves")
        assert told(sock) == ["READY=1\nSTATUS=Serves"]


def test_no_child_hears_of_it(heard):
    """It could say that its parent is ready, or keep alive one that hangs."""
    whole = environment(heard, WATCHDOG_USEC="300000", WATCHDOG_PID=str(os.getpid()))
    Notifier.of(whole)
    assert whole == {"HOME": "/"}


@pytest.mark.parametrize("named", [True, False])
async def test_signs_of_life_come_three_times_in_each_period(heard, named):
    whole = environment(heard, WATCHDOG_USEC="60000")
    if named:
        whole["WATCHDOG_PID"] = str(os.getpid())
    tasks, signs = Tasks(), []
    heard.setblocking(False)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    tasks.start(Notifier.of(whole).live(), name="signs")
    while len(signs) < 7:
        await asyncio.wait_for(loop.sock_recv(heard, 64), 5)
        signs.append(loop.time() - begun)
    await tasks.close()
    # Never early: six pauses of a third each; how late they come is the machine's affair.
    assert signs[-1] >= 6 * 0.06 / 3 - 0.005


@pytest.mark.parametrize("watched", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
async def test_nobody_is_told_that_an_unwatched_service_lives(heard, watched):
    """Without a watchdog, and with one that watches another process."""
    await asyncio.wait_for(Notifier.of(environment(heard, **watched)).live(), 5)
    assert told(heard) == []


def test_without_systemd_nothing_is_said():
    notifier = Notifier.of({})
    notifier.ready("Serves")
    notifier.stopping()


def test_a_service_goes_on_though_nobody_hears_it(tmp_path):
    Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("Serves")


def test_a_parent_hears_what_its_child_speaks(capfd):
    notifier = ParentNotifier("desk-gateway-9")
    notifier.ready("Serves")
    notifier.status("Drains")
    notifier.stopping()
    assert capfd.readouterr().out == "ready desk-gateway-9\n"
