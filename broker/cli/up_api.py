"""The few calls of the broker's API that `make up` makes, over its admin socket."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

from broker.cli.up_keys import fingerprint
from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TIMEOUT = 15


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket: the kernel tells the broker who calls."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


class AdminApi:
    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def ensure_user(self, name: str, keys: Sequence[str]) -> list[str]:
        """Make the user, an admin, when it is not there; add the keys that it lacks. Returns a
        sentence for each key that is somebody else's.
        """
        names = {user["name"] for user in self._call("GET", "/users")["items"]}
        if name not in names:
            self._call("POST", "/users", {"name": name, "admin": True})
        known = {key["fingerprint"] for key in self._call("GET", f"/users/{name}/keys")["items"]}
        missing = [key for key in keys if fingerprint(key) not in known]
        answers = [
            self._call("POST", f"/users/{name}/keys", {"key": key}, allowed=(409,))
            for key in missing
        ]
        return [str(answer["detail"]) for answer in answers if "detail" in answer]

    def _call(
        self, method: str, path: str, body: object = None, *, allowed: Sequence[int] = ()
    ) -> dict[str, Any]:
        try:
            with closing(_Connection(self._path)) as connection:
                content = None if body is None else json.dumps(body)
                headers = {"Content-Type": "application/json"} if content else {}
                connection.request(method, f"/api/v1{path}", content, headers)
                response = connection.getresponse()
                answer = json.loads(response.read() or b"{}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise StateUnusable(
                public=f"{self._path}: the broker does not answer: {error}"
            ) from error
        if response.status >= 400 and response.status not in allowed:
            detail = answer.get("detail") or f"status {response.status}"
            raise StateUnusable(public=f"The broker refused {method} {path}: {detail}")
        return answer if isinstance(answer, dict) else {"items": answer}
