"""Files of the home, brought and taken by the page of the desktop."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from tests.browser.inside import Inside
from tests.browser.pages import DesktopPage, lend

pytestmark = pytest.mark.e2e

NAME = "数据 – ü <img src=x onerror=alert(1)>.bin"

#: An event as a file manager's: a file that is let go over the picture.
_DROP = """
([name, text]) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  const stage = document.querySelector(".viewer-stage");
  for (const kind of ["dragover", "drop"]) {
    stage.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  }
}
"""


async def test_what_is_dropped_is_in_the_home_and_comes_back_the_same(
    visits, browser, origin, visitor, desk, ada, tmp_path
):
    inside = Inside(desk, ada)
    name = f"{browser.browser_type.name} {NAME}"
    content = random.Random(name).randbytes(300_000)
    context = await visits.context(browser, accept_downloads=True)
    await lend(await visitor("ada"), context)
    page = await context.new_page()
    await page.goto(f"{origin}/desktop/{inside.desktop['id']}")
    await DesktopPage(page).live()
    await page.evaluate(_DROP, [name, base64.b64encode(content).decode()])
    await page.get_by_text(f"“{name}” is in Downloads.").wait_for()
    there = await inside.says(f"sha256sum 'Downloads/{name}'")
    assert there.lstrip("\\").startswith(hashlib.sha256(content).hexdigest())

    await page.get_by_role("button", name="Files").click()
    async with page.expect_download() as coming:
        await page.get_by_role("link", name=name).click()
    file = tmp_path / "taken"
    await (await coming.value).save_as(file)
    assert file.read_bytes() == content


async def test_a_file_that_is_there_is_not_written_over(visitor, desk, ada):
    inside = Inside(desk, ada)
    await inside.says("printf first > 'once'")
    mine = await visitor("ada")
    path = f"/files/{inside.desktop['id']}/once"
    assert (await mine.ask("PUT", path, b"second"))[0] == 409
    assert await inside.says("cat once") == "first"


async def test_nothing_outside_of_the_home_is_reached_by_a_path(visitor, desk, ada):
    inside = Inside(desk, ada)
    mine = await visitor("ada")
    for path in (
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
    ):
        status, answer = await mine.ask("GET", f"/files/{inside.desktop['id']}/{path}")
        assert status in (400, 403, 404), (path, status)
        assert "root:" not in str(answer)
