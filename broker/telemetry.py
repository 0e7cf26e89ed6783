"""Logs (structlog over the standard library, one formatter for all) and metrics."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Libraries that tell more than an operator wants at INFO.
_QUIET = ("asyncssh", "aiohttp.access", "aiosqlite", "alembic", "docker", "urllib3", "asyncio")


def configure(style: str = "auto", level: int = logging.INFO) -> None:
    """Send every record to stderr: as JSON lines, as text for people, or (`auto`) by the terminal."""
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
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


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


class Metrics:
    """What the broker measures, in a registry of its own; `docs/operations.md` names each."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.sessions = Gauge(
            "desk_sessions", "Live sessions by state.", ["state"], registry=registry
        )
        self.attachments = Gauge(
            "desk_attachments", "Clients that are in a session now.", registry=registry
        )
        self.starts = Counter(
            "desk_session_starts_total",
            "Starts of sessions by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.start_seconds = Histogram(
            "desk_session_start_seconds",
            "From the wish to a desktop that answers.",
            buckets=(0.5, 1, 2, 3, 5, 8, 13, 30, 60, 120),
            registry=registry,
        )
        self.starts_waiting = Gauge(
            "desk_session_starts_waiting", "Starts that wait for a place.", registry=registry
        )
        self.doors = Gauge("desk_doors", "Front doors that the broker hears.", registry=registry)
        self.ssh_connections = Gauge(
            "desk_ssh_connections", "SSH connections open now.", registry=registry
        )
        self.ssh_logins = Gauge(
            "desk_ssh_logins",
            "Of these, the ones that proved who they are.",
            registry=registry,
        )
        self.source_checks = Counter(
            "desk_source_checks_total",
            "Passwords that an outside source was asked about, by its answer.",
            ["source", "outcome"],
            registry=registry,
        )
        self.loop_failures = Counter(
            "desk_loop_failures_total", "Failed passes of a loop.", ["loop"], registry=registry
        )
        self.loop_success = Gauge(
            "desk_loop_last_success_timestamp_seconds",
            "When a loop last went through, in seconds since 1970.",
            ["loop"],
            registry=registry,
        )

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
