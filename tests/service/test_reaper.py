"""Who is put to sleep, who is not, and that everybody was told before."""

from __future__ import annotations

import pytest

from broker.core.errors import EngineUnavailable
from broker.core.idle import Signal, Step
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.service.watches import LOOK_EVERY
from tests.service.harness import Gate, outage
from tests.service.hours import DAY, HOUR, MINUTE, begin

READY, FROZEN, ENDED = SessionState.READY, SessionState.FROZEN, SessionState.ENDED

#: The default policy: asleep an hour after the last activity, told five minutes before.
AFTER, WARNING = HOUR, 5 * MINUTE


@pytest.fixture
async def story(world):
    """With the policy that one has without a word in the configuration."""
    return await begin(world)


# --------------------------------------------------------------------------- hands on a desktop


async def test_a_desktop_that_is_touched_every_few_minutes_is_awake_for_three_days(story):
    """Seen by the X server alone: xpra's own traffic is no activity. Nobody is ever warned."""
    hours = story.hours
    await hours.visit(story.session)
    await hours.tick()

    async def touch_now_and_then() -> None:
        if hours.clock.monotonic() % (7 * MINUTE) < LOOK_EVERY:
            hours.touch(story.session)

    await hours.go_by(3 * DAY, each=touch_now_and_then)
    assert await story.state() is READY
    assert story.told == []
    text, data = await hours.why(story.ada)
    assert data["counts"] == "input"
    assert data["signals"]["input"] <= 7 * MINUTE
    assert "keyboard or mouse in the desktop" in text
    rows = await hours.rows(story.session)
    assert {(step, signal) for step, signal, _ in rows[1:]} == {(Step.FREEZE, Signal.INPUT)}
    assert len(rows) <= 3 * DAY / (AFTER - WARNING - 7 * MINUTE) + 1
    assert all(AFTER - 7 * MINUTE - LOOK_EVERY <= due <= AFTER for _, _, due in rows)
    assert data["changes"][0]["signal"] == "input"


async def test_who_is_attached_and_does_nothing_is_warned_once_and_then_sent_away(world, story):
    """Five minutes ahead; then record, clients, the broker's own connection, and last the pause."""
    broker, hours, session = story.broker, story.hours, story.session
    order = []

    async def watch(method: str) -> None:
        if method == "pause":
            sent, left = broker.connections.sent_away, broker.inside.left
            order.append((len(sent), list(left), await story.state()))

    world.engine.before = watch
    await hours.visit(session)
    took = await hours.until(story.sleeps, within=AFTER + WARNING)
    assert AFTER <= took <= AFTER + 2 * LOOK_EVERY
    ((warned, notice),) = broker.inside.told
    assert warned == session.id
    assert notice.extend
    assert WARNING <= notice.lasts <= WARNING + LOOK_EVERY
    assert notice.text == (
        "Nobody used this desktop for 54 min 50 s: it sleeps in 5 min unless somebody does."
        " Programs go on where they are when you come back."
    )
    assert broker.connections.sent_away == [
        (
            session.id,
            "Your desktop sleeps: nobody used it for 1 h. Connect again to wake it.",
        )
    ]
    assert order == [(1, [session.id], FROZEN)]
    assert (await broker.store.session(session.id)).reason == "nobody used it for 1 h"
    await hours.tick()
    assert await hours.rows(session) == [
        (Step.FREEZE, Signal.WOKE, AFTER),
        (Step.STOP, Signal.WOKE, DAY),
    ]
    await broker.check()


async def test_the_warning_names_what_stops_where_nothing_freezes(world):
    """Programs end there."""
    story = await begin(world, freeze_after="never", stop_after="2h")
    await story.hours.visit(story.session)
    took = await story.hours.until(story.sleeps, within=2 * HOUR + WARNING)
    assert 2 * HOUR <= took <= 2 * HOUR + 2 * LOOK_EVERY
    assert await story.state() is ENDED
    (told,) = story.told
    assert "it is stopped in 5 min" in told
    assert told.endswith("Save your work: programs end, and your home is kept.")
    assert story.broker.connections.sent_away == [
        (
            story.session.id,
            "Your desktop was stopped: nobody used it. Connect again to start it; your home is kept.",
        )
    ]
    await story.broker.check()


