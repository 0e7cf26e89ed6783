"""A packet filter behind a socket: what is asked of it, what it refuses, and who is told of meddling."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from broker.core.errors import FirewallFailed
from broker.core.firewall import Grant, Restored
from broker.core.netpolicy import FULL, INTERNET, NONE, parse
from broker.system import remotenft
from broker.system.clock import SystemClock
from broker.system.fakenft import FakeFilter
from broker.system.guard import Guard
from broker.system.notify import Notifier
from broker.system.remotenft import FilterService, RemoteFilter
from broker.system.tasks import Tasks
from tests.contract.test_filter import ADA, BEN, ME, RULES

WAIT = 10.0


class Far:
    """A service over a host in memory, and the broker's side of it."""

    def __init__(self, folder) -> None:
        self.path = folder / "firewall.sock"
        self.host = FakeFilter()
        self.filter = RemoteFilter(self.path, answer=WAIT, silence=WAIT)
        self._tasks = Tasks()

    @asynccontextmanager
    async def open(self, *, uid=None):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        sock.listen(16)
        guard = Guard(self.host, self.host.changes, SystemClock())
        service = FilterService(
            guard, uids=[os.getuid() if uid is None else uid], clock=SystemClock()
        )
        running = self._tasks.start(service.run(sock, Notifier(None)), name="service")
        try:
            yield self
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self.path.unlink()

    async def raw(self, question: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(question)
        answer = await asyncio.wait_for(reader.read(), WAIT)
        writer.close()
        return answer

    def watch(self):
        """What is told to who watches; None is a sign of life."""
        told = asyncio.Queue()
        return told, self._tasks.start(self.filter.guard(told.put), name="watch")

    async def close(self) -> None:
        await self._tasks.close()


@pytest.fixture
async def far(tmp_path):
    made = Far(tmp_path)
    yield made
    await made.close()


async def test_what_is_put_far_away_stands_there(far):
    """With every kind of policy, and grants that come and go."""
    listed = parse(["names", "10.66.0.0/24 tcp 443", "192.0.2.7 udp 5000-5010"])
    rules = replace(
        RULES, policies=frozenset({INTERNET, FULL, NONE, listed}), grants=frozenset({ADA})
    )
    async with far.open():
        assert await far.filter.standing(ME) is None
        assert await far.filter.put(rules) is None
        await far.filter.grant(ME, BEN)
        assert (await far.filter.standing(ME)) == await far.host.standing(ME)
        assert (await far.filter.standing(ME)).grants == {ADA, BEN}
        await far.filter.revoke(ME, ADA)
        assert (await far.filter.standing(ME)).grants == {BEN}
        await far.filter.remove(ME)
        assert await far.filter.standing(ME) is None


async def test_what_fails_far_away_fails_here_with_the_same_reason(far):
    far.host.unseen.update(RULES.bridges)
    async with far.open():
        with pytest.raises(FirewallFailed) as here:
            await far.filter.put(RULES)
    with pytest.raises(FirewallFailed) as there:
        await far.host.put(RULES)
    assert str(here.value) == str(there.value)


async def test_who_watches_hears_what_was_put_back(far):
    async with far.open():
        await far.filter.put(RULES)
        told, watching = far.watch()
        assert await asyncio.wait_for(told.get(), WAIT) is None
        far.host.flush()
        heard = None
        while heard is None:
            heard = await asyncio.wait_for(told.get(), WAIT)
        assert isinstance(heard, Restored)
        assert heard.reason == "the table was gone"
        assert await far.filter.standing(ME) is not None
        watching.cancel()


async def test_who_watches_a_service_that_ends_is_told(far):
    """The broker puts its rules again, and watches again."""
    async with far.open():
        told, watching = far.watch()
        assert await asyncio.wait_for(told.get(), WAIT) is None
    with pytest.raises(FirewallFailed, match=r"desk-firewall.service"):
        await asyncio.wait_for(watching, WAIT)


async def test_where_no_service_is_it_is_named(far):
    with pytest.raises(FirewallFailed, match=r"desk-firewall\.service does not answer"):
        await far.filter.standing(ME)


async def test_another_user_is_not_heard(far):
    async with far.open(uid=os.getuid() + 1):
        with pytest.raises(FirewallFailed):
            await far.filter.put(RULES)
    assert await far.host.standing(ME) is None


@pytest.mark.parametrize(
    "rules",
    [
        replace(RULES, bridges=("eth0",)),
        replace(RULES, instance="0123456789abcdef; flush ruleset"),
    ],
)
async def test_rules_that_are_no_installations_own_are_refused(far, rules):
    """Whoever took over the broker cannot change what is others'."""
    async with far.open():
        with pytest.raises(FirewallFailed, match="refused: "):
            await far.filter.put(rules)


async def test_a_name_that_would_be_more_than_a_name_is_refused(far):
    bad = "0123456789abcdef { type filter } ; flush ruleset #"
    async with far.open():
        for call in (
            far.filter.standing(bad),
            far.filter.remove(bad),
            far.filter.grant(bad, ADA),
            far.filter.revoke(ME, Grant(ADA.address, "x { } ; flush ruleset")),
        ):
            with pytest.raises(FirewallFailed, match="refused: a name is none"):
                await call


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"dance null\n", b"failed there is no such call\n"),
        (b"put {}\n", b"failed the broker is of another version\n"),
        (b"\xff\n", b"failed there is no such call\n"),
        (b"\n", b"failed there is no such call\n"),
    ],
)
async def test_what_is_no_call_is_told_so(far, question, answer):
    async with far.open():
        assert await far.raw(question) == answer


async def test_who_asks_nothing_is_cut_off(far, monkeypatch):
    monkeypatch.setattr(remotenft, "_QUESTION", 0.05)
    async with far.open():
        assert await far.raw(b"put ") == b""


async def test_a_line_without_end_is_not_kept(far, monkeypatch):
    monkeypatch.setattr(remotenft, "_LINE", 1024)
    async with far.open():
        assert await far.raw(b"put " + 4096 * b"x") == b""
