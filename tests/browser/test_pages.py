"""Every page: for people who see, hear or reach it otherwise, and against names that want to be more."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.browser.pictures import LANGUAGES, WIDTHS
from tests.browser.scenes import SCENES, dress, people, world
from tests.browser.visitor import Visitor
from tests.browser.watching import serious

pytestmark = pytest.mark.e2e


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def played(desk, origin):
    people(desk)
    async with Visitor(origin) as owner, Visitor(origin) as admin:
        yield await world(desk, origin, owner, admin)


#: Seen in both looks; of the others every second is seen in the one, the rest in the other.
BOTH = {"sign-in", "home", "desktop", "join", "admin-sessions"}
LOOKS = [("1280", "en", "light"), ("390", "zh", "dark")]
SEEN = [
    pytest.param(scene, *look, id="-".join((scene.name, *look)))
    for number, scene in enumerate(SCENES)
    for look in (LOOKS if scene.name in BOTH else [LOOKS[number % 2]])
]


@pytest.mark.parametrize(("scene", "width", "language", "scheme"), SEEN)
async def test_a_page_keeps_nobody_out(
    visits, chromium, axe, played, scene, width, language, scheme
):
    across, along = WIDTHS[width]
    context = await visits.context(
        chromium,
        viewport={"width": across, "height": along},
        locale=LANGUAGES[language],
        color_scheme=scheme,
    )
    page = await dress(context, scene, played)
    try:
        await scene.show(page, played)
    finally:
        await played.tidy()
    assert await serious(page, axe) == []
    assert (
        await page.evaluate("document.documentElement.lang")
        == {"en": "en", "zh": "zh-CN"}[language]
    )
    # Nothing has to be scrolled for sideways.
    assert await page.evaluate("document.documentElement.scrollWidth") <= across
    assert await page.title()
