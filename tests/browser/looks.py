"""Pictures compared: what a canvas shows, a client's window, the desktop itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageStat

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Locator

#: Of 255: as far as JPEG of quality 6 lets the colours of a desktop be off, by its whole picture.
LOSSY = 4.0


async def of_canvas(canvas: Locator) -> Image.Image:
    """Pixel by pixel as it was drawn, whatever size it is shown in."""
    url = await canvas.evaluate("(one) => one.toDataURL('image/png')")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def of_file(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far apart they are at an average pixel, of 255."""
    assert one.size == other.size, (one.size, other.size)
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def colours(image: Image.Image) -> int:
    """How many there are; few until something is drawn."""
    return len(image.getcolors(1 << 24) or ())
