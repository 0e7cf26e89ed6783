"""Whole homes on their way out of the engine and back, as a tar that never stands in memory.

A container that is never started mounts the volume and nothing else; the engine reads and writes
there, and keeps owners, modes and links. It writes within that container's own root alone, so
whatever a tar says, nothing but the volume outlives it.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import requests
from docker.errors import create_api_error_from_http_exception

from broker.core.errors import EngineUnavailable, NotFound
from broker.core.spec import LABEL_DESKTOP
from broker.engine.hostconfig import LOG_CONFIG, NO_NEW_PRIVILEGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from broker.engine.executor import Deadline
    from broker.engine.homes import Homes
    from broker.engine.transport import Link

#: Seconds that the engine may take for a single call or for the next piece.
STALL = 60.0

#: Bytes of a piece, at most.
PIECE = 256 << 10

#: Where the volume is mounted. The engine refuses links that lead out of the directory into which
#: it unpacks, which in a home is any that climbs to the root: so it unpacks into the root itself.
_ROOT, _MOUNT = "/", "/desk"


class Gate:
    """Between a thread of the engine's and whoever called it: nothing passes once it is shut."""

    def __init__(self) -> None:
        self._passing = threading.Lock()
        self._shut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Waits for the piece that passes just now, and for no more than that.
        with self._passing:
            self._shut = True

    def into(self, sink: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def put(piece: bytes) -> None:
            with self._passing:
                self._check()
                sink(piece)

        return put

    def out_of(self, source: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._passing:
                self._check()
                piece = next(source, None)
            if piece is None:
                return
            yield piece

    def _check(self) -> None:
        if self._shut:
            raise EngineUnavailable("nobody waits for this home any more")


class Transfers:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, homes: Homes, link: Link, deadline: Deadline) -> None:
        self._homes = homes
        self._link = link
        self._deadline = deadline

    def export(self, volume: str, *, image: str, sink: Callable[[bytes], None]) -> None:
        with self._homes.lock(volume):
            self._soon()
            found = self._homes.find(volume)
            if found is None:
                raise NotFound(f"the home volume {volume!r} is gone")
            with self._homes.helper(volume, _config(volume, image), _labels(found)) as helper:
                self._read(helper, sink)
                self._soon()

    def load(self, volume: str, *, desktop_id: str, image: str, source: Iterator[bytes]) -> None:
        with self._homes.lock(volume):
            self._soon()
            # Before the old volume goes: without its image the new one could not be filled.
            self._link.image(image)
            if self._homes.find(volume) is not None:
                self._homes.discard(volume)
            self._homes.make(volume, desktop_id)
            labels = {LABEL_DESKTOP: desktop_id}
            with self._homes.helper(volume, _config(volume, image), labels) as helper:
                self._write(helper, source)
                self._soon()

    def _read(self, helper: str, sink: Callable[[bytes], None]) -> None:
        with closing(self._archive("GET", helper, _MOUNT, stream=True)) as reply:
            for piece in reply.iter_content(PIECE):
                began = time.monotonic()
                sink(piece)
                # As long again for others. A low priority would not do: the interpreter's lock is
                # held at it too, and the event loop would wait for a thread that waits for the CPU.
                time.sleep(time.monotonic() - began)

    def _write(self, helper: str, source: Iterator[bytes]) -> None:
        self._archive("PUT", helper, _ROOT, data=source).close()

    def _archive(self, method: str, helper: str, path: str, **more: Any) -> requests.Response:
        self._soon()
        client = self._link.client
        url = f"{client.base_url}/v{client.api_version}/containers/{helper}/archive"
        reply = client.request(method, url, params={"path": path}, **more)
        try:
            reply.raise_for_status()
        except requests.HTTPError as error:
            with closing(reply):
                create_api_error_from_http_exception(error)
        return reply

    def _soon(self) -> None:
        """The whole may take hours, and each of its calls, and each wait for a piece, must not."""
        self._deadline.at = time.monotonic() + STALL


def _labels(volume: Any) -> dict[str, str]:
    return {LABEL_DESKTOP: str(volume["Labels"][LABEL_DESKTOP])}


def _config(volume: str, image: str) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": ["/bin/false"],
        "User": "65534:65534",
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": [NO_NEW_PRIVILEGES],
            "LogConfig": LOG_CONFIG,
            "RestartPolicy": {"Name": "no"},
            # What an image has at a home must come neither out of an empty one nor into one.
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": volume,
                    "Target": _MOUNT,
                    "VolumeOptions": {"NoCopy": True},
                }
            ],
        },
    }
