"""Showing a desktop to others: shares, and the guests who come by their links."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.core.errors import BadRequest
from broker.core.model import shown

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.model import DesktopId, UserId

#: Characters of a guest's name.
NAME_LENGTH = 40


class Mode(StrEnum):
    """What guests may do."""

    LOOK = "ro"
    TAKE_PART = "rw"


class GuestState(StrEnum):
    """Where a guest is on the way in and out."""

    ASKED = "asked"
    """The owner is asked."""
    IN = "in"
    REFUSED = "refused"
    LEFT = "left"
    """By their own wish."""
    ENDED = "ended"
    """By the owner's, or with the share."""


class Looks(StrEnum):
    """How an admin may look at the desktop of somebody else."""

    NEVER = "never"
    ASK = "ask"
    """Whoever is in it lets them in, or not."""
    TELL = "tell"
    """Whoever is in it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody who came by a share's link; the secret in their cookie is kept nowhere."""

    id: str
    share_id: str
    name: str
    """As they call themselves, as of `guest_name`: anybody can take any name."""
    address: str
    state: GuestState
    asked_at: datetime
    since: datetime
    """When the state was reached."""
    reason: str | None
    """Why, as one sentence for the guest; None while nobody said."""

    @property
    def credential(self) -> str:
        """As in `Identity`."""
        return f"{GUEST}{self.share_id}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """An owner's permission to see a desktop, for a while; the token in its link is kept nowhere."""

    id: str
    desktop_id: DesktopId
    user_id: UserId
    """The desktop's owner."""
    mode: Mode
    made_at: datetime
    made_by: str
    """As in `Actor.name`."""
    expires_at: datetime
    ended_at: datetime | None
    """When somebody ended it, or it was found to be over."""
    guests: tuple[Guest, ...] = ()
    """All that ever came, the first of them first."""

    def open(self, now: datetime) -> bool:
        """Whether anybody can come by it, or stay."""
        return self.ended_at is None and now < self.expires_at


#: How the credential of a guest begins; the rest is `SHARE/GUEST`.
GUEST = "share:"


def guest_id(credential: str) -> str | None:
    """Of the guest whose credential it is; None for one that is no guest's."""
    if not credential.startswith(GUEST):
        return None
    return credential.removeprefix(GUEST).partition("/")[2]


def guest_name(text: str) -> str:
    """`text` composed (NFC) and without spaces around it. Raises `BadRequest` for what cannot be
    shown as a name: nothing that steers a terminal or the direction of what stands behind it.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise BadRequest(
            public=f"The name {shown(text)} cannot be used: allowed are 1 to {NAME_LENGTH}"
            " characters that can be printed."
        )
    return name
