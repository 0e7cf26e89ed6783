"""Every page as somebody meets it, for whoever looks at all of them: a checker, a maker of pictures."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.browser.desks import PASSWORD
from tests.browser.pages import DesktopPage, lend
from tests.browser.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from playwright.async_api import BrowserContext, Page

    from tests.browser.desks import Desk

#: As a name would be that wants to be more than a text.
HOSTILE = "<img src=x onerror=alert(1)>"

OWNER, ADMIN = "nell", "root-of-all"


@dataclass
class World:
    """What the scenes play in."""

    origin: str
    desktop: str
    """The id of the owner's, which runs."""
    owner: Visitor
    admin: Visitor

    async def link(self) -> str:
        """Of a new share."""
        way = f"/desktops/{self.desktop}/shares"
        return str((await self.owner.api("POST", way, {"mode": "ro", "valid": "30m"}))["link"])

    async def tidy(self) -> None:
        """Leave nobody asking: the owner's pages would say so in the next scene."""
        for share in (await self.owner.api("GET", "/shares"))["items"]:
            await self.owner.ask("DELETE", f"/api/v1/shares/{share['id']}")


@dataclass(frozen=True)
class Scene:
    name: str
    who: str | None
    """Who is signed in."""
    show: Callable[[Page, World], Awaitable[None]]


SCENES: list[Scene] = []


def scene(name: str, who: str | None = None) -> Callable[[Any], Any]:
    def keep(show: Callable[[Page, World], Awaitable[None]]) -> Any:
        SCENES.append(Scene(name, who, show))
        return show

    return keep


def people(desk: Desk) -> None:
    """An owner with a desktop that runs, one that does not, and an admin."""
    owner = desk.with_password(OWNER)
    desk.with_password(ADMIN, admin=True)
    desk.ok(owner, "true")


async def world(desk: Desk, origin: str, owner: Visitor, admin: Visitor) -> World:
    """With something hostile wherever people choose a name."""
    await owner.sign_in(OWNER, PASSWORD)
    await admin.sign_in(ADMIN, PASSWORD)
    desktop = desk.desktop_of(OWNER)["id"]
    if all(one["name"] != "work" for one in desk.listing("desktops")):
        await owner.api("POST", "/desktops", {"name": "work"})
        await owner.api("POST", "/tokens", {"name": HOSTILE, "scopes": ["read"]})
        _key(desk.home / "another", HOSTILE)
        line = (desk.home / "another.pub").read_text().strip()
        await owner.api("POST", f"/users/{OWNER}/keys", {"key": line})
    return World(origin, desktop, owner, admin)


def _key(path: Path, comment: str) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(words, check=True)


async def dress(context: BrowserContext, scene: Scene, world: World) -> Page:
    """A page in which the scene is played, signed in."""
    who = {OWNER: world.owner, ADMIN: world.admin}.get(scene.who or "")
    if who is not None:
        await lend(who, context)
    return await context.new_page()


@scene("sign-in")
async def _(page: Page, world: World) -> None:
    await page.goto(world.origin)
    await page.locator("input[name=password]").wait_for()


@scene("sign-in-refused")
async def _(page: Page, world: World) -> None:
    await page.goto(world.origin)
    await page.locator("input[name=user]").fill(HOSTILE)
    await page.locator("input[name=password]").fill("wrong")
    await page.keyboard.press("Enter")
    await page.locator(".note.bad").first.wait_for()


@scene("home", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(world.origin)
    await page.locator("article").first.wait_for()
    await page.wait_for_function("() => document.querySelector('article img')?.naturalWidth > 0")


@scene("home-menu", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(world.origin)
    await page.locator("article .menu-box button").first.click()


@scene("home-why", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(world.origin)
    await page.locator("article button.link:visible").first.click()
    await page.locator("dialog[open] table").wait_for()


@scene("home-connect", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/#connect")
    await page.locator("main pre").first.wait_for()


@scene("home-account", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/#account")
    await page.get_by_text("SHA256:").first.wait_for()


@scene("desktop", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/desktop/{world.desktop}")
    await DesktopPage(page).live()


def _panel(name: str, number: int) -> None:
    @scene(f"desktop-{name}", OWNER)
    async def _(page: Page, world: World) -> None:
        await page.goto(f"{world.origin}/desktop/{world.desktop}")
        await DesktopPage(page).live()
        await page.locator(".viewer-tools button:visible").nth(number).click()
        await page.locator(".viewer-panel, dialog[open]").first.wait_for()


for _number, _name in enumerate(("clipboard", "keyboard", "files", "people", "power")):
    _panel(_name, _number)


@scene("desktop-missing", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/desktop/0123456789abcdef")
    await page.locator(".viewer-bar .state.bad").wait_for()


@scene("join")
async def _(page: Page, world: World) -> None:
    await page.goto(await world.link())
    await page.locator("input").first.wait_for()


@scene("join-asking")
async def _(page: Page, world: World) -> None:
    await page.goto(await world.link())
    await page.locator("input").first.fill(HOSTILE)
    await page.keyboard.press("Enter")
    await page.locator("[role=status]").first.wait_for()


@scene("join-dead")
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/join#desk_nothing_of_this_kind")
    await page.locator("main").wait_for()


def _part(name: str, text: str) -> None:
    @scene(f"admin-{name}", ADMIN)
    async def _(page: Page, world: World) -> None:
        await page.goto(f"{world.origin}/admin#{name}")
        await page.locator("main").get_by_text(text).first.wait_for()


for _name, _text in (
    ("sessions", f"{OWNER} / main"),
    ("audit", "127.0.0.1"),
    ("users", ADMIN),
    ("system", "20."),
):
    _part(_name, _text)


@scene("admin-session", ADMIN)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/admin")
    await page.get_by_text(f"{OWNER} / main").first.click()
    await page.locator("dialog[open]").wait_for()


@scene("admin-refused", OWNER)
async def _(page: Page, world: World) -> None:
    await page.goto(f"{world.origin}/admin")
    await page.locator("main").wait_for()
