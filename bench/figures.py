"""What was measured, beside what it should be: as tables, as JSON, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a way may be from its peer; without a peer, from zero."""

    way: str
    limit: float
    peer: str | None = None
    least: bool = False
    """More is better: the limit is what it must reach."""

    @property
    def text(self) -> str:
        return f"at {'least' if self.least else 'most'} {self.limit:g}"

    def met(self, found: float) -> bool:
        return found >= self.limit if self.least else found <= self.limit

    def verdict(self, found: float) -> str:
        if self.met(found):
            return "met"
        return f"missed by {abs(found - self.limit) / self.limit:.0%}"


@dataclass(slots=True)
class Measure:
    """One thing that was measured in several ways, round by round."""

    section: str
    title: str
    unit: str
    samples: dict[str, list[float]]
    """By way; the first is the peer that the others are told in parts of."""
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digits: int = 1

    def found(self, bar: Bar) -> float | None:
        """What the bar is about; None when one of the two was not measured."""
        return self.ratio(bar.way, bar.peer) if bar.peer else self.median(bar.way)

    def median(self, way: str) -> float | None:
        values = self.samples.get(way)
        return median(values) if values else None

    def ratio(self, way: str, peer: str) -> float | None:
        """The median of the rounds' ratios: what the machine did meanwhile met both alike."""
        mine, theirs = self.samples.get(way), self.samples.get(peer)
        if not mine or not theirs or not median(theirs):
            return None
        if len(mine) != len(theirs):
            return median(mine) / median(theirs)
        return median(one / other for one, other in zip(mine, theirs, strict=True))

    def as_json(self) -> dict[str, Any]:
        ways = {
            way: {"median": median(values), "least": min(values), "most": max(values)}
            | {"rounds": len(values)}
            for way, values in self.samples.items()
            if values
        }
        bars = []
        for bar in self.bars:
            found = self.found(bar)
            told = {"way": bar.way, "peer": bar.peer, "bar": bar.text, "found": found}
            bars.append(told | {"met": None if found is None else bar.met(found)})
        names = {"section": self.section, "title": self.title, "unit": self.unit}
        return names | {"ways": ways, "bars": bars, "notes": self.notes}


def interleaved(
    ways: dict[str, Callable[[], float]], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Each way once in every round, after one round that does not count; each round begins with
    another way.
    """
    if warm:
        for way in ways.values():
            way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(ways[name]())
    return taken


def show(measure: Measure, console: Console) -> None:
    rounds = max((len(values) for values in measure.samples.values()), default=0)
    several = len(measure.samples) > 1
    console.print(f"{measure.section} · {measure.title}", style="bold")
    table = Table()
    table.add_column("way")
    table.add_column(measure.unit, justify="right")
    if rounds > 1:
        table.add_column("least … most", justify="right")
    if several:
        table.add_column("ratio", justify="right")
    for way, values in measure.samples.items():
        if not values:
            continue
        cells = [way, _number(median(values), measure.digits)]
        if rounds > 1:
            ends = (_number(end, measure.digits) for end in (min(values), max(values)))
            cells.append(" … ".join(ends))
        if several:
            ratio = measure.ratio(way, next(iter(measure.samples)))
            cells.append("" if ratio is None else f"{ratio:.2f}")
        table.add_row(*cells)
    if rounds:
        console.print(table)
    for bar in measure.bars:
        found = measure.found(bar)
        if found is not None:
            style = "green" if bar.met(found) else "yellow"
            console.print(f"  {_claim(measure, bar, found)}: [{style}]{bar.verdict(found)}[/]")
    for note in measure.notes:
        console.print(f"  {note}")
    console.print()


def markdown(measures: list[Measure]) -> str:
    """The table for the documentation: a line for each bar, and for what has none."""
    lines = ["| what | medians | found | bar | |", "| --- | --- | --- | --- | --- |"]
    for measure in measures:
        values = " · ".join(
            f"{way} **{_number(median(values), measure.digits)}**"
            for way, values in measure.samples.items()
            if values
        )
        what, figures = measure.title, f"{values} {measure.unit}" if values else "not measured"
        rows = [(bar, found) for bar in measure.bars if (found := measure.found(bar)) is not None]
        if not rows:
            notes = " ".join(measure.notes)
            lines.append(f"| {what} | {figures} | | | {notes} |")
        for bar, found in rows:
            ratio = f"{found:.2f} of {bar.peer}" if bar.peer else _number(found, measure.digits)
            line = (
                f"| {what} | {figures} | {bar.way}: {ratio} | {bar.text} | {bar.verdict(found)} |"
            )
            lines.append(line)
            what = figures = ""
    return "\n".join(lines)


def _claim(measure: Measure, bar: Bar, found: float) -> str:
    if bar.peer:
        return f"{bar.way} is {found:.2f} of {bar.peer}, bar {bar.text}"
    return f"{bar.way} takes {_number(found, measure.digits)} {measure.unit}, bar {bar.text}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"
