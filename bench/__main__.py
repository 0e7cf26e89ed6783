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

from bench import connect
from tests.e2e.desk import Instance

ROOT = Path(__file__).resolve().parents[1]


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Interleaved rounds of each way.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(rounds: int, *, as_json: bool) -> None:
    """Measure what a connect costs beside OpenSSH to a host's sshd, in the same run."""
    engine = os.environ.get("DOCKER_HOST") or _say("docker/engine.sh", "up")
    image = os.environ.get("DESK_IMAGE") or _say("docker/build.sh", DOCKER_HOST=engine)
    with tempfile.TemporaryDirectory(prefix="desk-bench-") as name:
        desk = Instance(Path(name) / "state", engine=engine, image=image)
        try:
            desk.start()
            found = connect.run(desk, Path(name), rounds)
        finally:
            desk.purge()
    peer = next(iter(found.values()))
    if as_json:
        click.echo(json.dumps({"ms": found, "ratio": {k: v / peer for k, v in found.items()}}))
        return
    table = Table(
        title=f"ssh … true · {rounds} rounds · {os.cpu_count()} cores · {platform.machine()}"
    )
    for column in ("way", "median ms", "of OpenSSH"):
        table.add_column(column)
    for way, value in found.items():
        table.add_row(way, f"{value:.1f}", f"{value / peer:.2f}")
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
