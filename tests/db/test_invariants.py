"""Whatever is done to the store in whatever order, what must hold of the records holds."""

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.core.errors import DeskError
from broker.core.idle import Signal, Step
from broker.core.lifecycle import TRANSITIONS
from broker.core.model import LeaseKind, SessionState
from broker.core.pools import Pool
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS, SqliteFile

#: Small, so that they run out.
FEW = replace(
    POOLS,
    ports=Pool(20000, 20003),
    displays=Pool(1000, 1002),
    addresses=Pool(0x0A000002, 0x0A000005),
    uids=Pool(200000, 200004),
)

pick = st.integers(min_value=0, max_value=7)


class Records(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="desk-test-"))
        self.loop = asyncio.Runner()
        self.clock = ManualClock()
        self.store = self.run(SqliteFile(self.directory).open(self.clock))
        self.users, self.desktops, self.sessions = [], [], []
        self.uids = {}
        self.told = 0
        self.add_user("ada")
        self.ensure(0, "main")
        self.ensure(0, "lab")

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.directory)

    def run(self, work):
        return self.loop.run(work)

    def change(self, work, *, silent=False):
        """Run what may be refused; a refusal tells the audit nothing, a change at least one row."""
        result = None
        try:
            result = self.run(work)
            silent = silent or result is None
        except DeskError:
            silent = True
            told = self.tell()
            assert told == self.told
        told = self.tell()
        assert silent or told > self.told
        self.told = told
        return result

    def tell(self):
        newest = self.run(self.store.audit(limit=1))
        return newest[0].seq if newest else 0

    @rule(name=st.sampled_from(["ada", "bob"]))
    def add_user(self, name):
        made = self.change(self.store.add_user(name, admin=False, actor="x"))
        if made:
            self.users.append(made)

    @rule(which=pick)
    def remove_user(self, which):
        self.change(self.store.remove_user(self.users[which % len(self.users)].id, actor="x"))

    @rule(which=pick, name=st.sampled_from(["main", "lab", "big"]))
    def ensure(self, which, name):
        made = self.change(
            self.store.ensure_desktop(
                self.users[which % len(self.users)].id,
                name,
                template="t",
                host=HOST,
                pools=FEW,
                actor="x",
            ),
            silent=True,
        )
        if made:
            self.desktops.append(made)
            assert self.uids.setdefault(made.id, made.uid) == made.uid

    @rule(which=pick)
    def remove(self, which):
        desktop = self.desktops[which % len(self.desktops)]
        self.change(self.store.remove_desktop(desktop.id, actor="x"))

    @rule(which=pick)
    def forget(self, which):
        desktop = self.desktops[which % len(self.desktops)]
        self.change(self.store.forget_desktop(desktop.id, actor="x"))

    @rule(which=pick)
    def begin(self, which):
        desktop = self.desktops[which % len(self.desktops)]
        made = self.change(
            self.store.begin_session(
                desktop.id, host=HOST, image="i", pools=FEW, deadline=self.clock.now(), actor="x"
            )
        )
        if made:
            self.sessions.append(made.id)

    @precondition(lambda self: self.sessions)
    @rule(which=pick, to=st.sampled_from(SessionState), expected=st.sampled_from(SessionState))
    def leap(self, which, to, expected):
        self.move(which, expected, to)

    @precondition(lambda self: self.sessions)
    @rule(which=pick, choice=pick)
    def step(self, which, choice):
        before = self.state_of(which)
        lawful = sorted(TRANSITIONS[before])
        self.move(which, before, lawful[choice % len(lawful)] if lawful else before)

    @precondition(lambda self: self.sessions)
    @rule(which=pick)
    def end(self, which):
        self.move(which, self.state_of(which), SessionState.STOPPING)
        self.move(which, SessionState.STOPPING, SessionState.ENDED)

    def state_of(self, which):
        session = self.run(self.store.session(self.sessions[-1 - which % len(self.sessions)]))
        return session.state if session else SessionState.ENDED

    def move(self, which, expected, to):
        self.change(
            self.store.advance(
                self.sessions[-1 - which % len(self.sessions)],
                expected=expected,
                to=to,
                deadline=None,
                reason=None,
                actor="x",
            )
        )

    @precondition(lambda self: self.sessions)
    @rule(which=pick, what=st.sampled_from(["release_port", "release_address"]))
    def set_aside(self, which, what):
        until = self.clock.now() + timedelta(seconds=30)
        session_id = self.sessions[-1 - which % len(self.sessions)]
        self.change(getattr(self.store, what)(session_id, until=until, pools=FEW, actor="x"))

    @precondition(lambda self: self.sessions)
    @rule(which=pick, hours=st.sampled_from([None, 1, 4]))
    def keep(self, which, hours):
        until = None if hours is None else self.clock.now() + timedelta(hours=hours)
        session_id = self.sessions[-1 - which % len(self.sessions)]
        kept = self.change(self.store.keep_session(session_id, until=until, actor="x"), silent=True)
        assert kept is None or (kept.live and kept.kept_until == until)

    @precondition(lambda self: self.sessions)
    @rule(which=pick, step=st.sampled_from([*Step, None]), signal=st.sampled_from(Signal))
    def due(self, which, step, signal):
        session_id = self.sessions[-1 - which % len(self.sessions)]
        self.change(
            self.store.note_deadline(
                session_id, step=step, due_at=None, signal=signal, reason="r", actor="x"
            ),
            silent=True,
        )

    @rule(seconds=st.sampled_from([1, 29, 60]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def a_desktop_has_at_most_one_live_session(self):
        live = self.run(self.store.live_sessions())
        assert max(Counter(s.desktop_id for s in live).values(), default=0) <= 1

    @invariant()
    def leases_live_exactly_as_long_as_their_session(self):
        live = self.run(self.store.live_sessions())
        held = self.run(self.store.leases())
        by_session = {(lease.session_id, lease.kind) for lease in held if lease.session_id}
        kinds = set(LeaseKind) - {LeaseKind.UID}
        assert by_session == {(s.id, kind) for s in live for kind in kinds}
        assert {s.port for s in live} == {x.number for x in held if x.kind is LeaseKind.PORT}
        assert all(s.port in FEW.ports and s.display in FEW.displays for s in live)

    @invariant()
    def the_last_deadlines_are_the_newest_of_what_lives(self):
        newest = [
            deadline
            for session in self.run(self.store.live_sessions(HOST))
            for deadline in self.run(self.store.deadlines(session.id, limit=1))
        ]
        found = self.run(self.store.last_deadlines(HOST))
        assert len(found) == len(newest)
        assert set(found) == set(newest)

    @invariant()
    def a_uid_is_one_desktops_for_as_long_as_its_record(self):
        kept = self.run(self.store.desktops(removed=True))
        held = self.run(self.store.leases(LeaseKind.UID))
        assert len({desktop.uid for desktop in kept}) == len(kept)
        assert {(d.uid, d.id) for d in kept} == {(x.number, x.desktop_id) for x in held}
        assert all(desktop.uid in FEW.uids for desktop in kept)

    @invariant()
    def an_unremoved_desktop_has_an_unremoved_owner(self):
        owners = {user.id for user in self.run(self.store.users())}
        assert all(d.user_id in owners for d in self.run(self.store.desktops()))


TestRecords = Records.TestCase
TestRecords.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking replays hundreds of databases, and is not worth a minute of everybody's time.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
