"""The API from elsewhere: by a front door's HTTP port, with TLS and a token, to the broker and back."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing

import pytest

from tests.door.certificates import certificate
from tests.e2e.desk import HOST, ROOT, Instance, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

BROKER, DOOR = "deskd broker", "door.worker"


class Secure(Instance):
    """One whose HTTP port speaks TLS."""

    def line(self):
        context = ssl.create_default_context(cafile=self.settings["web"]["tls"]["certificate"])
        context.check_hostname = False
        return closing(
            http.client.HTTPSConnection(HOST, self.http_port, timeout=30, context=context)
        )

    def ask(self, method, path, body=None, **headers):
        with self.line() as line:
            line.request(method, path, body=body, headers=headers)
            reply = line.getresponse()
            return reply.status, reply.headers, reply.read().decode()

    def http(self, path):
        try:
            status, _, text = self.ask("GET", path)
        except OSError as error:
            return 0, str(error)
        return status, text

    def shown(self):
        """The certificate that whoever comes now is shown."""
        return ssl.get_server_certificate((HOST, self.http_port))


@pytest.fixture(scope="module")
def desk(tmp_path_factory, engine_host, desktop_image):
    files = certificate(tmp_path_factory.mktemp("tls"))
    for file in files:
        file.chmod(0o600)
    tls = dict(zip(("certificate", "key"), map(str, files), strict=True))
    instance = Secure(
        tmp_path_factory.mktemp("web") / "state",
        engine=engine_host,
        image=desktop_image,
        settings={"ssh": {"doors": 2}, "web": {"tls": tls}},
    )
    try:
        instance.start()
        yield instance
    finally:
        instance.purge()


@pytest.fixture(scope="module")
def token(desk):
    desk.api("POST", "/users", body={"name": "ops", "admin": True, "keys": []})
    made = desk.api(
        "POST",
        "/tokens",
        body={"user": "ops", "name": "test", "scopes": ["read", "users"], "reach": "all"},
    )
    return made["secret"]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_all_that_counts_there(desk, token):
    """Though a door is root's child, or even root: what it says of its client is no right."""
    status, headers, text = desk.ask("GET", "/api/v1/users")
    assert (status, json.loads(text)["code"]) == (401, "unauthenticated")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert desk.ask("GET", "/api/v1/users", Authorization="Bearer desk_wrong")[0] == 401
    status, _, text = desk.ask("GET", "/api/v1/users", **bearer(token))
    assert status == 200
    assert "ops" in [user["name"] for user in json.loads(text)["items"]]


def test_what_is_changed_there_is_known_by_who_did_it_from_where(desk, token):
    body = json.dumps({"name": "grace", "admin": False, "keys": []})
    headers = {"Content-Type": "application/json", "Desk-Client": "203.0.113.9", **bearer(token)}
    assert desk.ask("POST", "/api/v1/users", body, **headers)[0] == 201
    (entry,) = (
        one for one in desk.listing("audit") if one["action"] == "user.add" and "grace" in str(one)
    )
    assert (entry["actor"], entry["origin"]) == ("user:ops", "127.0.0.1")


def test_events_come_when_they_happen_and_end_with_the_token(desk, token):
    """All the way: the broker's stream, by the door, in TLS."""
    del token  # made for another test, with its user
    made = desk.api(
        "POST",
        "/tokens",
        body={"user": "ops", "name": "events", "scopes": ["read"], "reach": "all"},
    )
    with desk.line() as line:
        line.request("GET", "/api/v1/events", headers=bearer(made["secret"]))
        stream = line.getresponse()
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
        since = time.monotonic()
        desk.api("POST", "/users", body={"name": "heard", "admin": False, "keys": []})
        while "heard" not in (said := stream.readline().decode()):
            assert said, "the stream ended"
        assert time.monotonic() - since < 5
        desk.api("DELETE", f"/tokens/{made['id']}")
        since = time.monotonic()
        while stream.readline():
            pass
        assert time.monotonic() - since < 8


