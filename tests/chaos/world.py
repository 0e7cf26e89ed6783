"""A Desk on an engine of its own, with strangers beside it; and what must be true of it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from broker.cli.client import Client
from broker.core.errors import DeskError
from tests.chaos.people import Mark, Resident, find_mark
from tests.e2e.desk import ROOT, Instance, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.engine import PrivateEngine

#: Seconds until a broker is ready, and until records and containers agree.
_READY, _AGREE = 90, 60

_AT_REST = {("ready", "running"), ("frozen", "paused")}
_STRANGER_SLEEPS = "863999999"
_PER_SESSION = {"port", "display", "address"}


class MortalDesk(Instance):
    """Its broker dies where `fate` says; every start is of the same state."""

    @property
    def fate(self) -> Path:
        return self.home / "fate"

    def start(self, *, ready: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.mortal", str(self.fate), "serve",
                 "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )  # fmt: skip
        if ready:
            until(self.ready, within=_READY, what="readiness")

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class World:
    def __init__(self, engine: PrivateEngine, scratch: Path, image: str) -> None:
        self.engine = engine
        self.volumes = engine.volumes
        self.image = image
        self.desk = MortalDesk(
            scratch / "state",
            engine=engine.address,
            image=image,
        )
        self.users: set[str] = set()
        """Whose making was acknowledged."""
        self.residents: list[Resident] = []
        self.stranger: Mark | None = None
        self._log_read = 0
        self._audited = 0

    # ---------------------------------------------------------------------------------- the broker

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Raises `DeskError`; without one it is acknowledged."""
        return Client(self.desk.state / "admin.sock").call(method, path, body=body)

    def sessions(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.call("GET", "/sessions")["items"]
        return items

    def query(self, text: str, *values: object) -> Any:
        """The first row that the database itself has."""
        with closing(sqlite3.connect(self.desk.state / "desk.db")) as connection:
            return connection.execute(text, values).fetchone()

    def resident(self, name: str) -> Resident:
        """Somebody with a key, who has no account yet."""
        found = Resident(self, self.desk.person(name, registered=False))
        self.residents.append(found)
        return found

    def register(self, resident: Resident) -> None:
        self.call("POST", "/users", {"name": resident.name, "keys": [resident.public_key]})
        self.users.add(resident.name)

    def register_again(self, resident: Resident) -> None:
        """Nobody was told what became of it: the account may be there, with its key or without."""
        for path, body in (
            ("/users", {"name": resident.name, "keys": []}),
            (f"/users/{resident.name}/keys", {"key": resident.public_key}),
        ):
            try:
                self.call("POST", path, body)
            except DeskError as error:
                assert error.code == "conflict", error
        self.users.add(resident.name)

    def welcome(self, name: str) -> Resident:
        found = self.resident(name)
        self.register(found)
        return found

    # ------------------------------------------------------------------------------- the strangers

    def invite_strangers(self) -> None:
        """A container and a volume that are nobody's business here."""
        with closing(self.engine.client()) as client:
            client.volumes.create("foreign", labels={"desk.instance": "another"})
            client.containers.run(
                self.image,
                [_STRANGER_SLEEPS],
                entrypoint="sleep",
                name="foreign",
                detach=True,
                network_mode="none",
                user="0",
                labels={"desk.instance": "another", "desk.session": "another"},
                volumes={"foreign": {"bind": "/mnt", "mode": "rw"}},
            )
        (self.volumes / "foreign/_data/theirs").write_text("theirs")
        self.meet_stranger()

    def meet_stranger(self) -> None:
        self.stranger = until(lambda: find_mark(_STRANGER_SLEEPS), what="the stranger")

    def check_strangers(self, *, ran_on: bool = True) -> None:
        assert (self.volumes / "foreign/_data/theirs").read_text() == "theirs"
        with closing(self.engine.client()) as client:
            status = client.containers.get("foreign").status
        if ran_on:
            assert status == "running"
            assert find_mark(_STRANGER_SLEEPS) == self.stranger

    def wake_stranger(self) -> None:
        with closing(self.engine.client()) as client:
            client.containers.get("foreign").start()
        self.meet_stranger()

    # --------------------------------------------------------------------------------- what is true

    def check_agreement(self) -> None:
        """Soon every record has its container, every container its record, at rest; leases and
        files are those of live sessions and of no other.
        """
        deadline = time.monotonic() + _AGREE
        while found := self.disagreements():
            assert time.monotonic() < deadline, f"no agreement: {found}"
            time.sleep(0.1)

    def disagreements(self) -> list[str]:
        try:
            records = {s["id"]: s["state"] for s in self.sessions()}
            leases = self.call("GET", "/leases")["items"]
            containers = {session: c.status for session, c in self.desk.containers().items()}
        except (DeskError, OSError) as error:
            return [str(error)]
        found = [
            f"session {session}: record {records.get(session)}, container {containers.get(session)}"
            for session in records.keys() | containers.keys()
            if (records.get(session), containers.get(session)) not in _AT_REST
        ]
        held: dict[str, set[str]] = {}
        for lease in leases:
            if lease["session_id"]:
                held.setdefault(lease["session_id"], set()).add(lease["kind"])
        if held != dict.fromkeys(records, _PER_SESSION):
            found.append(f"leases: {held}")
        files = set(os.listdir(self.desk.state / "sessions"))
        if files != set(records):
            found.append(f"files: {sorted(files)}, sessions: {sorted(records)}")
        return found

    def check_accounts(self) -> None:
        there = {user["name"] for user in self.call("GET", "/users")["items"]}
        assert self.users <= there, f"acknowledged users are lost: {self.users - there}"
        last = self.query("select max(seq) from audit")[0]
        assert last >= self._audited, "audit rows are lost"
        self._audited = last

    def check_log(self) -> None:
        """Nothing was met that nobody foresaw."""
        with self.desk.log.open() as log:
            log.seek(self._log_read)
            lines = log.readlines()
            self._log_read = log.tell()
        for line in lines:
            # An overdue call of the engine fails once more when nobody waits for it: no loss.
            if "never retrieved" in line and "EngineUnavailable" in line:
                continue
            for bad in ("Traceback", "a loop died", "never retrieved"):
                assert bad not in line, f"the log has '{bad}': {line}"
