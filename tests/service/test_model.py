"""The life of a session under every sequence that hypothesis finds: what people, admins, the reaper
and the reconcile do, side by side and cut anywhere, and what happens to the engine meanwhile.

Each call of a broker waits for its turn. `turns` says how many of an operation's calls go through
before something else happens; None is all of them, time standing still.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from functools import wraps
from itertools import product

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker.core import model as ids
from broker.core.errors import DeskError, EngineUnavailable
from broker.core.idle import Signal
from broker.core.interfaces import ContainerState
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.service.reaper import REPORTED_WITHIN
from tests.service.harness import WRITES
from tests.service.model import ALIVE, PEOPLE, POLICIES, Model, _keys

_S = SessionState

person = st.sampled_from(PEOPLE)
desktop = st.sampled_from(("main", "lab"))
door = st.sampled_from(("d1", "d2"))
which = st.integers(0, 5)
turns = st.sampled_from((None, None, None, 0, 1, 2, 3, 5, 8, 12))
few = st.integers(1, 6)

#: How often each rule was followed, in this process.
COUNTS: Counter[str] = Counter()


def act(**strategies):
    """A rule that is counted."""

    def made(work):
        @wraps(work)
        def counted(self, **drawn):
            COUNTS[work.__name__] += 1
            self.since[work.__name__] = 0
            self.broken = True
            work(self, **drawn)
            self.broken = False
            for name in self.since:
                self.since[name] += 1

        return rule(**strategies)(counted)

    return made


serving = precondition(lambda self: self.m.main is not None)
some = precondition(lambda self: self.m.main is not None and self.m.alive)


def rare(name, after):
    """Not again before so many other steps."""
    return precondition(lambda self: self.since.get(name, after) >= after)


under_way = precondition(lambda self: self.m.waiting())


class Ids:
    """Ids in the order of their making: a sequence is the same each time."""

    def __init__(self) -> None:
        self.made = 0

    def token_hex(self, size: int) -> str:
        self.made += 1
        return f"{self.made:0{2 * size}x}"


class AllEnabled:
    def is_enabled(self, _name) -> bool:
        return True


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # By default whole rules are left out of a sequence; without time, or without people, too
        # little happens in it.
        self._rules_strategy.enabled_rules_strategy = st.just(AllEnabled())
        self.kept_ids, ids.secrets = ids.secrets, Ids()
        self.m: Model = None
        self.broken = False
        """Whether the last rule did not come to its end."""
        self.since = {"broker_dies": 3, "settle": 0, "nobody_is_there_any_more": 0}
        """For how many steps a rule was not followed."""

    @initialize(policy=st.sampled_from(tuple(POLICIES)), runs=st.integers(0, 2))
    def begin(self, policy, runs):
        COUNTS["EXAMPLES"] += 1
        self.m = Model(policy)
        self.m.serve()
        for name in PEOPLE[:runs]:
            Life.connect(self, who=name, to="main", by="d1", stays=True, turns=None)

    def teardown(self):
        try:
            if self.m is not None:
                try:
                    if not self.broken:
                        self.m.settle()
                finally:
                    self.m.close()
        finally:
            ids.secrets = self.kept_ids

    # ------------------------------------------------------------------------------------ people

    @serving
    @act(who=person, to=desktop, by=door, stays=st.booleans(), turns=turns)
    def connect(self, who, to, by, stays, turns):
        m = self.m

        def judge(op, route):
            session = m.sessions.get(route.session_id)
            assert session is not None
            assert session.ready is not None, "a way into what never was ready"
            if stays and m.main is op.broker:
                m.attach(route.session_id, who, by)

        said = []
        work = m.main.gateway.route(m.identity(who, to), display=None, progress=said.append)
        m.go(m.begin(f"connect {who}", m.main, work, judge), turns)

    @some
    @act(
        does=st.sampled_from(
            (
                *(Signal.TYPING, Signal.DATA, Signal.FILES, Signal.TRANSFER),
                *("moves the mouse", "computes", "leaves"),
                *("takes no notice", "loses their door"),
            )
        ),
        index=which,
        told=st.booleans(),
    )
    def somebody(self, does, index, told):
        """Does something that keeps a desktop awake, or no longer does. `told`: the door says so
        at once.
        """
        m = self.m
        session = m.alive[index % len(m.alive)]
        client = m.clients[index % len(m.clients)] if m.clients else None
        match does:
            case "moves the mouse":
                if m.sessions[session].state is _S.READY:
                    m.moved(session)
            case "computes":
                if m.computing.pop(session, None) is None:
                    m.computing[session] = m.now
            case "takes no notice":
                m.deaf ^= {session}
                m.deafened.add(session)
            case _ if client is None:
                pass
            case "leaves":
                m.leave(client)
            case "loses their door":
                m.clients = [other for other in m.clients if other.door != client.door]
            case signal:
                client.seen[signal] = m.now
        if told:
            m.report()

    @serving
    @act(
        who=person,
        to=desktop,
        word=st.sampled_from(("stop", "sleep", "start", "extend 5m", "extend 0", "keep", "why")),
        turns=turns,
    )
    def say(self, who, to, word, turns):
        m = self.m
        m.last_pass = None  # it can make the reaper look

        def since(op, action):
            desktop_id = m.desktop_id(who, to)
            rows = m.database.execute(
                "SELECT 1 FROM audit WHERE seq > ? AND action = ? AND detail LIKE ?",
                (op.asked, action, f'%"{desktop_id}"%'),
            )
            return rows.fetchone() is not None

        def judge(op, reply):
            m.last_pass = None
            if reply.status != 0:
                assert reply.stderr.startswith("desk: "), reply
                return
            if m.desktop_id(who, to) is None:  # removed meanwhile
                return
            if word == "stop" and "is stopped" in reply.stdout:
                assert since(op, "session.end")
            if word == "sleep" and "already" not in reply.stdout:
                assert since(op, "session.freeze")
            if word in {"extend 5m", "keep", "extend 0"}:
                session = m.live(m.desktop_id(who, to))
                if session is not None and op.began == m.now:
                    seconds = {"extend 5m": 300.0, "keep": 600.0, "extend 0": 0.0}[word]
                    m.kept[session] = m.now + seconds

        work = m.main.gateway.word(m.identity(who, to), word.split())
        m.go(m.begin(f"{who} says {word}", m.main, work, judge), turns)

    # ------------------------------------------------------------------------------------ admins

    @serving
    @act(
        does=st.sampled_from(
            (
                "stop",
                "kill",
                "kill by force",
                "remove",
                "remove with home",
                "remove user",
                "add user",
            )
        ),
        who=person,
        to=desktop,
        turns=turns,
    )
    def admin(self, does, who, to, turns):
        m = self.m
        main, desktop_id = m.main, m.desktop_id(who, to)
        session = m.live(desktop_id)
        judge = None
        match does:
            case "remove user":
                work = main.accounts.remove_user(who, actor="uid:0")
            case "add user":
                keys = [_keys()[who][1]]
                work = main.accounts.add_user(who, admin=False, keys=keys, actor="uid:0")
            case "remove" | "remove with home" if desktop_id is not None:
                if does != "remove":
                    m.may_delete.add(desktop_id)
                work = main.accounts.remove_desktop(
                    desktop_id, with_home=does != "remove", actor="uid:0"
                )

                def judge(op, _):
                    row = m.database.execute(
                        "SELECT 1 FROM audit WHERE subject = ? AND action = 'desktop.remove'",
                        (desktop_id,),
                    )
                    assert row.fetchone() is not None

            case "stop" if session is not None:
                work = main.sessions.stop(session, reason="enough", actor="uid:0")

                def judge(_op, _ended):
                    assert session not in m.alive

            case "kill" | "kill by force" if session is not None:
                force = does != "kill"
                if force:
                    m.forced.add(session)
                work = main.sessions.kill(session, reason="enough", actor="uid:0", force=force)

                def judge(_op, _ended):
                    assert session not in m.alive

            case _:
                return
        m.go(m.begin(f"admin: {does}", main, work, judge), turns)

    # -------------------------------------------------------------------------------------- time

    @serving
    @act(passes=few, every=st.sampled_from((10, 50)), turns=turns)
    def time_goes_on(self, passes, every, turns):
        """The loops pass as they do; only the last pass of the reaper may be left under way."""
        m = self.m
        for index in range(passes):
            m.pass_time(every)
            m.report()
            m.go(m.reap(), turns if index == passes - 1 else None)
        if passes * every >= 60:
            m.go(m.reconcile())

    @some
    @act(index=which, before=st.sampled_from((75, 65, 40, 5, 0, -REPORTED_WITHIN)), turns=turns)
    def time_until_a_step(self, index, before, turns):
        """Until so many seconds before the broker would put a session to sleep, or stop it."""
        m = self.m
        session = m.alive[index % len(m.alive)]
        if m.due(session) == float("inf"):
            m.go(m.reap())
        for _ in range(20):
            left = m.due(session) - before
            if not 0 < left < float("inf"):
                break
            m.pass_time(min(50.0, left))
            m.report()
            m.go(m.reap(), turns if left <= 50 else None)

    @some
    @act(
        index=which,
        turns=st.integers(0, 10),
        does=st.sampled_from((Signal.TYPING, "moves the mouse", "connects", "extend 5m", "stop")),
        alone=st.booleans(),
        clock_is_set=st.booleans(),
        then=st.sampled_from((0, 20, 80)),
    )
    def at_the_last_moment(self, index, turns, does, alone, clock_is_set, then):
        """Somebody does something while the broker is about to put their desktop to sleep, after so
        many calls of the pass that does. `alone`: nobody is in it. A clock that was set makes the
        pass write more. `then`: so many seconds go by.
        """
        m = self.m
        session = m.alive[index % len(m.alive)]
        for client in [client for client in m.clients if alone and client.session == session]:
            m.leave(client)
        lag = 0 if m.sessions[session].state is _S.FROZEN else REPORTED_WITHIN
        self.time_until_a_step(index=index, before=5 - lag, turns=None)
        if session not in m.alive:
            return
        if clock_is_set:
            m.jump(600)
        self.time_until_a_step(index=m.alive.index(session), before=-lag, turns=turns)
        who, to = m.owner(session) if session in m.alive else (None, "")
        if who is None or m.sessions[session].state not in {_S.READY, _S.FROZEN}:
            return
        match does:
            case "connects":
                self.connect(who=who, to=to, by="d1", stays=True, turns=None)
            case "extend 5m" | "stop":
                self.say(who=who, to=to, word=does, turns=None)
            case "moves the mouse":
                m.moved(session)
            case signal:
                for client in m.clients:
                    if client.session == session:
                        client.seen[signal] = m.now
                m.report()
        while waiting := m.waiting():
            m.step(waiting[0])
        for _ in range(then // 10):
            m.pass_time(10)
            m.report()
            m.go(m.reap())

    @serving
    @act(who=person, to=desktop, turns=st.integers(0, 12), of=st.sampled_from(("main", "events")))
    def a_look_amid_a_start(self, who, to, turns, of):
        """Of the reconcile, or of a door that lost the session."""
        m = self.m
        self.say(who=who, to=to, word="start", turns=turns)
        m.pass_time(1)
        session = m.live(m.desktop_id(who, to))
        if of == "main":
            m.go(m.reconcile())
        elif session is not None:
            m.go(m.begin("lost", m.main, m.main.gateway.lost(session)))

    @some
    @act(of=st.sampled_from(("reaper", "reconcile")), turns=turns)
    def a_pass(self, of, turns):
        m = self.m
        m.go(m.reap() if of == "reaper" else m.reconcile(), turns)

    @precondition(lambda self: self.m.ops)
    @act(seconds=st.sampled_from((1, 3, 10, 25, 60)))
    def nobody_passes(self, seconds):
        self.m.pass_time(seconds)

    @some
    @act(seconds=st.sampled_from((100, 500, 7200)), first=st.booleans())
    def host_sleeps(self, seconds, first):
        """`first`: the doors speak before the reaper looks."""
        m = self.m
        m.pass_time(seconds)
        if first:
            m.report()
        m.go(m.reap())

    @some
    @act(seconds=st.sampled_from((-7200, -600, -30, 30, 600, 7200)))
    def clock_is_set(self, seconds):
        self.m.jump(seconds)

    # ------------------------------------------------------------------------------- interleaving

    @under_way
    @act(index=which, turns=turns)
    def go_on(self, index, turns):
        m = self.m
        waiting = m.waiting()
        m.go(waiting[index % len(waiting)], turns)

    @under_way
    @act()
    def everything_lands(self):
        m = self.m
        while waiting := m.waiting():
            m.step(waiting[0])

    @precondition(lambda self: self.m.late)
    @act(index=which)
    def an_order_arrives_late(self, index):
        self.m.arrive(index)

    # ------------------------------------------------------------------------------------ engine

    @serving
    @act(
        what=st.sampled_from(
            (
                "the engine goes",
                "it lists nothing once",
                "it restarts without live-restore",
                "a stranger takes a port",
                "desktops do not answer",
            )
        )
    )
    def trouble(self, what):
        m = self.m
        match what:
            case "the engine goes":
                m.engine.down = True
                m.disturbed = m.now
            case "it lists nothing once":
                m.engine.blank = 1
            case "it restarts without live-restore":
                for name, made in list(m.engine._made.items()):
                    if made.state.state in ALIVE:
                        m.engine.die(name)
                        m.harm(made.state.session_id)
                m.engine.lose_events()
                m.disturbed = m.now
            case "a stranger takes a port":
                m.engine.held_ports = {20000 + len(m.alive)}
            case _:
                m.main.probe.answering.clear()
        m.drain()

    @precondition(lambda self: self.m.troubled)
    @act()
    def trouble_ends(self):
        self.m.relieve()

    @act(
        method=st.sampled_from((*sorted(WRITES - {"remove_network"}), "containers", "inspect")),
        error=st.sampled_from((EngineUnavailable, DeskError)),
        after=st.booleans(),
    )
    def engine_errs(self, method, error, after):
        """Once, before it does anything, or with its reply lost."""
        m = self.m
        if method in {"containers", "inspect"}:
            error = EngineUnavailable
        m.engine.fail_next(method, error("no such luck"), after_effect=after)
        m.disturbed = m.now

    @precondition(lambda self: self.m.alive)
    @act(index=which, how=st.sampled_from(("die", "oom", "vanish", "pause", "unpause")))
    def from_outside(self, index, how):
        m = self.m
        session = m.alive[index % len(m.alive)]
        name = container_name(session)
        made = m.engine._made.get(name)
        if made is None or made.state.state not in ALIVE:
            return
        running = made.state.state is ContainerState.RUNNING
        if how in {"die", "oom"}:
            m.engine.die(name, oom_killed=how == "oom")
            m.harm(session)
        elif how == "vanish":
            m.engine.vanish(name)
            m.harm(session)
        elif how == "pause" and running:
            m.engine.outside_pause(name)
        elif how == "unpause" and not running:
            m.engine.outside_unpause(name)
        m.drain()

    # ----------------------------------------------------------------------------------- brokers

    @serving
    @rare("broker_dies", 6)
    @act(again=st.sampled_from((True, True, True, False)))
    def broker_dies(self, again):
        m = self.m
        m.kill(m.main)
        m.main = None
        if again:
            m.serve()

    @precondition(lambda self: self.m.main is None)
    @act()
    def broker_starts(self):
        self.m.serve()

    @serving
    @act(does=st.sampled_from(("comes", "connect", "reconcile", "goes")), who=person, turns=turns)
    def another_broker(self, does, who, turns):
        """On the same state and engine at the same time."""
        m = self.m
        if m.rival is None:
            m.rival, m.rivalled = m.start(), True
            does = "reconcile"
        match does:
            case "connect":
                work = m.rival.gateway.route(
                    m.identity(who, "main"), display=None, progress=lambda _said: None
                )
                m.go(m.begin("connect there", m.rival, work), turns)
            case "goes":
                m.kill(m.rival)
                m.rival = None
            case _:
                m.go(m.reconcile(m.rival), turns)

    # -------------------------------------------------------------------------------------- rest

    @rare("settle", 10)
    @act()
    def settle(self):
        self.m.settle()

    @some
    @rare("nobody_is_there_any_more", 15)
    @act()
    def nobody_is_there_any_more(self):
        self.m.rest()


@contextmanager
def quiet_log():
    """What brokers tell of their work is left out; what they did not foresee is an error."""
    structlog.configure(processors=[_only_defects], logger_factory=structlog.ReturnLoggerFactory())
    try:
        yield
    finally:
        structlog.reset_defaults()


def _only_defects(_logger, method, event):
    if method == "exception" or "exc_info" in event:
        raise AssertionError(f"a defect was logged: {event}")
    raise structlog.DropEvent


def run(examples: int, steps: int = 40, *, same: bool = False) -> None:
    """So many sequences, the `same` each time or new ones; raises with the shortest that fails."""
    with quiet_log():
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=same,
                deadline=None,
                database=None,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.timeout(900)  # each failure is made as short as it can be
def test_a_session_lives_as_the_invariants_say():
    """Any sequence; each fails with the steps that lead to it. A gate says the same of the same
    code each time: `make soak` is what looks further.
    """
    run(int(os.environ.get("DESK_MODEL_EXAMPLES", "200")), same=True)


@pytest.mark.parametrize("policy", ["freezes", "never freezes"])
@pytest.mark.parametrize("does", [Signal.TYPING, "connects", "extend 5m"])
def test_whoever_comes_before_the_step_is_not_put_to_sleep(policy, does):
    """At whichever call of the pass that would do it."""
    with quiet_log():
        for turns, unusual in product(range(8), (False, True)):
            life = Life()
            life.begin(policy=policy, runs=1)
            life.at_the_last_moment(
                index=0, turns=turns, does=does, alone=unusual, clock_is_set=unusual, then=0
            )
            life.teardown()
