"""One round: several desktops in several states, a death, a look at what is left."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from broker.core.errors import DeskError
from tests.e2e.desk import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.chaos.people import Resident
    from tests.chaos.world import World

#: Seconds in which a point is reached, if ever.
_REACHED = 30

#: Seconds between asking and writing, at most.
_NEAR = 60

#: Where a broker dies: before a call is made, while it is under way, after its answer.
POINTS = [
    f"{when} {where}"
    for where in (
        "store.begin_session",
        "engine.create",
        "engine.start",
        "store.advance:ready",
        "store.advance:stopping",
        "engine.remove",
        "store.advance:ended",
        "store.advance:frozen",
        "engine.pause",
        "engine.unpause",
        "store.keep_session",
        "store.note_deadline",
        "store.add_user",
        "store.ensure_desktop",
        "engine.ensure_home",
        "store.note_home",
    )
    for when in ("before", "during", "after")
]

_BEGINNING = ("before engine.remove", "before store.advance:stopping", "after store.advance:ended")
_RESUMING = ("before store.advance:ready", "after store.advance:ready")
_ENDING = ("before engine.remove", "after engine.remove", "before store.advance:ended")
_PAUSING = ("before engine.pause", "after engine.pause")

#: What the next broker has to heal after a death there, and where it then dies as well.
HEALING = {
    "before engine.create": _BEGINNING,
    "after store.begin_session": _BEGINNING,
    "before engine.start": _BEGINNING,
    "after engine.start": _RESUMING,
    "before store.advance:ready": _RESUMING,
    "after store.advance:stopping": _ENDING,
    "before engine.remove": _ENDING,
    "during engine.remove": _ENDING,
    "after engine.remove": ("before store.advance:ended", "after store.advance:ended"),
    "after store.advance:frozen": _PAUSING,
    "before engine.pause": _PAUSING,
    "after engine.unpause": _PAUSING,
}

#: Where nobody dies.
NOWHERE = "the broker lives on"


@dataclass
class Round:
    """What happens in it, and what came of it."""

    number: int
    point: str
    engine: str = "-"
    """`stop` or `kill`, or nothing."""
    again: str = ""
    """The point of a second death, while the next broker heals."""
    reached: bool = False
    again_reached: bool = False
    seconds: float = 0.0
    healed: float = 0.0
    """From the last start until records and containers agreed."""
    failure: str = ""


def schedule(count: int, seed: int) -> list[Round]:
    """Every point in turn; the rest by chance, the same for the same seed."""
    chance = random.Random(seed)
    points = POINTS.copy()
    chance.shuffle(points)
    rounds = []
    for number in range(count):
        made = Round(number + 1, points[number % len(points)])
        match number % 10:
            case 3:
                made.engine = chance.choice(("stop", "kill"))
                made.point = NOWHERE
            case 1 | 6:
                made.engine = chance.choice(("stop", "kill"))
            case _ if made.point in HEALING:
                made.again = chance.choice(HEALING[made.point])
        rounds.append(made)
    return rounds


@dataclass
class Cast:
    """Who does what in a round."""

    stayer: Resident
    """Has a client attached that only dies with the broker, and goes on writing."""
    sleeper: Resident
    """Is frozen, and wanted by nobody."""
    starter: Resident
    stopper: Resident
    freezer: Resident
    waker: Resident
    stopped: bool = False
    """Whether the stop was acknowledged."""
    frozen: bool = False
    kept: list[float] = field(default_factory=list)
    """Until when the stayer is kept: what was acknowledged last, and what was asked since."""
    gone: list[Resident] = field(default_factory=list)
    """Who lived here once."""

    def forget(self) -> None:
        """What is known of their runs, after a round that failed."""
        for one in (
            self.stayer,
            self.sleeper,
            self.starter,
            self.stopper,
            self.freezer,
            self.waker,
        ):
            one.session = one.mark = None
            one.detach()
        self.kept.clear()
        self.stopped = self.frozen = False

    def turn(self) -> None:
        self.starter, self.stopper = self.stopper, self.starter
        self.freezer, self.waker = self.waker, self.freezer
        self.stopped = self.frozen = False


class Chaos:
    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self._chance = random.Random(seed)
        names = ("ada", "zoe", "bob", "cat", "dan", "eve")
        self.cast = Cast(*(world.welcome(name) for name in names))
        self._writes = 0

    def forget(self) -> None:
        """After a round that failed."""
        self.cast.forget()

    # ------------------------------------------------------------------------------------ the acts

    def prepare(self) -> None:
        """Everybody where a round finds them; whoever was cut off gets in again."""
        cast = self.cast
        with ThreadPoolExecutor(6) as pool:
            acts = [
                pool.submit(cast.stayer.settle_in),
                pool.submit(cast.freezer.settle_in),
                pool.submit(cast.stopper.settle_in),
                pool.submit(cast.starter.stop),
                *(
                    pool.submit(one.sleep)
                    for one in (cast.sleeper, cast.waker)
                    if one.session is None or not asleep(one)
                ),
            ]
        for act in acts:
            act.result()
        cast.stayer.attach()

    def acts(self, newcomer: Resident | None) -> list[Callable[[], None]]:
        cast = self.cast

        def start() -> None:
            if newcomer is not None:
                self.world.register(newcomer)
            (newcomer or cast.starter).ssh("true")

        def stop() -> None:
            record = cast.stopper.record()
            if record is not None:
                self.world.call("POST", f"/sessions/{record['id']}/stop")
                cast.stopped = True

        def freeze() -> None:
            cast.frozen = cast.freezer.ssh("desk sleep").returncode == 0

        def keep() -> None:
            hours = self._chance.randint(1, 70)
            asked = time.time() + hours * 3600
            cast.kept.append(asked)
            if cast.stayer.ssh(f"desk extend {hours}h").returncode == 0:
                cast.kept = [asked]
            elif len(cast.kept) == 1:
                cast.kept.clear()  # nothing was ever acknowledged

        return [
            start,
            stop,
            freeze,
            keep,
            lambda: self._write(cast.waker),
            lambda: self._write(cast.stayer),
        ]

    def _write(self, who: Resident) -> None:
        self._writes += 1
        line = f"line-{self._writes}"
        if who.ssh(f"echo {line} >> log").returncode == 0:
            who.lines.append(line)

    # ----------------------------------------------------------------------------------- the round

    def play(self, this: Round) -> None:
        """Raises `AssertionError` when anything is lost or does not agree."""
        began = time.monotonic()
        try:
            self.prepare()
            newcomer = self._newcomer(this)
            self.die(this, newcomer)
            self.heal(this)
            self.check()
            self.cast.turn()
            if newcomer is not None:
                self._move_in(newcomer)
        finally:
            this.seconds = time.monotonic() - began

    def _newcomer(self, this: Round) -> Resident | None:
        """Some points are met on a person's first day alone."""
        first_day = ("add_user", "ensure_desktop", "ensure_home", "note_home")
        if not this.point.endswith(first_day):
            return None
        return self.world.resident(f"new{this.number}")

    def _move_in(self, newcomer: Resident) -> None:
        """They take the place of who starts next, whose home stays."""
        if newcomer.name not in self.world.users:
            self.world.register_again(newcomer)
        starter = self.cast.starter
        starter.stop()
        self.cast.gone.append(starter)
        self.cast.starter = newcomer
        newcomer.settle_in()

    def die(self, this: Round, newcomer: Resident | None) -> None:
        desk, engine = self.world.desk, self.world.engine
        if this.point != NOWHERE:
            desk.fate.write_text(this.point)
        pool = ThreadPoolExecutor(6)
        try:
            acts = [pool.submit(act) for act in self.acts(newcomer)]
            if this.point == NOWHERE:
                time.sleep(self._chance.uniform(0, 1.5))
            else:
                this.reached = self._died(acts)
                desk.fate.unlink(missing_ok=True)
                desk.kill()
            if this.engine != "-":
                engine.end(kill=this.engine == "kill")
            if this.again:
                desk.fate.write_text(this.again)
            if not desk.alive:
                desk.start(ready=False)
            if this.engine != "-":
                time.sleep(self._chance.uniform(0, 1))
                engine.begin()
                engine.wait()
            settle(acts)
        finally:
            pool.shutdown()

    def _died(self, acts: list[Future[None]]) -> bool:
        """Whether the broker met its fate before everything was done."""
        deadline = time.monotonic() + _REACHED
        while self.world.desk.alive:
            if all(act.done() for act in acts) or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def heal(self, this: Round) -> None:
        desk = self.world.desk
        began = time.monotonic()
        if this.again:
            until(lambda: not desk.alive or desk.ready(), within=60, what="readiness")
            this.again_reached = not desk.alive
            desk.fate.unlink(missing_ok=True)
            if not desk.alive:
                began = time.monotonic()
                desk.start(ready=False)
        until(desk.ready, within=90, what="readiness")
        self.world.check_agreement()
        this.healed = time.monotonic() - began
        if this.point == NOWHERE:
            self.cast.stayer.echo()
        else:
            self.cast.stayer.detach()

    def check(self) -> None:
        cast, world = self.cast, self.world
        for who in (cast.stayer, cast.sleeper, cast.freezer, cast.waker):
            who.check_same_run()
        assert asleep(cast.sleeper), "the one who sleeps was woken"
        if cast.frozen:
            assert asleep(cast.freezer), "an acknowledged sleep is lost"
        stopper = cast.stopper.record()
        if stopper is not None and stopper["id"] == cast.stopper.session:
            assert not cast.stopped, "an acknowledged stop is lost"
            cast.stopper.check_same_run()
        self._check_kept()
        for resident in world.residents:
            resident.check_home()
        world.check_accounts()
        world.check_strangers()
        world.check_log()

    def _check_kept(self) -> None:
        record = self.cast.stayer.record()
        assert record is not None
        if not self.cast.kept:
            return
        assert record["kept_until"], "an acknowledged extension is lost"
        kept = datetime.fromisoformat(record["kept_until"]).timestamp()
        assert any(abs(kept - asked) < _NEAR for asked in self.cast.kept), "an extension is lost"


def asleep(who: Resident) -> bool:
    record = who.record()
    return record is not None and record["state"] == "frozen"


def settle(acts: list[Future[None]]) -> None:
    """Whoever asked has been answered, or was cut off with the broker."""
    wait(acts)
    for act in acts:
        error = act.exception()
        if error is not None and not isinstance(error, DeskError):
            raise AssertionError(f"a client was left alone: {error}") from error
