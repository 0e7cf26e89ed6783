"""What people have open at the front doors, as those see it who must end it."""

from __future__ import annotations

from typing import Protocol


class Connections(Protocol):
    """Ends connections; whoever has one is told the sentence."""

    def end_user(self, user_id: str, sentence: str) -> None:
        """All of a person's."""

    def end_key(self, fingerprint: str, sentence: str) -> None:
        """All that came by that key."""

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        """All that are in that session, and what is kept for the next one. When it `sleeps`, who
        is only about to enter asks for it anew, and wakes it.
        """
