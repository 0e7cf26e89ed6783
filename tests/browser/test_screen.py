"""A desktop in a browser: seen, typed into, resized, copied from and to, in Chromium and Firefox."""

from __future__ import annotations

import pytest

from tests.browser import looks
from tests.browser.desks import PASSWORD
from tests.browser.inside import Inside, soon
from tests.browser.pages import DesktopPage, sign_in
from tests.e2e import screens
from tests.e2e.test_xpra import attached, shown

pytestmark = pytest.mark.e2e

TEXT = "数据 – ü"


@pytest.fixture
def inside(desk, ada):
    return Inside(desk, ada)


async def signed_in(visits, browser, origin, **options):
    """Ada's page of desktops."""
    page = await visits.page(browser, origin, **options)
    await sign_in(page, "ada", PASSWORD)
    await page.get_by_role("article", name="main").wait_for()
    return page


async def opened(page):
    """The desktop, by the click that opens it."""
    await page.get_by_role("link", name="Open").first.click()
    desktop = DesktopPage(page)
    await desktop.live()
    return desktop


async def test_somebody_signs_in_sees_types_copies_and_resizes(visits, browser, origin, inside):
    """The whole way, as one who has nothing but a browser goes it."""
    page = await signed_in(visits, browser, origin, viewport={"width": 1200, "height": 760})
    await inside.copy("from before")
    desktop = await opened(page)
    width, height = await desktop.size()
    assert (width, 700 <= height <= 760) == (1200, True), "as large as the window"
    assert await inside.size() == (width, height)

    await inside.form()
    await desktop.type("hello Desk 42")
    await inside.typed("hello Desk 42")
    await desktop.field.focus()
    await page.keyboard.insert_text(f" {TEXT}")
    await inside.typed(f"hello Desk 42 {TEXT}")

    await page.get_by_role("button", name="Clipboard").click()
    held = page.get_by_label("Text from and for the desktop")
    assert await held.input_value() == "from before"
    await page.get_by_role("button", name="Clipboard").click()

    elsewhere = await page.context.new_page()
    await elsewhere.set_content("<textarea autofocus></textarea>")
    await elsewhere.locator("textarea").fill(f"{TEXT} up")
    await elsewhere.keyboard.press("ControlOrMeta+a")
    await elsewhere.keyboard.press("ControlOrMeta+c")
    await page.bring_to_front()
    await desktop.press("Control+a")
    await desktop.press("Control+v")
    await inside.typed(f"{TEXT} up")
    assert await inside.copied() == f"{TEXT} up"

    await inside.copy(f"{TEXT} down")
    await page.get_by_role("button", name="Clipboard").click()
    await page.wait_for_function(
        "(text) => document.querySelector('#screen').viewer.copied.text === text",
        arg=f"{TEXT} down",
    )
    await desktop.press("Shift")
    await elsewhere.bring_to_front()
    await elsewhere.locator("textarea").fill("")
    await elsewhere.keyboard.press("ControlOrMeta+v")
    assert await elsewhere.locator("textarea").input_value() == f"{TEXT} down"
    await page.bring_to_front()

    await page.set_viewport_size({"width": 1003, "height": 651})
    await page.wait_for_function("() => document.querySelector('#screen canvas').width === 1003")
    assert await inside.size() == await desktop.size()


async def test_what_an_input_method_composes_is_typed(visits, chromium, origin, inside):
    page = await signed_in(visits, chromium, origin)
    desktop = await opened(page)
    await inside.form()
    await desktop.field.focus()
    method = await page.context.new_cdp_session(page)
    composed = {"selectionStart": 5, "selectionEnd": 5}
    await method.send("Input.imeSetComposition", {"text": "shuju", **composed})
    await method.send("Input.insertText", {"text": "数据"})
    await inside.typed("数据")


async def test_a_browser_an_xpra_client_and_a_shell_are_in_the_same_session(
    visits, chromium, origin, desk, ada, inside, tmp_path
):
    """And the two that show a picture show the same."""
    page = await signed_in(visits, chromium, origin, viewport={"width": 1000, "height": 700})
    desktop = await opened(page)
    size = await desktop.size()
    with screens.xvfb(tmp_path, "1600x1000") as screen:
        url = f"ssh://desk@127.0.0.1:{desk.ssh_port}/"
        with attached(desk, ada, url, screen), desk.terminal(ada) as terminal:
            await soon(lambda: shown(screen) == "x".join(map(str, size)), what="xpra's window")
            await soon(lambda: screen.colours() > 256, what="a drawn desktop")
            terminal.type("xterm -T together -geometry 40x10+200+200 -e sleep 1000 & disown\n")
            await soon(
                lambda: "together" in desk.ok(ada, "xwininfo -root -tree"), what="the window"
            )

            async def apart():
                client = looks.of_file(screen.picture(tmp_path / "xpra.png"))
                box = client.getbbox()
                return looks.difference(await desktop.picture(), client.crop(box))

            found = []
            for _ in range(40):
                found.append(await apart())
                if found[-1] < looks.LOSSY:
                    break
            assert found[-1] < looks.LOSSY, found
            # Doors tell in their time who is with them.
            await soon(lambda: {"browser", "xpra", "shell"} <= _kinds(desk), what="all three")
    await inside.says("pkill -x xterm")


def _kinds(desk):
    """What ada's desktop is used by."""
    here = [one for one in desk.listing("attachments") if one["user"] == "ada"]
    return {kind for one in here for kind in one["kinds"]}
