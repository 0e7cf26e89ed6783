"""One of the three places where errors become words: here, RFC 9457 problem documents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from broker.core import errors
from broker.core.model import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()

#: What is none of these is 500.
STATUS: dict[type[errors.DeskError], int] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.AccessDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.ConfigError: 422,
    errors.StaleState: 409,
    errors.SessionEnded: 409,
    errors.Interrupted: 409,
    errors.Blocked: 429,
    errors.CapacityExhausted: 429,
    errors.HeldBack: 429,
    errors.EngineUnavailable: 503,
    errors.FirewallFailed: 503,
    errors.HomeUnbounded: 503,
    errors.ImageMissing: 503,
    errors.InMaintenance: 503,
    errors.ShuttingDown: 503,
    errors.SourceUnavailable: 503,
    errors.StateUnusable: 503,
}

#: Those that say when asking again may work.
WAITS = (errors.Blocked, errors.CapacityExhausted, errors.HeldBack)

#: Seconds until asking again may work, where nobody can tell: the sentence says 'in a minute'.
_LATER = 60


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers what a handler raises."""
    try:
        return await handler(request)
    except errors.DeskError as error:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        log.info("request refused", path=request.path, code=error.code, detail=str(error))
        problem = _problem(status, error.code, error.public)
        if isinstance(error, errors.Unauthenticated):
            problem.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, WAITS):
            after = _LATER if error.retry_after is None else math.ceil(error.retry_after)
            problem.headers["Retry-After"] = str(after)
        return problem
    except web.HTTPException as error:
        code = {404: "not_found", 405: "bad_request", 413: "bad_request"}.get(
            error.status, "internal"
        )
        problem = _problem(error.status, code, f"{error.reason}: {shown(request.path)}.")
        if "Allow" in error.headers:
            problem.headers["Allow"] = error.headers["Allow"]
        return problem
    except Exception:
        log.exception("request failed", path=request.path)
        return _problem(500, errors.DeskError.code, errors.DeskError.default)


def _problem(status: int, code: str, detail: str) -> web.Response:
    return web.json_response(
        {
            "type": f"desk:{code}",
            "title": code.replace("_", " "),
            "status": status,
            "code": code,
            "detail": detail,
        },
        status=status,
        content_type="application/problem+json",
    )
