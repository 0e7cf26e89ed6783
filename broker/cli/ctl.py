"""What deskctl's commands share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from broker.cli.output import Output

if TYPE_CHECKING:
    from broker.cli.client import Client


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command works with."""

    client: Client
    out: Output


def _json_here(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.obj = replace(context.obj, out=Output(as_json=True))


#: `--json` stands before the noun or behind the command, as one's fingers have it.
JSON = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_json_here,
    help="Print JSON, for programs.",
)


def part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")
