"""The tools of these tests, without a Desk: a wire that is cut, a page that is watched, pictures."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from PIL import Image, ImageDraw

from tests.browser import looks
from tests.browser.watching import serious
from tests.browser.wire import Wire
from tests.e2e.desk import HOST

pytestmark = pytest.mark.e2e


async def test_what_a_page_does_against_its_policy_is_heard(visits, browser):
    context = await visits.context(browser)
    page = await context.new_page()
    policy = {"Content-Security-Policy": "default-src 'none'", "Content-Type": "text/html"}
    await page.route(
        "http://desk.example/**",
        lambda route: route.fulfill(headers=policy, body="<img src=x onerror=alert(1)>"),
    )
    await page.goto("http://desk.example/")
    await page.evaluate("console.error('an error of the page')")
    await page.wait_for_function("() => document.images.length")
    heard = "\n".join(visits.watch.complaints)
    assert "POLICY" in heard
    assert "an error of the page" in heard
    visits.watch.complaints.clear()


async def test_a_page_that_keeps_people_out_is_found(visits, browser, axe):
    page = await visits.page(browser)
    await page.set_content("<html lang=en><title>a</title><main><h1>a</h1></main>")
    assert await serious(page, axe) == []
    await page.set_content("<html lang=en><title>a</title><main><h1>a</h1><input></main>")
    assert ["label" in one for one in await serious(page, axe)] == [True]


async def test_a_wire_that_is_cut_ends_what_it_carries_and_takes_nothing_until_it_is_mended():
    async def echo(reader, writer):
        writer.write(await reader.read(10))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    async with server, Wire(server.sockets[0].getsockname()[1]) as wire:
        reader, writer = await asyncio.open_connection(HOST, wire.port)
        writer.write(b"whole")
        assert await reader.read(10) == b"whole"
        await wire.cut()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(HOST, wire.port)
        await wire.mend()
        reader, writer = await asyncio.open_connection(HOST, wire.port)
        writer.write(b"again")
        assert await reader.read(10) == b"again"
        writer.close()


def test_pictures_differ_by_what_is_seen_and_not_by_what_is_lost():
    plain = Image.linear_gradient("L").convert("RGB").resize((320, 200))
    drawn = plain.copy()
    ImageDraw.Draw(drawn).rectangle((20, 20, 120, 120), fill="red")
    assert looks.difference(plain, plain) == 0
    assert looks.difference(plain, drawn) > looks.LOSSY
