"""A Unix socket that answers as an engine would, or as none should."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}


def reply(status: int, body: Any = None, *, raw: bytes | None = None) -> bytes:
    content = json.dumps(body).encode() if raw is None else raw
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def refusal(status: int, sentence: str) -> bytes:
    return reply(status, {"message": sentence})


class Scripted:
    """Answers each request by the first pattern that its request line matches; several answers
    are given one after another, the last for ever. None hangs, empty bytes hang up.
    """

    def __init__(self) -> None:
        self.path = f"/tmp/desk-scripted-{secrets.token_hex(6)}.sock"
        self.url = f"unix://{self.path}"
        self.requests: list[str] = []
        self._hanging_up: str | None = None
        self._last: asyncio.StreamWriter | None = None
        self._answers: dict[str, list[bytes | None]] = {}
        self.on("GET /version", reply(200, VERSION))

    def on(self, pattern: str, *answers: bytes | None, hang_up: bool = False) -> None:
        """`hang_up` says that the connection ends behind such an answer, and behind no other: who asks
        for something on a connection that ends just then gets no answer at all.
        """
        self._hanging_up = pattern if hang_up else None
        self._answers.pop(pattern, None)
        self._answers = {pattern: list(answers), **self._answers}

    def say(self, data: bytes) -> None:
        """More of the answer that was given last."""
        assert self._last is not None
        self._last.write(data)

    def hang_up(self) -> None:
        """The connection of that answer ends."""
        assert self._last is not None
        self._last.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                line = head.decode().split(" HTTP/")[0]
                self.requests.append(line)
                answer = self._answer(line)
                if answer is None:
                    await reader.read()
                if not answer:
                    return
                writer.write(answer)
                self._last = writer
                if self._hanging_up is not None and re.search(self._hanging_up, line):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, line: str) -> bytes | None:
        for pattern, answers in self._answers.items():
            if re.search(pattern, line):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return refusal(500, f"nothing is scripted for {line}")


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    engine = Scripted()
    server = await asyncio.start_unix_server(engine.serve, engine.path)
    try:
        yield engine
    finally:
        server.close()
        Path(engine.path).unlink()
        await asyncio.sleep(0.01)
