"""A broker with its API, and deskctl before it."""

from __future__ import annotations

import asyncio
import shutil
import threading

import pytest
from aiohttp import web
from click.testing import CliRunner
from structlog.testing import capture_logs

from broker.cli import deskctl
from broker.http.admin import AdminApi
from broker.system.sockets import bind_unix
from tests.service.harness import PATIENCE, World, memory_directory, new_key


class Served:
    """A broker and its API in a thread of their own: deskctl runs a loop itself."""

    def __init__(self, directory, path) -> None:
        self.directory, self.path = directory, path
        self.asked: list[tuple[str, str]] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.do(self._open())

    def do(self, work):
        """Run the coroutine beside the broker."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def _open(self) -> None:
        self.world = await World.create(self.directory)
        self.broker = await self.world.broker()
        api = AdminApi(
            store=self.broker.store,
            services=self.broker.services,
            ssh_port=2222,
            reload=self.broker.reload,
        )
        app = api.application()
        app.on_response_prepare.append(self._note)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.SockSite(self.runner, bind_unix(self.path, mode=0o600, gid=None)).start()

    async def _note(self, request, _response) -> None:
        """What was asked: method and route."""
        resource = request.match_info.route.resource
        if resource is not None:
            self.asked.append((request.method, resource.canonical))

    async def _close(self) -> None:
        await self.runner.cleanup()
        await self.world.close()

    def close(self) -> None:
        self.do(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def served(tmp_path):
    """A running broker."""
    directory = memory_directory()
    with capture_logs():  # the broker's own would stand between deskctl's lines
        made = Served(directory, tmp_path / "admin.sock")
        yield made
        made.close()
    shutil.rmtree(directory)


def invoke(words, code, **kwargs):
    """What deskctl printed, or complained where it was to fail."""
    result = CliRunner().invoke(deskctl.main, words, **kwargs)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def run(tmp_path):
    """Run deskctl on the socket; what it printed or complained."""

    def call(*args, code=0, **kwargs):
        return invoke(["--socket", str(tmp_path / "admin.sock"), *args], code, **kwargs)

    return call


@pytest.fixture
def away():
    """Run deskctl without a socket."""

    def call(*args, code=0, **kwargs):
        return invoke(args, code, **kwargs).rstrip("\n")

    return call


@pytest.fixture
def refused(run):
    """Run deskctl and read the one sentence that it refuses with."""

    def call(*args, code=1, **kwargs):
        said = run(*args, code=code, **kwargs)
        assert said.count("\n") == 1
        assert said.rstrip("\n").isprintable()
        return said.rstrip("\n")

    return call


@pytest.fixture
def pub(tmp_path):
    """A key's file, with the blank lines and remarks of real ones."""
    _, line = new_key()
    path = tmp_path / "ada.pub"
    path.write_text(f"# ada's\n\n{line}\n")
    return path
