"""Reads the tables that deskctl prints."""

from __future__ import annotations

import re


def rows(text):
    return [line.split() for line in text.splitlines()]


def table(text):
    """The cells of each row: a column begins where its title does."""
    head, *lines = text.splitlines()
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S+", head)]
    ends = [*starts[1:], None]
    return [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        for line in (head, *lines)
    ]
