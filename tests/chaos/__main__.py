"""`python -m tests.chaos`: rounds of deaths on an engine of its own, in a cell of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from tests.chaos import cell, reboots, rounds
from tests.chaos.engine import PrivateEngine
from tests.chaos.world import World

if TYPE_CHECKING:
    from tests.chaos.rounds import Round

ROOT = Path(__file__).resolve().parents[2]


def place() -> Path:
    """Where the engine keeps its image from one run to the next, and the last run's logs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "desk" / "chaos"


@click.command()
@click.option("--rounds", "count", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True, help="The same one gives the same rounds.")
@click.option(
    "--live-restore/--no-live-restore",
    default=True,
    show_default=True,
    help="Whether containers outlive their engine.",
)
@click.option("--inside", nargs=3, hidden=True)
def main(count: int, seed: int, *, live_restore: bool, inside: tuple[str, str, str] | None) -> None:
    """Kill brokers and engines, and look whether anything of anybody's is lost."""
    if inside:
        sys.exit(perform(count, seed, *inside, live_restore=live_restore))
    if os.geteuid():
        raise click.ClickException("an engine of its own needs root: run this as root.")
    source = os.environ.get("DOCKER_HOST") or _say("docker/engine.sh", "up")
    image = os.environ.get("DESK_IMAGE") or _say("docker/build.sh", DOCKER_HOST=source)
    with tempfile.TemporaryDirectory(prefix="desk-chaos-") as scratch:
        command = [sys.executable, "-m", "tests.chaos", "--rounds", str(count), "--seed", str(seed),
                   "--live-restore" if live_restore else "--no-live-restore",
                   "--inside", scratch, image, source]  # fmt: skip
        try:
            status = cell.run(command, place())
        except KeyboardInterrupt:
            status = 130
    if status not in {0, 1}:  # it was cut short, and what its engine kept of desktops is there
        shutil.rmtree(place() / "data", ignore_errors=True)
    sys.exit(status)


def perform(
    count: int, seed: int, scratch: str, image: str, source: str, *, live_restore: bool
) -> int:
    """Everything that happens inside the cell; 1 when a round failed."""
    engine = PrivateEngine(place(), live_restore=live_restore)
    engine.begin()
    engine.wait()
    engine.clear()
    engine.load(image, source)
    world = World(engine, Path(scratch), image)
    played: list[Round] = []
    try:
        world.invite_strangers()
        migrated = world.desk.deskd("migrate")
        assert migrated.returncode == 0, migrated.stderr
        world.desk.start()
        play: rounds.Chaos | reboots.Reboots
        if live_restore:
            play, planned = rounds.Chaos(world, seed), rounds.schedule(count, seed)
        else:
            play, planned = reboots.Reboots(world), reboots.schedule(count)
        for this in planned:
            try:
                play.play(this)
            except AssertionError as error:
                this.failure = " ".join(str(error).split())[:3000] or repr(error)
                play.forget()
                revive(world)
            played.append(this)
            tell(this)
    finally:
        world.desk.kill()
        shutil.copy(world.desk.log, place() / "broker.log")
        engine.clear()
        engine.end(kill=False)
    summary(played)
    return 1 if any(this.failure for this in played) else 0


def revive(world: World) -> None:
    """Go on after a round that failed."""
    world.desk.fate.unlink(missing_ok=True)
    if not world.engine.alive:
        world.engine.begin()
    world.engine.wait()
    if not world.desk.alive:
        world.desk.start()
    # What one round broke is no failure of the next.
    for session in world.sessions():
        world.call("POST", f"/sessions/{session['id']}/kill", {"force": True})


def tell(this: Round) -> None:
    again = f" · {this.again}{'' if this.again_reached else ' (not met)'}" if this.again else ""
    met = "" if this.reached or this.point == rounds.NOWHERE else " (not met)"
    verdict = f"FAILED: {this.failure}" if this.failure else "good"
    print(
        f"{this.number:4} {this.point + met + again:<62} engine {this.engine:<5}"
        f"{this.seconds:6.1f} s, healed in {this.healed:5.1f} s  {verdict}",
        flush=True,
    )


def summary(played: list[Round]) -> None:
    by_point: defaultdict[str, list[Round]] = defaultdict(list)
    for this in played:
        by_point[this.point].append(this)
    failures = sum(bool(this.failure) for this in played)
    engines = sum(this.engine != "-" for this in played)
    twice = sum(this.again_reached for this in played)
    table = Table(
        title=f"{len(played)} rounds · {failures} failed · the engine ended in {engines} · the broker"
        f" died twice in {twice}"
    )
    for column in ("point", "rounds", "met", "engine", "mean s", "healed s, most", "failures"):
        table.add_column(column)
    for point, found in sorted(by_point.items(), key=lambda item: item[0].split()[::-1]):
        table.add_row(
            point,
            str(len(found)),
            "-" if point == rounds.NOWHERE else str(sum(this.reached for this in found)),
            str(sum(this.engine != "-" for this in found)),
            f"{mean(this.seconds for this in found):.1f}",
            f"{max(this.healed for this in found):.1f}",
            str(sum(bool(this.failure) for this in found)),
        )
    Console(width=110).print(table)


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