async def test_a_newcomer_between_warning_and_freeze_is_warned_too_and_has_the_full_time(story):
    """Whoever was there longer gets as much."""
    hours = story.hours
    await hours.visit(story.session)
    await hours.go_by(AFTER - MINUTE)
    assert len(story.told) == 1
    await hours.visit(story.session, "phone")
    assert await hours.counts(story.ada) == "arrived"
    took = await hours.until(story.sleeps, within=2 * WARNING)
    assert len(story.told) == 2
    assert WARNING <= took <= WARNING + 2 * LOOK_EVERY


async def test_a_client_that_comes_again_and_again_by_itself_keeps_nothing_awake_for_long(story):
    """Tunnels and editors reconnect for ever with nobody before them."""
    hours = story.hours
    number = 0

    async def reconnect():
        nonlocal number
        number += 1
        hours.visits.clear()
        await hours.visit(story.session, f"tunnel-{number}")

    took = 0.0
    while not await story.sleeps():
        await reconnect()
        await hours.go_by(30)
        took += 30
        assert took < AFTER + 6 * WARNING
    assert took >= AFTER + WARNING


async def test_a_newcomer_who_leaves_again_keeps_nothing_awake(story):
    """What was due is due."""
    hours = story.hours
    await hours.visit(story.session)
    await hours.go_by(AFTER - MINUTE)
    await hours.visit(story.session, "phone")
    await hours.go_by(MINUTE / 2)
    await hours.leave("phone")
    await hours.leave("laptop")
    took = await hours.until(story.sleeps, within=WARNING)
    assert took <= MINUTE / 2 + 2 * LOOK_EVERY


@pytest.mark.parametrize("by", ["input", "typing", "data", "files", "transfer"])
async def test_activity_after_the_warning_withdraws_it(story, by):
    """The next time there is another warning, and the full time again; the records tell both."""
    hours, signal = story.hours, Signal(by)
    await hours.visit(story.session)
    await hours.go_by(AFTER - 2 * MINUTE)
    assert len(story.told) == 1
    if signal is Signal.INPUT:
        hours.touch(story.session)
    else:
        await hours.act(signal)
    await hours.tick()
    assert (await hours.rows(story.session))[-1] == (Step.FREEZE, signal, AFTER - LOOK_EVERY)
    assert await hours.counts(story.ada) == by
    took = await hours.until(story.sleeps, within=AFTER + WARNING)
    assert len(story.told) == 2
    assert AFTER - LOOK_EVERY <= took <= AFTER + 2 * LOOK_EVERY
    assert "it sleeps in 5 min" in story.told[1]


async def test_what_is_touched_while_the_reaper_makes_up_its_mind_stays_awake(world, story):
    """It asks once more when nobody can come between any more."""
    hours, session = story.hours, story.session
    freeze, froze = story.broker.sessions.freeze, []

    async def touched_just_before(*args, **kwargs):
        story.broker.watches.saw(session.id, Signal.TYPING)
        froze.append(await freeze(*args, **kwargs))

    story.broker.sessions.freeze = touched_just_before
    await hours.go_by(AFTER + 2 * LOOK_EVERY)
    assert froze == [False]
    assert await story.state() is READY
    assert "pause" not in world.engine.calls


async def test_nobody_is_warned_where_nobody_is(story):
    """It just sleeps."""
    took = await story.hours.until(story.sleeps, within=AFTER + WARNING)
    assert AFTER <= took <= AFTER + 2 * LOOK_EVERY
    assert story.told == []


