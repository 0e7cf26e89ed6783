"""From `apt install ./desk.deb` to a purge, in Debians that boot: in the order of a package's life."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker import __version__
from tests.package.system import RELEASES, System

pytestmark = [
    pytest.mark.booted,
    pytest.mark.timeout(900),
    pytest.mark.skipif("DESK_DEB" not in os.environ, reason="'make test-package' builds a package"),
]

HERE = Path(__file__).resolve().parent

#: What the next build calls itself.
NEXT = f"{__version__}.next"

APT = "DEBIAN_FRONTEND=noninteractive apt-get -yq -o Dpkg::Use-Pty=0"

#: Of what runs, desktops alone: a canary comes and goes once a minute.
DESKTOPS = "docker ps -q --filter label=desk.session"

LOGIN = "ssh -p 2222 -o StrictHostKeyChecking=accept-new -o BatchMode=yes desk@localhost"


def successor(deb: Path, folder: Path) -> Path:
    """The package as a later build of other code has it."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    text = re.sub(r"(?m)^(Version: .*)$", r"\1+next", control.read_text())
    control.write_text(text)
    code = tree / "usr/lib/desk/app/broker/__init__.py"
    code.write_text(code.read_text().replace(__version__, NEXT))
    made = folder / "next.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, made],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(tree)
    return made


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    deb, folder = Path(os.environ["DESK_DEB"]), tmp_path_factory.mktemp("packages")
    shutil.copy(deb, folder / "desk.deb")
    shutil.copy(HERE / "clients.py", folder)
    successor(deb, folder)
    return folder


@pytest.fixture(scope="module", params=RELEASES)
def system(request, packages):
    made = System(request.param, packages)
    yield made
    made.close()


def test_apt_makes_a_running_service_of_the_file(system):
    system.run("apt-get update -qq")
    system.run(f"{APT} install --no-install-recommends /files/desk.deb", seconds=300)
    system.until("systemctl is-active desk-broker desk-door@1 desk-door@2")
    assert system.run("systemctl is-enabled desk.target") == "enabled\n"
    assert system.run("systemctl list-units --failed --no-legend --plain") == ""
    assert system.run("dpkg -V desk").strip() in {"", _left_out(system)}


def _left_out(system) -> str:
    """What a base without documentation leaves out."""
    told = system.run("dpkg -V desk").strip().splitlines()
    return "\n".join(line for line in told if "/usr/share/doc/" in line)


