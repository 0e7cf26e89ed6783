"""The reference of the API in `docs/`, made from the table: `python -m broker.http.reference`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from broker.http.openapi import SCOPES, refusals
from broker.http.routes import PREFIX, Page, Stream
from broker.http.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.http.routes import Answer, Noun, Query, Route

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"

_HEAD = """\
# The API

<!-- Made by `python -m broker.http.reference`: the table of routes says what stands here. -->

`deskctl` and every other program reach the broker by HTTP below `/api/v1`. `GET /api/v1/openapi.json` describes it for programs (OpenAPI 3.1), with the fields of what is sent and answered.

A refusal is a problem document (RFC 9457, `application/problem+json`) with a stable [`code`](errors.md) and one sentence as `detail`; 429 says in `Retry-After` when to come again. A body is JSON, at most 256 KiB; unknown fields and parameters are refused by name.

Lists answer `{"items": […], "next": …}`. `limit` says how many items at most, 1000 when it is not said; `next` is the `cursor` of the page that follows, or null.

A `POST` may carry an `Idempotency-Key` of up to 128 characters: asked again with the same key and body within a day, the call is done once and its first answer comes again, with `Idempotent-Replayed: true`; another body is 409. Refusals are not kept, nor are answers that tell a secret once: those are 409, too.

## Events

`GET /api/v1/events` tells each new entry of [the audit](operations.md#the-audit) as a server-sent event: its number as `id`, what was done as `event`, and the entry as `data`. It begins with what comes next; with `Last-Event-ID`, as clients send it by themselves when they come again, behind that entry. A comment comes when nothing happened for 15 seconds. Whoever has `own` is told what they did and what was done to their account, desktops and sessions. Who reads too slowly is cut, and comes again where they were.

## Who may what

On the admin socket the kernel says who calls: root, the broker's own user and members of the group `desk-admin` may everything. Everybody else shows a token: `Authorization: Bearer desk_…`. `POST /api/v1/tokens` makes one and tells its secret once; the state keeps a hash. A token is its user's: of one who is no administrator it reaches their own things alone, whatever it says, and it is dead as soon as they are disabled or removed, it is taken back, or its time is over. An address from which ten wrong tokens came in a row waits for 10 seconds, and after each further one for twice as long, up to 15 minutes; a token that was right lately is not held up by that.

A browser shows a cookie instead, which `POST /api/v1/sign-in` and its kin have the front door set; it is `HttpOnly`, so no page can read it. By it its user has all scopes, and reaches everybody's things where they are an administrator. With every method but `GET` its pages show in `Desk-CSRF` what `GET /api/v1/caller` tells as `csrf`, and come from [the address of the pages](config.md#the-http-port) alone. It is over when what proved its person is: the password changed, the key taken away, the account disabled. An address from which twenty wrong tries to sign in came in a row waits in the same way.

What is `open` anybody may call who reaches it. Somebody who has to set up a one-time code first reaches by their cookie what is `open`, who they are, the routes of their code and the way out.

A route needs one scope, and no scope holds another:

"""


def reference(table: Sequence[Noun]) -> str:
    """The page; the same for the same table."""
    return "\n".join([_HEAD.rstrip("\n"), "", *_scopes(), *_body(table)]) + "\n"


def _scopes() -> Iterator[str]:
    yield "| scope | gives |"
    yield "| --- | --- |"
    for scope, gives in SCOPES.items():
        yield f"| `{scope}` | {gives} |"
    yield ""
    yield (
        "With `own`, a caller sees and changes what is theirs: another's is answered as if it were"
        " not there. What is for administrators needs a caller who reaches everybody's things."
        " An administrator's account is changed by others with the scope `admin` alone."
    )


def _body(table: Sequence[Noun]) -> Iterator[str]:
    for noun in table:
        yield from ("", f"## {noun.name}", "", noun.summary, "")
        yield "| route | what it does | scope | own | answers | refuses |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for route in noun.routes:
            yield _row(route)


def _row(route: Route) -> str:
    told = route.summary.replace("|", "\\|")
    if route.body is not None:
        told += f" Body: `{route.body.__name__}`."
    if queries := [one for one in route.query if one.name not in {"limit", "cursor"}]:
        told += " " + " ".join(map(_query, queries))
    cells = (
        f"`{route.method} {PREFIX}{route.plain_path}`",
        told,
        f"`{route.needs}`" if route.needs else "open" if route.open else "any",
        "yes" if route.own else "no",
        ", ".join(f"{status} {_shown(answer)}" for status, answer in route.answers.items()),
        ", ".join(map(str, refusals(route))),
    )
    return f"| {' | '.join(cells)} |"


def _query(query: Query) -> str:
    told = f"`{query.name}`: {query.summary[0].lower()}{query.summary[1:]}"
    if query.choices:
        choices = ", ".join(f"`{choice}`" for choice in query.choices)
        told = f"{told.removesuffix('.')} ({choices})."
    return told


def _shown(answer: Answer) -> str:
    match answer:
        case None:
            return "nothing"
        case Page(of):
            return f"list of `{of.__name__}`"
        case Stream(of):
            return f"events of `{of.__name__}`"
        case kind:
            return f"`{kind.__name__}`"


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else _PAGE
    page.write_text(reference(TABLE), encoding="utf-8")
