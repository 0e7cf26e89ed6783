"""deskd recover-access: by the broker where one runs, else on the state itself."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - the owner may be unable to read where Python is
import os
from typing import TYPE_CHECKING, Any

from broker.cli.client import Client
from broker.cli.ctl import part
from broker.cli.ctl_login import invited
from broker.cli.owner import owner_of
from broker.core.errors import BrokerUnavailable, NotFound
from broker.core.model import Actor, shown
from broker.db.opening import open_store
from broker.db.place import database_of
from broker.service.invites import Invites
from broker.service.recovery import Recovery
from broker.service.validity import period
from broker.system.clock import SystemClock
from broker.system.lock import SUCCESSION, StateLock, holder_of

if TYPE_CHECKING:
    from broker.config import Config


def recover(config: Config, name: str, *, admin: bool, valid: str | None, host: str) -> str:
    """What to tell whoever typed it. Raises `DeskError`."""
    owner = owner_of(config.state, "recover-access")
    lock = config.state / "lock"
    if (holder := holder_of(lock)) is not None:
        answer = _by_the_broker(config, name, holder, admin=admin, valid=valid)
    else:
        with owner.acting(), StateLock(lock, patience=SUCCESSION):
            answer = asyncio.run(_on_the_state(config, name, admin=admin, valid=valid))
    rights = " and is an admin" if admin else ""
    return f"{name} is let in again{rights}, by a key that this binds:\n{invited(answer, host)}"


def _by_the_broker(
    config: Config, name: str, holder: int, *, admin: bool, valid: str | None
) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = Client(config.admin_socket).call(
            "POST", f"/users/{part(name)}/recover", body={"admin": admin, "valid": valid}
        )
    except BrokerUnavailable as error:
        raise BrokerUnavailable(
            public=f"{config.state}: process {holder} uses this state, and its broker does not"
            " answer: try again in a moment, or stop it first."
        ) from error
    return answer


async def _on_the_state(
    config: Config, name: str, *, admin: bool, valid: str | None
) -> dict[str, Any]:
    """Answers as the broker does."""
    clock = SystemClock()
    seconds = period(valid)
    store = await open_store(database_of(config), clock)
    try:
        user = await store.user(name)
        if user is None:
            raise NotFound(public=f"There is no user {shown(name)}.")
        invites = Invites(store=store, clock=clock, valid=config.login.invites.valid)
        invite, token = await Recovery(store=store, invites=invites).recover(
            user, admin=admin, valid=seconds, actor=Actor(f"uid:{os.getuid()}", None, "local")
        )
    finally:
        await store.close()
    return {
        "user": name,
        "login": f"invite+{token}",
        "port": config.ssh.listen.port,
        "expires_at": invite.expires_at.isoformat(),
    }
