"""What cannot be had is refused with one clear sentence, one log line, and nothing half-made."""

from __future__ import annotations

import re
import socket
import subprocess

import pytest

from tests.e2e.desk import HOST, until
from tests.e2e.enginelink import EngineLink
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def nothing_is_left(desk) -> bool:
    return (
        desk.listing("sessions") == []
        and desk.containers() == {}
        and {lease["kind"] for lease in desk.listing("leases")} <= {"uid"}
    )


def refused(desk, person, *parts: bytes) -> None:
    """An exec gets one line on stderr with all `parts`, and no stdout."""
    done = desk.ssh(person, "true")
    assert done.returncode not in {0, 255}, done
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.fullmatch(rb"desk: .*[.] [(][a-z_]+[)]\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


def test_an_engine_that_is_down(new_desk, tmp_path, engine_host):
    """Users get a sentence while it is down, at the start too; all works when it is back."""
    with EngineLink(tmp_path / "engine.sock", engine_host) as link:
        desk = new_desk(engine={"socket": link.url})
        link.cut()
        desk.start(ready=False)
        until(lambda: "checks" in desk.http("/readyz")[1], what="the broker", within=60)
        assert desk.http("/readyz")[0] == 503
        ada = desk.person("ada")
        refused(desk, ada, b"engine does not answer")
        assert desk.ok(ada, "desk list")
        link.mend()
        until(desk.ready, within=60, what="readiness")
        desk.ok(ada, "true")
        link.cut()
        assert desk.ok(ada, "echo still here") == "still here\n"
        refused(desk, desk.person("bob"), b"engine does not answer")
        link.mend()
        until(desk.ready, within=90, what="readiness")
        desk.ok(desk.person("bob"), "true")
        assert desk.events("session not begun")


def test_an_image_that_is_missing(new_desk):
    """The sentence names the cause; the log names the image; readiness is red."""
    desk = new_desk(template={"image": "desk-desktop:never-built"})
    desk.start(ready=False)
    until(lambda: "checks" in desk.http("/readyz")[1], what="the broker", within=60)
    refused(desk, desk.person("ada"), b"image", b"administrator")
    assert nothing_is_left(desk)
    assert "never-built" in str(desk.events("session not begun"))
    assert desk.http("/readyz")[0] == 503


def test_a_full_range_of_ports(new_desk):
    """The second user of one place is told that it is full; the first goes on."""
    port = free_port()
    desk = new_desk(pools={"ports": f"{port}-{port}"})
    desk.start()
    desk.ok(desk.person("ada"), "true")
    refused(desk, desk.person("bob"), b"port")
    assert len(desk.containers()) == 1
    desk.ok(desk.person("ada"), "desk stop")
    desk.ok(desk.person("bob"), "true")


def test_a_port_that_a_stranger_holds_is_passed_over(new_desk):
    """The next port is taken, and the held one is set aside."""
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        if port > 65_500:
            pytest.fail("no room for the range behind the stranger's port")
        desk = new_desk(pools={"ports": f"{port}-{port + 20}"})
        desk.start()
        desk.ok(desk.person("ada"), "true")
        (session,) = desk.listing("sessions")
        assert session["port"] > port
        assert desk.events("port set aside")[0]["port"] == port


def test_a_broken_line_in_the_configuration(new_desk):
    """`deskd` says file, line, key, what was found and what is allowed, and starts nothing."""
    desk = new_desk()
    desk.write_config(starts={"at_once": "many"})
    for word in ("check-config", "serve", "migrate"):
        done = desk.deskd(word)
        assert done.returncode == 78
        assert f"{desk.config}:" in done.stderr
        assert "starts.at_once: found 'many'" in done.stderr
        assert "Traceback" not in done.stderr
    assert not desk.state.exists()


def test_a_port_of_the_brokers_own_that_is_taken(new_desk):
    """`deskd serve` names the key and the port."""
    desk = new_desk()
    assert desk.deskd("migrate").returncode == 0
    with socket.create_server((HOST, desk.ssh_port)):
        done = desk.deskd("serve")
    assert done.returncode == 78
    assert f"ssh.listen: port {desk.ssh_port}" in done.stderr


def test_a_second_broker_on_the_same_state(new_desk):
    """It refuses with the first one's process id."""
    desk = new_desk()
    desk.start()
    first = desk.process.pid
    desk.write_config(
        ssh={"listen": f"{HOST}:{free_port()}"}, web={"listen": f"{HOST}:{free_port()}"}
    )
    done = desk.deskd("serve")
    assert done.returncode == 1
    assert f"process {first}" in done.stderr


def test_a_state_that_was_never_migrated(new_desk):
    """`deskd serve` tells what to do."""
    done = new_desk().deskd("serve")
    assert done.returncode == 1
    assert "deskd migrate" in done.stderr


def test_a_start_that_takes_too_long_is_given_up_whole(new_desk):
    """The deadline passes: a sentence, a log line with the reason, no container, no lease."""
    desk = new_desk(starts={"timeout": "1s"}, template={"cpus": 0.05})
    desk.start()
    refused(desk, desk.person("ada"), b"could not be started")
    assert nothing_is_left(desk)
    assert "did not answer within" in str(desk.events("session failed to start"))


def test_a_removed_key_ends_what_it_opened(new_desk):
    """Within seconds: the shell is told, and the key opens nothing any more."""
    desk = new_desk()
    desk.start()
    ada = desk.person("ada", registered=False)
    added = desk.deskctl("user", "add", "ada", "--key", f"{ada.key}.pub")
    assert added.returncode == 0, added.stderr
    desk.ok(ada, "true")
    shell = subprocess.Popen(
        desk.ssh_command(ada, "-tt"),
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: desk.listing("sessions")[0]["attached"] == 1, what="the attachment")
    (key,) = desk.listing("users/ada/keys")
    assert desk.deskctl("user", "key", "rm", "ada", key["fingerprint"]).returncode == 0
    _, told = shell.communicate(timeout=5)
    assert shell.returncode == 255
    assert b"key was taken away" in told
    assert b"Permission denied" in desk.ssh(ada, "true").stderr


def test_a_bound_for_homes_that_the_filesystem_cannot_hold(new_desk, docker):
    """Told at the start, with the reason; and nothing is left of the try."""
    desk = new_desk(template={"home": "2g"})
    desk.start(ready=False)
    until(lambda: desk.process.poll() is not None or desk.ready(), within=90)
    if desk.process.poll() is None:
        desk.ok(desk.person("ada"), "true")
        pytest.skip("this file system has quotas of users, switched on")
    said = desk.log.read_text()
    assert "template.home: homes cannot be bounded here: " in said
    assert re.search(r"has no quotas|have no quotas|usrquota", said)
    assert "desk-quota-" not in docker("ps", "-a", "--format", "{{.Names}}")
