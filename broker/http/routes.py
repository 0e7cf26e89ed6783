"""What a route of the API is: where, what it takes and answers, and who may use it.

The tables of the nouns are made of these; what is served, the OpenAPI document, the reference and
the matrix of permissions come from them alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from broker.core.errors import BadRequest, DeskError, NotFound
from broker.core.model import UserId, shown
from broker.core.tokens import Caller, Scope

if TYPE_CHECKING:
    from multidict import MultiMapping
    from pydantic import BaseModel

    from broker.core.interfaces import Store

Handler = Callable[[Any, web.Request], Awaitable[web.StreamResponse]]
"""A method of a noun's class. It raises `DeskError`."""

#: Where all routes are.
PREFIX = "/api/v1"

_CALLER = web.RequestKey("caller", Caller)
_QUERY = web.RequestKey("query", dict[str, "str | int"])


def caller_of(request: web.Request) -> Caller:
    """Who asks, as the kernel or their token says."""
    return request[_CALLER]


def let_in(request: web.Request, caller: Caller) -> None:
    """Say who asks."""
    request[_CALLER] = caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A parameter of the query: a number where `high` is set, one of `choices` where there are
    any, else a text.
    """

    name: str
    summary: str
    low: int = 0
    high: int | None = None
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> str | int:
        """Raises `BadRequest` with what is allowed."""
        if self.high is not None:
            return self._number(text, self.high)
        if self.choices and text not in self.choices:
            allowed = ", ".join(self.choices)
            raise BadRequest(public=f"{self.name}: allowed is one of {allowed}.")
        return text

    def _number(self, text: str, high: int) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            text = "-1"
        if not self.low <= int(text) <= high:
            allowed = f"a number from {self.low} to {high}"
            raise BadRequest(public=f"{self.name}: allowed is {allowed}.")
        return int(text)

    @property
    def schema(self) -> dict[str, Any]:
        if self.high is not None:
            return {"type": "integer", "minimum": self.low, "maximum": self.high}
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """How it is told whose thing a request is about, for callers who have their own alone."""

    find: Callable[[Store, web.Request], Awaitable[UserId | None]] | None
    """The owner; None for a thing that is not there. No function: the handler itself shows and
    takes nothing but what is the caller's.
    """
    missing: Callable[[web.Request], NotFound] = lambda _: NotFound()
    """What is said of a thing that is not there, and of another's: they are not told apart."""
    all_alone: bool = False
    """Whether it is nothing to do with one's own."""
    owner_alone: bool = False
    """Whether nobody may but the owner: not whoever has everybody's either."""


#: Of lists, and of what is asked of the caller themselves.
BY_HANDLER = Whose(find=None)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer with items of a kind, and where the next ones begin."""

    of: type


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: server-sent events, whose data is of that kind."""

    of: type


Answer = type | Page | Stream | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path. `needs`, `whose`, `open` and `enrolling` are the rule of who may use
    it.
    """

    method: str
    path: str
    """Below `PREFIX`; `{key:.+}` also takes what has slashes."""
    handler: Handler
    name: str
    """Of the operation, in snake case, which is what generated clients call it."""
    summary: str
    """One sentence."""
    needs: Scope | None
    """None: whoever is let in at all."""
    open: bool = False
    """Whether even that is not wanted: anybody may call it, and who calls is not looked at."""
    enrolling: bool = False
    """Whether whoever has to set up a one-time code first may use it, too."""
    whose: Whose | None
    """None: for callers who have everybody's alone."""
    body: type[BaseModel] | None = None
    query: tuple[Query, ...] = ()
    foreign: bool = False
    """Whether somebody else makes its query: what is unknown there is passed over."""
    answers: Mapping[int, Answer]
    refuses: tuple[type[DeskError], ...] = ()
    """Beside what any route refuses."""
    secret: bool = False
    """Whether the answer holds what is shown once and kept nowhere."""

    @property
    def own(self) -> bool:
        """Whether callers who have their own alone may use it."""
        return self.whose is not None and not self.whose.all_alone

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)", self.path)

    @property
    def plain_path(self) -> str:
        """Without the patterns of parameters."""
        return re.sub(r"{(\w+):[^}]+}", r"{\1}", self.path)

    def read_query(self, request: web.Request) -> None:
        """Check the query for `asked`. Raises `BadRequest`, also for a name that is unknown."""
        request[_QUERY] = self._parsed(request.query)

    def _parsed(self, sent: MultiMapping[str]) -> dict[str, str | int]:
        known = {one.name: one for one in self.query}
        for name in sent:
            if name not in known and not self.foreign:
                allowed = f"allowed: {', '.join(known)}" if known else "there is none"
                raise BadRequest(public=f"Unknown parameter {shown(name)}; {allowed}.")
        return {name: one.read(sent[name]) for name, one in known.items() if name in sent}


def asked(request: web.Request, name: str) -> str | None:
    """A text of the query; None when it was not said."""
    found = request[_QUERY].get(name)
    return None if found is None else str(found)


def number(request: web.Request, name: str, default: int) -> int:
    """A number of the query."""
    return int(request[_QUERY].get(name, default))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What a part of the API is about, and its routes."""

    name: str
    summary: str
    routes: tuple[Route, ...] = field(default=())
