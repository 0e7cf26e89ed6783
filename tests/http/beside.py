"""The API on a loopback port, with its broker in a thread of its own: for clients that wait."""

from __future__ import annotations

import asyncio
import shutil
import threading

from aiohttp import web

from broker.core.digest import hashed
from broker.core.tokens import Reach, Scope
from broker.http.admin import AdminApi
from tests.service.harness import PATIENCE, World, memory_directory

#: What a door would say: there is none here.
CLIENT = {"Desk-Client": "192.0.2.7"}


def make_api(broker):
    """The API of the broker."""
    return AdminApi(
        store=broker.store, services=broker.services, ssh_port=2222, reload=broker.reload
    )


class Beside:
    """A real application over fakes, whose clients show tokens."""

    def __init__(self) -> None:
        self._directory = memory_directory()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self.do(self._open())

    def do(self, work):
        """Run the coroutine beside the broker."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _open(self):
        self._world = await World.create(self._directory)
        self.broker = await self._world.broker(
            ports="20000-28999", displays="1000-9999", uids="200000-299999", at_once=8
        )
        app = make_api(self.broker).application("token")
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0]
        return f"http://{host}:{port}/api/v1"

    async def token(self, name, *, admin, number=0):
        """The secret of the user, who is made; with all scopes."""
        user = await self.broker.user(name, admin=admin)
        secret = f"desk_{number:040}"
        await self.broker.store.add_token(
            user.id, token_hash=hashed(secret), name="t", scopes=list(Scope),
            reach=Reach.ALL if admin else Reach.OWN, expires_at=None, most=9, actor="x",
        )  # fmt: skip
        return secret

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._world.close()

    def close(self) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._directory)
