"""What the configuration says, as far as it is safe to see, and what desktops are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from typing_extensions import TypedDict

from broker.core.errors import NotFound
from broker.core.model import shown
from broker.core.policy import flat, written
from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, page
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route
from broker.service.accounts import TEMPLATE

if TYPE_CHECKING:
    from broker.core.model import Template
    from broker.service.services import Services

#: Sections that hold nothing by which somebody gets in, or finds a way to try. What is not named
#: here is not shown: neither places of files, nor outside sources, nor the engine.
_SAFE = ("allow", "audit", "idle", "limits", "pools", "share", "starts", "template")


class SettingOut(TypedDict):
    """A key of the configuration. Durations are seconds, sizes bytes."""

    key: str
    value: str | int | float | bool | list[Any] | None


class TemplateOut(TypedDict):
    """What desktops are made from."""

    name: str
    image: str
    memory: int
    """Bytes."""
    cpus: float
    pids: int
    shm: int
    """Bytes of /dev/shm."""
    home: int | None
    """Bytes that a home may hold; null: as many as there is room for."""
    geometry: str
    """Of a new desktop: `WIDTHxHEIGHT`."""
    network: str


class SettingRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, services: Services) -> None:
        self._services = services

    async def list(self, request: web.Request) -> web.Response:
        said = self._services.config.model_dump(mode="json", include=set(_SAFE), fallback=str)

        async def out(item: tuple[str, Any]) -> SettingOut:
            return {"key": item[0], "value": item[1]}

        return await page(
            request,
            list(_leaves(said)),
            key=lambda item: (item[0],),
            out=out,
            where={"key": lambda item: item[0]},
        )

    async def policies(self, request: web.Request) -> web.Response:
        """What holds for whom no group says anything of."""

        async def out(item: tuple[str, Any]) -> people.PolicyValue:
            return {"key": item[0], "value": written(*item), "from": "config"}

        said = flat(self._services.config.policy)
        return await page(request, said.items(), key=lambda item: (item[0],), out=out)

    async def templates(self, request: web.Request) -> web.Response:
        return await page(
            request, self._templates(), key=lambda template: (template.name,), out=_out
        )

    async def template(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        for template in self._templates():
            if template.name == name:
                return web.json_response(await _out(template))
        raise NotFound(public=f"There is no template {shown(name)}.")

    def _templates(self) -> tuple[Template, ...]:
        return (self._services.config.template.template(TEMPLATE),)


async def _out(template: Template) -> TemplateOut:
    return {
        "name": template.name,
        "image": template.image,
        "memory": template.memory,
        "cpus": template.cpus,
        "pids": template.pids,
        "shm": template.shm,
        "home": template.home,
        "geometry": template.geometry,
        "network": str(template.network),
    }


def _leaves(said: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in said.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


SETTINGS = Noun(
    name="settings",
    summary="What the configuration says, as far as it is safe to see, and what desktops are made"
    " from.",
    routes=(
        Route(
            method="GET",
            path="/settings",
            handler=SettingRoutes.list,
            name="list_settings",
            summary="List keys of the configuration; none by which somebody could get in.",
            needs=Scope.READ,
            whose=None,
            query=(*PAGING, Query(name="key", summary="The one of that name.")),
            answers={200: Page(SettingOut)},
        ),
        Route(
            method="GET",
            path="/policies",
            handler=SettingRoutes.policies,
            name="list_policies",
            summary="List what holds for whom no group says anything of.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=PAGING,
            answers={200: Page(people.PolicyValue)},
        ),
        Route(
            method="GET",
            path="/templates",
            handler=SettingRoutes.templates,
            name="list_templates",
            summary="List what desktops are made from.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=PAGING,
            answers={200: Page(TemplateOut)},
        ),
        Route(
            method="GET",
            path="/templates/{name}",
            handler=SettingRoutes.template,
            name="get_template",
            summary="Show what desktops are made from.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            answers={200: TemplateOut},
        ),
    ),
)