async def test_a_desktop_that_takes_no_notice_is_tried_for_a_whole_warning_and_sleeps(story):
    """Its programs may have broken what shows notices: that keeps nothing awake for ever."""
    hours, inside = story.hours, story.broker.inside
    inside.deaf.add(story.session.id)
    tries = []
    inside.tell = _counted(inside.tell, tries)
    await hours.visit(story.session)
    took = await hours.until(story.sleeps, within=AFTER + WARNING)
    assert AFTER <= took <= AFTER + 2 * LOOK_EVERY
    assert WARNING / LOOK_EVERY <= len(tries) <= WARNING / LOOK_EVERY + 3


async def test_many_looks_in_a_row_are_no_whole_warning(story):
    """Each start of somebody wakes the reaper: what counts is the time, not how often it looked."""
    hours, gateway = story.hours, story.broker.gateway
    story.broker.inside.deaf.add(story.session.id)
    await hours.visit(story.session)
    await gateway.word(story.ada, ["extend", "8h"])
    await hours.go_by(2 * HOUR)
    await gateway.word(story.ada, ["extend", "0"])
    for _ in range(100):
        await story.broker.reaper.pass_once()
    took = await hours.until(story.sleeps, within=2 * WARNING)
    assert WARNING <= took <= WARNING + 2 * LOOK_EVERY


async def test_a_desktop_that_begins_to_hear_again_gets_the_full_time(story):
    """From the notice that somebody could see."""
    hours, deaf = story.hours, story.broker.inside.deaf
    deaf.add(story.session.id)
    await hours.visit(story.session)
    await hours.go_by(AFTER - 2 * MINUTE)
    deaf.clear()
    took = await hours.until(story.sleeps, within=2 * WARNING)
    assert len(story.told) == 1
    assert WARNING <= took <= WARNING + 2 * LOOK_EVERY


def _counted(tell, tries: list):
    async def count(session_id, notice):
        tries.append(session_id)
        return await tell(session_id, notice)

    return count


# ------------------------------------------------------------------------------- work, no hands


async def test_a_job_keeps_a_desktop_with_nobody_there_and_for_no_longer_than_it_may(world):
    """A compile over half a core: within `busy_for` behind the last thing a person did."""
    story = await begin(world, busy_for="6h")
    hours = story.hours
    hours.compute(story.session, 0.5)
    await hours.go_by(5 * HOUR)
    text, data = await hours.why(story.ada)
    assert await hours.counts(story.ada) == "job"
    assert data["signals"]["job"] <= 2 * MINUTE
    assert "(a job keeps it for at most 6 h with nobody there)" in text
    took = await hours.until(story.sleeps, within=2 * HOUR)
    assert HOUR <= took <= HOUR + 2 * LOOK_EVERY
    assert (Step.FREEZE, Signal.JOB) in {row[:2] for row in await hours.rows(story.session)}


async def test_a_job_that_ends_is_followed_by_the_usual_time(story):
    """As after a person's own last act."""
    hours = story.hours
    hours.compute(story.session, 0.5)
    await hours.go_by(2 * HOUR)
    hours.compute(story.session, 0.0)
    took = await hours.until(story.sleeps, within=2 * HOUR)
    assert AFTER - 2 * MINUTE <= took <= AFTER + 2 * MINUTE


async def test_top_in_a_forgotten_shell_keeps_nothing_awake(story):
    """What a program prints is no input, and the little that it computes is no job."""
    hours = story.hours
    await hours.visit(story.session, "shell", kinds=("shell",))
    hours.compute(story.session, 0.05)
    took = await hours.until(story.sleeps, within=AFTER + WARNING)
    assert AFTER <= took <= AFTER + 2 * LOOK_EVERY
    assert len(story.told) == 1


async def test_a_moments_load_is_no_job(story):
    """`desk why` samples too: whoever asks twice in a second sees no load of that second."""
    hours, engine = story.hours, story.broker.world.engine
    await hours.go_by(30 * MINUTE)
    for _ in range(3):
        hours.clock.advance(1)
        engine.burn(container_name(story.session.id), 1.0)
        _, data = await hours.why(story.ada)
    assert "job" not in data["signals"]


