"""The API under `/api/v1`: the table's routes, served by the nouns over one broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.http.attachments import AttachmentRoutes
from broker.http.audit import AuditRoutes
from broker.http.callers import callers
from broker.http.codes import CodeRoutes
from broker.http.configuration import ConfigurationRoutes
from broker.http.desktops import DesktopRoutes
from broker.http.doctor import DoctorRoutes
from broker.http.events import EventRoutes
from broker.http.groups import GroupRoutes
from broker.http.guard import guarded
from broker.http.guests import GuestRoutes
from broker.http.invites import InviteRoutes
from broker.http.leases import LeaseRoutes
from broker.http.logins import LoginRoutes
from broker.http.maintenance import MaintenanceRoutes
from broker.http.once import Once
from broker.http.openapi import DocumentRoutes
from broker.http.problems import problems
from broker.http.routes import PREFIX
from broker.http.sessions import SessionRoutes
from broker.http.settings import SettingRoutes
from broker.http.shares import ShareRoutes
from broker.http.signin import SignInRoutes
from broker.http.status import StatusRoutes
from broker.http.table import TABLE
from broker.http.tokens import TokenRoutes
from broker.http.users import UserRoutes
from broker.http.verbs import VerbRoutes

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.http.callers import Trust
    from broker.service.reload import Reload
    from broker.service.services import Services

#: Bytes of a request's body: a user with a hundred keys fits.
_BODY = 256 << 10


class AdminApi:
    """The routes of each noun. `ssh_port` is where people connect."""

    def __init__(self, *, store: Store, services: Services, ssh_port: int, reload: Reload) -> None:
        self._store = store
        self._tokens, self._sign_ins = services.tokens, services.sign_ins
        self._once = Once(store=store, clock=services.watches.clock)
        self._events = EventRoutes(services=services)
        self._guests = GuestRoutes(services=services)
        self._nouns: dict[str, object] = {
            "api": DocumentRoutes(TABLE),
            "users": UserRoutes(store=store, services=services),
            "logins": LoginRoutes(store=store, services=services),
            "codes": CodeRoutes(store=store, services=services),
            "invites": InviteRoutes(store=store, services=services, ssh_port=ssh_port),
            "sign-in": SignInRoutes(store=store, services=services, ssh_port=ssh_port),
            "tokens": TokenRoutes(store=store, services=services, ssh_port=ssh_port),
            "groups": GroupRoutes(services=services),
            "desktops": DesktopRoutes(store=store, services=services),
            "sessions": SessionRoutes(store=store, services=services),
            "verbs": VerbRoutes(store=store, services=services),
            "shares": ShareRoutes(store=store, services=services),
            "guests": self._guests,
            "attachments": AttachmentRoutes(store=store, services=services),
            "settings": SettingRoutes(services=services),
            "leases": LeaseRoutes(store=store),
            "audit": AuditRoutes(store=store),
            "events": self._events,
            "config": ConfigurationRoutes(reload=reload),
            "maintenance": MaintenanceRoutes(store=store, services=services),
            "doctor": DoctorRoutes(doctor=services.doctor),
            "status": StatusRoutes(services=services),
        }

    def application(self, trust: Trust = "kernel") -> web.Application:
        """To be served on a Unix socket: where the `kernel` says who calls, or where front doors
        pass on what clients ask, who show a `token` or a browser's cookie.
        """
        opened = {
            (route.method, f"{PREFIX}{route.plain_path}")
            for noun in TABLE
            for route in noun.routes
            if route.open
        }
        who = callers(self._tokens, self._sign_ins, trust, opened)
        app = web.Application(client_max_size=_BODY, middlewares=[problems, who])
        app.on_shutdown.extend([self._events.close, self._guests.close])
        for noun in TABLE:
            for route in noun.routes:
                handler = guarded(route, self._nouns[noun.name], self._store, self._once)
                app.router.add_route(route.method, f"{PREFIX}{route.path}", handler)
        return app
