"""The pages for browsers as they were built: read once, for a door may not read files later."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from broker.door.asking import Guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.door.asking import Asker

#: Where a build leaves them.
BUILT = Path(__file__).parents[1] / "web" / "dist"

UNBUILT = (
    "The pages of this Desk are not built: run 'broker/web/build.sh' where it is installed, with"
    " node and npm, and start Desk again. SSH works without them.\n"
)

#: By the end of a name; anything else is for nobody to look at.
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_OTHER = "application/octet-stream"

#: What is small already.
_DENSE = {".png", ".woff2"}

#: Bytes from which on packing is worth it.
_WORTH = 1024

#: A page can change with each version; what has the hash of its content in its name never does.
_PAGE = "no-cache"
_ASSET = "public, max-age=31536000, immutable"

_PAGES = {"/": "index.html", "/admin": "admin.html", "/join": "join.html"}
_DESKTOP = re.compile(r"/desktop/[A-Za-z0-9]{1,64}")
_HASHED = re.compile(r".+-[A-Z0-9]{8}\.[a-z0-9.]+")


@dataclass(frozen=True, slots=True)
class File:
    """One file, as it is and packed."""

    kind: str
    cached: str
    plain: bytes = field(repr=False)
    packed: bytes | None = field(repr=False)
    """By gzip, where that is worth it."""
    tag: str
    """Of its content, as an ETag without the quotes."""


class Statics:
    """All files of a build, by their address."""

    guard = Guard.NOTHING

    def __init__(self, files: dict[str, File]) -> None:
        self._files = files

    @classmethod
    def read(cls, folder: Path = BUILT) -> Statics:
        """Those in a folder; none where it was never built."""
        return cls(dict(_read(folder)))

    def answers(self, path: str) -> bool:
        """Whether the address is one of a page, built or not, or of a file that there is."""
        return path in self._files or path in _PAGES or _DESKTOP.fullmatch(path) is not None

    async def answer(self, request: web.Request, _asker: Asker) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        file = self._files.get("desktop" if _DESKTOP.fullmatch(path) else path)
        if file is None:
            return web.Response(status=503, text=UNBUILT)
        packed = file.packed if _takes_gzip(request) else None
        tag = f'"{file.tag}"' if packed is None else f'"{file.tag}.gz"'
        headers = {hdrs.ETAG: tag, hdrs.CACHE_CONTROL: file.cached, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        if tag in _known(request):
            return web.Response(status=304, headers=headers)
        headers[hdrs.CONTENT_TYPE] = file.kind
        if packed is not None:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=file.plain if packed is None else packed, headers=headers)


def _read(folder: Path) -> Iterator[tuple[str, File]]:
    for path, name in (*_PAGES.items(), ("desktop", "desktop.html")):
        if (folder / name).is_file():
            yield path, _file(folder / name, _PAGE)
    for notice in sorted(folder.glob("*.txt")):
        yield f"/{notice.name}", _file(notice, _PAGE)
    for asset in sorted(folder.glob("assets/*")):
        cached = _ASSET if _HASHED.fullmatch(asset.name) else _PAGE
        yield f"/assets/{asset.name}", _file(asset, cached)


def _file(path: Path, cached: str) -> File:
    plain = path.read_bytes()
    packed = None
    if len(plain) >= _WORTH and path.suffix not in _DENSE:
        packed = gzip.compress(plain, mtime=0)
    return File(
        kind=_KINDS.get(path.suffix, _OTHER),
        cached=cached,
        plain=plain,
        packed=packed,
        tag=hashlib.sha256(plain).hexdigest()[:32],
    )


def _takes_gzip(request: web.Request) -> bool:
    for offer in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        name, _, weight = offer.partition(";")
        if name.strip().lower() == "gzip":
            return weight.strip().replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _known(request: web.Request) -> set[str]:
    """The tags of what the client has."""
    tags = request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")
    return {tag.strip().removeprefix("W/") for tag in tags}
