"""The command line's place where errors become words: one sentence, an exit code, no traceback."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from broker.cli.output import safe
from broker.core.errors import BadRequest, BrokerUnavailable, ConfigError, DeskError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

#: Exit codes: 1 refused or failed, 2 wrong usage (click's own), 3 no broker that answers, 78
#: unusable configuration (as in sysexits.h).
FAILED, USAGE, AWAY, CONFIG = 1, 2, 3, 78


def plain_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Let `command` end with a sentence and a code when it raises a `DeskError`.

    Whoever types these commands is the operator, and reads the operator's text.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except DeskError as error:
            # Of a configuration, each mistake is a line of its own.
            for line in f"{error} ({error.code})".split("\n"):
                click.echo(safe(line), err=True)
            sys.exit(_code(error))

    return run


def _code(error: DeskError) -> int:
    match error:
        case ConfigError():
            return CONFIG
        case BadRequest():
            return USAGE
        case BrokerUnavailable():
            return AWAY
        case _:
            return FAILED