async def test_what_a_program_does_with_the_pointer_while_nobody_is_there_is_a_job(world):
    """Bounded like one: else any program could keep its desktop for ever."""
    story = await begin(world, busy_for="3h")
    hours = story.hours

    async def wiggle() -> None:
        hours.touch(story.session)

    took = 0.0
    while not await story.sleeps():
        await hours.go_by(MINUTE, each=wiggle)
        took += MINUTE
        assert took < 5 * HOUR
    assert took >= 3 * HOUR


async def test_hands_of_a_visit_between_two_looks_are_hands(story):
    """Nobody was attached at any look."""
    hours = story.hours
    await hours.go_by(AFTER - WARNING)
    hours.clock.advance(2)
    await hours.visit(story.session)
    hours.touch(story.session)
    hours.clock.advance(2)
    await hours.leave()
    await hours.go_by(WARNING)
    assert await hours.counts(story.ada) == "input"


async def test_a_moment_of_computing_is_no_job(world, story):
    """Not even in the last minute before a step."""
    hours = story.hours
    took = 0.0
    while not await story.sleeps():
        world.engine.burn(container_name(story.session.id), 1.1)
        await hours.go_by(200)
        took += 200
        assert took <= AFTER + 300


async def test_a_job_goes_on_while_the_engine_does_not_tell_of_it(world):
    """What nobody knows does not put it to sleep, and one warning tells of the engine."""
    story = await begin(world, busy_for="1d")
    hours = story.hours
    hours.compute(story.session, 1.5)
    await hours.go_by(2 * HOUR)

    async def deny(method: str) -> None:
        if method == "cpu_seconds":
            world.engine.fail_next("cpu_seconds", EngineUnavailable("busy"))

    world.engine.before = deny
    await hours.go_by(2 * HOUR)
    assert await story.state() is READY
    world.engine.before = None
    hours.compute(story.session, 0.0)
    await hours.until(story.sleeps, within=AFTER + WARNING)


async def test_a_pass_that_takes_long_is_no_gap(world, story):
    """However many desktops do not answer: what is due sleeps."""
    hours, inside = story.hours, story.broker.inside
    ask = inside.input_age

    async def slowly(session_id):
        story.broker.clock.advance(61)
        return await ask(session_id)

    inside.input_age = slowly
    await hours.until(story.sleeps, within=AFTER + 10 * MINUTE)


async def test_an_engine_that_tells_no_cpu_time_is_no_sign_of_a_job(world, story):
    """Nor does it stop the looks."""
    hours = story.hours
    await hours.visit(story.session)

    async def deny(method: str) -> None:
        if method == "cpu_seconds":
            world.engine.fail_next("cpu_seconds", EngineUnavailable("busy"))

    world.engine.before = deny
    hours.compute(story.session, 1.0)
    took = await hours.until(story.sleeps, within=AFTER + WARNING)
    assert took <= AFTER + 2 * LOOK_EVERY


async def test_a_transfer_keeps_it_while_it_goes_on_and_no_longer_than_it_may(world):
    """A client that reads a log for ever is nobody who works."""
    story = await begin(world, busy_for="3h")
    hours = story.hours
    await hours.visit(story.session, "copy", kinds=("exec",))

    async def transfer() -> None:
        if hours.visits:
            await hours.act(Signal.TRANSFER, "copy")

    await hours.go_by(2 * HOUR, each=transfer)
    assert await hours.counts(story.ada) == "transfer"
    assert "data sent to a client" in (await hours.why(story.ada))[0]
    await hours.go_by(HOUR - LOOK_EVERY, each=transfer)
    assert len(story.told) == 1
    assert await story.state() is READY
    await hours.go_by(3 * LOOK_EVERY, each=transfer)
    assert await story.state() is FROZEN


