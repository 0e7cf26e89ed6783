"""The child processes of `deskd serve`: started, waited for, ended; none is forgotten while it lives."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.system.tasks import Tasks

log = structlog.get_logger()

#: Seconds that a child gets until it is ready; a broker compares records and containers first.
_READY_WITHIN = 120.0

#: The word that begins a child's line when it is ready; what it speaks follows.
_READY = b"ready "


class NotStarted(Exception):
    """A child ended before it was ready, having said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


class Child:
    """One process, and what it is for."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, told: bytes) -> None:
        self.name = name
        self.told = told
        """What it had to know when it began."""
        self.speaks = ""
        """The name of the messages that it understands, once it is ready."""
        self.born = asyncio.get_running_loop().time()
        self._process = process
        self._leaving = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        return asyncio.get_running_loop().time() - self.born

    @property
    def lives(self) -> bool:
        """Whether it runs, and nobody asked it to end."""
        return self._process.returncode is None and not self._leaving

    async def ready(self) -> None:
        """Tell it what it has to know, and wait until it says that it is ready. Raises
        `NotStarted`.
        """
        process = self._process
        assert process.stdin is not None
        with suppress(ConnectionError):
            process.stdin.write(self.told)
            await process.stdin.drain()
        process.stdin.close()
        try:
            async with asyncio.timeout(_READY_WITHIN):
                self.speaks = await self._first_word()
        except TimeoutError:
            log.warning("not ready in time", child=self.name, pid=self.pid)
            self.tell(signal.SIGKILL)
            raise NotStarted(await process.wait()) from None

    async def _first_word(self) -> str:
        assert self._process.stdout is not None
        while not (line := await self._process.stdout.readline()).startswith(_READY):
            if not line:
                raise NotStarted(await self._process.wait())
        return line.removeprefix(_READY).strip().decode(errors="replace")

    async def wait(self) -> int:
        """Its exit status; negative is the signal that ended it."""
        return await self._process.wait()

    def tell(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def ask_to_end(self) -> None:
        """Once, however often it is called: a child that is asked again leaves at once."""
        if not self._leaving:
            self._leaving = True
            self.tell(signal.SIGTERM)

    async def end(self, patience: float) -> None:
        """Ask it to end, and kill it when it has not after `patience` seconds."""
        self.ask_to_end()
        try:
            async with asyncio.timeout(patience):
                await self.wait()
        except TimeoutError:
            log.warning("killed: it did not end", child=self.name, pid=self.pid)
            self.tell(signal.SIGKILL)
            await self.wait()


class Children:
    """All that run."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._alive: set[Child] = set()

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        descriptors: Sequence[int],
        told: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Return it once it is ready. Without an `environment` it has this process's own. Raises
        `NotStarted`, which is in the log already.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=descriptors,
                env=environment,
                # A key at the parent's terminal is for the parent, and the terminal no door's.
                start_new_session=True,
            )
        except OSError as error:
            log.warning("cannot be started", child=name, problem=str(error))
            raise NotStarted(1) from error
        child = Child(name, process, told)
        self._alive.add(child)
        self._tasks.start(self._forget(child), name=f"wait for {name}")
        try:
            await child.ready()
        except NotStarted as failed:
            log.warning("did not start", child=name, pid=child.pid, status=failed.status)
            raise
        return child

    async def _forget(self, child: Child) -> None:
        await child.wait()
        self._alive.discard(child)

    async def end(self, which: Callable[[Child], bool], patience: float) -> None:
        await asyncio.gather(*(child.end(patience) for child in self._alive if which(child)))
