"""For how long something is to count, as people say it of invites and shares."""

from __future__ import annotations

from broker.core import words
from broker.core.errors import BadRequest
from broker.core.model import shown


def period(text: str | None) -> float | None:
    """The seconds that somebody writes as `3d`; None for what was not said. Raises `BadRequest`."""
    if text is None:
        return None
    try:
        return words.seconds(text)
    except ValueError as error:
        raise BadRequest(public=f"valid: found {shown(text)}; {error}.") from None
