"""The OpenAPI document, made from the table of routes once and served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from broker import __version__
from broker.core import errors
from broker.core.tokens import Scope
from broker.http.once import KEY, LONGEST
from broker.http.problems import STATUS, WAITS
from broker.http.routes import BY_HANDLER, PREFIX, Noun, Page, Route, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.http.routes import Answer

_REF = "#/components/schemas/{model}"

#: What any route may refuse, and every one that names a thing, takes a body, or makes something.
_ANY = (
    errors.BadRequest,
    errors.Unauthenticated,
    errors.AccessDenied,
    errors.Blocked,
    errors.StateUnusable,
    errors.DeskError,
)


class Problem(TypedDict):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    """Stable, for programs."""
    detail: str
    """One sentence for people."""


class DocumentRoutes:
    """Serves the description of all others."""

    def __init__(self, table: Sequence[Noun]) -> None:
        self._text = json.dumps(document(table))

    async def show(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._text, content_type="application/json")


def document(table: Sequence[Noun]) -> dict[str, Any]:
    """OpenAPI 3.1, the same for the same table."""
    refs, schemas = _schemas(table)
    paths: dict[str, Any] = {}
    for noun in table:
        for route in noun.routes:
            operations = paths.setdefault(route.plain_path, {})
            operations[route.method.lower()] = _operation(noun, route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Desk",
            "version": __version__,
            "description": "The API of a desktop session broker. Every refusal is a problem"
            " document (RFC 9457) with a stable code.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "tags": [{"name": noun.name, "description": noun.summary} for noun in table],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def refusals(route: Route) -> dict[int, list[type[errors.DeskError]]]:
    """All that the route may refuse, by status."""
    kinds: list[type[errors.DeskError]] = [*_ANY, *route.refuses]
    if route.parameters or route.whose is BY_HANDLER:
        kinds.append(errors.NotFound)
    if route.method == "POST":
        kinds += [errors.Conflict, errors.Interrupted, errors.CapacityExhausted]
    found: dict[int, list[type[errors.DeskError]]] = {}
    for kind in dict.fromkeys(kinds):
        found.setdefault(_status(kind), []).append(kind)
    if route.body is not None:
        found[413] = [errors.BadRequest]
    return dict(sorted(found.items()))


def _status(kind: type[errors.DeskError]) -> int:
    return next((status for known, status in STATUS.items() if issubclass(kind, known)), 500)


def _schemas(table: Sequence[Noun]) -> tuple[dict[type, Any], dict[str, Any]]:
    """References by type, and what they refer to."""
    routes = [route for noun in table for route in noun.routes]
    types: dict[type, None] = {Problem: None}
    for route in routes:
        if route.body is not None:
            types[route.body] = None
        types.update({_kind(answer): None for answer in route.answers.values() if answer})
    inputs: list[tuple[type, Any, TypeAdapter[Any]]] = [
        (kind, _mode(kind), TypeAdapter(kind)) for kind in types
    ]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    return (
        {kind: schema for (kind, _), schema in found.items()},
        dict(sorted(definitions.get("$defs", {}).items())),
    )


def _mode(kind: type) -> str:
    return "validation" if issubclass(kind, BaseModel) else "serialization"


def _kind(answer: Answer) -> type:
    assert answer is not None
    return answer.of if isinstance(answer, Page | Stream) else answer


def _operation(noun: Noun, route: Route, refs: dict[type, Any]) -> dict[str, Any]:
    responses = {str(status): _answer(answer, refs) for status, answer in route.answers.items()}
    for status, kinds in refusals(route).items():
        responses[str(status)] = _refusal(status, kinds, refs)
    found: dict[str, Any] = {
        "tags": [noun.name],
        "operationId": route.name,
        "summary": route.summary,
        "description": rule(route),
        "x-scope": route.needs,
        "x-own": route.own,
        "parameters": _parameters(route),
        "responses": responses,
    }
    if route.open:
        found["security"] = []
    if route.body is not None:
        content = {"application/json": {"schema": refs[route.body]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def rule(route: Route) -> str:
    """Who may use it, as one sentence."""
    whose = "with one's own things too" if route.own else "for administrators alone"
    if route.open:
        return "Open to anybody."
    if route.needs is None:
        return "Needs no scope."
    return f"Needs the scope `{route.needs}`, {whose}."


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.parameters
    ]
    found += [
        {
            "name": one.name,
            "in": "query",
            "description": one.summary,
            "required": False,
            "schema": one.schema,
        }
        for one in route.query
    ]
    if any(isinstance(answer, Stream) for answer in route.answers.values()):
        found.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Begin behind the event of that id.",
                "required": False,
                "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
            }
        )
    if route.method == "POST" and not route.open:
        found.append(
            {
                "name": KEY,
                "in": "header",
                "description": "Asked again with the same key within a day, the call is done once.",
                "required": False,
                "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
            }
        )
    return found


def _answer(answer: Answer, refs: dict[type, Any]) -> dict[str, Any]:
    match answer:
        case None:
            return {"description": "Done."}
        case Page(of):
            schema = {
                "type": "object",
                "title": f"{of.__name__.removesuffix('Out')}Page",
                "properties": {
                    "items": {"type": "array", "items": refs[of]},
                    "next": {
                        "type": ["string", "null"],
                        "description": "The cursor of what follows; null: nothing does.",
                    },
                },
                "required": ["items", "next"],
            }
        case Stream(of):
            content = {"text/event-stream": {"schema": {"type": "string"}}}
            return {
                "description": f"Events; the data of each is a {of.__name__}.",
                "content": content,
            }
        case kind:
            schema = refs[kind]
    return {
        "description": "What was asked for.",
        "content": {"application/json": {"schema": schema}},
    }


def _refusal(
    status: int, kinds: Sequence[type[errors.DeskError]], refs: dict[type, Any]
) -> dict[str, Any]:
    codes = ", ".join(dict.fromkeys(f"`{kind.code}`" for kind in kinds))
    found: dict[str, Any] = {
        "description": f"Refused: {codes}.",
        "content": {"application/problem+json": {"schema": refs[Problem]}},
    }
    if status == 429 and any(issubclass(kind, WAITS) for kind in kinds):
        found["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return found


API = Noun(
    name="api",
    summary="What the API itself tells.",
    routes=(
        Route(
            method="GET",
            path="/openapi.json",
            handler=DocumentRoutes.show,
            name="get_openapi",
            summary="Describe the API, as OpenAPI 3.1.",
            needs=None,
            whose=BY_HANDLER,
            enrolling=True,
            answers={200: dict},
        ),
    ),
)

#: What a scope gives, for people.
SCOPES = {
    Scope.READ: "see what is there",
    Scope.USERS: "change accounts and what proves them",
    Scope.SESSIONS: "make, start, stop and remove desktops, and act on their sessions",
    Scope.ADMIN: "make administrators, change groups, let others back in, make tokens of others",
}
