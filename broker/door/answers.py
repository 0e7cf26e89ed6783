"""What every answer of the HTTP port says besides, and how the door's own refusals look."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from multidict import CIMultiDict

#: What a page may load, each kind from here alone; a picture of a desktop is made in the page.
_CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self'; font-src 'self'; media-src 'self' blob:; worker-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

#: What no page here needs of a browser. Clipboard, full screen and keys stay as they are.
_WITHOUT = ", ".join(
    f"{feature}=()"
    for feature in (
        *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid"),
        *("magnetometer", "microphone", "midi", "payment", "serial", "usb"),
    )
)

#: Nothing here may be framed, guessed at, embedded elsewhere, or run what comes from elsewhere.
_SECURITY = {
    "Content-Security-Policy": _CONTENT,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": _WITHOUT,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    hdrs.SERVER: "desk",
}

#: Seconds after which one may ask again, in the words of HTTP.
_AGAIN = "1"


def secure(headers: CIMultiDict[str]) -> None:
    """Whatever an answer has of these, the door's count."""
    headers.update(_SECURITY)
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def problem(status: int, code: str, detail: str, *, again: bool = False) -> web.Response:
    """As problems are told everywhere, RFC 9457; `again` says that asking again soon may help."""
    answer = web.json_response(
        {
            "type": f"desk:{code}",
            "title": code.replace("_", " "),
            "status": status,
            "code": code,
            "detail": detail,
        },
        status=status,
        content_type="application/problem+json",
    )
    if again:
        answer.headers[hdrs.RETRY_AFTER] = _AGAIN
    return answer


class Refused(Exception):
    """An answer of the door's own; what is still on its way from the client is not read."""

    def __init__(
        self, status: int, detail: str, *, code: str = "bad_request", allow: Sequence[str] = ()
    ) -> None:
        """`allow` are the methods that would do."""
        super().__init__(detail)
        self.answer = problem(status, code, detail)
        self.answer.force_close()
        if allow:
            self.answer.headers[hdrs.ALLOW] = ", ".join(allow)


def cut(client: asyncio.Transport | None) -> None:
    """So that nobody takes what came for all of it: to HTTP/1.0, which some proxies speak, an orderly
    end is the answer's own.
    """
    if client is not None:
        sock = client.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.abort()
