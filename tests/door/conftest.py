"""Which event loop the tests of a door run on."""

from __future__ import annotations

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """Those of the HTTP port on the one that doors use, whose TLS is another than asyncio's."""
    web = item.path.name.startswith("test_web")
    return {"uvloop": uvloop.new_event_loop} if web else {"asyncio": asyncio.new_event_loop}
