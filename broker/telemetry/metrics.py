"""What the broker measures. Names and labels are Prometheus' way, and each label has a few values
that are known here: never what a person or a client is called.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from broker.core.gateway import Offence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.gateway import Load
    from broker.core.interfaces import Clock

#: What a door may call the channels of a client; more is counted as `other`.
CHANNELS = ("shell", "exec", "sftp", "xpra", "forward", "browser", "guest")

#: What may have proven somebody; more is counted as `other`.
METHODS = tuple(
    f"{first}{second}" for first in ("key", "certificate", "password") for second in ("", "+code")
)

_START = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 30, 60, 120)
_CALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """All of them, in a registry of their own; `docs/operations.md` names each."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice as many series else
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._people()
        self._starts()
        self._sleep()
        self._doors()
        self._login()
        self._health()

    def _people(self) -> None:
        self.sessions = self._gauge("desk_sessions", "Live sessions by state.", "state")
        self.attachments = self._gauge(
            "desk_attachments", "Clients that are in a session now, each once."
        )
        self.attachment_channels = self._gauge(
            "desk_attachments_by_channel",
            "Clients that are in a session now, by what they have open in it.",
            "channel",
        )
        self.attached = self._counter(
            "desk_attached_total", "Clients that came into a session, each once."
        )
        self.leases = self._gauge("desk_leases", "Numbers that are leased now, by kind.", "kind")
        self.leases_free = self._gauge(
            "desk_leases_free", "Numbers of the pools that nobody holds, by kind.", "kind"
        )
        self.audit_head = self._gauge("desk_audit_head", "Number of the audit's newest entry.")

    def _starts(self) -> None:
        self.starts = self._counter(
            "desk_session_starts_total", "Starts of sessions by outcome.", "outcome"
        )
        self.start_seconds = self._histogram(
            "desk_session_start_seconds", "From the wish to a desktop that answers.", _START
        )
        self.start_phases = self._histogram(
            "desk_session_start_phase_seconds",
            "What a start spends its time with, by phase.",
            _START,
            "phase",
        )
        self.starts_waiting = self._gauge(
            "desk_session_starts_waiting", "Starts that wait for a place."
        )
        self.starts_waiting_most = self._gauge(
            "desk_session_starts_waiting_limit", "Starts that may wait for a place."
        )
        self.starts_under_way = self._gauge(
            "desk_session_starts_under_way", "Starts that have a place."
        )

    def _sleep(self) -> None:
        self.verdicts = self._counter(
            "desk_idle_verdicts_total",
            "Changes of what is to happen next to a session, by step and what it hangs on.",
            "step",
            "signal",
        )
        self.warnings = self._counter(
            "desk_idle_warnings_total", "Sessions whose people were warned that it will sleep."
        )
        self.reaps = self._counter(
            "desk_reaps_total",
            "Sessions that were put to sleep or stopped unasked, by step and reason.",
            "step",
            "reason",
        )

    def _doors(self) -> None:
        self.doors = self._gauge("desk_doors", "Front doors that the broker hears.")
        self.ssh_connections = self._gauge("desk_ssh_connections", "SSH connections open now.")
        self.ssh_logins = self._gauge(
            "desk_ssh_logins", "Of these, the ones that proved who they are."
        )
        self.accepted = self._counter(
            "desk_ssh_accepted_total", "SSH connections that front doors took in."
        )
        self.turned_away = self._counter(
            "desk_ssh_turned_away_total",
            "SSH connections that front doors turned away at once, by reason.",
            "reason",
        )
        self.offences = self._counter(
            "desk_ssh_offences_total",
            "SSH connections that ended with nobody proven, by what they did.",
            "offence",
        )
        self.penalties = self._counter(
            "desk_penalties_total", "Sources that were shut out for a while, by offence.", "offence"
        )
        self.received = self._counter(
            "desk_door_received_bytes_total",
            "What front doors received of clients and of desktops, as it came encrypted.",
            "sender",
        )
        self.lag = self._histogram(
            "desk_event_loop_lag_seconds",
            "How late an event loop was: the worst of each second, in doors of each report.",
            _LAG,
            "process",
        )

    def _login(self) -> None:
        self.logins = self._counter(
            "desk_logins_total", "People who proved who they are, by method.", "method"
        )
        self.auth_failures = self._counter(
            "desk_auth_failures_total", "What proved nobody, by reason.", "reason"
        )
        self.source_checks = self._counter(
            "desk_source_checks_total",
            "Passwords that an outside source was asked about, by its answer.",
            "source",
            "outcome",
        )

    def _health(self) -> None:
        self.firewall_restored = self._counter(
            "desk_firewall_restored_total", "How often the network's rules had to be put back."
        )
        self.loop_failures = self._counter(
            "desk_loop_failures_total", "Failed passes of a loop.", "loop"
        )
        self.loop_success = self._gauge(
            "desk_loop_last_success_timestamp_seconds",
            "When a loop last went through, in seconds since 1970.",
            "loop",
        )
        self.loop_seconds = self._histogram(
            "desk_loop_pass_seconds", "How long a pass of a loop took.", _CALL, "loop"
        )
        self.engine_seconds = self._histogram(
            "desk_engine_call_seconds",
            "From asking the engine to its answer, the wait for a turn included.",
            _CALL,
            "call",
        )
        self.engine_errors = self._counter(
            "desk_engine_errors_total", "Calls that the engine did not answer, or failed.", "call"
        )
        self.draining = self._gauge(
            "desk_draining", "1 while a maintenance is announced and nothing starts, else 0."
        )
        self.ready = self._gauge("desk_ready", "1 when the broker can serve a desktop, else 0.")
        self.checks = self._gauge(
            "desk_check_ok", "1 when that check of /readyz is ok, else 0.", "check"
        )

    # ------------------------------------------------------------------------------- what is told

    @contextmanager
    def phase(self, name: str, clock: Clock) -> Iterator[None]:
        """A phase of a start, told when it went through."""
        began = clock.monotonic()
        yield
        self.start_phases.labels(name).observe(clock.monotonic() - began)

    def engine_called(self, call: str, seconds: float, failed: bool) -> None:
        """A call to the engine is over."""
        self.engine_seconds.labels(call).observe(seconds)
        if failed:
            self.engine_errors.labels(call).inc()

    def door_told(self, before: Load, now: Load) -> None:
        """A door told what it did since it began, and had told before."""
        self.accepted.inc(max(0, now.accepted - before.accepted))
        for sender, known, told in (
            ("client", before.from_clients, now.from_clients),
            ("desktop", before.from_desktops, now.from_desktops),
        ):
            self.received.labels(sender).inc(max(0, told - known))
        for reason, known, told in (
            ("penalised", before.penalised, now.penalised),
            ("crowded", before.crowded, now.crowded),
        ):
            self.turned_away.labels(reason).inc(max(0, told - known))
        for offence in Offence:
            more = now.offences.get(offence, 0) - before.offences.get(offence, 0)
            self.offences.labels(offence.value).inc(max(0, more))
        self.lag.labels("door").observe(now.lag)

    def penalised(self, offence: str) -> None:
        self.penalties.labels(offence if offence in set(Offence) else "other").inc()

    def proven(self, method: str) -> None:
        self.logins.labels(method if method in METHODS else "other").inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    # -------------------------------------------------------------------------------------- kinds

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(name, told, labels, registry=self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, labels, registry=self._registry)

    def _histogram(
        self, name: str, told: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, told, labels, buckets=buckets, registry=self._registry)