def test_broker_and_doors_are_closed_to_what_they_do_not_need(system):
    for unit in ("desk-broker.service", "desk-door@1.service", "desk-firewall.service"):
        told = system.run(f"systemd-analyze security --no-pager {unit}")
        (exposed,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", told)
        print(f"{system.suite}: {unit} {exposed}")
        assert float(exposed) <= 1.5, told


def test_a_door_reaches_neither_engine_nor_state(system):
    """By what the kernel shows to the process that runs."""
    look = (
        "pid=$(systemctl show -P MainPID desk-door@1);"
        " nsenter -t $pid -m setpriv --reuid=desk-door --regid=desk-door --clear-groups"
        " ls /var/lib/desk /run/docker.sock /root /run/desk 2>&1; grep CapEff /proc/$pid/status"
    )
    told = system.run(look)
    assert "'/var/lib/desk': No such file" in told
    assert "cannot open directory '/root'" in told
    assert "cannot open directory '/run/desk'" in told
    assert "desk.db" not in told
    assert "CapEff:\t0000000000000000" in told


def test_until_the_image_is_there_a_connect_says_so(system):
    system.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
    system.run("deskctl user add ada --key /root/.ssh/id_ed25519.pub")
    told = system.run(f"{LOGIN} true", code=1)
    assert told.splitlines()[-1].startswith("desk: Your desktop's image is not installed here yet.")


def test_a_user_lands_in_a_desktop_of_their_own(system):
    said = system.load(os.environ["DESK_IMAGE"])
    assert said.startswith("desk-desktop:latest is there")
    begun = time.monotonic()
    assert system.run(f"{LOGIN} 'id -un; echo $DISPLAY'").split() == ["desk", ":1000"]
    print(f"{system.suite}: first desktop in {time.monotonic() - begun:.1f} s")


def test_the_networks_rules_stand_and_come_back(system):
    """By the one process that may change them, which is not the broker's. All rules are not flushed:
    the engine would miss its own.
    """
    table = "nft list tables | grep -q 'inet desk_'"
    system.until(table)
    system.run(
        "nft list tables | sed -n 's/^table inet \\(desk_.*\\)/\\1/p' | xargs nft delete table inet"
    )
    system.until(table, 2)
    look = (
        "from urllib.request import urlopen as o; print(o('http://127.0.0.1:8080/readyz').read())"
    )
    assert "canary has nothing to try" not in system.run("journalctl -u desk-broker --no-pager")
    assert '"network": "ok"' in system.run(f'python3 -c "{look}"').replace("\\", "")


def test_a_member_of_the_admins_group_is_heard_and_nobody_else_is(system):
    system.run("useradd -G desk-admin boss; useradd stranger")
    assert "ada" in system.run("runuser -u boss -- deskctl user ls")
    told = system.run("runuser -u stranger -- deskctl user ls || true")
    assert "you may not use it" in told


TALK = f"{LOGIN} 'while read word; do echo heard $word; done'"


def say(session, word: str) -> None:
    """Have it said back by a desktop."""
    session.stdin.write(f"{word}\n")
    session.stdin.flush()
    while (line := session.stdout.readline()) != f"heard {word}\n":
        assert line, "the connection ended"


def end(session) -> None:
    session.stdin.close()
    session.stdin = None
    assert session.wait(30) == 0


def test_a_broker_that_hangs_is_started_again_and_drops_nobody(system):
    with system.session(TALK) as session:
        say(session, "one")
        system.run(
            "mkdir -p /run/systemd/system/desk-broker.service.d;"
            " printf '[Service]\\nWatchdogSec=3\\n' >/run/systemd/system/desk-broker.service.d/t.conf;"
            " systemctl daemon-reload; systemctl restart desk-broker"
        )
        pid = system.run("systemctl show -P MainPID desk-broker").strip()
        system.run(f"kill -STOP {pid}")
        new = f"[ $(systemctl show -P MainPID desk-broker) != {pid} ]"
        system.until(f"systemctl is-active desk-broker && {new}")
        assert system.run("journalctl -u desk-broker --no-pager | grep -i watchdog")
        say(session, "two")
        assert system.run(f"{LOGIN} echo here") == "here\n"
        end(session)
    system.run("rm -r /run/systemd/system/desk-broker.service.d; systemctl daemon-reload")
    system.run("systemctl restart desk-broker")


def test_an_upgrade_drops_nobody(system):
    """Who is there stays with the door that they have; who comes meets the new ones."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(system.session(TALK)) for _ in range(4)]
        for session in sessions:
            say(session, "before")
        crowd = stack.enter_context(system.session("python3 /files/clients.py"))
        assert crowd.stdout.readline() == "they come\n"
        begun = time.monotonic()
        system.run(f"{APT} install --no-install-recommends /files/next.deb", seconds=300)
        took = time.monotonic() - begun
        assert NEXT in system.run("deskd --version")
        for session in sessions:
            say(session, "after")
        assert system.run(f"{LOGIN} echo here") == "here\n"
        crowd.stdin.write("\n")
        crowd.stdin.flush()
        told = json.loads(crowd.stdout.readline())
        end(crowd)
        print(f"{system.suite}: upgrade in {took:.1f} s, {told}")
        assert set(told["outcomes"]) == {"served"}
        assert told["slowest"] < 5
        assert {"desk-door@3", "desk-door@4"} <= set(system.run(RUNNING).split())
        for session in sessions:
            end(session)
    system.until(f"[ \"$({RUNNING} | xargs)\" = 'desk-door@3 desk-door@4' ]")
    assert system.run("systemctl list-units --failed --no-legend --plain") == ""


RUNNING = "systemctl list-units --plain --no-legend --state=active 'desk-door@*' | cut -d. -f1"


def test_a_removed_package_leaves_desktops_running_and_comes_back(system):
    before = system.run(DESKTOPS)
    assert before
    system.run(f"{APT} remove desk")
    assert system.run(DESKTOPS) == before
    assert system.run("systemctl list-units --plain --no-legend --state=active 'desk*'") == ""
    system.run(f"{APT} install --no-install-recommends /files/next.deb", seconds=300)
    system.until("systemctl is-active desk-broker desk-door@1 desk-door@2")
    assert system.run(f"{LOGIN} echo here") == "here\n"
    assert system.run(DESKTOPS) == before


def test_a_purge_leaves_homes_and_says_whose_they_are(system):
    homes = system.run("docker volume ls -q")
    system.run(f"{APT} purge desk")
    assert _engine(system) == ("", "", homes)
    assert system.run("ls /var/lib/desk") == "homes.txt\n"
    (line,) = system.run("tail -n +2 /var/lib/desk/homes.txt").splitlines()
    assert line.split("\t")[:3] == ["ada", "main", homes.strip()]
    assert system.run("ls -d /etc/desk /run/desk /usr/lib/desk 2>/dev/null || true") == ""
    assert system.run("nft list tables | grep desk_ || true") == ""


def test_a_purge_that_is_told_so_takes_homes_as_well(system):
    system.run(f"{APT} install --no-install-recommends /files/desk.deb", seconds=300)
    system.until("systemctl is-active desk-broker desk-door@1 desk-door@2")
    system.run("ssh-keygen -R '[localhost]:2222'")
    system.run("deskctl user add eve --key /root/.ssh/id_ed25519.pub")
    before = set(system.run("docker volume ls -q").split())
    assert "here" in system.run(f"{LOGIN} echo here").split()
    assert set(system.run("docker volume ls -q").split()) > before
    system.run(f"DESK_PURGE_HOMES=yes {APT} purge desk")
    assert set(system.run("docker volume ls -q").split()) == before
    assert _engine(system)[:2] == ("", "")


def _engine(system) -> tuple[str, str, str]:
    """Containers, networks, volumes of Desk's."""
    mine = "--filter label=desk.instance"
    return (
        system.run(f"docker ps -aq {mine}"),
        system.run(f"docker network ls -q {mine}"),
        system.run("docker volume ls -q"),
    )
