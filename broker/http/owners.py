"""Whose desktops are, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Desktop


class Owners:
    """The owners of desktops, as one moment had them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[str, str] | None = None

    async def of(self, desktop: Desktop) -> str:
        """The name; of a removed one it says so."""
        if self._names is None:
            self._names = {user.id: user.name for user in await self._store.users()}
        if desktop.user_id not in self._names:
            removed = await self._store.user_by_id(desktop.user_id)
            self._names[desktop.user_id] = f"{removed.name} (removed)" if removed else "?"
        return self._names[desktop.user_id]
