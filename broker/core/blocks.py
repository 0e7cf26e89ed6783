"""How long an account waits after wrong passwords and codes: pure, and bounded in memory.

Who tries is part of the key (`Circle`): strangers' tries make strangers wait, and nobody else.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

#: Seconds without a wrong try after which all is forgotten.
FORGOTTEN = 86_400.0

#: Doublings after which the longest delay is reached whatever the first one is.
_DOUBLINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a block begins, and how it grows. Seconds."""

    after: int
    """Wrong tries in a row, from 1."""
    first: float
    longest: float

    def delay(self, failures: int) -> float:
        """How long the last of so many failures in a row makes wait; 0 for not at all."""
        over = failures - self.after
        return 0.0 if over < 0 else min(self.longest, self.first * 2 ** min(over, _DOUBLINGS))


class Circle(NamedTuple):
    """Whose tries count together."""

    account: str
    """The name as it was typed: unknown ones count like known ones."""
    place: str | None
    """An address where the account is at home, or an exempt network; None: everywhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A circle that has to wait."""

    circle: Circle
    failures: int
    left: float
    """Seconds from now."""


@dataclass(slots=True)
class _Row:
    failures: int = 0
    until: float = 0.0
    """When a try is taken again."""
    forgotten: float = 0.0


class Blocks:
    """The circles that failed lately; `now` is in seconds of a clock that only goes forward.

    At most `most` are remembered. Those that wait have a half of their own: whoever wants one of
    them forgotten has to make as many others wait.
    """

    def __init__(self, rule: Rule, *, most: int = 10_000) -> None:
        self._rule = rule
        self._share = most // 2
        self._trying: OrderedDict[Circle, _Row] = OrderedDict()
        self._held: OrderedDict[Circle, _Row] = OrderedDict()

    def replace(self, rule: Rule) -> None:
        """Judge by another rule from the next try on."""
        self._rule = rule

    def __len__(self) -> int:
        return len(self._trying) + len(self._held)

    def left(self, circle: Circle, now: float) -> float:
        """Seconds until its next try is taken; 0 for at once."""
        row = self._held.get(circle)
        return 0.0 if row is None else max(0.0, row.until - now)

    def failed(self, circle: Circle, now: float) -> Block | None:
        """One more wrong try; what begins by it, if something does."""
        row = self._held.pop(circle, None) or self._trying.pop(circle, None)
        if row is None or row.forgotten <= now:
            row = _Row()
        row.failures += 1
        delay = self._rule.delay(row.failures)
        row.until = now + delay
        row.forgotten = row.until + FORGOTTEN
        rows = self._held if delay else self._trying
        rows[circle] = row
        if len(rows) > self._share:
            rows.popitem(last=False)
        return Block(circle=circle, failures=row.failures, left=delay) if delay else None

    def succeeded(self, circle: Circle) -> None:
        """Its next wrong try is the first one."""
        self._held.pop(circle, None)
        self._trying.pop(circle, None)

    def lift(self, account: str) -> bool:
        """Forget all tries on the account, wherever they came from; whether it had to wait."""
        had = [circle for circle in self._held if circle.account == account]
        for circle in [*had, *(c for c in self._trying if c.account == account)]:
            self.succeeded(circle)
        return bool(had)

    def standing(self, now: float) -> list[Block]:
        """Those that wait now, the longest wait first."""
        found = [
            Block(circle=circle, failures=row.failures, left=row.until - now)
            for circle, row in self._held.items()
            if row.until > now
        ]
        return sorted(found, key=lambda block: -block.left)
