"""A real PostgreSQL for the store's contract: a server of the run's own on a Unix socket, made when
the first test asks for it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pwd
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.core.interfaces import Clock
from broker.db import migrate
from broker.db.postgres import Postgres, open_engine
from broker.db.store import SqlStore
from broker.system.child import die_with
from tests.scratch import new_directory

#: It refuses to run as root.
ACCOUNT = "nobody"

#: Nothing here outlives the run, so nothing waits for a disk.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}

EMPTY = "empty"

AUDIT_KEY = bytes(range(32))

_numbers = count(1)


class PostgresDatabase:
    """A `Place`; the test is skipped where PostgreSQL is not installed."""

    def __init__(self, _directory: Path, *, template: str = EMPTY) -> None:
        """As `template` is: without anything, and without tables, when it is `template0`."""
        self._server = _server()
        self.name = f"t{next(_numbers)}"
        self._server.run("createdb", "-T", template, self.name)

    async def open(self, clock: Clock) -> SqlStore:
        return SqlStore(self.engine(), clock, AUDIT_KEY)

    def engine(self) -> AsyncEngine:
        return open_engine(self.at(Path("/nowhere")))

    @staticmethod
    def engine_of(database: Postgres) -> AsyncEngine:
        return open_engine(database)

    def at(self, state: Path) -> Postgres:
        """As the database of that state."""
        return Postgres(self._server.url(self.name), None, state)

    def run(self, program: str, *arguments: object) -> None:
        self._server.run(program, *arguments)


class Server:
    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.directory = new_directory(memory=True)
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self._account = {"user": ACCOUNT, "group": pwd.getpwnam(ACCOUNT).pw_gid}
        if os.geteuid() != 0:
            self._account = {}
        else:
            shutil.chown(self.directory, ACCOUNT)
        data = self.directory / "data"
        self.run("initdb", "-D", data, "-U", "desk", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        parent = os.getpid()
        self._process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", self.directory, *settings],
            cwd=self.directory,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - one call of the kernel
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            **self._account,
        )
        atexit.register(self._stop)
        patience = time.monotonic() + 60
        while subprocess.run([programs / "pg_isready", "-q", "-h", self.directory]).returncode:
            assert self._process.poll() is None, "PostgreSQL ended by itself"
            assert time.monotonic() < patience, "PostgreSQL does not answer"
            time.sleep(0.05)
        self.run("createdb", EMPTY)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://desk@/{database}?host={self.directory}"

    def run(self, program: str, *arguments: object) -> None:
        environment = {**os.environ, "PGHOST": str(self.directory), "PGUSER": "desk", "LC_ALL": "C"}
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            **self._account,
        )
        assert done.returncode == 0, done.stderr

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def programs() -> Path | None:
    """Where the newest PostgreSQL's are; Debian has most of them in no `PATH`."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3])
    )
    found = str(versions[-1]) if versions else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


@cache
def _server() -> Server:
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = Server(where)

    async def fill() -> None:
        await migrate.migrate(Postgres(server.url(EMPTY), None, Path("/nowhere")))

    with ThreadPoolExecutor(1) as elsewhere:  # a loop may run here
        elsewhere.submit(lambda: asyncio.run(fill())).result()
    return server
