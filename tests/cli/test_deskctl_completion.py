"""What shells complete: commands, options, and names from the broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli import deskctl
from tests.service.harness import new_key


@pytest.fixture
def complete(tmp_path):
    """What a shell is told of a line, in which the last word is unfinished; in a list."""

    def call(line, *, shell="bash", socket=tmp_path / "admin.sock"):
        words = line.split(" ")
        env = {
            "_DESKCTL_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(words[:-1]) if shell == "fish" else line,
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
            "DESK_SOCKET": str(socket),
        }
        result = CliRunner().invoke(deskctl.main, [], env=env, prog_name="deskctl")
        assert (result.exit_code, result.stderr) == (0, "")
        if shell == "bash":
            return [line.partition(",")[2] for line in result.stdout.split("\n") if line]
        return [line for line in result.stdout.split("\n") if line]

    return call


def test_names_come_from_the_broker(served, complete):
    """Those that begin so, of what belongs there."""
    for name in ("ada", "adele", "bob"):
        served.do(served.broker.user(name))
    assert complete("deskctl user show ad") == ["ada", "adele"]
    assert complete("deskctl --json user rm ") == ["ada", "adele", "bob"]
    assert complete("deskctl audit ls --user b") == ["bob"]
    served.do(served.broker.groups.set("lab", priority=0, policy={}, actor="uid:0"))
    assert complete("deskctl group join l") == ["lab"]
    assert complete("deskctl group join lab a") == ["ada", "adele"]
    desktop = served.do(served.broker.desktop("ada"))
    session = served.do(served.broker.ensure(desktop))
    assert complete("deskctl session stop ") == [session.id]
    assert complete("deskctl desktop show ") == [desktop.id]
    assert complete("deskctl template show ") == ["default"]


def test_names_of_what_stands_before(served, complete):
    """The keys of that user alone; what is no one word is left out."""
    for user, comment in (("ada", "laptop"), ("ada", "two words"), ("bob", "lamp")):
        if served.do(served.broker.store.user(user)) is None:
            served.do(served.broker.user(user))
        line = " ".join([*new_key()[1].split()[:2], comment])
        served.do(served.broker.accounts.add_key(user, line, actor="uid:0"))
    assert complete("deskctl user key rm ada l") == ["laptop"]
    assert complete("deskctl user key rm ada ") == ["laptop"]
    assert complete("deskctl user key rm nobody ") == []


def test_shells_with_room_for_it_hear_what_each_is(served, complete):
    """Zsh and fish show it beside the name."""
    desktop = served.do(served.broker.desktop("ada"))
    assert complete("deskctl desktop rm ", shell="zsh") == [
        "plain",
        desktop.id,
        "ada main stopped",
    ]
    (told,) = complete("deskctl desktop rm ", shell="fish")
    assert told == f"plain,{desktop.id}\tada main stopped"


def test_commands_and_what_a_group_says_need_no_broker(complete):
    """Nor do choices and options."""
    assert complete("deskctl ses") == ["session"]
    assert complete("deskctl session ls --st") == ["--state"]
    assert complete("deskctl session ls --state f") == ["frozen"]
    assert complete("deskctl group set lab login.w") == ["login.ways="]


@pytest.mark.parametrize(
    "line",
    [
        "deskctl user show ",
        "deskctl user key rm ada ",
        "deskctl --url nonsense user show ",
        "deskctl --url https://localhost user show ",
        "deskctl --json --quiet user show ",
    ],
)
def test_whoever_presses_a_key_hears_of_no_trouble(complete, line):
    """No broker, no way to one, a line that cannot be."""
    assert complete(line) == []


def test_the_shell_itself_completes(served, tmp_path):
    """What is printed for bash, in bash; by a process, as it calls one."""
    served.do(served.broker.user("ada"))
    program = Path(sys.prefix) / "bin" / "deskctl"
    script = (
        f'source <("{program}" completion bash)\n'
        "COMP_WORDS=(deskctl user show a); COMP_CWORD=3\n"
        f'_deskctl_completion "{program}"\n'
        'echo "${COMPREPLY[@]}"\n'
    )
    env = {**os.environ, "DESK_SOCKET": str(served.path)}
    done = subprocess.run(
        ["bash", "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("ada\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(away, shell):
    """Which calls deskctl by its name."""
    script = away("completion", shell)
    assert f"_DESKCTL_COMPLETE={shell}_complete" in script
    assert "No such" not in script
    assert "invalid" in away("completion", "tcsh", code=2).lower()
