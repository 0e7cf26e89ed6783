"""A packet filter in another process, which has the one right that it takes, and nothing else.

Over a Unix socket, one connection for each call: a line that says what is wanted, a line back. Whoever
watches hears line after line.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from pydantic import TypeAdapter, ValidationError

from broker.core.errors import FirewallFailed
from broker.core.firewall import Grant, Restored, Rules, Standing, complaint
from broker.core.netpolicy import NetworkPolicy
from broker.system.peer import peer_of
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from broker.core.firewall import Told
    from broker.core.interfaces import Clock, GuardedPackets
    from broker.system.notify import Supervisor

log = structlog.get_logger()

#: Bytes of a line: rules of a thousand desktops have a tenth of it.
_LINE = 1 << 20

#: Seconds for an answer, which may wait for two runs of nft; and of silence for who watches.
_ANSWER, _SILENCE = 25.0, 60.0

#: Seconds for a question, and connections at a time.
_QUESTION, _AT_ONCE = 5.0, 16

#: Seconds until a guard that could not watch is tried again.
_AGAIN = 1.0

#: Names of installations and of policies: what becomes part of a rule's text.
_NAME = re.compile(r"[a-z0-9_]{1,64}")

#: What can be asked for, and what is said of it and back.
_CALLS: dict[str, tuple[TypeAdapter[Any], TypeAdapter[Any]]] = {
    "put": (TypeAdapter(Rules), TypeAdapter(str | None)),
    "standing": (TypeAdapter(str), TypeAdapter(Standing | None)),
    "grant": (TypeAdapter(tuple[str, Grant]), TypeAdapter(None)),
    "revoke": (TypeAdapter(tuple[str, Grant]), TypeAdapter(None)),
    "remove": (TypeAdapter(str), TypeAdapter(None)),
}
# A part of `Rules` that its module names for its annotations alone.
_CALLS["put"][0].rebuild(_types_namespace={NetworkPolicy.__name__: NetworkPolicy})
_TOLD: TypeAdapter[Restored | None] = TypeAdapter(Restored | None)

_GUARD, _OK, _FAILED = "guard", b"ok ", b"failed "


class RemoteFilter:
    """Implements `core.interfaces.GuardedPackets` over the socket at `path`."""

    def __init__(self, path: Path, *, answer: float = _ANSWER, silence: float = _SILENCE) -> None:
        self._path = path
        self._answer = answer
        self._silence = silence

    async def put(self, rules: Rules) -> str | None:
        gap: str | None = await self._ask("put", rules)
        return gap

    async def standing(self, instance: str) -> Standing | None:
        found: Standing | None = await self._ask("standing", instance)
        return found

    async def grant(self, instance: str, grant: Grant) -> None:
        await self._ask("grant", (instance, grant))

    async def revoke(self, instance: str, grant: Grant) -> None:
        await self._ask("revoke", (instance, grant))

    async def remove(self, instance: str) -> None:
        await self._ask("remove", instance)

    async def guard(self, told: Told) -> None:
        async with self._connection(f"{_GUARD} null\n".encode()) as reader:
            while True:
                await told(_TOLD.validate_json(await self._line(reader, self._silence)))

    async def _ask(self, name: str, value: object) -> Any:
        asked, answered = _CALLS[name]
        async with self._connection(
            name.encode() + b" " + asked.dump_json(value) + b"\n"
        ) as reader:
            return answered.validate_json(await self._line(reader, self._answer))

    @asynccontextmanager
    async def _connection(self, question: bytes) -> AsyncIterator[asyncio.StreamReader]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=_LINE)
        except OSError as error:
            raise FirewallFailed(f"desk-firewall.service does not answer: {error}") from error
        try:
            writer.write(question)
            with suppress(ConnectionError):
                await writer.drain()
            yield reader
        except (ValidationError, ConnectionError, ValueError) as error:
            raise FirewallFailed("desk-firewall.service is of another version") from error
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _line(self, reader: asyncio.StreamReader, within: float) -> bytes:
        try:
            async with asyncio.timeout(within):
                line = await reader.readline()
        except TimeoutError:
            raise FirewallFailed(f"desk-firewall.service was silent for {within:g} s") from None
        if line.startswith(_FAILED):
            raise FirewallFailed(line.removeprefix(_FAILED).decode(errors="replace").strip())
        if not line.startswith(_OK):
            raise FirewallFailed("desk-firewall.service ended the connection")
        return line.removeprefix(_OK)


class FilterService:
    """Serves a filter that guards to processes of some users alone; the kernel says whose one is."""

    def __init__(self, packets: GuardedPackets, *, uids: Collection[int], clock: Clock) -> None:
        self._packets = packets
        self._uids = frozenset(uids)
        self._clock = clock
        self._watching: set[asyncio.Queue[bytes]] = set()
        self._here = 0
        self._tasks = Tasks()

    async def run(self, sock: socket.socket, supervisor: Supervisor) -> NoReturn:
        """Until it is cancelled. What was put stays in place, guarded by nobody."""
        server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_LINE)
        try:
            supervisor.ready("Keeps the rules of the desktops' network")
            self._tasks.start(supervisor.live(), name="signs of life")
            while True:
                try:
                    await self._packets.guard(self._tell)
                except FirewallFailed as error:
                    log.warning("the network's rules are not guarded", reason=str(error))
                    self._spread(_FAILED + str(error).encode() + b"\n")
                await self._clock.sleep(_AGAIN)
        finally:
            server.close()
            await self._tasks.close()

    async def _tell(self, restored: Restored | None) -> None:
        self._spread(_OK + _TOLD.dump_json(restored) + b"\n")

    def _spread(self, line: bytes) -> None:
        for queue in self._watching:
            # Who does not read what is told is cut off by what is told of it last.
            if queue.full():
                queue.get_nowait()
                line = _FAILED + b"it was not heard\n"
            queue.put_nowait(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        if peer.uid not in self._uids or self._here >= _AT_ONCE:
            log.warning("connection refused", uid=peer.uid, pid=peer.pid)
            writer.transport.abort()
            return
        self._here += 1
        try:
            async with asyncio.timeout(_QUESTION):
                line = await reader.readline()
            name, _, text = line.decode(errors="replace").partition(" ")
            if name == _GUARD:
                await self._watch(reader, writer)
            else:
                writer.write(await self._answered(name, text))
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.warning("a call was not understood", problem=type(error).__name__)
        finally:
            self._here -= 1
            writer.close()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue(16)
        self._watching.add(queue)
        gone = self._tasks.start(reader.read(1), name="who watches")
        try:
            # It is heard from now on: who watches need not wait for the next sign to know.
            line = _OK + b"null\n"
            while line.startswith(_OK):
                writer.write(line)
                await writer.drain()
                next_line = self._tasks.start(queue.get(), name="what is told")
                await asyncio.wait({next_line, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    next_line.cancel()
                    return
                line = next_line.result()
            writer.write(line)
        finally:
            gone.cancel()
            self._watching.discard(queue)

    async def _answered(self, name: str, text: str) -> bytes:
        if name not in _CALLS:
            return _FAILED + b"there is no such call\n"
        asked, answered = _CALLS[name]
        try:
            answer = await self._call(name, asked.validate_json(text))
        except ValidationError:
            return _FAILED + b"the broker is of another version\n"
        except FirewallFailed as error:
            return _FAILED + " ".join(str(error).split()).encode() + b"\n"
        return _OK + answered.dump_json(answer) + b"\n"

    async def _call(self, name: str, value: Any) -> Any:
        packets = self._packets
        if name == "put":
            if (problem := complaint(value)) is not None:
                raise FirewallFailed(f"refused: {problem}")
            return await packets.put(value)
        words = (value,) if isinstance(value, str) else (value[0], value[1].group)
        if not all(_NAME.fullmatch(word) for word in words):
            raise FirewallFailed("refused: a name is none")
        match name:
            case "standing":
                return await packets.standing(value)
            case "remove":
                return await packets.remove(value)
            case "grant":
                return await packets.grant(*value)
            case _:
                return await packets.revoke(*value)
