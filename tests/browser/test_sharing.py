"""A desktop that is shown to others: by consent, without a name, and by whoever may not touch it untouched."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.browser import looks
from tests.browser.inside import Inside
from tests.browser.pages import DesktopPage, lend
from tests.browser.rfb import Ended
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.e2e

#: As a guest could call themselves.
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def inside(desk, ada):
    return Inside(desk, ada)


async def owner(visits, chromium, visitor, origin, desktop):
    """The page of the desktop, as its owner has it open."""
    mine = await visitor("ada")
    context = await visits.context(chromium, viewport={"width": 1100, "height": 740})
    await lend(mine, context)
    page = await context.new_page()
    await page.goto(f"{origin}/desktop/{desktop}")
    shown = DesktopPage(page)
    await shown.live()
    return mine, page, shown


async def test_a_guest_who_is_let_in_sees_and_cannot_touch(
    visits, chromium, origin, visitor, inside
):
    desktop = inside.desktop["id"]
    mine, page, shown = await owner(visits, chromium, visitor, origin, desktop)
    await page.get_by_role("button", name="People").click()
    await page.get_by_role("button", name="Make a link").click()
    link = await page.get_by_role("dialog").locator("pre", has_text="/join#").inner_text()
    await page.keyboard.press("Escape")

    guest = await visits.page(chromium, link)
    await guest.get_by_role("textbox").fill(HOSTILE)
    await guest.get_by_role("textbox").press("Enter")
    asked = page.get_by_role("dialog", name="Somebody wants to come in")
    await asked.wait_for()
    assert HOSTILE in await asked.inner_text()
    assert await guest.locator("#screen canvas").count() == 0
    await asked.get_by_role("button", name="Let in").click()
    seen = DesktopPage(guest)
    await seen.live()

    await inside.form()
    await shown.type("by the owner")
    await inside.typed("by the owner")
    theirs = [await seen.picture(), await shown.picture()]
    for _ in range(40):
        if looks.difference(*theirs) < looks.LOSSY:
            break
        theirs = [await seen.picture(), await shown.picture()]
    assert looks.difference(*theirs) < looks.LOSSY
    text = await guest.content() + str(await guest.evaluate("document.title"))
    assert "ada" not in text
    assert desktop not in text
    assert await guest.get_by_text("View only").is_visible()

    # A page's own politeness is no protection: the same said by hand.
    async with Visitor(origin) as hands:
        for cookie in await guest.context.cookies():
            hands.session.cookie_jar.update_cookies({cookie["name"]: cookie["value"]})
        async with hands.screen("/ws/guest/screen") as screen:
            assert "control" not in screen.ready["rights"]
            assert screen.ready["session"] is None
            await screen.type("by a guest")
            await screen.point(300, 90, 1)
            await screen.raw(struct.pack(">BxxxI", 6, 5) + b"theft")
            await screen.raw(
                struct.pack(">BxHHBx", 251, 640, 480, 1)
                + struct.pack(">IHHHHI", 0, 0, 0, 640, 480, 0)
            )
            await screen.ask(whole=True)
            await screen.frame()
            await shown.type(", still")
            await inside.typed("by the owner, still")
            assert await inside.size() != (640, 480)
            assert await inside.copied() != "theft"

            share = (await mine.api("GET", f"/shares?desktop={desktop}"))["items"][0]
            (inmate,) = [one for one in share["guests"] if one["state"] == "in"]
            await mine.api("POST", f"/shares/{share['id']}/guests/{inmate['id']}/end")
            with pytest.raises(Ended) as ended:
                async with asyncio.timeout(10):
                    while True:
                        await screen.frame()
            assert ended.value.code in (4401, 4403, 4409)
    await guest.get_by_role("heading", name="It is over").wait_for()
    assert await guest.locator("#screen canvas").count() == 0
    assert (await mine.ask("DELETE", f"/api/v1/shares/{share['id']}"))[0] == 204


async def test_a_guest_who_is_not_let_in_sees_nothing(visitor, origin, inside):
    mine = await visitor("ada")
    desktop = inside.desktop["id"]
    made = await mine.api("POST", f"/desktops/{desktop}/shares", {"mode": "rw", "valid": "30m"})
    token = made["link"].partition("#")[2]
    async with Visitor(origin) as guest:
        await guest.guest_in(token, "somebody")
        for path in ("/ws/guest/screen", "/ws/guest/sound"):
            async with guest.relay(path) as socket:
                assert (await socket.receive()).type.name in ("CLOSE", "CLOSED")
                assert socket.close_code in (4401, 4403, 4404)
        share = (await mine.api("GET", f"/shares?desktop={desktop}"))["items"][0]
        (asking,) = share["guests"]
        await mine.api("POST", f"/shares/{share['id']}/guests/{asking['id']}/refuse")
        assert (await guest.api("GET", "/guest"))["state"] == "refused"
        for path in (f"/ws/desktops/{desktop}/screen", f"/files/{desktop}", f"/pictures/{desktop}"):
            status = (await guest.ask("GET", path))[0]
            assert status in (400, 401, 403, 404), path
    await mine.api("DELETE", f"/shares/{made['id']}")
