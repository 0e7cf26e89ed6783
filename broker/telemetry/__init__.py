"""Logs and metrics."""

from broker.telemetry.logs import QUIET, configure
from broker.telemetry.metrics import Metrics

__all__ = ["QUIET", "Metrics", "configure"]
