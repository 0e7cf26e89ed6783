"""Another configuration for the broker that runs: what it can take over, and who does the rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import structlog

from broker.config.changes import Needs, all_needs, changes, held_back
from broker.config.reading import parse, read
from broker.core.errors import ConfigError, Conflict
from broker.service.services import OVERDUE, archive_every

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.config import Config
    from broker.config.changes import Change
    from broker.core.interfaces import Store
    from broker.core.model import Actor
    from broker.service.services import Services

log = structlog.get_logger()

#: Seconds within which whoever started the broker has it take over what it can.
_WITHIN = 10.0


class Effect(StrEnum):
    """What became of a key that is another one now."""

    APPLIED = "applied"
    """It holds already."""
    BROKER = "broker restarts"
    """It holds in some seconds, by a broker that is started again; nobody is cut off."""
    DOORS = "doors are replaced"
    """It holds for whoever connects from now on; who is connected goes on as before."""
    ROLL = "new doors needed"
    """It holds once 'systemctl start desk-roll' put new front doors in the place of the others."""
    STOP = "restart needed"
    """It holds once all of Desk was stopped and started."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A key that was changed, and what comes of it."""

    key: str
    effect: Effect


class Keeper(Protocol):
    """Whoever started this broker, and starts the next one."""

    @property
    def rolls(self) -> bool:
        """Whether it replaces front doors by itself."""

    def reload(self) -> bool:
        """Have it read the configuration, too; it then has the broker take it over by SIGHUP. False
        when nobody does, and the broker is to do it unasked.
        """

    def restart(self) -> None:
        """Have this broker end and another one begin, where nobody does that unasked."""


class Reload:
    """Compares the file with what holds, and has what differs taken over."""

    def __init__(
        self,
        *,
        path: Path,
        text: str,
        config: Config,
        store: Store,
        services: Services,
        keeper: Keeper,
        log_as: Callable[[str, str], None],
        within: float = _WITHIN,
    ) -> None:
        """`text` is what `config` was made of, as `path` said. `log_as` chooses style and level of
        this process's log.
        """
        self._path, self._text, self._config = path, text, config
        self._store = store
        self._services = services
        self._keeper = keeper
        self._log_as = log_as
        self._within = within
        self._taken = asyncio.Event()

    async def ask(self, actor: Actor) -> Sequence[Outcome]:
        """Take the file over, as far as it goes, for somebody who asked. Raises `ConfigError` with
        a sentence for each mistake in it, and then nothing has changed; `Conflict` when whoever
        keeps the broker does not have it taken over in time.
        """
        text, after, found = await self._look()
        if found:
            await self._store.note(
                actor=actor,
                action="config.reload",
                subject="config",
                detail={"keys": " ".join(change.key for change in found)},
            )
        outcomes = [Outcome(change.key, self._effect(change)) for change in found]
        self._taken.clear()
        if not self._keeper.reload():
            await self._take(text, after, found)
        elif not all_needs(found) & Needs.BROKER:
            await self._wait()
        return outcomes

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._within):
                await self._taken.wait()
        except TimeoutError:
            raise Conflict(
                public="The configuration was read, but not taken over in time; the log says why."
            ) from None

    async def take_over(self) -> None:
        """The same for whoever asks by a signal; what comes of it is in the log."""
        try:
            await self._take(*await self._look())
        except ConfigError as error:
            log.warning("configuration not taken over", problem=error.public)
        finally:
            self._taken.set()

    async def _look(self) -> tuple[str, Config, list[Change]]:
        text = read(self._path)
        after = parse(text, str(self._path))
        await self._services.certificates.revocations.usable(after.login.revoked)
        return text, after, changes(self._config, after)

    async def _take(self, text: str, after: Config, found: Sequence[Change]) -> None:
        waits = [change.key for change in found if change.needs & Needs.STOP]
        text = held_back(self._text, text, waits)
        after = parse(text, str(self._path))
        await apply(after, self._services)
        self._log_as(after.log, after.log_level)
        told: dict[str, list[str]] = {}
        for change in found:
            told.setdefault(self._effect(change).name.lower(), []).append(change.key)
        log.info("configuration applied", **told)
        if all_needs(found) & Needs.BROKER:
            self._keeper.restart()
        else:
            self._text, self._config = text, after

    def _effect(self, change: Change) -> Effect:
        if change.needs & Needs.STOP:
            return Effect.STOP
        if change.needs & Needs.DOORS:
            return Effect.DOORS if self._keeper.rolls else Effect.ROLL
        return Effect.BROKER if change.needs & Needs.BROKER else Effect.APPLIED


async def apply(config: Config, services: Services) -> None:
    """What needs nothing but to be told. Raises `ConfigError`, and then nothing has changed."""
    await services.certificates.revocations.move(config.login.revoked)
    services.certificates.trust(config.login.authorities)
    services.policies.replace(config.policy)
    services.codes.issuer = config.login.codes.issuer
    services.invites.valid = config.login.invites.valid
    services.blocks.replace(config.login.blocks.rule, config.login.blocks.exempt)
    services.starts.rebound(
        at_once=config.starts.at_once,
        waiting=config.starts.waiting,
        per_user=config.starts.per_user,
    )
    services.starting.rebound(timeout=config.starts.timeout, running=config.limits.running)
    services.archivist.rebound(config.idle.archive_after)
    every = archive_every(config.idle.archive_after)
    services.archiving.retime(every=every, overdue=max(3 * every, OVERDUE))
    services.config = config
