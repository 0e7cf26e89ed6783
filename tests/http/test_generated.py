"""A client that was made from the OpenAPI document alone does what people come for."""

from __future__ import annotations

import importlib
import json
import sys
import threading

import pytest
from openapi_python_client import Config, MetaType, generate
from openapi_python_client.config import ConfigFile
from structlog.testing import capture_logs

from broker.http.openapi import document
from broker.http.table import TABLE
from tests.http.beside import CLIENT, Beside

PACKAGE = "generated_desk"


@pytest.fixture
def beside():
    with capture_logs():
        made = Beside()
        yield made
        made.close()


@pytest.fixture
def generated(tmp_path, monkeypatch):
    """Imports a module of the client."""
    source = tmp_path / "openapi.json"
    source.write_text(json.dumps(document(TABLE)))
    config = Config.from_sources(
        ConfigFile(project_name_override=PACKAGE, package_name_override=PACKAGE, post_hooks=[]),
        MetaType.NONE,
        source,
        "utf-8",
        overwrite=False,
        output_path=tmp_path / PACKAGE,
    )
    assert list(generate(config=config)) == []
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{PACKAGE}{name}")
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def told(client, seen, done):
    """The events' actions, until the session is ended."""
    with client.stream("GET", "/events", params={"action": "session."}, timeout=10) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line == ": here":
                done["listening"].set()
            if line.startswith("data: "):
                entry = json.loads(line.removeprefix("data: "))
                seen.append((entry["action"], entry["subject"]))
                done.setdefault(entry["action"], threading.Event()).set()
            if seen and seen[-1][0] == "session.end":
                return


def test_a_user_is_made_started_waited_for_and_stopped(beside, generated):
    """By what the generator made of the document, but for the stream, which no generator knows."""
    secret = beside.do(beside.token("boss", admin=True))
    client = generated("").AuthenticatedClient(
        base_url=beside.url, token=secret, headers=CLIENT, raise_on_unexpected_status=True
    )
    models = generated(".models")

    def call(tag, operation, **kwargs):
        return generated(f".api.{tag}.{operation}").sync(client=client, **kwargs)

    made = call("users", "add_user", body=models.NewUser(name="ada"))
    assert (made.name, made.admin) == ("ada", False)
    refused = call("users", "add_user", body=models.NewUser(name="ada"))
    assert (refused.code, refused.status) == ("conflict", 409)

    seen, done = [], {n: threading.Event() for n in ("listening", "session.ready", "session.end")}
    listener = threading.Thread(target=told, args=(client.get_httpx_client(), seen, done))
    listener.start()
    assert done["listening"].wait(10)

    beside.broker.probe.hold()
    desktop = call("desktops", "add_desktop", body=models.NewDesktop(user="ada"))
    begun = call("verbs", "start_desktop", id=desktop.id, wait=1)
    assert (begun.state, begun.id) == ("starting", desktop.id)
    beside._loop.call_soon_threadsafe(beside.broker.probe.answering.set)
    assert done["session.ready"].wait(10)
    session = call("sessions", "get_session", id=begun.session)
    assert session.state == "ready"
    assert [one.id for one in call("sessions", "list_sessions", user="ada").items] == [session.id]

    stopped = call("verbs", "stop_desktop", id=desktop.id)
    assert (stopped.state, stopped.session) == ("stopped", None)
    assert done["session.end"].wait(10)
    listener.join(10)
    assert [action for action, subject in seen if subject == session.id] == [
        "session.begin",
        "session.ready",
        "session.stop",
        "session.end",
    ]
    assert call("sessions", "get_session", id="nope").code == "not_found"
    client.get_httpx_client().close()
