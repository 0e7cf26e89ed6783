"""Another configuration for a broker that runs: what it takes over, key by key, and what it keeps."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from broker.config.changes import _LIVE
from broker.core.errors import ConfigError, Conflict
from broker.core.gateway import Allowance
from broker.core.model import Actor
from broker.core.policy import Way
from broker.core.shares import Looks
from broker.service.reload import Effect, Outcome
from tests.service.harness import FakeKeeper, new_key

ADMIN = Actor("uid:0")

_, LINE = new_key()


async def policy_of(broker):
    user = await broker.store.user("ada") or await broker.user()
    return (await broker.policies.of(user.id)).policy


async def idle_of(broker):
    """As the reaper learns it."""
    session = await broker.ensure(await broker.desktop())
    return (await broker.policies.idle([session]))(session)


async def allowed(broker):
    return (await policy_of(broker)).allowed


#: Of each key that is taken over at once: a value, where it is seen, and what is seen there.
LIVE = {
    "login.ways": (["key"], policy_of, lambda p: p.ways == {Way.KEY}),
    "login.hardware_keys": (True, policy_of, lambda p: p.hardware_keys),
    "login.authorities": (
        [LINE],
        lambda b: b.policies.authorities(),
        lambda found: len(found) == 1,
    ),
    "login.codes.issuer": ("Acme", lambda b: b.codes.issuer, "Acme"),
    "login.invites.valid": ("1h", lambda b: b.invites.valid, 3600),
    "login.blocks.after": (2, lambda b: b.blocks._blocks._rule.after, 2),
    "login.blocks.first": ("7s", lambda b: b.blocks._blocks._rule.first, 7),
    "login.blocks.longest": ("1h", lambda b: b.blocks._blocks._rule.longest, 3600),
    "login.blocks.exempt": (["10.0.0.0/9"], lambda b: b.blocks._exempt[0].prefixlen, 9),
    **{
        f"allow.{one}": (False, allowed, lambda found, one=one: one not in found)
        for one in Allowance
    },
    "share.admins": ("never", policy_of, lambda p: p.looks is Looks.NEVER),
    "starts.at_once": (9, lambda b: b.starts._at_once, 9),
    "starts.waiting": (9, lambda b: b.starts.waiting_most, 9),
    "starts.per_user": (1, lambda b: b.starts._per_user, 1),
    "starts.timeout": ("33s", lambda b: b.starting._timeout, 33),
    "limits.desktops_per_user": (9, policy_of, lambda p: p.desktops == 9),
    "limits.running": (9, lambda b: b.starting._running, 9),
    "limits.running_per_user": (9, policy_of, lambda p: p.running == 9),
    "idle.freeze_after": ("2h", idle_of, lambda p: p.freeze_after == 7200),
    "idle.stop_after": ("9h", idle_of, lambda p: p.stop_after == 9 * 3600),
    "idle.max_age": ("90h", idle_of, lambda p: p.max_age == 90 * 3600),
    "idle.warn_before": ("1m", idle_of, lambda p: p.warn_before == 60),
    "idle.keep_up_to": ("9h", idle_of, lambda p: p.keep_up_to == 9 * 3600),
    "idle.busy_for": ("9h", idle_of, lambda p: p.busy_for == 9 * 3600),
    "idle.busy_cpu": (0.7, idle_of, lambda p: p.busy_cpu == 0.7),
    "idle.archive_after": ("100s", lambda b: (b.archivist._after, b.archiving.every), (100, 10)),
}


def test_no_key_is_left_out():
    """One that would need nothing but is not seen here is not taken over."""
    assert {*LIVE, "login.revoked"} == set(_LIVE)


async def seen(broker, key):
    _, where, what = LIVE[key]
    found = where(broker)
    if asyncio.iscoroutine(found):
        found = await found
    return what(found) if callable(what) else found == what


@pytest.mark.parametrize("key", LIVE)
async def test_what_needs_nothing_holds_at_once(broker, key):
    """In the broker that runs, and for whoever was asked about before."""
    assert not await seen(broker, key)
    broker.config_file.change(**{key.replace(".", "__"): LIVE[key][0]})
    assert await broker.reload.ask(ADMIN) == [Outcome(key, Effect.APPLIED)]
    assert await seen(broker, key)
    assert await broker.reload.ask(ADMIN) == []
    assert broker.keeper.restarts == 0


async def test_whoever_asks_what_holds_is_told_of_it(broker):
    """The API shows settings from there."""
    broker.config_file.change(limits__running=9)
    await broker.reload.ask(ADMIN)
    assert broker.config.limits.running == 9


async def test_another_revocation_list_counts_at_once_if_it_can_be_used(broker, tmp_path):
    """One that cannot keeps the one that holds, and everything else of the file out."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("# nothing\n")
    broker.config_file.change(login__revoked=str(good))
    assert await broker.reload.ask(ADMIN) == [Outcome("login.revoked", Effect.APPLIED)]
    broker.config_file.change(login__revoked=str(bad), starts__at_once=7)
    with pytest.raises(ConfigError, match="bad"):
        await broker.reload.ask(ADMIN)
    assert broker.starts._at_once != 7
    assert broker.certificates.revocations._path == good


