"""`python -m bench`: bring Desk and its peers up, measure in interleaved rounds, print a table."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import click
import structlog
from rich.console import Console

from bench import (
    browser,
    bulk,
    connect,
    echo,
    figures,
    guesses,
    logins,
    memory,
    passes,
    strangers,
    wake,
)
from bench.stage import ROOT, Stage

if TYPE_CHECKING:
    from types import FrameType

    from bench.figures import Measure

#: In the order in which they run: the first needs a quiet machine and nothing else.
_SECTIONS = {
    "passes": passes,
    "connect": connect,
    "wake": wake,
    "browser": browser,
    "bulk": bulk,
    "echo": echo,
    "logins": logins,
    "memory": memory,
    "strangers": strangers,
    "guesses": guesses,
}

#: Seconds that no section takes, even on a busy machine.
_LONGEST = 1800


@click.command()
@click.option("--only", default="", help=f"Some of {','.join(_SECTIONS)}.")
@click.option("--rounds", type=int, help="Rounds of each section; each has a number of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--markdown", is_flag=True, help="Print the table of docs/performance.md.")
def main(only: str, rounds: int | None, *, as_json: bool, markdown: bool) -> None:
    """Measure Desk beside its peers, in the same run and in interleaved rounds.

    Nothing is decided by the figures: bars are printed beside them, and the exit status is 0.
    """
    names = only.split(",") if only else list(_SECTIONS)
    if unknown := [name for name in names if name not in _SECTIONS]:
        raise click.UsageError(f"there is no section {unknown[0]}: {', '.join(_SECTIONS)}.")
    # What it logs that runs in this process is no figure.
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(
        wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _too_long)
    where = _machine()
    found: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix="desk-bench-", ignore_cleanup_errors=True) as directory:
        stage = Stage(Path(directory))
        try:
            for name in _SECTIONS:
                if name in names:
                    found += _run(stage, name, rounds)
        finally:
            # A second Ctrl-C would leave containers behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stage.close()
    where["load after"] = os.getloadavg()[0]
    if as_json:
        click.echo(json.dumps({"machine": where, "measures": [m.as_json() for m in found]}))
    elif markdown:
        click.echo(f"{_sentence(where)}\n\n{figures.markdown(found)}")
    else:
        console = Console()
        console.print(f"{_sentence(where)}\n")
        for measure in found:
            figures.show(measure, console)


def _run(stage: Stage, name: str, rounds: int | None) -> list[Measure]:
    section = _SECTIONS[name]
    began = time.monotonic()
    click.echo(f"bench: {name} …", err=True, nl=False)
    signal.alarm(_LONGEST)
    found: list[Measure] = section.run(stage, rounds or section.ROUNDS)
    signal.alarm(0)
    took = time.monotonic() - began
    click.echo(f" {took:.0f} s, load {os.getloadavg()[0]:.1f}", err=True)
    return found


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"a section took more than {_LONGEST} s: something does not answer")


def _machine() -> dict[str, Any]:
    client = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit.strip(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "asyncssh": asyncssh.__version__,
        "openssh": client.split(",")[0].strip(),
        "load before": os.getloadavg()[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sentence(where: dict[str, Any]) -> str:
    commit = f", commit {where['commit']}" if where["commit"] else ""
    return (
        f"{where['date']}{commit}: {where['cores']} cores, {where['processor']},"
        f" kernel {where['kernel']}, Python {where['python']}, asyncssh {where['asyncssh']},"
        f" {where['openssh']}. Load before {where['load before']:.1f},"
        f" after {where['load after']:.1f}."
    )


if __name__ == "__main__":
    main()
