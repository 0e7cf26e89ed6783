"""Files of a home as addresses name them: pure. Nothing leads out of the home by its name."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

#: Bytes of a name, and of all of them together, that file systems take.
_NAME, _PATH = 255, 4000


class BadPath(ValueError):
    """That names nothing in a home; the text says why."""


def of_address(raw: str) -> str:
    """The path that an address names, percent-encoded as it came: UTF-8, and relative to the home.
    Raises `BadPath`.
    """
    return _checked([_decoded(part) for part in raw.split("/")])


def of_query(raw: str) -> str:
    """The same of a value behind a question mark, where slashes may be encoded too; empty for the
    home itself.
    """
    return _checked(_decoded(raw.replace("+", " ")).split("/")) if raw else ""


def _decoded(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadPath("Names of files are UTF-8 here.") from None


def _checked(parts: list[str]) -> str:
    for part in parts:
        if part in {"", ".", ".."} or "/" in part or "\0" in part:
            raise BadPath("A path leads down from the home: no '.', no '..', no '//', no NUL.")
        if len(part.encode()) > _NAME:
            raise BadPath(f"A name may have {_NAME} bytes at most.")
    path = "/".join(parts)
    if len(path.encode()) > _PATH:
        raise BadPath(f"A path may have {_PATH} bytes at most.")
    return path


def attachment(name: str) -> str:
    """The header by which a browser saves what comes under that name, whatever is in it: RFC 6266,
    with a plain name for who does not know RFC 8187.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
