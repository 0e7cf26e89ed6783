"""Tells the audit's newest entry elsewhere, so that whoever rewrites the state is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.interfaces import Store
    from broker.core.model import AuditHead

#: Seconds between two looks: as much of the past can be written anew unseen.
TELL_EVERY = 60.0


class Witness:
    """Remembers what it told: the same is not told again."""

    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self._store = store
        self._tell = tell
        self._told: AuditHead | None = None

    async def look(self) -> None:
        """Tell the head when it is another one. Raises what `tell` does, and tries again."""
        head = await self._store.audit_head()
        if head != self._told:
            self._tell(f"entry {head.seq} hash {head.hash} instance {await self._store.instance()}")
            self._told = head
