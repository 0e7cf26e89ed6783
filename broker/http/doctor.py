"""The doctor of the broker that runs: what is not as it should be, and mended where that is asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.tokens import Scope
from broker.http.calls import read
from broker.http.routes import Noun, Route

if TYPE_CHECKING:
    from broker.service.doctor import Doctor


class Examination(BaseModel):
    """What is asked of the doctor."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fix: bool = False
    """Whether what can be mended is."""


class FindingOut(TypedDict):
    """One thing that is not as it should be."""

    area: str
    found: str
    action: str
    mends: bool
    """Whether `fix` does what `action` says."""


class ExaminedOut(TypedDict):
    """All of them."""

    found: list[FindingOut]
    left: list[FindingOut]
    """Those that are there still, where something was to be mended."""


class DoctorRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, doctor: Doctor) -> None:
        self._doctor = doctor

    async def examine(self, request: web.Request) -> web.Response:
        asked = await read(request, Examination)
        found = await self._doctor.examine()
        left = await self._doctor.mend(found) if asked.fix else found
        told = {"found": [asdict(one) for one in found], "left": [asdict(one) for one in left]}
        return web.json_response(told)


DOCTOR = Noun(
    name="doctor",
    summary="Records and the engine's world, compared.",
    routes=(
        Route(
            method="POST",
            path="/doctor",
            handler=DoctorRoutes.examine,
            name="examine",
            summary="Tell what is not as it should be, and mend what can be mended where that is asked.",
            needs=Scope.ADMIN,
            whose=None,
            body=Examination,
            answers={200: ExaminedOut},
            refuses=(errors.EngineUnavailable, errors.StateUnusable),
        ),
    ),
)
