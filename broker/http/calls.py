"""What the handlers of the API share: what a body says, how a list is answered in pages."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from broker.core.errors import BadRequest
from broker.http.routes import Query, asked, number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

_Body = TypeVar("_Body", bound=BaseModel)
T = TypeVar("T")

Key = tuple[str | int | float, ...]
"""What a list is ordered by."""

#: Items of a page: at most, and when the caller does not say.
MOST = 1000

#: Parameters that every list takes.
PAGING = (
    Query(name="limit", summary="Items of the answer at most.", low=1, high=MOST),
    Query(name="cursor", summary="`next` of the page before."),
)

#: Of this process: a cursor of before its start may miss or repeat something.
_VEIL = secrets.token_bytes(32)

_ODD = "cursor: allowed is what 'next' of the page before says."


async def read(request: web.Request, model: type[_Body]) -> _Body:
    """The body. Raises `BadRequest`, which names what is wrong and nothing of what was sent."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(public=f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}.") from None


async def page(
    request: web.Request,
    rows: Iterable[T],
    *,
    key: Callable[[T], Key],
    out: Callable[[T], Awaitable[Any]],
    where: dict[str, Callable[[T], Any]] | None = None,
) -> web.Response:
    """Those rows that `where` finds to be as the query asks, from behind its cursor on, in the
    order of `key`, which tells each from all others.
    """
    after = position(request)
    wanted = {name: said for name in where or {} if (said := asked(request, name)) is not None}
    found = [
        row
        for row in rows
        if all(_text((where or {})[name](row)) == said for name, said in wanted.items())
    ]
    found.sort(key=key)
    if after is not None:
        try:
            found = [row for row in found if key(row) > after]
        except TypeError:
            raise BadRequest(public=_ODD) from None
    limit = number(request, "limit", MOST)
    shown, rest = found[:limit], found[limit:]
    return answer_page([await out(row) for row in shown], key(shown[-1]) if rest else None)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def position(request: web.Request) -> Key | None:
    """What the cursor says; None without one. Raises `BadRequest`."""
    cursor = asked(request, "cursor")
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, RecursionError):
        raise BadRequest(public=_ODD) from None
    if not isinstance(found, list) or not all(type(part) in {str, int, float} for part in found):
        raise BadRequest(public=_ODD)
    return tuple(found)


def answer_page(found: Sequence[Any], last: Key | None) -> web.Response:
    """`last` is where the page ends; None when nothing is behind it."""
    cursor = None
    if last is not None:
        cursor = base64.urlsafe_b64encode(json.dumps(last).encode()).decode("ascii")
    return web.json_response({"items": found, "next": cursor})


def veiled(text: str) -> str:
    """For a cursor, of what it must not tell: without the key nobody can try what it stands for."""
    return hmac.digest(_VEIL, text.encode(errors="replace"), "sha256").hex()


def flag(name: str, summary: str) -> Query:
    return Query(name=name, summary=summary, choices=("true", "false"))
