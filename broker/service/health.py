"""Whether the broker can serve, and what it measures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from broker.core.errors import DeskError
from broker.core.gateway import HttpReply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from broker.core.interfaces import Engine, Store
    from broker.service.firewall import Firewall
    from broker.service.loops import Loop
    from broker.service.sessions import Sessions


class Health:
    """Answers `/readyz` and `/metrics`."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        sessions: Sessions,
        firewall: Firewall,
        loops: Sequence[Loop],
        image: str,
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._store = store
        self._engine = engine
        self._sessions = sessions
        self._firewall = firewall
        self._loops = loops
        self._image = image
        self._metrics = metrics
        self._asking: asyncio.Task[dict[str, str]] | None = None

    async def answer(self, method: str, path: str) -> HttpReply:
        if method not in {"GET", "HEAD"}:
            return _text(405, "Only GET is allowed here.\n")
        match path:
            case "/readyz":
                checks = await self.checks()
                warnings, ready = self._warnings(checks), self.ready(checks)
                told = {"ready": ready, "checks": checks, "warnings": sorted(warnings)}
                body = json.dumps(told) + "\n"
                return HttpReply(
                    status=200 if ready else 503,
                    content_type="application/json",
                    body=body.encode(),
                )
            case "/metrics":
                return HttpReply(
                    status=200,
                    content_type="text/plain; version=0.0.4; charset=utf-8",
                    body=await self._metrics(),
                )
            case _:
                return _text(404, "There is nothing here; try /healthz, /readyz or /metrics.\n")

    def ready(self, checks: Mapping[str, str]) -> bool:
        """Whether a desktop can be served, by what was found."""
        wrong = {name for name, found in checks.items() if found != "ok"}
        return wrong == self._warnings(checks)

    def _warnings(self, checks: Mapping[str, str]) -> set[str]:
        """What is wrong and keeps nobody from serving."""
        passable = {"network"} if self._firewall.serving else set()
        return {name for name in passable if checks[name] != "ok"}

    async def checks(self) -> dict[str, str]:
        """`ok` or one sentence, for each thing that serving a desktop needs.

        Whoever asks while somebody else does gets the same answer: anybody on the host may ask, and
        must not fill the engine's queue.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._asking)

    async def _look(self) -> dict[str, str]:
        return {
            "state": await self._state(),
            "engine": await self._engine_answers(),
            "image": await self._image_present(),
            **self._known(),
        }

    def unasked(self) -> dict[str, str]:
        """The same for whoever cannot wait for those who are asked."""
        return {**dict.fromkeys(("state", "engine", "image"), "no answer yet"), **self._known()}

    def _known(self) -> dict[str, str]:
        return {
            "network": self._firewall.check(),
            **{loop.name: loop.check() for loop in self._loops},
            "stopping": "the broker is stopping" if self._sessions.closing else "ok",
        }

    async def _state(self) -> str:
        try:
            await self._store.instance()
        except DeskError as error:
            return error.public
        return "ok"

    async def _engine_answers(self) -> str:
        try:
            await self._engine.ping()
        except DeskError as error:
            return error.public
        return "ok"

    async def _image_present(self) -> str:
        try:
            await self._engine.image_id(self._image)
        except DeskError as error:
            return error.public
        return "ok"


def _text(status: int, text: str) -> HttpReply:
    return HttpReply(status=status, content_type="text/plain; charset=utf-8", body=text.encode())
