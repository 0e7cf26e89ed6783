"""Ways in and out: a code, a link that `ssh … desk web` prints, and what signing out ends."""

from __future__ import annotations

import asyncio

import pyotp
import pytest

from tests.browser.desks import PASSWORD
from tests.browser.inside import soon
from tests.browser.pages import DesktopPage, lend, sign_in
from tests.browser.rfb import Ended

pytestmark = pytest.mark.e2e


async def test_a_wrong_password_and_a_name_of_nobody_read_the_same(visits, chromium, origin, ada):
    page = await visits.page(chromium, origin)
    read = []
    for name, password in (("ada", "not this one 1"), ("nobody", PASSWORD)):
        await sign_in(page, name, password)
        complaint = page.get_by_role("alert").filter(has_text=".")
        await complaint.first.wait_for()
        read.append(await complaint.first.inner_text())
        await page.reload()
    assert read[0] == read[1]
    assert await page.get_by_label("Password").input_value() == ""


async def test_codes_are_set_up_by_a_picture_and_asked_for_from_then_on(
    visits, chromium, origin, desk
):
    desk.with_password("grace")
    page = await visits.page(chromium, f"{origin}/#account")
    await sign_in(page, "grace", PASSWORD)
    await page.get_by_role("button", name="Set up").first.click()
    await page.get_by_role("button", name="Show what my phone needs").click()
    assert await page.locator("img.qr").evaluate("(one) => one.naturalWidth") > 0
    await page.get_by_text("It cannot be scanned?").click()
    secret = await page.locator("details pre").inner_text()
    codes = pyotp.TOTP(secret.replace(" ", ""))
    await page.get_by_role("textbox", name="Code").fill(codes.now())
    await page.get_by_role("button", name="Confirm").click()
    recovery = (await page.locator(".recovery").inner_text()).split()
    assert len(recovery) >= 5
    await page.get_by_role("button", name="I have kept them").click()

    again = await visits.page(chromium, origin)
    await sign_in(again, "grace", PASSWORD)
    await again.get_by_role("textbox", name="Code").fill("000000")
    await again.keyboard.press("Enter")
    await again.get_by_role("alert").filter(has_text=".").first.wait_for()
    # Each step counts once: that of a moment ago is spent.
    await again.get_by_role("textbox", name="Code").fill(recovery[0])
    await again.keyboard.press("Enter")
    await again.get_by_role("heading", name="Your desktops").wait_for()


async def test_a_link_printed_by_ssh_signs_in_once_and_leaves_the_address(
    visits, browser, desk, ada
):
    printed = desk.ok(ada, "desk web").split()
    (link,) = [word for word in printed if "#link=" in word]
    page = await visits.page(browser, link)
    await page.get_by_role("article", name="main").wait_for()
    assert "link=" not in page.url
    await page.go_back()
    assert "link=" not in page.url
    other = await visits.page(browser, link)
    await other.get_by_role("alert").filter(has_text=".").first.wait_for()
    await other.get_by_label("Password").wait_for()


async def test_signing_out_ends_what_is_open_at_once(visits, chromium, origin, visitor, desk, ada):
    mine = await visitor("ada")
    context = await visits.context(chromium)
    await lend(mine, context)
    page = await context.new_page()
    desktop = next(one["id"] for one in desk.listing("desktops") if one["user"] == "ada")
    await page.goto(f"{origin}/desktop/{desktop}")
    shown = DesktopPage(page)
    await shown.live()
    home = await context.new_page()
    await home.goto(origin)
    async with mine.screen(f"/ws/desktops/{desktop}/screen") as screen:
        await screen.frame()
        await home.get_by_role("button", name="ada").click()
        await home.get_by_role("menuitem", name="Sign out").click()
        await home.get_by_label("Password").wait_for()
        with pytest.raises(Ended) as ended:
            async with asyncio.timeout(10):
                while True:
                    await screen.frame()
        assert ended.value.code in (4401, 4409)
    await page.locator(".viewer-bar .state.bad").wait_for()
    assert (await mine.ask("GET", "/api/v1/caller"))[0] == 401
    # Who tries all the same is told what is missing.
    again = page.get_by_role("button", name="Try again")
    way_in = page.get_by_role("button", name="Sign in", exact=True)
    await again.or_(way_in).first.click()
    await way_in.first.wait_for()
    gone = lambda: not any("browser" in one["kinds"] for one in desk.listing("attachments"))  # noqa: E731
    await soon(gone, what="the end of the attachments")


async def test_a_password_that_is_changed_ends_its_browsers(visitor, desk):
    desk.with_password("mary")
    hers = await visitor("mary")
    desk.api("PUT", "/users/mary/password", body={"password": "another window 84 lantern"})

    async def out():
        return (await hers.ask("GET", "/api/v1/caller"))[0] == 401

    for _ in range(100):
        if await out():
            break
    assert await out()
