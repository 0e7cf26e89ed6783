"""What somebody sees in a real Chromium: the first frame behind a click, a window behind the pointer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.launching import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

#: The first frame is there once something is drawn in a canvas that is shown: until then it is clear.
_WATCH = """
(() => {
  const now = () => performance.timeOrigin + performance.now();
  addEventListener("click", () => sessionStorage.setItem("clicked", now()), true);
  const { prototype } = CanvasRenderingContext2D;
  const draw = prototype.drawImage;
  prototype.drawImage = function (...parts) {
    draw.apply(this, parts);
    if (!this.canvas.isConnected || this.canvas.width < 320) return;
    const [, , , alpha] = this.getImageData(160, 100, 1, 1).data;
    if (alpha) { window.firstFrame = now(); prototype.drawImage = draw; }
  };
})();
"""

#: Milliseconds from a move of the pointer to the first drawing there. A window is as large as told:
#: no place of it meets another. Pixels are not read: that would take longer than all else.
_FOLLOW = """
async ({ places, probes, pause }) => {
  const canvas = [...document.querySelectorAll("canvas")].find((one) => one.width >= 320);
  const context = canvas.getContext("2d");
  const draw = context.drawImage;
  const frame = canvas.getBoundingClientRect();
  const taken = [];
  for (let number = 0; number < probes; number++) {
    const [x, y] = places[number % places.length];
    const began = performance.now();
    await new Promise((seen) => {
      context.drawImage = function (...parts) {
        draw.apply(this, parts);
        const [left, top, width, height] = parts.slice(5);
        if (left < x + 300 && x < left + width && top < y + 200 && y < top + height) {
          taken.push(performance.now() - began);
          seen();
        }
      };
      const [clientX, clientY] = [frame.left + x, frame.top + y];
      canvas.dispatchEvent(new MouseEvent("mousemove", { clientX, clientY, bubbles: true }));
    });
    context.drawImage = draw;
    await new Promise((later) => setTimeout(later, pause));
  }
  return taken;
}
"""

#: Milliseconds: for a first frame on a busy machine, and longer than noVNC gathers moves of the pointer.
_LONGEST, _PAUSE = 90_000, 40


@dataclass(frozen=True)
class Visit:
    """A page with a button `Open`; with a user, one to sign in at first."""

    name: str
    url: str
    user: str | None = None
    password: str = ""


def visits(
    ways: list[Visit], rounds: int, places: list[tuple[int, int]], probes: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each round, by what took them. A page is fresh each time; what the browser keeps
    of it is not.
    """
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        contexts = {way.name: browser.new_context(viewport=_SIZE) for way in ways}
        for way in ways:
            contexts[way.name].add_init_script(_WATCH)
            if way.user is not None:
                _sign_in(contexts[way.name], way)
        for number in range(rounds + 1):
            for way in ways if number % 2 else ways[::-1]:
                page = contexts[way.name].new_page()
                clicked = _open(page, way)
                asked = {"places": places, "probes": probes, "pause": _PAUSE}
                seen = median(page.evaluate(_FOLLOW, asked))
                page.close()
                if number:
                    taken["click"][way.name].append(clicked)
                    taken["seen"][way.name].append(seen)
        browser.close()
    return taken


_SIZE = {"width": 1280, "height": 900}


def _sign_in(context: BrowserContext, way: Visit) -> None:
    page = context.new_page()
    page.goto(way.url)
    page.get_by_label("User").fill(way.user or "")
    page.get_by_label("Password").fill(way.password)
    page.keyboard.press("Enter")
    page.get_by_text("Open", exact=True).first.wait_for()
    page.close()


def _open(page: Page, way: Visit) -> float:
    page.goto(way.url)
    page.get_by_text("Open", exact=True).first.click()
    page.wait_for_function("() => window.firstFrame", timeout=_LONGEST)
    return float(page.evaluate("window.firstFrame - sessionStorage.getItem('clicked')"))