@pytest.mark.parametrize(
    ("signal", "kind", "words"),
    [
        (Signal.FILES, "sftp", "files over sftp"),
        (Signal.DATA, "forward", "data sent by a client"),
        (Signal.TYPING, "shell", "typing in a terminal"),
    ],
)
async def test_what_a_client_does_keeps_it_for_days(story, signal, kind, words):
    """An sftp, a forward, a shell: without a key in the desktop itself."""
    hours = story.hours
    await hours.visit(story.session, kinds=(kind,))

    async def now_and_then() -> None:
        if hours.clock.monotonic() % (30 * MINUTE) < LOOK_EVERY:
            await hours.act(signal)

    await hours.go_by(2 * DAY, each=now_and_then)
    assert await story.state() is READY
    assert await hours.counts(story.ada) == signal.value
    assert words in (await hours.why(story.ada))[0]
    assert story.told == []


# ------------------------------------------------------------------------------------ wishes


async def test_what_is_kept_is_awake_until_then(story):
    """With nobody in it, and the record says who asked."""
    hours = story.hours
    await hours.tick()
    reply = await story.broker.gateway.word(story.ada, ["extend", "4h"])
    assert reply.stdout == "main is kept awake for 4 h.\n"
    assert await hours.counts(story.ada) == "keep"
    row = (await story.broker.store.deadlines(story.session.id))[0]
    assert (row.signal, row.actor, row.step) == (Signal.KEEP, "user:ada", Step.FREEZE)
    assert (row.due_at - row.at).total_seconds() == 4 * HOUR
    took = await hours.until(story.sleeps, within=5 * HOUR)
    assert 4 * HOUR <= took <= 4 * HOUR + 2 * LOOK_EVERY


async def test_a_wish_after_the_warning_withdraws_it(story):
    """And `extend 0` brings it back."""
    hours, gateway = story.hours, story.broker.gateway
    await hours.visit(story.session)
    await hours.go_by(AFTER - MINUTE)
    await gateway.word(story.ada, ["extend", "2h"])
    await hours.go_by(HOUR)
    assert await story.state() is READY
    await gateway.word(story.ada, ["extend", "0"])
    took = await hours.until(story.sleeps, within=2 * WARNING)
    assert len(story.told) == 2
    assert WARNING <= took <= WARNING + 2 * LOOK_EVERY


async def test_keep_reaches_as_far_as_one_may(world):
    """And `extend` no further."""
    story = await begin(world, keep_up_to="8h")
    gateway, hours = story.broker.gateway, story.hours
    reply = await gateway.word(story.ada, ["extend", "9h"])
    assert reply.stderr == "desk: '9h' is too long: at most 8 h are allowed. (bad_request)\n"
    reply = await gateway.word(story.ada, ["keep"])
    assert reply.stdout == "main is kept awake for 8 h.\n"
    took = await hours.until(story.sleeps, within=9 * HOUR)
    assert 8 * HOUR <= took <= 8 * HOUR + 2 * LOOK_EVERY


# --------------------------------------------------------------------------------------- frozen


async def test_what_slept_long_enough_is_stopped_and_its_home_kept(world, story):
    """With a reason that tells both."""
    hours = story.hours
    desktop = await story.broker.desktop()
    world.home(desktop).files["thesis.tex"] = "draft"
    await hours.until(story.sleeps, within=AFTER + WARNING)
    text, data = await hours.why(story.ada)
    assert (data["state"], data["next"], data["reason"]) == (
        "frozen",
        "stop",
        "nobody used it for 1 h",
    )
    assert "Unless somebody connects, it is stopped in 1 d, at " in text

    async def ended() -> bool:
        return await story.state() is ENDED

    took = await hours.until(ended, within=DAY + HOUR)
    assert DAY <= took <= DAY + 2 * LOOK_EVERY
    record = await story.broker.store.session(story.session.id)
    assert record.reason == "it slept for 1 d"
    assert world.home(desktop).files == {"thesis.tex": "draft"}
    text, data = await hours.why(story.ada)
    assert text == "main stopped 0 s ago: it slept for 1 d. The next connect starts it.\n"
    assert (data["state"], data["counts"], data["next"]) == ("stopped", None, None)
    await story.broker.check()


