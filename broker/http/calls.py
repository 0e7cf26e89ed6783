"""What the handlers of the API share: who calls, what a body says, how a list is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from broker.core.errors import BadRequest
from broker.core.model import Actor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.http.models import Json

#: Who calls, as the kernel says.
ACTOR = web.RequestKey("actor", Actor)

_Body = TypeVar("_Body", bound=BaseModel)


async def read(request: web.Request, model: type[_Body]) -> _Body:
    """The body. Raises `BadRequest`, which names what is wrong and nothing of what was sent."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(public=f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}.") from None


def number(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """A number of the query. Raises `BadRequest`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise BadRequest(public=f"{name}: allowed is a number from {low} to {high}.")
    return int(text)


def items(found: Sequence[Json]) -> web.Response:
    return web.json_response({"items": found})
