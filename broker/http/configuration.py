"""The configuration of the broker that runs: which there is, and another one taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.tokens import Scope
from broker.http.routes import Noun, Route, caller_of

if TYPE_CHECKING:
    from broker.service.reload import Outcome, Reload


class ChangeOut(TypedDict):
    """A key whose value in the file is another one than before."""

    key: str
    effect: str
    """`applied`, `broker restarts`, `doors are replaced`, `new doors needed`, `restart needed`."""


class ReloadOut(TypedDict):
    """What came of it."""

    changes: list[ChangeOut]


class ConfigurationRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, reload: Reload) -> None:
        self._reload = reload

    async def reload(self, request: web.Request) -> web.Response:
        found = await self._reload.ask(caller_of(request).actor)
        told: ReloadOut = {"changes": [_out(outcome) for outcome in found]}
        return web.json_response(told)


def _out(outcome: Outcome) -> ChangeOut:
    return {"key": outcome.key, "effect": outcome.effect.value}


CONFIGURATION = Noun(
    name="config",
    summary="The configuration file and the broker that runs.",
    routes=(
        Route(
            method="POST",
            path="/config/reload",
            handler=ConfigurationRoutes.reload,
            name="reload_config",
            summary="Read the configuration anew; the answer tells what comes of each key that changed.",
            needs=Scope.ADMIN,
            whose=None,
            answers={200: ReloadOut},
            refuses=(errors.ConfigError, errors.Conflict),
        ),
    ),
)