async def test_a_wish_holds_the_stop_of_what_sleeps(story):
    """It goes on sleeping."""
    hours = story.hours
    await hours.until(story.sleeps, within=AFTER + WARNING)
    await hours.go_by(DAY - HOUR)
    await story.broker.gateway.word(story.ada, ["keep"])
    assert (await hours.why(story.ada))[1]["counts"] == "keep"
    await hours.go_by(3 * DAY - LOOK_EVERY)
    assert await story.state() is FROZEN
    await hours.go_by(2 * LOOK_EVERY)
    assert await story.state() is ENDED


async def test_an_engine_that_is_down_when_it_should_stop_leaves_it_for_later(world, story):
    """The pass goes on with the others; a reconcile ends it when the engine is back."""
    hours, broker = story.hours, story.broker
    await hours.until(story.sleeps, within=AFTER + WARNING)
    await hours.go_by(DAY - LOOK_EVERY)
    with outage(world):
        await hours.go_by(3 * LOOK_EVERY)
        assert await story.state() is SessionState.STOPPING
    await broker.settle()
    assert (await broker.store.session(story.session.id)).reason == "it slept for 1 d"
    await broker.check()


async def test_what_wakes_while_the_reaper_is_at_others_is_not_stopped(world, story):
    """A pass over a thousand desktops takes seconds: what it read at its begin is old by then."""
    hours, broker = story.hours, story.broker
    await hours.until(story.sleeps, within=AFTER + WARNING)
    await hours.go_by(DAY - LOOK_EVERY)
    near, woke = broker.reaper._near, []

    async def thawed_first(watches):
        found = await near(watches)
        if found and not woke:
            woke.append(await broker.route(story.ada))
        return found

    broker.reaper._near = thawed_first
    await hours.go_by(2 * LOOK_EVERY)
    assert [route.session_id for route in woke] == [story.session.id]
    assert await story.state() is READY
    await hours.go_by(HOUR / 2)
    assert await story.state() is READY


async def test_what_somebody_wakes_just_now_is_not_stopped(world, story):
    """A thaw that takes its time is a wish like any other."""
    hours, broker = story.hours, story.broker
    await hours.until(story.sleeps, within=AFTER + WARNING)
    await hours.go_by(DAY - LOOK_EVERY)
    gate = world.engine.before = Gate("unpause")
    waiting = broker.begin(await broker.desktop())
    await gate.reached.wait()
    await hours.go_by(3 * LOOK_EVERY)
    gate.open.set()
    assert (await waiting).state is READY
    await broker.check()


# ----------------------------------------------------------------------------------- age, never


async def test_a_session_too_old_is_stopped_after_a_warning(world):
    """Programs end, the home is kept; the sentence tells how long one may."""
    story = await begin(world, max_age="12h")
    hours = story.hours
    await hours.visit(story.session)
    await story.broker.gateway.word(story.ada, ["keep"])
    await hours.go_by(6 * HOUR)
    text, data = await hours.why(story.ada)
    assert (data["counts"], data["next"]) == ("age", "stop")
    assert "It may run for 12 h, and is stopped in 6 h, at " in text
    took = await hours.until(story.sleeps, within=7 * HOUR)
    assert 6 * HOUR <= took <= 6 * HOUR + 2 * LOOK_EVERY
    (told,) = story.told
    assert told == (
        "This desktop has run for 12 h, the longest that is allowed, and is stopped in 5 min. Save"
        " your work: programs end, and your home is kept."
    )
    record = await story.broker.store.session(story.session.id)
    assert (record.state, record.reason) == (ENDED, "it ran for 12 h, and 12 h are allowed")
    assert (await hours.rows(story.session))[-1][:2] == (Step.STOP, Signal.AGE)


