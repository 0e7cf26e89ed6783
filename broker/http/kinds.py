"""Kinds of values in answers, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import WithJsonSchema

if TYPE_CHECKING:
    from datetime import datetime

#: ISO 8601 with its offset, which is always UTC.
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


def time(at: datetime) -> str:
    return at.isoformat()


def time_or_none(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
