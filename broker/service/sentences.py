"""What people are told about sleep, in one place and one tone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.idle import Signal, Step
from broker.core.words import spoken
from broker.service.inside import Notice

if TYPE_CHECKING:
    from broker.core.idle import Facts, IdlePolicy, Verdict

#: Each signal, as the end of a sentence that tells what a desktop is kept awake by.
SIGNALS = {
    Signal.INPUT: "keyboard or mouse in the desktop",
    Signal.TYPING: "typing in a terminal",
    Signal.DATA: "data sent by a client",
    Signal.FILES: "files over sftp",
    Signal.WOKE: "it was started or woken",
    Signal.ARRIVED: "somebody connected",
    Signal.JOB: "its programs compute",
    Signal.TRANSFER: "data sent to a client",
    Signal.KEEP: "somebody asked to keep it",
    Signal.AGE: "its age",
}


def notice(verdict: Verdict, policy: IdlePolicy, *, alone: float) -> Notice:
    """The warning before a step."""
    due = max(verdict.due, policy.warn_before)  # whoever is told late gets the time all the same
    unit = 60 if due > 100 else 10
    left = spoken(max(unit, round(due / unit) * unit))
    if verdict.signal is Signal.AGE:
        assert policy.max_age is not None
        text = (
            f"This desktop has run for {spoken(policy.max_age)}, the longest that is allowed, and is"
            f" stopped in {left}. Save your work: programs end, and your home is kept."
        )
        return Notice("This desktop is about to stop", text, extend=False, lasts=due)
    rest = (
        "Programs go on where they are when you come back."
        if verdict.step is Step.FREEZE
        else "Save your work: programs end, and your home is kept."
    )
    verb = "sleeps" if verdict.step is Step.FREEZE else "is stopped"
    text = f"Nobody used this desktop for {spoken(alone)}: it {verb} in {left} unless somebody does. {rest}"
    return Notice("This desktop is about to sleep", text, extend=True, lasts=due)


def unused(alone: float) -> str:
    """Why a session freezes or stops, for its record."""
    return f"nobody used it for {spoken(alone)}"


def why_stopped(verdict: Verdict, facts: Facts, policy: IdlePolicy) -> str:
    """Why a session is stopped, for its record."""
    if verdict.signal is Signal.AGE:
        assert policy.max_age is not None
        return f"it ran for {spoken(facts.age)}, and {spoken(policy.max_age)} are allowed"
    if facts.frozen is not None:
        return f"it slept for {spoken(facts.frozen)}"
    return "nobody used it"


def asleep(reason: str) -> str:
    """What a client reads whose desktop freezes."""
    return f"Your desktop sleeps: {reason}. Connect again to wake it."


def stopped(reason: str) -> str:
    """What a client reads whose desktop is stopped."""
    return f"Your desktop was stopped: {reason}. Connect again to start it; your home is kept."