async def test_nobody_is_stopped_for_age_under_their_hands(world):
    """Not before a warning's time alone, with a warning after the last touch; told now and then."""
    story = await begin(world, max_age="2h")
    hours = story.hours
    await hours.visit(story.session)

    async def touch() -> None:
        if hours.clock.monotonic() % MINUTE < LOOK_EVERY:
            hours.touch(story.session)

    await hours.go_by(3 * HOUR, each=touch)
    assert await story.state() is READY
    assert 2 <= len(story.told) <= HOUR / WARNING + 2
    hours.touch(story.session)
    touched = hours.clock.monotonic()
    await hours.until(story.sleeps, within=2 * WARNING + MINUTE)
    assert await story.state() is ENDED
    assert story.told_at[-1] >= touched
    assert hours.clock.monotonic() - story.told_at[-1] >= WARNING


async def test_a_warning_of_long_ago_is_no_warning(world):
    """Whoever typed on after one, in a policy that leaves hardly more time than it takes."""
    story = await begin(world, freeze_after="305s")
    hours = story.hours
    await hours.visit(story.session)

    async def typing() -> None:
        if hours.clock.monotonic() % (2 * MINUTE) < LOOK_EVERY:
            await hours.act(Signal.TYPING)

    await hours.go_by(HOUR, each=typing)
    assert 1 <= len(story.told) <= HOUR / WARNING + 1
    await hours.act(Signal.TYPING)
    typed = hours.clock.monotonic()
    await hours.until(story.sleeps, within=3 * WARNING)
    assert story.told_at[-1] >= typed
    assert hours.clock.monotonic() - story.told_at[-1] >= WARNING


async def test_a_frozen_session_too_old_is_stopped(world):
    """Nobody is in it to be warned."""
    story = await begin(world, max_age="3h")
    await story.hours.until(story.sleeps, within=AFTER + WARNING)
    assert await story.state() is FROZEN
    await story.hours.go_by(2 * HOUR + LOOK_EVERY)
    assert await story.state() is ENDED


async def test_who_keeps_what_slept_long_enough_reads_that_it_is_stopped_for_its_age(world):
    """An extend in the very moment in which it is stopped for its sleep, and is too old as well."""
    story = await begin(world, stop_after="7170s", max_age="3h")
    hours, broker, said = story.hours, story.broker, []
    await hours.until(story.sleeps, within=AFTER + WARNING)
    await hours.go_by(7160)

    async def extend_meanwhile(method, _args) -> None:
        if method == "session" and not said:
            said.append(None)
            said.append(await broker.gateway.word(story.ada, ["extend", "1h"]))

    broker.fate.after = extend_meanwhile
    await hours.tick(40)
    assert said[1].stdout.startswith("main is kept awake for 1 h.\n")
    assert await story.state() is FROZEN
    await hours.tick()
    assert await story.state() is ENDED
    record = await broker.real_store.session(story.session.id)
    assert record.reason.startswith("it ran for 3 h")


@pytest.mark.parametrize(
    ("idle", "ends"),
    [
        ({"freeze_after": "never", "stop_after": "never"}, (READY, None)),
        ({"freeze_after": "never", "stop_after": "never", "max_age": "2h"}, (ENDED, 2 * HOUR)),
        ({"freeze_after": "never", "stop_after": "2h"}, (ENDED, 2 * HOUR)),
        ({"freeze_after": "2h", "stop_after": "never"}, (FROZEN, 2 * HOUR)),
        ({"stop_after": "never", "max_age": "2h"}, (ENDED, 2 * HOUR)),
    ],
)
async def test_never_means_never(world, idle, ends):
    """Each of the three alone and together."""
    story = await begin(world, **idle)
    hours, (state, after) = story.hours, ends
    ends_at = []

    async def note() -> None:
        if await story.state() is state:
            ends_at.append(hours.clock.monotonic())

    began = hours.clock.monotonic()
    await hours.go_by(8 * HOUR, each=note)
    assert await story.state() is state
    if after is not None:
        assert ends_at[0] - began <= after + 2 * LOOK_EVERY
    text, data = await hours.why(story.ada)
    if state is not ENDED:
        assert "It does not go to sleep by itself." in text
        assert data["next"] is None
