"""One whole Desk for all tests of this folder, and real browsers that come to it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from tests.browser.desks import PASSWORD, Desk
from tests.browser.launching import CHROMIUM, FIREFOX
from tests.browser.visitor import Visitor
from tests.browser.watching import Watch
from tests.browser.wire import Wire
from tests.e2e.conftest import desktop_image, docker, engine_host  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from playwright.async_api import Browser, BrowserContext, Page, Playwright

    from tests.e2e.desk import Person

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
AXE = HERE / "node_modules/axe-core/axe.min.js"

_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser lives in one loop: that of all tests here. The first of them waits for all there is."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(300))
            if pytest_asyncio.is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="package"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="package")
def desk(
    tmp_path_factory: pytest.TempPathFactory,
    engine_host: str,  # noqa: F811
    desktop_image: str,  # noqa: F811
) -> Iterator[Desk]:
    """A running instance, as `deskd serve` makes it."""
    if not (ROOT / "broker/web/dist/index.html").exists():
        pytest.skip("the pages are not built here: 'make web' builds them.")
    state = tmp_path_factory.mktemp("browser") / "state"
    # So that those who say little can be waited for.
    settings = {"web": {"limits": {"header_timeout": "8s", "body_timeout": "8s"}}}
    instance = Desk(state, engine=engine_host, image=desktop_image, settings=settings)
    try:
        instance.start()
        yield instance
    finally:
        instance.purge()


@pytest.fixture(scope="package")
def origin(desk: Desk) -> str:
    return desk.origin


@pytest.fixture(scope="package")
def ada(desk: Desk) -> Person:
    """Somebody whose desktop runs."""
    made = desk.with_password("ada")
    desk.ok(made, "true")
    return made


# -- browsers
@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as driver:
        yield driver


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    browser = await _launched(playwright.chromium, CHROMIUM)
    yield browser
    await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def firefox(playwright: Playwright) -> AsyncIterator[Browser]:
    browser = await _launched(playwright.firefox, FIREFOX)
    yield browser
    await browser.close()


@pytest.fixture(params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest) -> Browser:
    """For what is seen in both."""
    return request.getfixturevalue(request.param)


async def _launched(kind: Any, options: dict[str, Any]) -> Browser:
    if not shutil.which(options["executable_path"]):
        pytest.skip(f"{options['executable_path']} is not installed: 'make test' installs it.")
    return await kind.launch(**options)


@dataclass
class Visits:
    """What a test opens of browsers; all of it is watched, and closed behind it."""

    stack: contextlib.AsyncExitStack
    watch: Watch
    pages: list[Page]

    async def context(self, browser: Browser, **options: Any) -> BrowserContext:
        """One with cookies of its own."""
        context = await browser.new_context(**options)
        self.stack.push_async_callback(context.close)
        await self.watch.over(context)
        context.on("page", self._opened)
        context.set_default_timeout(15_000)
        return context

    def _opened(self, page: Page) -> None:
        self.pages.append(page)

    async def page(self, browser: Browser, url: str | None = None, **options: Any) -> Page:
        page = await (await self.context(browser, **options)).new_page()
        if url is not None:
            await page.goto(url)
        return page


@pytest_asyncio.fixture(loop_scope="package")
async def visits(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Visits]:
    async with contextlib.AsyncExitStack() as stack:
        made = Visits(stack, Watch(), [])
        yield made
        if request.node.stash.get(_FAILED, False):
            await _keep(made.pages, tmp_path)
    if not request.node.stash.get(_FAILED, False):
        assert made.watch.complaints == []


async def _keep(pages: list[Page], directory: Path) -> None:
    """What they showed, and what of it a program can read."""
    for number, page in enumerate(pages):
        with contextlib.suppress(Exception):
            await page.screenshot(path=directory / f"page{number}.png", timeout=5_000)
            (directory / f"page{number}.html").write_text(await page.content())


@pytest_asyncio.fixture(loop_scope="package")
async def wire(desk: Desk) -> AsyncIterator[Wire]:
    """A way to Desk that the test can cut."""
    async with Wire(desk.http_port) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="package")
async def visitor(origin: str, ada: Person) -> AsyncIterator[Callable[..., Any]]:
    """Make those who come without a page: signed in where they are named."""
    async with contextlib.AsyncExitStack() as stack:

        async def come(user: str | None = None) -> Visitor:
            made = await stack.enter_async_context(Visitor(origin))
            if user is not None:
                await made.sign_in(user, PASSWORD)
            return made

        yield come


@pytest.fixture(scope="session")
def axe() -> str:
    """The checker, to be loaded into a page."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: 'docker/bootstrap.sh test' installs it.")
    return AXE.read_text()
