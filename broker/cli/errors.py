"""The command line's place where errors become words: one sentence, an exit code, no traceback."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from broker.core.errors import BadRequest, ConfigError, DeskError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

#: Exit codes: 1 refused or failed, 2 wrong usage (click's own), 78 unusable configuration (as in
#: sysexits.h).
FAILED, USAGE, CONFIG = 1, 2, 78


def plain_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Let `command` end with a sentence and a code when it raises a `DeskError`.

    Whoever types these commands is the operator, and reads the operator's text.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except DeskError as error:
            click.echo(f"{error} ({error.code})", err=True)
            sys.exit(_code(error))

    return run


def _code(error: DeskError) -> int:
    match error:
        case ConfigError():
            return CONFIG
        case BadRequest():
            return USAGE
        case _:
            return FAILED
