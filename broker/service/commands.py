"""The `desk` command inside a desktop: one line of JSON asks, one line of JSON answers.

Whoever asks is the session whose connection it came by, and nothing that is said changes that.
What is said may be anything: its size, time and number are bounded, and it gets one sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING, Protocol

from broker.core.gateway import WordReply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.interfaces import Clock

#: Where the desktop's sshd listens for it.
SOCKET = "/run/desk/broker.sock"

#: Bytes of a request with its newline, and of a reply: more than any word has to say.
MOST_REQUEST, MOST_REPLY = 4 * 1024, 16 * 1024

#: Requests of one session that are answered at once, and that begin in a minute.
AT_ONCE, PER_MINUTE = 4, 30

#: Seconds to send a request, and to answer it: less than the command inside waits.
_REQUEST_WITHIN, _ANSWER_WITHIN = 5.0, 9.0

#: What is written in one go. A peer that takes a byte a packet makes work of every byte: others
#: get their turn in between.
_SLICE = 512


class Reader(Protocol):
    async def read(self, n: int, /) -> bytes: ...


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...


class Desk:
    """Answers the requests of one session."""

    def __init__(
        self, answer: Callable[[Sequence[str]], Awaitable[WordReply]], clock: Clock
    ) -> None:
        self._answer = answer
        self._clock = clock
        self._under_way = 0
        self._begun: deque[float] = deque(maxlen=PER_MINUTE)

    async def hear(self, reader: Reader, writer: Writer) -> None:
        """One request, one reply. Raises what the stream raises."""
        for part in _slices(encode(await self._reply(reader))):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    async def _reply(self, reader: Reader) -> WordReply:
        try:
            # Read before it is refused: a socket that closes unread takes the reply with it.
            async with asyncio.timeout(_REQUEST_WITHIN):
                argv = parse(await _line(reader))
        except ValueError as error:
            return _refusal(str(error))
        except TimeoutError:
            return _refusal("The request did not come to its end.")
        if self._under_way >= AT_ONCE:
            return _refusal("This desktop asks too much at once: wait for an answer first.")
        if self._rushed():
            return _refusal(f"This desktop asks more than {PER_MINUTE} times a minute: wait a bit.")
        self._under_way += 1
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return await self._answer(argv)
        except TimeoutError:
            return _refusal("That took too long: see 'desk status', and try again.")
        finally:
            self._under_way -= 1

    def _rushed(self) -> bool:
        now = self._clock.monotonic()
        if len(self._begun) == PER_MINUTE and now - self._begun[0] < 60:
            return True
        self._begun.append(now)
        return False


async def _line(reader: Reader) -> bytes:
    """All up to the first newline, the end, or what is too much."""
    line = b""
    while b"\n" not in line and len(line) <= MOST_REQUEST:
        part = await reader.read(MOST_REQUEST)
        if not part:
            break
        line += part
    return line


def parse(line: bytes) -> list[str]:
    """What stands behind the word `desk`. Raises `ValueError` with a sentence for people."""
    if len(line) > MOST_REQUEST:
        raise ValueError("That is more than a command of Desk can be.")
    try:
        argv = json.loads(line)["argv"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(_ODD) from None
    if not isinstance(argv, list) or not all(isinstance(part, str) for part in argv):
        raise ValueError(_ODD)
    return argv


_ODD = "This is no request of the desk command."


def encode(reply: WordReply) -> bytes:
    """One line of ASCII, never longer than `MOST_REPLY`."""
    data = _encoded(reply)
    if len(data) > MOST_REPLY:
        return _encoded(_refusal("The answer is too long to be shown here: ask by ssh."))
    return data


def _encoded(reply: WordReply) -> bytes:
    facts = {"stdout": reply.stdout, "stderr": reply.stderr, "status": reply.status}
    return json.dumps(facts).encode() + b"\n"


def _refusal(sentence: str) -> WordReply:
    return WordReply(stdout="", stderr=f"desk: {sentence}\n", status=1)


def _slices(data: bytes) -> list[bytes]:
    return [data[start : start + _SLICE] for start in range(0, len(data), _SLICE)]
