"""nftables' program: what becomes of what it says, and of what it does not."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

import pytest

from broker.core.errors import FirewallFailed
from broker.core.firewall import frames, ruleset, table_name
from broker.system import nft
from broker.system.nft import Nftables
from tests.contract.filters import PATH, missing, netns
from tests.contract.test_filter import ADA, ME, RULES


@pytest.fixture
def network():
    """A network of its own, with the bridge in it."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with netns() as made:
        made.bridge(*RULES.bridges)
        yield made


@pytest.fixture
def devices(tmp_path):
    """Interfaces as the kernel lists them."""
    path = tmp_path / "dev"
    rows = "".join(f"{name}: 0 0 0\n" for name in ("lo", *RULES.bridges))
    path.write_text(f"Inter-| Receive\n face |bytes\n{rows}")
    return path


def program(tmp_path, body):
    """A program of the name nft that does what the shell makes of `body`."""
    path = tmp_path / "bin" / "nft"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return f"{path.parent}:{os.defpath}"


async def reason(awaitable):
    with pytest.raises(FirewallFailed) as caught:
        await awaitable
    return str(caught.value)


async def test_a_host_without_the_program_is_told_which_package_it_lacks(tmp_path, devices):
    found = Nftables(path=str(tmp_path), devices=devices)
    assert "package nftables" in await reason(found.put(RULES))
    assert "package nftables" in await reason(found.standing(ME))


async def test_a_broker_without_the_rights_is_told_which(devices):
    """A real program's own refusal."""
    if os.geteuid() == 0:
        dropping = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    else:
        dropping = ["env"]
    if any(shutil.which(tool, path=PATH) is None for tool in (dropping[0], "nft")):
        pytest.skip("nft or setpriv is not installed")
    found = Nftables([*dropping, "nft"], path=PATH, devices=devices)
    for call in (found.put(RULES), found.standing(ME), found.grant(ME, ADA), found.remove(ME)):
        assert "root or CAP_NET_ADMIN" in await reason(call)


async def test_another_complaint_is_told_by_its_first_line(tmp_path, devices):
    """Without what nft draws below it; and a silent failure is one as well."""
    path = program(tmp_path, "echo 'Error: it rains' >&2; echo '^^^' >&2; exit 1")
    found = Nftables(path=path, devices=devices)
    assert await reason(found.grant(ME, ADA)) == "nft failed: Error: it rains"
    found = Nftables(path=program(tmp_path, "exit 1"), devices=devices)
    assert await reason(found.grant(ME, ADA)) == "nft failed: it did not say why"


async def test_a_program_that_cannot_be_started_is_told(tmp_path, devices):
    path = program(tmp_path, "")
    (tmp_path / "bin" / "nft").write_bytes(b"\x7fELF")
    found = Nftables(path=path, devices=devices)
    assert "could not be started" in await reason(found.grant(ME, ADA))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_program_that_hangs_is_ended(tmp_path, devices, monkeypatch):
    """In time, and nothing is left of it."""
    monkeypatch.setattr(nft, "_LIMIT", 0.3)
    path = program(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    assert "did not end" in await reason(Nftables(path=path, devices=devices).grant(ME, ADA))
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_caller_that_is_cancelled_leaves_no_program_behind(tmp_path, devices):
    os.mkfifo(tmp_path / "pid")
    path = program(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    granting = Nftables(path=path, devices=devices).grant(ME, ADA)
    task = asyncio.get_running_loop().create_task(granting)
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


@pytest.mark.parametrize("listing", ["not JSON", "[]", '{"nftables": [1]}', "{}"])
async def test_a_listing_that_cannot_be_understood_counts_as_no_table(tmp_path, devices, listing):
    """It is put in place afresh."""
    found = Nftables(path=program(tmp_path, f"echo '{listing}'"), devices=devices)
    assert await found.standing(ME) is None


async def test_a_table_that_was_laid_to_sleep_is_put_in_place_afresh(network):
    """It judges nothing, and its listing is no JSON on some releases."""
    found = network.filter()
    await found.put(RULES)
    before = await found.standing(ME)
    network.run("nft", "-f", "-", text=f"table inet {table_name(ME)} {{ flags dormant; }}\n")
    assert await found.standing(ME) != before
    await found.put(RULES)
    assert "dormant" not in network.run("nft", "list", "table", "inet", table_name(ME))


async def test_a_table_below_ip_that_is_taken_away_changes_the_mark(network):
    found = network.filter()
    await found.put(RULES)
    before = await found.standing(ME)
    network.run("nft", "delete", "table", "bridge", table_name(ME))
    assert (await found.standing(ME)).mark != before.mark


async def test_where_the_kernel_knows_no_form_of_the_table_below_ip_that_is_told(network, tmp_path):
    """Unless it shows IP's rules what crosses a bridge."""
    real = shutil.which("nft", path=PATH)
    path = program(
        tmp_path,
        f'text=$(cat); case "$text" in *"table bridge"*) exit 1;; esac; printf "%s\\n" "$text" |'
        f' {" ".join(network.entering)} {real} "$@"',
    )
    devices = f"/proc/{network.pid}/net/dev"
    shown = tmp_path / "bridge-nf-call-iptables"
    found = Nftables(path=path, devices=nft.Path(devices), bridged=shown)
    for content in (None, "0\n"):
        if content is not None:
            shown.write_text(content)
        assert "reach each other" in (await found.put(RULES) or "")
    shown.write_text("1\n")
    assert await found.put(RULES) is None
    assert (await found.standing(ME)) is not None


def test_this_kernel_takes_the_rules_and_a_form_of_the_table_below(network):
    """So that a test of what they do means something."""
    more = replace(RULES, bridges=("deska", "deskb"), grants=frozenset({ADA}))
    network.run("nft", "-c", "-f", "-", text=ruleset(more))
    taken = [
        network.tries("nft", "-c", "-f", "-", text=form).returncode == 0 for form in frames(more)
    ]
    assert any(taken)
