"""Which event loop the tests of a door run on."""

from __future__ import annotations

import asyncio

import uvloop

#: Those of the HTTP port: the loop of doors, whose TLS is another than asyncio's.
ON_UVLOOP = ("test_web", "test_pages", "test_relay", "test_files", "test_pictures", "test_sounds")


def pytest_asyncio_loop_factories(config, item):
    web = item.path.name.startswith(ON_UVLOOP)
    return {"uvloop": uvloop.new_event_loop} if web else {"asyncio": asyncio.new_event_loop}
