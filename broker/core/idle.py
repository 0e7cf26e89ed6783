"""When a desktop sleeps: a pure verdict over what people did in it, and how long ago.

Everything here is in seconds of a clock that only goes forward: no wall clock, set forward or back,
makes anybody late.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Signal(StrEnum):
    """What can keep a desktop awake. An open connection, its pings and acks, and what a program
    prints are none of them.
    """

    INPUT = "input"
    """Keyboard or mouse in the desktop, whichever viewer they came by."""
    TYPING = "typing"
    """A key on a terminal."""
    DATA = "data"
    """Bytes of a client on a forward or into a command, more than keepalives and polls have."""
    FILES = "files"
    """A request over sftp."""
    WOKE = "woke"
    """The session began or thawed, or the broker began to watch it."""
    ARRIVED = "arrived"
    """Somebody connected, and is there still: for as long as a warning takes to reach them."""
    JOB = "job"
    """The programs inside compute, above a threshold."""
    TRANSFER = "transfer"
    """A command or sftp gives its client data."""
    KEEP = "keep"
    """Somebody asked for it."""
    AGE = "age"
    """Not a sign of life: the session is as old as it may get."""


#: What a person does, each good for `freeze_after`.
PERSONAL = frozenset({Signal.INPUT, Signal.TYPING, Signal.DATA, Signal.FILES, Signal.WOKE})

#: For how many warnings' time newcomers may put a step off who do nothing but come.
NEWCOMERS = 2

#: What goes on without anybody: the same, but not for longer than `busy_for` behind the last
#: personal one.
BUSY = frozenset({Signal.JOB, Signal.TRANSFER})


class Step(StrEnum):
    """What happens to a session that nobody needs."""

    FREEZE = "freeze"
    """It stops computing and keeps its memory."""
    STOP = "stop"
    """Its programs end; the home is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """When sessions sleep. Seconds, above 0; None is never."""

    freeze_after: float | None
    """From the last activity."""
    stop_after: float | None
    """From the freezing; from the last activity where nothing freezes."""
    max_age: float | None
    """From the session's begin. It is stopped then, but never under somebody's hands: not before
    it was left alone for `warn_before`."""
    warn_before: float
    """How long before a step whoever is inside is told."""
    keep_up_to: float
    """How far ahead `extend` and `keep` reach."""
    busy_for: float
    """How long a job goes on with nobody there."""
    busy_cpu: float
    """Cores that a session must use on average to count as a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one session, in seconds before now."""

    ages: Mapping[Signal, float]
    """Of every signal that was seen; `WOKE` always is."""
    age: float
    """Since the session began."""
    frozen: float | None
    """Since it froze; None while it runs."""
    kept: float
    """How much longer somebody wants it kept; 0 for not at all."""
    attached: bool
    """Whether anybody is in it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens next, when, and what it hangs on."""

    step: Step | None
    """None: nothing will happen by itself."""
    due: float
    """Seconds from now; below 0 when it is overdue, infinite when there is no step."""
    signal: Signal
    """The one that counts: it would be due earlier without it."""


_NEVER = float("inf")


def judge(facts: Facts, policy: IdlePolicy) -> Verdict:
    """The next step of a session that is ready or frozen."""
    idle = _frozen(facts, policy) if facts.frozen is not None else _awake(facts, policy)
    aged = _aged(facts, policy)
    return aged if aged.due < idle.due else idle


def alone(facts: Facts) -> float:
    """Seconds since a person last did something."""
    return min(age for signal, age in facts.ages.items() if signal in PERSONAL)


def _awake(facts: Facts, policy: IdlePolicy) -> Verdict:
    step, after = Step.FREEZE, policy.freeze_after
    if after is None:
        step, after = Step.STOP, policy.stop_after
    held = _held(facts, policy, after or _NEVER)
    signal = max(held, key=lambda signal: held[signal])
    if after is None:
        return Verdict(None, _NEVER, signal)
    return Verdict(step, held[signal], signal)


def _held(facts: Facts, policy: IdlePolicy, after: float) -> dict[Signal, float]:
    """For how much longer each signal keeps a session that runs."""
    left_alone = alone(facts)
    held = {}
    for signal, age in facts.ages.items():
        if signal in PERSONAL:
            held[signal] = after - age
        elif signal in BUSY:
            held[signal] = min(after - age, policy.busy_for - left_alone)
    if facts.kept > 0:
        held[Signal.KEEP] = facts.kept
    if facts.attached and Signal.ARRIVED in facts.ages:
        # A client that comes again and again by itself is nobody.
        most = max(held.values()) + NEWCOMERS * policy.warn_before
        held[Signal.ARRIVED] = min(policy.warn_before - facts.ages[Signal.ARRIVED], most)
    return held


def _frozen(facts: Facts, policy: IdlePolicy) -> Verdict:
    assert facts.frozen is not None
    if policy.stop_after is None:
        return Verdict(None, _NEVER, Signal.WOKE)
    left = policy.stop_after - facts.frozen
    if facts.kept > max(left, 0):
        return Verdict(Step.STOP, facts.kept, Signal.KEEP)
    return Verdict(Step.STOP, left, Signal.WOKE)


def _aged(facts: Facts, policy: IdlePolicy) -> Verdict:
    if policy.max_age is None:
        return Verdict(None, _NEVER, Signal.AGE)
    left = policy.max_age - facts.age
    if facts.frozen is None:
        left = max(left, policy.warn_before - alone(facts))
    return Verdict(Step.STOP, left, Signal.AGE)
