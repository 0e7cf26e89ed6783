"""What deskctl's commands share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from broker.cli.ctl_watch import watch
from broker.cli.errors import plain_errors
from broker.cli.output import Output
from broker.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.cli.client import Client
    from broker.cli.output import Sheet


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command works with."""

    client: Client
    out: Output

    def list(
        self,
        path: str,
        sheet: Sheet,
        *,
        query: dict[str, str] | None = None,
        watched: bool = False,
    ) -> None:
        """Print the list of that path; `watched`: again whenever it changes, until Ctrl-C."""
        if watched:
            watch(self.client, self.out, path, sheet, query=query)
        else:
            self.out.table(self.client.call("GET", path, query=query), sheet)

    def show(self, item: Mapping[str, Any], sheet: Sheet) -> None:
        """Print one thing, a line for each column."""
        self.out.text(item, "\n".join(sheet.block(item)), ident=sheet.id_of(item))


def verb(
    group: click.Group, name: str, **settings: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function that takes `Desk` first: with `--json` and `--quiet`, and a
    sentence for each `DeskError`.
    """

    def make(function: Callable[..., None]) -> click.Command:
        return group.command(name, **settings)(forms(click.pass_obj(plain_errors(function))))

    return make


def _form(context: click.Context, parameter: click.Parameter, chosen: bool) -> None:
    """They stand before the noun or behind the command, as one's fingers have it."""
    if not chosen:
        return
    field = "as_json" if parameter.name == "json" else "quiet"
    held = context.meta.setdefault("broker.cli.output", Output())
    made = context.meta["broker.cli.output"] = replace(held, **{field: True})
    if made.as_json and made.quiet:
        raise click.UsageError("--json and --quiet are two forms of output: choose one.")
    if context.obj is not None:
        context.obj = replace(context.obj, out=made)


def forms(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say in which form answers are printed; `form` tells them."""
    quiet = click.option(
        "--quiet",
        "-q",
        is_flag=True,
        expose_value=False,
        callback=_form,
        help="Print ids alone, for programs.",
    )
    as_json = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_form,
        help="Print JSON, for programs.",
    )
    return as_json(quiet(command))


def form(context: click.Context) -> Output:
    """As it was asked for so far."""
    found: Output = context.meta.get("broker.cli.output", Output())
    return found


#: Of lists.
WATCH = click.option(
    "--watch", "watched", is_flag=True, help="Show it again when it changes, until Ctrl-C."
)

#: Of what destroys.
YES = click.option("--yes", is_flag=True, help="Ask nothing, for programs.")


def sure(question: str, *, yes: bool) -> None:
    """Ask whoever sits there before something is destroyed. Raises `BadRequest` where nobody does
    and `yes` was not said, `click.Abort` for a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadRequest(public="This asks first, at a terminal; programs add --yes.")
    click.confirm(question, abort=True, err=True)


def filters(**asked: str | None) -> dict[str, str]:
    """A query of what was said."""
    return {name: value for name, value in asked.items() if value is not None}


def part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")
