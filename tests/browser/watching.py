"""What goes wrong in a page without anybody seeing it: refusals of its content policy, exceptions, errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.async_api import BrowserContext, ConsoleMessage, Page

#: Policies of a page are told to the page alone.
_LISTEN = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`POLICY: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""

#: What a browser tells of every answer that is no success, and of a network that is away.
_NO_FAULT = re.compile(
    r"Failed to load resource|WebSocket connection to|can.t establish a connection"
    r"|connection to .* was interrupted|ERR_(INTERNET_DISCONNECTED|CONNECTION|EMPTY_RESPONSE)"
)


class Watch:
    """All pages of a context. `complaints` are what no page may give cause for."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    async def over(self, context: BrowserContext) -> None:
        await context.add_init_script(_LISTEN)
        context.on("page", self._page)

    def _page(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._add(f"{page.url}: {error}"))
        # One that asks would wait for ever; and none of ours does.
        page.on("dialog", lambda dialog: self._add(f"{page.url}: a dialog: {dialog.message}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add(f"{message.text} ({message.location.get('url')})")

    def _add(self, complaint: str) -> None:
        if not _NO_FAULT.search(complaint):
            self.complaints.append(complaint)


async def serious(page: Page, script: str, *, without: Iterable[str] = ()) -> list[str]:
    """What axe finds that keeps people out, by rule and place."""
    # By the driver, since the page's own policy lets no foreign script in.
    await page.evaluate(script)
    left_out = {rule: {"enabled": False} for rule in without}
    found = await page.evaluate("(rules) => axe.run(document, { rules })", left_out)
    return [
        f"{one['impact']} {one['id']}: {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
