"""The pages as a person uses them: by what is written on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser import looks

if TYPE_CHECKING:
    from PIL import Image
    from playwright.async_api import BrowserContext, Page

    from tests.browser.visitor import Visitor

#: Milliseconds: a cold start on two busy cores.
START = 60_000


async def sign_in(page: Page, user: str, password: str) -> None:
    await page.get_by_label("User name").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def lend(visitor: Visitor, context: BrowserContext) -> None:
    """Have the browser be signed in as the visitor is."""
    await context.add_cookies(
        [
            {"name": name, "value": value, "url": visitor.origin}
            for name, value in visitor.cookies.items()
        ]
    )


class DesktopPage:
    """The page of one desktop, as its owner or a guest has it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.canvas = page.locator("#screen canvas")
        self.field = page.get_by_label("Keyboard of the desktop")
        self.state = page.locator(".viewer-bar").get_by_role("status")

    async def live(self, *, within: float = START) -> None:
        """Until it shows something."""
        await self.page.locator(".viewer-bar .state.good").wait_for(timeout=within)
        drawn = "(one) => one.getContext('2d').getImageData(9, 9, 1, 1).data[3] > 0"
        await self.page.wait_for_function(
            f"() => {{ const one = document.querySelector('#screen canvas');"
            f" return one && ({drawn})(one); }}"
        )

    async def size(self) -> tuple[int, int]:
        """Of the desktop, in its own pixels."""
        width, height = await self.canvas.evaluate("(one) => [one.width, one.height]")
        return width, height

    async def picture(self) -> Image.Image:
        return await looks.of_canvas(self.canvas)

    async def click(self, x: int, y: int) -> None:
        """At that place of the desktop."""
        await self.canvas.click(position={"x": x, "y": y})

    async def type(self, text: str) -> None:
        await self.field.focus()
        await self.page.keyboard.type(text)

    async def press(self, keys: str) -> None:
        await self.field.focus()
        await self.page.keyboard.press(keys)
