"""What `/metrics` tells: of records, doors, logins, starts and sleep, each when it is so."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.core.errors import BadRequest, Blocked, StateUnusable
from broker.core.gateway import Load, Login, Offence, OfferedKey, Penalty
from broker.core.idle import Signal
from broker.service.presence import LATELY
from tests.service.harness import outage
from tests.service.hours import HOUR, MINUTE, begin

KEY_OF_NOBODY = OfferedKey(algorithm="ssh-ed25519", fingerprint="SHA256:" + "b" * 43)

PROMTOOL = shutil.which("promtool")


async def told(broker) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in the order of their names."""
    reply = await broker.gateway.http("GET", "/metrics")
    assert reply.status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_sessions_and_leases_are_as_the_records_say(broker):
    """By state, and by kind: what is held, and what nobody has."""
    before = await told(broker)
    session = await broker.ensure(await broker.desktop())
    now = await told(broker)
    assert (now["desk_sessions", "ready"], now["desk_sessions", "frozen"]) == (1, 0)
    for kind, size in (("port", 100), ("display", 100), ("address", 1000), ("uid", 100)):
        assert (now["desk_leases", kind], now["desk_leases_free", kind]) == (1, size - 1)
    assert now["desk_audit_head",] > before["desk_audit_head",]
    await broker.freeze(session)
    now = await told(broker)
    assert (now["desk_sessions", "ready"], now["desk_sessions", "frozen"]) == (0, 1)


async def test_a_start_is_counted_with_its_phases(broker):
    """Each once."""
    await broker.ensure(await broker.desktop())
    now = await told(broker)
    assert now["desk_session_starts_total", "ready"] == 1
    for phase in ("queue", "record", "home", "create", "start", "answer"):
        assert now["desk_session_start_phase_seconds_count", phase] == 1, phase


async def test_starts_that_wait_are_counted(world):
    """With how many have a place, and may wait."""
    broker = await world.broker(at_once=1, waiting=7)
    broker.probe.hold()
    first = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    second = broker.begin(await broker.desktop("bob"))
    async with asyncio.timeout(5):
        while not broker.starts.waiting:
            await asyncio.sleep(0)
    now = await told(broker)
    names = ("waiting", "waiting_limit", "under_way")
    assert [now[f"desk_session_starts_{name}",] for name in names] == [1, 7, 1]
    broker.probe.answering.set()
    await asyncio.gather(first, second)


async def test_attachments_are_counted_by_what_they_carry(world):
    """Whatever a door calls it: a word that nobody knows is no label of its own."""
    story = await begin(world)
    await story.hours.visit(story.session, "one", kinds=("shell", "forward"))
    await story.hours.visit(story.session, "two", kinds=())
    await story.hours.visit(story.session, "three", kinds=("ada-lovelace",))
    await story.hours.report()
    now = await told(story.broker)
    assert now["desk_attachments",] == 3
    by_channel = {key[1]: n for key, n in now.items() if key[0] == "desk_attachments_by_channel"}
    assert {name for name, count in by_channel.items() if count} == {
        *("shell", "forward", "none", "other")
    }
    assert now["desk_attached_total",] == 3


async def test_who_was_there_before_the_broker_did_not_come(world):
    """A broker that starts again hears of them all at once."""
    story = await begin(world)
    await story.hours.visit(story.session)
    broker = await world.broker()
    story.hours.broker = broker
    broker.clock.advance(LATELY)
    await story.hours.report()
    now = await told(broker)
    assert (now["desk_attachments",], now["desk_attached_total",]) == (1, 0)


async def test_what_sleeps_is_counted_by_what_it_had_hung_on(world):
    """The verdict, the warning, and the step itself."""
    story = await begin(world)
    await story.hours.visit(story.session)
    await story.hours.go_by(MINUTE)
    await story.hours.act(Signal.TYPING)
    await story.hours.until(story.sleeps, within=2 * HOUR)
    now = await told(story.broker)
    assert now["desk_idle_warnings_total",] == 1
    assert now["desk_idle_verdicts_total", "typing", "freeze"] >= 1
    assert now["desk_reaps_total", "typing", "freeze"] == 1
    await story.hours.go_by(25 * HOUR)
    now = await told(story.broker)
    assert now["desk_reaps_total", "woke", "stop"] == 1


