"""Who is in which session now, as the doors tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.gateway import Attachment
    from broker.core.interfaces import Clock


@dataclass(frozen=True, slots=True)
class Present:
    """An attachment and since when it is there."""

    attachment: Attachment
    since: datetime


class Presence:
    """The attachments of all sessions, by id: telling one twice changes nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._present: dict[str, Present] = {}

    def attached(self, attachment: Attachment) -> None:
        self._present.setdefault(attachment.id, Present(attachment, self._clock.now()))

    def detached(self, attachment_id: str) -> None:
        self._present.pop(attachment_id, None)

    def counts(self) -> Counter[str]:
        """Attachments by session id."""
        return Counter(present.attachment.session_id for present in self._present.values())
