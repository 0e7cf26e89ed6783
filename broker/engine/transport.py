"""The way to the engine's socket: the SDK's client over connections that can be cut off."""

from __future__ import annotations

import json
import socket
import threading
import weakref
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests
from docker import APIClient
from docker.errors import ImageNotFound, create_api_error_from_http_exception
from docker.transport.unixconn import (
    UnixHTTPAdapter,
    UnixHTTPConnection,
    UnixHTTPConnectionPool,
)

from broker.core.errors import ConfigError, EngineUnavailable, ImageMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.engine.executor import Deadline
    from broker.engine.facts import Json

#: The oldest API that has all that a container of ours asks for.
OLDEST_API = (1, 41)

_SCHEME = "unix://"


class Link:
    """Clients for one engine, made when first wanted, so that it need not answer yet."""

    def __init__(self, base_url: str, *, deadline: Deadline, connections: int) -> None:
        if not base_url.startswith(_SCHEME):
            raise ConfigError(f"the engine's address has to be {_SCHEME}PATH, not {base_url!r}")
        self._adapter = _Adapter(base_url, deadline, connections)
        self._url = base_url
        self._client: APIClient | None = None

    @property
    def client(self) -> APIClient:
        """The client that speaks the API version agreed upon."""
        return self._client or self.negotiate()

    def negotiate(self) -> APIClient:
        """Agree upon the API version anew: the engine may have been replaced meanwhile."""
        versions: Json = self._speaking(OLDEST_API).version(api_version=False)
        newest, oldest = _version(versions["ApiVersion"]), _version(versions["MinAPIVersion"])
        if newest < OLDEST_API:
            have, want = versions["ApiVersion"], _text(OLDEST_API)
            raise EngineUnavailable(f"the engine's API is {have}; {want} or newer is needed")
        self._client = self._speaking(max(oldest, OLDEST_API))
        return self._client

    def image(self, reference: str) -> Json:
        """Raises `ImageMissing`."""
        # The SDK's types do not know this method and the next one's.
        client: Any = self.client
        with _present(reference):
            reply: Json = client.inspect_image(reference)
            return reply

    def create(self, config: Json, name: str) -> Json:
        """Make a container. Raises `ImageMissing`."""
        client: Any = self.client
        with _present(config["Image"]):
            reply: Json = client.create_container_from_config(config, name)
            return reply

    @contextmanager
    def events(self, filters: Mapping[str, Sequence[str]]) -> Iterator[Iterator[bytes]]:
        """The engine's events from now on, one line of JSON each, until `abort`. The link then
        serves nothing else: none of its reads has a deadline any more.
        """
        # The reply begins before the engine listens: what happens in between it knows from memory,
        # if it is asked for all since a moment before. That moment is one of the engine's clock.
        since = datetime.fromisoformat(self.client.info()["SystemTime"]).timestamp()
        reply = self.client.get(
            f"{self.client.base_url}/v{self.client.api_version}/events",
            params={"since": f"{since:.6f}", "filters": json.dumps(filters)},
            stream=True,
        )
        with closing(reply):
            _refuse_failure(reply)
            self._adapter.wait_without_end()
            yield reply.iter_lines()

    def abort(self) -> None:
        """Cut off what is under way, and let no new connection be made."""
        self._adapter.abort()

    def close(self) -> None:
        self._adapter.close()

    def _speaking(self, version: tuple[int, int]) -> APIClient:
        client = APIClient(base_url=self._url, version=_text(version))
        # The variables of a proxy and of netrc are not meant for a local socket.
        client.trust_env = False
        client.mount("http+docker://", self._adapter)
        return client


def _refuse_failure(reply: requests.Response) -> None:
    try:
        reply.raise_for_status()
    except requests.HTTPError as error:
        create_api_error_from_http_exception(error)


@contextmanager
def _present(image: str) -> Iterator[None]:
    try:
        yield
    except ImageNotFound as error:
        raise ImageMissing(f"image {image!r} is not on the engine's host") from error


class _Adapter(UnixHTTPAdapter):
    """Knows its open sockets, and gives each request what its call's deadline leaves."""

    def __init__(self, url: str, deadline: Deadline, connections: int) -> None:
        super().__init__(url.replace(_SCHEME, "http+unix://", 1), max_pool_size=connections)
        self._deadline = deadline
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._aborted = False
        self._pool = _Pool(self.socket_path, self)

    def send(
        self, request: requests.PreparedRequest, *_args: object, **options: Any
    ) -> requests.Response:
        options["timeout"] = self._deadline.remaining()
        return super().send(request, **options)

    def get_connection(self, url: str | bytes, proxies: object = None) -> _Pool:  # noqa: ARG002
        # The SDK keeps a pool per URL, which makes a connection per container and call.
        return self._pool

    def connect(self, timeout: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(self.socket_path)
            self._admit(sock)
        except BaseException:
            # The SDK leaves a socket that could not connect to the garbage collector.
            sock.close()
            raise
        return sock

    def _admit(self, sock: socket.socket) -> None:
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError("the connection to the engine is closed")
            self._sockets.add(sock)

    def wait_without_end(self) -> None:
        with self._lock:
            for sock in self._sockets:
                sock.settimeout(None)

    def close(self) -> None:
        super().close()
        self._pool.close()

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            for sock in self._sockets:
                with suppress(OSError):  # its own thread may have closed it already
                    sock.shutdown(socket.SHUT_RDWR)


class _Pool(UnixHTTPConnectionPool):
    def __init__(self, path: str, adapter: _Adapter) -> None:
        super().__init__("localhost", path, maxsize=adapter.max_pool_size)
        self._adapter = adapter

    def _new_conn(self) -> _Connection:  # type: ignore[override]  # the SDK's own does the same
        return _Connection(self.socket_path, self._adapter)


class _Connection(UnixHTTPConnection):
    def __init__(self, path: str, adapter: _Adapter) -> None:
        super().__init__("localhost", path)
        self._adapter = adapter

    def connect(self) -> None:
        self.sock = self._adapter.connect(float(self.timeout or 1.0))


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