async def test_what_a_door_did_counts_from_its_first_word_on(broker):
    """The broker can be younger than the door; a door that is gone takes nothing back."""
    carries = broker.gateway.carries
    await carries("one", load(accepted=100, from_clients=1000, offences={Offence.AUTHFAIL: 4}))
    await carries("one", load(accepted=103, from_clients=1700, offences={Offence.AUTHFAIL: 6}))
    await carries("two", load(lag=0.7))
    await carries("two", load(from_desktops=5, penalised=2, crowded=1))
    broker.gateway.gone("one")
    now = await told(broker)
    assert now["desk_doors",] == 1
    assert now["desk_ssh_accepted_total",] == 3
    assert now["desk_door_received_bytes_total", "client"] == 700
    assert now["desk_door_received_bytes_total", "desktop"] == 5
    assert now["desk_ssh_offences_total", "authfail"] == 2
    assert now["desk_ssh_turned_away_total", "penalised"] == 2
    assert now["desk_ssh_turned_away_total", "crowded"] == 1
    assert now["desk_event_loop_lag_seconds_count", "door"] == 4
    assert now["desk_event_loop_lag_seconds_bucket", "0.5", "door"] == 3


def load(**more) -> Load:
    return Load(connections=0, authenticated=0, **more)


async def test_what_proves_nobody_is_counted_by_reason(broker):
    """And who is let in by method, of those that there are."""
    ada = await broker.person()
    await broker.gateway.proven(ada)
    await broker.gateway.identify(Login("bob", None, "x" * 43), KEY_OF_NOBODY, "192.0.2.1")
    await broker.gateway.identify(Login(None, None), KEY_OF_NOBODY, "192.0.2.1")
    await broker.gateway.check_code("no ticket", "123456", "192.0.2.1")
    with pytest.raises(Blocked):
        for _ in range(9):
            await broker.gateway.check_password(Login("ada", None), "wrong", "192.0.2.1")
    now = await told(broker)
    assert now["desk_logins_total", "key"] == 1
    counted = {key[1]: n for key, n in now.items() if key[0] == "desk_auth_failures_total"}
    assert counted.pop("password") >= 5
    assert counted == {"invite": 1, "key": 1, "code": 1, "blocked": 1}


async def test_a_word_of_a_doors_own_is_no_label(broker):
    """One that was taken over must not fill the memory of whoever measures."""
    for number, offence in enumerate(("authfail", "sneezing", "coughing")):
        source = f"192.0.2.{number}"
        await broker.gateway.penalise("d", Penalty(source=source, offence=offence, seconds=9.0))
    with pytest.raises(BadRequest):
        await broker.gateway.penalise("d", Penalty(source="x", offence="noauth", seconds=9.0))
    now = await told(broker)
    counted = {key[1]: n for key, n in now.items() if key[0] == "desk_penalties_total"}
    assert counted == {"authfail": 1, "other": 2}


async def test_readiness_is_told_check_by_check(broker, world):
    """With an engine that is away too, and at once."""
    for loop in broker.loops:
        loop.beat()
    now = await told(broker)
    assert now["desk_ready",] == 1
    assert {n for key, n in now.items() if key[0] == "desk_check_ok"} == {1}
    with outage(world):
        now = await told(broker)
    assert (now["desk_ready",], now["desk_check_ok", "engine"]) == (0, 0)
    assert now["desk_check_ok", "state"] == 1


async def test_an_engine_that_hangs_keeps_nobody_from_measuring(broker, world):
    """It is not ready then, and the rest is told."""
    for loop in broker.loops:
        loop.beat()
    hang = asyncio.Event()

    async def wait(_method: str) -> None:
        await hang.wait()

    world.engine.before = wait
    broker.services._measures._patience = 0.01
    now = await told(broker)
    assert (now["desk_ready",], now["desk_check_ok", "engine"]) == (0, 0)
    assert now["desk_check_ok", "reap"] == 1
    hang.set()
    await broker.health.checks()


async def test_a_state_that_cannot_be_read_keeps_nobody_from_measuring(broker, monkeypatch):
    """What is counted elsewhere is told still."""
    await told(broker)

    async def fail(*_args):
        raise StateUnusable("no disk")

    for name in ("live_sessions", "instance"):
        monkeypatch.setattr(broker.real_store, name, fail)
    now = await told(broker)
    assert (now["desk_ready",], now["desk_check_ok", "state"]) == (0, 0)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here (Debian's package prometheus)")
async def test_promtool_finds_nothing_wrong_with_the_metrics(world):
    """Their names, units, types and help."""
    story = await begin(world)
    await story.hours.visit(story.session)
    await story.hours.until(story.sleeps, within=2 * HOUR)
    await story.broker.gateway.carries("one", load())
    await story.broker.gateway.proven(await story.broker.person())
    reply = await story.broker.gateway.http("GET", "/metrics")
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=reply.body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, b"")
