"""Logs: structlog over the standard library, one formatter for all."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

#: Libraries that tell more than an operator wants at INFO.
QUIET = ("asyncssh", "aiohttp.access", "aiosqlite", "alembic", "docker", "urllib3", "asyncio")


def configure(style: str = "auto", level: int | str = logging.INFO) -> None:
    """Send every record from `level` on to stderr: as text for people, or as JSON lines, each with
    its weight in front where the journal reads them; `auto` chooses by the terminal. Calling it
    again changes what was chosen.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _bounded,
    ]
    people = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        # Plain: the renderer's own choice prints local variables, and so passwords.
        [
            _printable,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
        if people
        else [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            *([_weighed] if _for_the_journal() else []),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _for_the_journal() -> bool:
    """Whether standard error is what systemd said that it reads: it could have been sent elsewhere."""
    try:
        there = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # a program's own idea of it has no descriptor
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _weighed(_logger: structlog.typing.WrappedLogger, name: str, line: Any) -> str:
    """By sd-daemon(3): `journalctl -p warning` finds it."""
    return f"<{_WEIGHTS.get(name, 6)}>{line}"


#: By syslog(3).
_WEIGHTS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}

#: Characters of one fact in a log line: what a client or a desktop said may be of any length.
_LONGEST = 2048


def _bounded(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {
        key: value[:_LONGEST] + "…" if isinstance(value, str) and len(value) > _LONGEST else value
        for key, value in event.items()
    }


def _printable(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """What a client sent must not command the terminal of whoever reads the log."""
    return {
        key: "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
        if isinstance(value, str) and key not in {"exception", "stack"}
        else value
        for key, value in event.items()
    }
