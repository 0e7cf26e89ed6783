"""How long somebody may keep a session, and the watch to keep: one rule and one sentence for
whoever asks, a user or an admin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core import words
from broker.core.errors import BadRequest, Conflict
from broker.core.model import shown

if TYPE_CHECKING:
    from broker.core.idle import IdlePolicy
    from broker.core.model import Session
    from broker.service.watches import Watch, Watches


def seconds(text: str, policy: IdlePolicy) -> float:
    """From now, as it was asked for; 0 for no longer. Raises `BadRequest` with what is allowed."""
    if text.strip() == "0":
        return 0.0
    try:
        asked = words.seconds(text)
    except ValueError:
        raise BadRequest(
            public=f"{shown(text)} is no time: allowed is {words.DURATION_RULE}, or 0."
        ) from None
    if asked > policy.keep_up_to:
        most = words.spoken(policy.keep_up_to)
        raise BadRequest(public=f"{shown(text)} is too long: at most {most} are allowed.")
    return asked


def watched(session: Session | None, *, named: str, policy: IdlePolicy, watches: Watches) -> Watch:
    """The watch of a session that is ready or frozen. Raises `Conflict` for any other; `named` is
    what its sentence begins with.
    """
    if session is None or not session.live:
        raise Conflict(public=f"{named} is not running.")
    watch = watches.current(session, policy)
    if watch is None:
        raise Conflict(public=f"{named} is {session.state.value}. Try again in a moment.")
    return watch