@pytest.mark.parametrize("ca", [True, False])
def test_deskctl_comes_that_way(desk, token, ca):
    """If it trusts the certificate."""
    file = desk.home / "token"
    file.write_text(token)
    file.chmod(0o600)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "broker.cli.deskctl"),
            *("--url", f"https://localhost:{desk.http_port}", "--token-file", str(file)),
            *(("--ca", desk.settings["web"]["tls"]["certificate"]) if ca else ()),
            *("user", "ls", "--quiet"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    if ca:
        assert (done.returncode, "ops" in done.stdout.split()) == (0, True), done
    else:
        assert (done.returncode, "certificate" in done.stderr) == (3, True), done


def test_a_broker_that_is_away_is_told_and_found_again(desk, token):
    """By doors that live on, and in time: nobody starts another one at first."""
    (broker,) = desk.children(BROKER)
    doors = desk.children(DOOR)
    desk.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(broker, signal.SIGKILL)
        for method in ("GET", "POST"):
            since = time.monotonic()
            status, headers, text = desk.ask(method, "/api/v1/users", **bearer(token))
            assert time.monotonic() - since < 10
            assert (status, headers["Retry-After"]) == (503, "1")
            assert json.loads(text)["code"] == "broker_unavailable"
        assert desk.http("/healthz")[0] == 200
    finally:
        desk.process.send_signal(signal.SIGCONT)
    until(
        lambda: desk.ask("GET", "/api/v1/users", **bearer(token))[0] == 200,
        within=60,
        what="the next broker",
    )
    assert desk.children(DOOR) == doors


def test_who_asks_while_the_broker_is_started_again_waits_for_it(desk, token):
    """Some seconds, and most often sees nothing of it."""
    (broker,) = desk.children(BROKER)
    os.kill(broker, signal.SIGKILL)
    seen = [desk.ask("GET", "/api/v1/users", **bearer(token))[0] for _ in range(20)]
    assert set(seen) <= {200, 503}
    until(desk.ready, within=60, what="the next broker")


def test_a_certificate_that_is_renewed_is_shown_though_doors_cannot_read_it(desk):
    """And nobody is cut off by it: the doors are the same, and so are their connections."""
    doors, before = desk.children(DOOR), desk.shown()
    with desk.line() as line:
        line.request("GET", "/healthz")
        assert line.getresponse().read() == b"ok\n"
        fresh = certificate(desk.home, "renewed")
        tls = desk.settings["web"]["tls"]
        for made, name in zip(fresh, ("certificate", "key"), strict=True):
            shutil.copy(made, f"{tls[name]}.new")
            os.replace(f"{tls[name]}.new", tls[name])
        until(lambda: desk.shown() != before, within=30, what="the new certificate")
        line.request("GET", "/healthz")
        assert line.getresponse().status == 200
    assert desk.children(DOOR) == doors
    assert desk.shown().strip() == fresh[0].read_text().strip()


def test_ssh_goes_on_beside_a_flood_of_requests_that_come_to_nothing(desk):
    """Strangers who say nothing, half of something, or nonsense."""
    ada = desk.person("ada")
    desk.ok(ada, "true")
    held = []
    try:
        for at in range(200):
            one = socket.create_connection((HOST, desk.http_port), timeout=5)
            held.append(one)
            if at % 2:
                one.send(b"\x16\x03\x01" + b"x" * at)
        since = time.monotonic()
        desk.ok(ada, "true")
        assert time.monotonic() - since < 10
    finally:
        for one in held:
            one.close()
    until(lambda: desk.http("/healthz")[0] == 200, within=30, what="room")


def test_it_does_not_start_where_tokens_would_go_in_the_clear(desk):
    """In one sentence, before anything is begun."""
    text = desk.config.read_text()
    plain = desk.home / "plain.yaml"
    plain.write_text(f"web: {{listen: '0.0.0.0:{desk.http_port}'}}\ntemplate: {{image: a}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "broker.cli.deskd", "serve", "--config", str(plain)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "allowed is a loopback address" in done.stderr
    assert text == desk.config.read_text()
