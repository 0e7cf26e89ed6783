"""What fails several times in a row is held back for a while: a desktop alone, or an image."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.errors import HeldBack

if TYPE_CHECKING:
    from broker.core.interfaces import Clock

#: Failures in a row of a desktop, and users who met one in a row with an image.
_MANY = 3

#: Seconds for which the first hold lasts; each further one twice as long, to the longest.
_FIRST = 30.0
_LONGEST = 600.0

#: Seconds after which the next try goes through when nobody told how the last one ended.
_TRIAL = 30.0

#: Tries of which nobody told the end yet, and whose failure still counts.
_TRIALS = 8

#: Desktops, and images, that are remembered; the one that failed the longest ago is forgotten.
_MOST = 4096

#: Characters of a reason.
_REASON = 160


@dataclass(slots=True)
class _Row:
    """What failed in a row."""

    failures: int = 0
    reason: str = ""
    users: set[str] = field(default_factory=set)
    """Who met a failure; no more than are asked about."""
    last: str = ""
    """Whose failure was the newest that began or prolonged a hold."""
    holds: int = 0
    until: float | None = None
    """Monotonic time of the next try; None while nothing is held."""
    trials: deque[str] = field(default_factory=lambda: deque(maxlen=_TRIALS))
    """Desktops that were let through since the hold."""

    def note(self, user_id: str, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        if len(self.users) < _MANY:
            self.users.add(user_id)

    def hold(self, user_id: str, now: float) -> None:
        self.until = now + min(_LONGEST, _FIRST * 2 ** min(self.holds, 10))
        self.holds += 1
        self.last = user_id
        self.trials.clear()

    def left(self, now: float) -> float:
        """Seconds until the next try."""
        return 0.0 if self.until is None else max(0.0, self.until - now)

    def let_through(self, desktop_id: str, now: float) -> None:
        """One try after a hold; the others wait for its end."""
        if self.until is not None:
            self.until = now + _TRIAL
            if desktop_id not in self.trials:
                self.trials.append(desktop_id)

    def give_up(self, desktop_id: str, now: float) -> None:
        """That try told nothing: the next one goes through."""
        self.trials.remove(desktop_id)
        if not self.trials:
            self.until = now


class Holdback:
    """Spares people, and the engine, starts that are bound to fail.

    A desktop is held back after three failures in a row, an image after failures in a row of three
    different users: a home can break the start of its own desktop, so nobody alone holds an image
    back for others. After the hold one try goes through: its failure makes a longer hold, any
    success ends all.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._desktops: dict[str, _Row] = {}
        self._images: dict[str, _Row] = {}

    def check(self, *, desktop_id: str, image: str) -> None:
        """Ask once before each start; passing after a hold is the one try. Raises `HeldBack`."""
        now = self._clock.monotonic()
        own = self._desktops.get(desktop_id, _Row())
        shared = self._images.get(image, _Row())
        left, told = max((own.left(now), _of_desktop(own)), (shared.left(now), _of_image(shared)))
        if left > 0:
            raise HeldBack(
                f"desktop {desktop_id} with image {image} is held back",
                public=told,
                retry_after=left,
            )
        own.let_through(desktop_id, now)
        if shared.last not in own.users:  # whoever failed last proves nothing by failing again
            shared.let_through(desktop_id, now)

    def failed(self, *, desktop_id: str, user_id: str, image: str, reason: str) -> None:
        """A start failed in a way that the next one may as well.

        `reason` is read by everybody with that image: it must hold nothing of this user's own.
        """
        now, why = self._clock.monotonic(), _plain(reason)
        own, shared = _touched(self._desktops, desktop_id), _touched(self._images, image)
        own.note(user_id, why)
        if (own.failures >= _MANY) if own.until is None else (desktop_id in own.trials):
            own.hold(user_id, now)
        shared.note(user_id, why)
        if shared.until is None:
            if len(shared.users) >= _MANY:
                shared.hold(user_id, now)
        elif desktop_id in shared.trials:  # else it began before the hold, and tells nothing new
            if user_id != shared.last:
                shared.hold(user_id, now)
            else:
                shared.give_up(desktop_id, now)

    def succeeded(self, *, desktop_id: str, image: str) -> None:
        """A start led to a desktop that is ready."""
        self._desktops.pop(desktop_id, None)
        self._images.pop(image, None)


def _touched(rows: dict[str, _Row], name: str) -> _Row:
    """The row of that name, as the newest."""
    row = rows[name] = rows.pop(name) if name in rows else _Row()
    if len(rows) > _MOST:
        del rows[next(iter(rows))]
    return row


def _of_desktop(row: _Row) -> str:
    return f"Your desktop failed to start {row.failures} times in a row ({row.reason})"


def _of_image(row: _Row) -> str:
    return (
        f"The image of your desktop failed to start {row.failures} times in a row, for several"
        f" people ({row.reason})"
    )


def _plain(reason: str) -> str:
    """On one line, bounded and safe to print."""
    words = " ".join(reason.split()).rstrip(". ") or "nobody knows why"
    text = "".join(c if c.isprintable() else "?" for c in words)
    return text if len(text) <= _REASON else text[: _REASON - 1] + "…"
