"""The one table of all routes."""

from __future__ import annotations

from broker.http.attachments import ATTACHMENTS
from broker.http.audit import AUDIT
from broker.http.codes import CODES
from broker.http.configuration import CONFIGURATION
from broker.http.desktops import DESKTOPS
from broker.http.doctor import DOCTOR
from broker.http.events import EVENTS
from broker.http.groups import GROUPS
from broker.http.guests import GUESTS
from broker.http.invites import INVITES
from broker.http.leases import LEASES
from broker.http.logins import LOGINS
from broker.http.maintenance import MAINTENANCE
from broker.http.openapi import API
from broker.http.sessions import SESSIONS
from broker.http.settings import SETTINGS
from broker.http.shares import SHARES
from broker.http.signin import SIGNING_IN
from broker.http.status import STATUS
from broker.http.tokens import TOKENS
from broker.http.users import USERS
from broker.http.verbs import VERBS

TABLE = (
    API,
    USERS,
    LOGINS,
    CODES,
    INVITES,
    SIGNING_IN,
    TOKENS,
    GROUPS,
    DESKTOPS,
    SESSIONS,
    VERBS,
    SHARES,
    GUESTS,
    ATTACHMENTS,
    LEASES,
    SETTINGS,
    AUDIT,
    EVENTS,
    CONFIGURATION,
    MAINTENANCE,
    DOCTOR,
    STATUS,
)
