"""What runs in a desktop while somebody looks on: a field to type in, and what is asked by ssh."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.desk import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.browser.desks import Desk
    from tests.e2e.desk import Person

#: A window with one field that holds the focus; what stands in it is written to a file.
_FORM = """
import os, pathlib, gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gtk
window, field = Gtk.Window(title="form"), Gtk.Entry()
file = pathlib.Path(os.environ["HOME"], "form")
def write(*_):
    part = file.with_name("form.part")
    part.write_text(field.get_text())
    part.rename(file)
field.connect("changed", write)
window.connect("focus-in-event", write)
window.add(field)
window.set_default_size(500, 80)
window.move(60, 60)
window.show_all()
window.present()
Gtk.main()
"""


async def soon(condition: Callable[[], Any], *, within: float = 20, what: str = "it") -> Any:
    """As `until`, with the browsers going on meanwhile."""
    return await asyncio.to_thread(until, condition, within=within, what=what)


@dataclass
class Inside:
    """One person's desktop, as they see it by ssh."""

    desk: Desk
    person: Person
    login: str = "desk"
    """The login name, which names the desktop."""

    async def says(self, command: str) -> str:
        options = ("-l", self.login)
        return await asyncio.to_thread(self.desk.ok, self.person, command, *options)

    async def size(self) -> tuple[int, int]:
        width, height = re.findall(
            r"\d+", await self.says("xdpyinfo | awk '/dimensions/ {print $2}'")
        )
        return int(width), int(height)

    async def form(self) -> None:
        """Show an empty field that takes what is typed."""
        await self.says(
            "test -e ~/form.pid && kill $(cat ~/form.pid); rm -f ~/form;"
            f" python3 -c '{_FORM}' >/dev/null 2>&1 </dev/null & echo $! > ~/form.pid; disown;"
            " for i in $(seq 100); do test -e ~/form && exit; sleep 0.1; done; exit 1"
        )

    async def typed(self, wanted: str, *, within: float = 10) -> None:
        """Until that, and no more, stands in the field."""
        found = ""

        def there() -> bool:
            nonlocal found
            found = self.desk.ok(self.person, "cat ~/form", "-l", self.login)
            return found == wanted

        try:
            await soon(there, within=within)
        except AssertionError:
            raise AssertionError(f"there stands {found!r}, not {wanted!r}") from None

    async def copied(self) -> str:
        """The desktop's clipboard."""
        return await self.says("timeout 2 xclip -o -selection clipboard -t UTF8_STRING")

    async def copy(self, text: str) -> None:
        await self.says(f"printf %s '{text}' | xclip -i -selection clipboard >/dev/null 2>&1")

    @property
    def desktop(self) -> dict[str, Any]:
        """What the API says of it."""
        return self.desk.desktop_of(self.person.name, self.login.partition("+")[2] or "main")