async def test_a_list_that_cannot_be_used_is_told_before_a_parent_is_asked(broker, tmp_path):
    """It would replace doors by a file that nobody takes over."""
    asked = []
    broker.keeper.reload = lambda: asked.append(1) or True
    broker.config_file.change(login__revoked=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="none"):
        await broker.reload.ask(ADMIN)
    assert asked == []


async def test_who_waits_for_a_place_gets_one_that_is_new(world):
    """More starts at once begin at once."""
    broker = await world.broker(at_once=1)
    broker.probe.hold()
    both = [broker.begin(await broker.desktop(name)) for name in ("ada", "bob")]
    async with asyncio.timeout(5):
        while not broker.starts.waiting:
            await asyncio.sleep(0)
    broker.config_file.change(starts__at_once=2)
    await broker.reload.ask(ADMIN)
    assert (broker.starts.waiting, broker.starts.under_way) == (0, 2)
    broker.probe.answering.set()
    await asyncio.gather(*both)


async def test_a_file_with_a_mistake_changes_nothing(broker):
    """The sentence names file, line and key."""
    broker.config_file.change(starts__at_once=7, idle__freeze_after="soon")
    with pytest.raises(ConfigError) as caught:
        await broker.reload.ask(ADMIN)
    assert str(broker.config_file.path) in caught.value.public
    assert "idle.freeze_after: found 'soon'" in caught.value.public
    assert broker.starts._at_once != 7
    with capture_logs() as logs:
        await broker.reload.take_over()
    assert [line["event"] for line in logs] == ["configuration not taken over"]
    assert "idle.freeze_after" in logs[0]["problem"]


async def test_what_another_broker_is_needed_for_begins_one(broker):
    """And what can be taken over at once is."""
    broker.config_file.change(template__memory="3g", starts__at_once=7)
    assert await broker.reload.ask(ADMIN) == [
        Outcome("starts.at_once", Effect.APPLIED),
        Outcome("template.memory", Effect.BROKER),
    ]
    assert (broker.starts._at_once, broker.keeper.restarts) == (7, 1)


async def test_what_waits_for_a_stop_is_told_each_time_and_the_rest_taken(broker):
    """The broker goes on with what it has."""
    broker.config_file.change(pools__uids="300000-300099", starts__at_once=7)
    wanted = [
        Outcome("pools.uids", Effect.STOP),
        Outcome("starts.at_once", Effect.APPLIED),
    ]
    assert await broker.reload.ask(ADMIN) == wanted
    assert broker.starts._at_once == 7
    assert await broker.reload.ask(ADMIN) == wanted[:1]


async def test_doors_are_told_of_by_who_replaces_them(broker):
    """A parent does it; systemd's units want to be asked."""
    broker.config_file.change(log_level="debug")
    assert await broker.reload.ask(ADMIN) == [Outcome("log_level", Effect.ROLL)]
    assert broker.logged_as == [("auto", "debug")]
    broker.config_file.change(log_level="error")
    broker.keeper.rolls = True
    assert await broker.reload.ask(ADMIN) == [Outcome("log_level", Effect.DOORS)]


async def test_a_parent_has_it_taken_over(broker):
    """The broker asks it, and answers once it was told to."""
    asked = []

    class Parent(FakeKeeper):
        def reload(self) -> bool:
            asked.append(broker.spawn(broker.reload.take_over(), name="SIGHUP"))
            return True

    broker.reload._keeper = Parent()
    broker.config_file.change(starts__at_once=7)
    assert await broker.reload.ask(ADMIN) == [Outcome("starts.at_once", Effect.APPLIED)]
    assert broker.starts._at_once == 7
    await asyncio.gather(*asked)


async def test_a_parent_that_does_not_is_told_of(broker, monkeypatch):
    """Whoever asked is not left to believe it."""
    monkeypatch.setattr(FakeKeeper, "reload", lambda _self: True)
    broker.reload._within = 0.01
    broker.config_file.change(starts__at_once=7)
    with pytest.raises(Conflict, match="not taken over in time"):
        await broker.reload.ask(ADMIN)
    broker.config_file.change(template__memory="3g")
    outcomes = await broker.reload.ask(ADMIN)  # it begins another broker: nothing to wait for
    assert outcomes[-1].effect is Effect.BROKER


async def test_who_asked_is_in_the_audit_with_the_keys(broker):
    """And nothing when nothing changed."""
    await broker.reload.ask(ADMIN)
    broker.config_file.change(starts__at_once=7, limits__running=5)
    await broker.reload.ask(ADMIN)
    entry, before = (await broker.store.audit(limit=2))[:2]
    assert (entry.actor, entry.action) == ("uid:0", "config.reload")
    assert entry.detail == {"keys": "starts.at_once limits.running"}
    assert before.action != "config.reload"
