"""A way to the engine that a test can cut and mend, without touching the engine itself."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class EngineLink:
    """A Unix socket that leads to the engine's own, until it is cut."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path = path
        self._engine = engine.removeprefix("unix://")
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def mend(self) -> None:
        self.path.unlink(missing_ok=True)
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(64)
        self._run(self._accept, listener)

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        self.path.unlink(missing_ok=True)
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()
        self._open.clear()

    def _run(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._run(self._join, near)

    def _join(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, suppress(OSError):
            far.connect(self._engine)
            self._open |= {near, far}
            ways = {near: far, far: near}
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    ways[source].sendall(data)
