"""`python -m tests.browser.pictures OUT`: pictures of every page, wide and narrow, in both languages, light
and dark. OUT/index.html shows them beside each other.
"""

from __future__ import annotations

import asyncio
import html
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from playwright.async_api import async_playwright

from tests.browser.desks import Desk
from tests.browser.launching import CHROMIUM
from tests.browser.scenes import SCENES, Scene, World, dress, people, world
from tests.browser.visitor import Visitor

ROOT = Path(__file__).resolve().parents[2]

WIDTHS = {"1280": (1280, 800), "390": (390, 844)}
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
SCHEMES = ("light", "dark")

Look = tuple[str, str, str]
"""Width, language and scheme."""


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", default="", help="Scenes whose names begin so, comma between them.")
@click.option("--look", default="", help="Only like that: 390, 390-zh, 1280-en-dark …")
def main(out: Path, only: str, look: str) -> None:
    """Take pictures of every page into OUT."""
    wanted = [one for one in SCENES if one.name.startswith(tuple(only.split(",")))]
    looks = [one for one in itertools.product(WIDTHS, LANGUAGES, SCHEMES) if look in "-".join(one)]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="desk-pictures-") as directory:
        state = Path(directory) / "state"
        engine = os.environ.get("DOCKER_HOST") or _said("docker/engine.sh", "up")
        os.environ["DOCKER_HOST"] = engine
        image = os.environ.get("DESK_IMAGE") or _said("docker/build.sh")
        desk = Desk(state, engine=engine, image=image)
        try:
            desk.start()
            people(desk)
            missed = asyncio.run(_take(desk, out, wanted, looks))
        finally:
            desk.purge()
    (out / "index.html").write_text(_index(out))
    for one in missed:
        click.echo(f"not taken: {one}", err=True)
    sys.exit(bool(missed))


def _said(*words: str) -> str:
    return subprocess.check_output(words, cwd=ROOT, text=True).strip()


async def _take(desk: Desk, out: Path, scenes: list[Scene], looks: list[Look]) -> list[str]:
    origin = desk.origin
    missed = []
    async with (
        Visitor(origin) as owner,
        Visitor(origin) as admin,
        async_playwright() as playwright,
    ):
        made = await world(desk, origin, owner, admin)
        browser = await playwright.chromium.launch(**CHROMIUM)
        for look in looks:
            for scene in scenes:
                name = "-".join((scene.name, *look))
                try:
                    await _one(browser, scene, made, look, out / f"{name}.png")
                except Exception as error:  # the others are taken all the same
                    missed.append(f"{name}: {error}".splitlines()[0])
        await browser.close()
    return missed


async def _one(browser, scene: Scene, made: World, look: Look, file: Path) -> None:
    width, language, scheme = look
    across, along = WIDTHS[width]
    context = await browser.new_context(
        viewport={"width": across, "height": along},
        locale=LANGUAGES[language],
        color_scheme=scheme,
        is_mobile=width == "390",
        has_touch=width == "390",
    )
    try:
        context.set_default_timeout(15_000)
        page = await dress(context, scene, made)
        await scene.show(page, made)
        await page.screenshot(path=file, full_page=True)
    finally:
        await context.close()
        await made.tidy()


def _index(out: Path) -> str:
    figures = "\n".join(
        f"<figure><img src={html.escape(one.name)} height=500><figcaption>{html.escape(one.stem)}"
        "</figcaption></figure>"
        for one in sorted(out.glob("*.png"))
    )
    return (
        "<!doctype html><title>Pages of Desk</title>"
        f"<style>figure{{display:inline-block}}</style>{figures}"
    )


if __name__ == "__main__":
    main()
