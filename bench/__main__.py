"""`python -m bench`: bring Desk and its peers up, measure in interleaved rounds, print a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import connect, passes, wake
from tests.e2e.desk import Instance

ROOT = Path(__file__).resolve().parents[1]


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Interleaved rounds of each way.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(rounds: int, *, as_json: bool) -> None:
    """Measure what a connect costs beside OpenSSH to a host's sshd, and what waking costs beside a
    start, in the same run.
    """
    engine = os.environ.get("DOCKER_HOST") or _say("docker/engine.sh", "up")
    image = os.environ.get("DESK_IMAGE") or _say("docker/build.sh", DOCKER_HOST=engine)
    with tempfile.TemporaryDirectory(prefix="desk-bench-") as name:
        desk = Instance(Path(name) / "state", engine=engine, image=image)
        try:
            desk.start()
            connects = connect.run(desk, Path(name), rounds)
            wakes = wake.run(desk, rounds)
        finally:
            desk.purge()
    crowd = passes.run()
    if as_json:
        told = {"ms": connects, "ratio": _ratios(connects)}
        told |= {"wake": {"ms": wakes, "ratio": _ratios(wakes)}, "passes": crowd}
        click.echo(json.dumps(told))
        return
    where = f"{rounds} rounds · {os.cpu_count()} cores · {platform.machine()}"
    _print(f"ssh … true · {where}", "of OpenSSH", connects)
    bar = f"at most {wake.BAR:.2f} of a start"
    _print(f"ssh to the first answer of a shell · {where} · {bar}", "of a start", wakes)
    _print_passes(crowd)


def _print_passes(crowd: dict[str, dict[str, float]]) -> None:
    table = Table(title="one pass · 100,000 desktops, 2,000 running · bars: 50 ms, 20 ms")
    for column in ("loop", "processor ms", "longest hold ms"):
        table.add_column(column)
    for loop, found in crowd.items():
        table.add_row(loop, f"{found['cpu']:.1f}", f"{found['held']:.1f}")
    Console().print(table)


def _ratios(found: dict[str, float]) -> dict[str, float]:
    """To the first of them."""
    peer = next(iter(found.values()))
    return {way: value / peer for way, value in found.items()}


def _print(title: str, peer: str, found: dict[str, float]) -> None:
    table = Table(title=title)
    for column in ("way", "median ms", peer):
        table.add_column(column)
    for way, ratio in _ratios(found).items():
        table.add_row(way, f"{found[way]:.1f}", f"{ratio:.2f}")
    Console().print(table)


def _say(script: str, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [ROOT / script, *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
