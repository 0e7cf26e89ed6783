"""Draw the wallpaper: run by hand when the picture is to change (needs numpy and pillow).

The one argument is where to: docker/rootfs/usr/share/backgrounds/desk.jpg.
"""

import sys

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 2560, 1440
SKY = ((11, 20, 42), (23, 52, 96), (58, 112, 158))
RIDGES = (
    # height of the crest, swell, colour at the crest, colour at the foot
    (0.60, 0.050, (40, 86, 132), (24, 60, 106)),
    (0.68, 0.060, (28, 66, 112), (17, 45, 84)),
    (0.77, 0.050, (19, 48, 88), (12, 33, 66)),
    (0.87, 0.045, (13, 34, 68), (8, 20, 44)),
)


def blend(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix two colours, pixel by pixel."""
    return low + (high - low) * share[..., None]


def sky(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Night above, a glow low on the right."""
    top, middle, horizon = (np.array(colour, float) for colour in SKY)
    picture = blend(top, middle, np.clip(y / 0.62, 0, 1) ** 1.3)
    glow = np.exp(-(((x - 0.66) / 0.42) ** 2 + ((y - 0.62) / 0.26) ** 2))
    return blend(picture, horizon, 0.85 * glow)


def crest(x: np.ndarray, level: float, swell: float, seed: int) -> np.ndarray:
    """One smooth line of hills across the picture."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 4)
    waves = ((1.1, 1.0), (2.3, 0.45), (4.1, 0.2), (7.3, 0.07))
    line = sum(
        size * np.sin(2 * np.pi * rate * x + phase)
        for (rate, size), phase in zip(waves, phases, strict=True)
    )
    return level + swell * line


def draw() -> Image.Image:
    """The whole picture."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    x, y = x / WIDTH, y / HEIGHT
    picture = sky(x, y)
    for number, (level, swell, near, far) in enumerate(RIDGES):
        top = crest(x[:1], level, swell, seed=40 + number)
        inside = np.clip((y - top) * HEIGHT, 0, 1)
        depth = np.clip((y - top) / 0.22, 0, 1)
        hill = blend(np.array(near, float), np.array(far, float), depth)
        picture = blend(picture, hill, inside)
    grain = np.random.default_rng(7).normal(0, 0.55, (HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(picture + grain, 0, 255).round().astype(np.uint8))


if __name__ == "__main__":
    draw().save(sys.argv[1], quality=86, optimize=True, progressive=True)
