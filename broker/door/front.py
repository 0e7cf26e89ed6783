"""A door as its broker sees it: who came by SSH, and who came by a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.gateway import Holdings

if TYPE_CHECKING:
    from broker.core.gateway import Penalty
    from broker.door.app import Door
    from broker.door.rooms import Rooms


class Front:
    """Implements `door.gateway.FrontDoor` for the two."""

    def __init__(self, door: Door, rooms: Rooms) -> None:
        self._door = door
        self._rooms = rooms

    @property
    def id(self) -> str:
        return self._door.id

    def holdings(self) -> Holdings:
        """What of both a broker that comes back must know, each person by each credential once."""
        held = self._door.holdings()
        identities = {
            (one.user_id, one.credential): one
            for one in (*held.identities, *self._rooms.identities())
        }
        return Holdings(
            identities=tuple(identities.values()),
            sessions=tuple({*held.sessions, *self._rooms.sessions()}),
        )

    def report_now(self) -> None:
        self._door.report_now()

    def penalise(self, penalty: Penalty) -> None:
        self._door.penalise(penalty)

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        self._door.end_session(session_id, sentence, sleeps=sleeps)
        self._rooms.end_session(session_id, sentence, sleeps=sleeps)

    def end_user(self, user_id: str, sentence: str) -> None:
        self._door.end_user(user_id, sentence)
        self._rooms.end_user(user_id, sentence)

    def end_credential(self, credential: str, sentence: str) -> None:
        self._door.end_credential(credential, sentence)
        self._rooms.end_credential(credential, sentence)
