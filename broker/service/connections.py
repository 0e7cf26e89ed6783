"""What people have open at the front doors, as those see it who must end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from broker.core.gateway import DoorControl, Penalty


class Connections(Protocol):
    """Ends connections; whoever has one is told the sentence."""

    def end_user(self, user_id: str, sentence: str) -> None:
        """All of a person's."""

    def end_credential(self, fingerprint: str, sentence: str) -> None:
        """All that came by that key."""

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        """All that are in that session, and what is kept for the next one. When it `sleeps`, who
        is only about to enter asks for it anew, and wakes it.
        """

    def penalise(self, penalty: Penalty, *, by: str) -> None:
        """Tell all doors but the one that says so."""


class Doors:
    """The front doors that there are now, by their ids. A door can come at any time, and one that
    is away is told on its return (`GatewayService.catch_up`).
    """

    def __init__(self) -> None:
        self._doors: dict[str, DoorControl] = {}

    def join(self, door: str, control: DoorControl) -> DoorControl | None:
        """It is there. Returns what stood for it until now."""
        before = self._doors.get(door)
        self._doors[door] = control
        return before

    def part(self, door: str, control: DoorControl) -> None:
        """It is there by that control no more."""
        if self._doors.get(door) is control:
            del self._doors[door]

    def __contains__(self, door: object) -> bool:
        return door in self._doors

    def end_user(self, user_id: str, sentence: str) -> None:
        for door in list(self._doors.values()):
            door.end_user(user_id, sentence)

    def end_credential(self, fingerprint: str, sentence: str) -> None:
        for door in list(self._doors.values()):
            door.end_credential(fingerprint, sentence)

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        for door in list(self._doors.values()):
            door.end_session(session_id, sentence, sleeps=sleeps)

    def penalise(self, penalty: Penalty, *, by: str) -> None:
        for name, door in list(self._doors.items()):
            if name != by:
                door.penalise(penalty)
