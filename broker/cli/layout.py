"""Tables as lines of text that fit a width, in cells of a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Between columns.
_GAP = 1

#: Words that are longer are broken, where their column need not be whole: at first at so many
#: cells, and at fewer where no row of the table gets taller than this by it.
_WORDS, _TALL = (16, 12, 8), 3


@dataclass(frozen=True, slots=True)
class Lines:
    """A table: its titles, where they have lines of their own, and all else."""

    head: list[str]
    body: list[str]

    @property
    def text(self) -> list[str]:
        return [*self.head, *self.body]


def tabular(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    whole: frozenset[int],
    width: int | None,
) -> Lines:
    """No more than `width` cells each: long values are folded at their spaces, those of the columns
    `whole` never. Where even that is too wide, every row is a block of lines with a value each.
    Without a width every row is one line.
    """
    columns = [[title, *values] for title, *values in zip(titles, *rows, strict=True)]
    natural = [max(map(cell_len, column)) for column in columns]
    if width is None:
        return _table(titles, rows, natural)
    room = width - _GAP * (len(columns) - 1)
    for word in _WORDS:
        least = [
            natural[at] if at in whole else min(natural[at], _least(column, word))
            for at, column in enumerate(columns)
        ]
        if sum(least) > room:
            continue
        widths = _fitted(columns, natural, least, room)
        if word == _WORDS[0] or _tallest(columns, widths) <= _TALL:
            return _table(titles, rows, widths)
    return _blocks(titles, rows, width)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Lines:
    body = [line for row in rows for line in _row(row, widths)]
    return Lines(list(_row(titles, widths)), body)


def _tallest(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> int:
    return max(
        len(folded(value, width))
        for column, width in zip(columns, widths, strict=True)
        for value in column
    )


def _least(column: Sequence[str], word: int) -> int:
    """The narrowest that still reads well: words as they are, the title's all of them."""
    title, *values = column
    words = [min(word, cell_len(part)) for value in values for part in value.split(" ")]
    return max([*words, *map(cell_len, title.split(" "))])


def _fitted(
    columns: Sequence[Sequence[str]], widths: Sequence[int], least: Sequence[int], room: int
) -> list[int]:
    """The widest columns give way first, each by as much as folding its values saves; what that
    leaves over goes back to those that can be unfolded by it.
    """
    found = [min(natural, room) for natural in widths]
    while sum(found) > room:
        at = max(
            (at for at in range(len(found)) if found[at] > least[at]), key=lambda at: found[at]
        )
        found[at] = max(least[at], _used(columns[at], found[at] - 1))
    for at, natural in enumerate(widths):
        if natural - found[at] <= room - sum(found):
            found[at] = natural
    return found


def _used(column: Sequence[str], width: int) -> int:
    return max(cell_len(line) for value in column for line in folded(value, width))


def _row(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [folded(value, width) for value, width in zip(row, widths, strict=True)]
    for line in range(max(map(len, cells))):
        parts = [
            set_cell_size(cell[line] if line < len(cell) else "", width)
            for cell, width in zip(cells, widths, strict=True)
        ]
        yield (" " * _GAP).join(parts).rstrip()


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Lines:
    margin = max(map(cell_len, titles)) + 2
    lines: list[str] = []
    for row in rows:
        if lines:
            lines.append("")
        for title, value in zip(titles, row, strict=True):
            first, *rest = folded(value, max(_WORDS[-1], width - margin))
            lines.append(f"{set_cell_size(title, margin)}{first}".rstrip())
            lines += [f"{' ' * margin}{line}" for line in rest]
    return Lines([], lines or folded(" ".join(titles), width))


def folded(value: str, width: int) -> list[str]:
    """Lines of at most `width` cells, one at least: at spaces, and within words that are longer."""
    if cell_len(value) <= width:
        return [value]
    lines, line = [], ""
    for word in value.split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        *full, line = chop_cells(word, width) or [""]
        lines += full
    return [*lines, line]
