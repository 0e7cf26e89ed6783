"""What is held exclusively: ports, displays, addresses, uids."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from broker.core.model import LeaseKind
from broker.core.tokens import Scope
from broker.http import models
from broker.http.calls import PAGING, page
from broker.http.routes import Noun, Page, Query, Route

if TYPE_CHECKING:
    from aiohttp import web

    from broker.core.interfaces import Store
    from broker.core.model import Lease


class LeaseRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def list(self, request: web.Request) -> web.Response:
        return await page(
            request,
            await self._store.leases(),
            key=lambda lease: (lease.host, lease.kind.value, lease.number),
            out=_out,
            where={
                "kind": lambda lease: lease.kind.value,
                "desktop": lambda lease: lease.desktop_id,
                "session": lambda lease: lease.session_id,
            },
        )


async def _out(lease: Lease) -> models.LeaseOut:
    number = str(lease.number)
    if lease.kind is LeaseKind.ADDRESS:
        number = str(ipaddress.IPv4Address(lease.number))
    return models.lease_out(lease, number)


LEASES = Noun(
    name="leases",
    summary="What is held exclusively: ports, displays, addresses, uids.",
    routes=(
        Route(
            method="GET",
            path="/leases",
            handler=LeaseRoutes.list,
            name="list_leases",
            summary="List what is held, by host, kind and number.",
            needs=Scope.READ,
            whose=None,
            query=(
                *PAGING,
                Query(name="kind", summary="Those of that kind.", choices=tuple(LeaseKind)),
                Query(name="desktop", summary="Those of the desktop of that id."),
                Query(name="session", summary="Those of the session of that id."),
            ),
            answers={200: Page(models.LeaseOut)},
        ),
    ),
)
