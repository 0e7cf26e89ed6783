"""deskd doctor: the host and the state looked at here, the rest by the broker that runs, or by one that
is built for it and never started.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from broker.cli.client import Client
from broker.cli.owner import Owner, as_caller, owner_of
from broker.core.errors import DeskError, StateUnusable
from broker.core.findings import Finding
from broker.db import migrate
from broker.db.place import database_of, open_engine
from broker.service import premises
from broker.system.clock import SystemClock
from broker.system.lock import SUCCESSION, StateLock, holder_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.config import Config

Pair = tuple[list[Finding], list[Finding]]
"""What was found, and what of it is left."""


def examine(config: Config, *, fix: bool) -> tuple[dict[str, Any], str, bool]:
    """What programs and what people are told, and whether all is well now. Raises `DeskError`."""
    owner = owner_of(config.state, "doctor")
    holder = holder_of(config.state / "lock")
    found, left = _premises(config, owner, holder, fix=fix)
    for part in (_schema, _broker):
        try:
            more, still = part(config, owner, holder, fix)
        except DeskError as error:
            more = still = [Finding("broker", str(error), "see docs/errors.md", mends=False)]
        found, left = found + more, left + still
        if any(finding.area == "schema" for finding in still):
            break
    answer = {
        "running": holder is not None,
        "found": [asdict(finding) for finding in found],
        "left": [asdict(finding) for finding in left],
    }
    return answer, "\n".join(_lines(found, left, fix=fix)), not left


def _lines(found: list[Finding], left: list[Finding], *, fix: bool) -> Iterator[str]:
    if not found:
        yield "Everything is as it should be."
    for finding in [*found, *(one for one in left if one not in found)]:
        done = "mended" if finding not in left else finding.action
        if finding in left and finding.mends and not fix:
            done += " (--fix does it)"
        yield f"{finding.area}: {finding.found}: {done}."


def _premises(config: Config, owner: Owner, holder: int | None, *, fix: bool) -> Pair:
    def look() -> list[premises.Repair]:
        return list(premises.examine(config, owner=owner.uid, holder=holder))

    repairs = look()
    if fix:
        for repair in repairs:
            if repair.deed is not None:
                try:
                    repair.deed()
                except OSError as error:
                    raise StateUnusable(
                        public=f"{repair.finding.found}, and cannot be mended: {error.strerror}."
                    ) from error
    found = [repair.finding for repair in repairs]
    return found, [repair.finding for repair in look()] if fix else found


def _schema(config: Config, owner: Owner, holder: int | None, fix: bool) -> Pair:
    database = database_of(config)

    async def current() -> str | None:
        engine = open_engine(database, alone=True)
        try:
            return await migrate.current(engine)
        finally:
            await engine.dispose()

    with owner.acting():
        if config.database is None and not (config.state / "desk.db").exists():
            version = None
        else:
            version = asyncio.run(current())
        migrate.refuse_newer(version)
        if version == migrate.head():
            return [], []
        what = f"{database} has schema {version or 'none'}, and this Desk wants {migrate.head()}"
        finding = Finding("schema", what, "deskd migrate", mends=holder is None)
        if not (fix and finding.mends):
            return [finding], [finding]
        with StateLock(config.state / "lock", patience=SUCCESSION):
            asyncio.run(migrate.migrate(database))
    return [finding], []


def _broker(config: Config, owner: Owner, holder: int | None, fix: bool) -> Pair:
    if holder is not None:
        told = Client(config.admin_socket).call("POST", "/doctor", body={"fix": fix})
        found, left = ([Finding(**one) for one in told[name]] for name in ("found", "left"))
        return found, left
    with owner.acting(), StateLock(config.state / "lock", patience=SUCCESSION), as_caller():
        try:
            return asyncio.run(_alone(config, fix=fix))
        finally:
            # The engine and the rules are root's to ask, and what root made here is the owner's.
            premises.give_back(config.state, owner.uid)


async def _alone(config: Config, *, fix: bool) -> Pair:
    from broker.app import Broker

    async with AsyncExitStack() as stack:
        broker = await Broker.build(config, SystemClock(), stack)
        return await broker.examine(fix=fix)
