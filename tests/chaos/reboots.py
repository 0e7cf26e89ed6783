"""One round on an engine that takes its containers with it, as a host that reboots does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.chaos.rounds import Round, asleep, settle
from tests.e2e.desk import until

if TYPE_CHECKING:
    from tests.chaos.people import Resident
    from tests.chaos.world import World

#: What the broker does meanwhile.
LIVES, BEFORE, BEHIND = "the broker lives on", "the broker goes first", "the broker goes as well"

#: A reason that names who was away.
_NAMED = ("while the container engine was away", "while the broker was away")


def schedule(count: int) -> list[Round]:
    """Each of the broker's parts with each of the engine's ends."""
    parts, ends = (LIVES, BEFORE, BEHIND), ("stop", "kill")
    return [Round(n + 1, parts[n % 3], ends[n // 3 % 2]) for n in range(count)]


class Reboots:
    def __init__(self, world: World) -> None:
        self.world = world
        self.awake, self.away, self.sleeper, self.starter = (
            world.welcome(name) for name in ("ada", "bob", "zoe", "cat")
        )

    @property
    def _settled(self) -> tuple[Resident, ...]:
        return self.awake, self.away, self.sleeper

    def forget(self) -> None:
        for one in self._settled:
            one.session = None
            one.detach()

    def play(self, this: Round) -> None:
        """Raises `AssertionError` when anything is lost or does not agree."""
        began = time.monotonic()
        try:
            self.prepare()
            before = {who.name: who.session for who in self._settled}
            self.die(this)
            self._heal(this)
            self.check()
            self._move_back(before)
        finally:
            this.seconds = time.monotonic() - began

    def prepare(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            acts = [
                pool.submit(self.awake.settle_in),
                pool.submit(self.away.settle_in),
                pool.submit(self.starter.stop),
            ]
            if self.sleeper.session is None or not asleep(self.sleeper):
                acts.append(pool.submit(self.sleeper.sleep))
        for act in acts:
            act.result()
        self.awake.attach()

    def die(self, this: Round) -> None:
        desk, engine = self.world.desk, self.world.engine
        with ThreadPoolExecutor(1) as pool:
            start = pool.submit(lambda: (self.starter.ssh("true"), None)[1])
            until(lambda: self.starter.record() or start.done(), what="a start under way")
            if this.point == BEFORE:
                desk.kill()
            engine.end(kill=this.engine == "kill")
            if this.point == BEHIND:
                desk.kill()
            engine.begin()
            engine.wait()
            if not desk.alive:
                desk.start(ready=False)
            settle([start])
        this.reached = True

    def _heal(self, this: Round) -> None:
        began = time.monotonic()
        until(self.world.desk.ready, within=90, what="readiness")
        self.world.check_agreement()
        this.healed = time.monotonic() - began
        self.awake.detach()

    def check(self) -> None:
        world = self.world
        for who in self._settled:
            state, reason = world.query(
                "select state, reason from session where id = ?", who.session
            )
            assert state == "ended", f"the session of {who.name} is {state} without its container"
            assert any(named in reason for named in _NAMED), f"the reason names nobody: {reason}"
        for resident in world.residents:
            resident.check_home()
        world.check_accounts()
        world.check_strangers(ran_on=False)
        world.check_log()

    def _move_back(self, before: dict[str, str | None]) -> None:
        """The next connect starts afresh, home kept."""
        self.world.wake_stranger()
        for who in self._settled:
            assert who.ok("cat mine") == f"{who.secret}\n"
            record = who.record()
            assert record is not None
            assert record["id"] != before[who.name]
