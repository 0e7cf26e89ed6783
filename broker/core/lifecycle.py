"""The life of a session, in one table."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from broker.core.errors import IllegalTransition
from broker.core.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Mapping

_S = SessionState

#: From each state, where a session may go. `stopping` is reachable from every live state, and
#: `ended` only from `stopping`: a session ends when its container is known gone.
TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = MappingProxyType(
    {
        _S.STARTING: frozenset({_S.READY, _S.STOPPING}),
        _S.READY: frozenset({_S.FROZEN, _S.STOPPING}),
        _S.FROZEN: frozenset({_S.READY, _S.STOPPING}),
        _S.STOPPING: frozenset({_S.ENDED}),
        _S.ENDED: frozenset(),
    }
)

#: States that must not last: each has a deadline, after which the engine is asked.
TRANSITIONAL = frozenset({_S.STARTING, _S.STOPPING})


def check(before: SessionState, after: SessionState) -> None:
    """Raise `IllegalTransition` unless the table has the step from `before` to `after`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"no step from {before} to {after}")
