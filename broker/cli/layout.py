"""Tables as lines of text that fit a width, in cells of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Between columns.
_GAP = 1

#: A word that is longer than this is broken, where its column need not be whole.
_WORD = 16


def tabular(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    whole: frozenset[int],
    width: int | None,
) -> list[str]:
    """The title's lines first, no more than `width` cells each: long values are folded at their
    spaces, those of the columns `whole` never. Where even that is too wide, every row is a block of
    lines with a value each. Without a width every row is one line.
    """
    columns = [[title, *values] for title, *values in zip(titles, *rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    if width is not None:
        room = width - _GAP * (len(columns) - 1)
        least = [
            widths[at] if at in whole else min(widths[at], _least(column))
            for at, column in enumerate(columns)
        ]
        if sum(least) > room:
            return _blocks(titles, rows, width)
        widths = _fitted(columns, widths, least, room)
    return [line for row in (titles, *rows) for line in _row(row, widths)]


def _least(column: Sequence[str]) -> int:
    """The narrowest that still reads well: words as they are, the title's all of them."""
    title, *values = column
    words = [min(_WORD, cell_len(word)) for value in values for word in value.split(" ")]
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


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    margin = max(map(cell_len, titles)) + 2
    lines: list[str] = []
    for row in rows:
        if lines:
            lines.append("")
        for title, value in zip(titles, row, strict=True):
            first, *rest = folded(value, max(_WORD, width - margin))
            lines.append(f"{set_cell_size(title, margin)}{first}".rstrip())
            lines += [f"{' ' * margin}{line}" for line in rest]
    return lines or [" ".join(titles)]


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
