"""deskctl about who people are: what proves them, invites, groups, blocks, the audit."""

from __future__ import annotations

import json
import os
import re
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from broker.cli import ctl_credentials, deskctl
from broker.http import audit
from tests.cli.tables import table
from tests.service.harness import new_key
from tests.service.people import PASSWORD, Person, outcome


@pytest.fixture
def ada(served):
    """With a password."""
    return served.do(Person.make(served.broker))


# ----------------------------------------------------------------------------------------- keys


def test_keys_are_listed_renamed_and_removed(served, run, ada):
    """With what limits each; by the name that the list shows."""
    key, line = new_key()
    limited = f'from="192.0.2.0/24",expiry-time="20351231Z" {line}'
    run("user", "key", "add", "ada", "--key", "-", input=limited)
    head, row = run("user", "key", "ls", "ada").splitlines()
    assert head.split()[:3] == ["FINGERPRINT", "TYPE", "NAME"]
    assert row.split()[2] == "ada@laptop"
    assert row.split()[-5:] == ["2035-12-31", "00:00:00Z", "192.0.2.0/24", "-", "-"]
    assert run("user", "key", "rename", "ada", "ada@laptop", "old lamp") == (
        f"{key.fingerprint} is now called old lamp.\n"
    )
    assert run("user", "key", "rm", "ada", "old lamp") == "old lamp proves nobody any more.\n"
    assert len(table(run("user", "key", "ls", "ada"))) == 1


# ---------------------------------------------------------------------------- password and code


def test_a_password_is_read_from_standard_input(served, run, refused, ada):
    """Its first line, without what ends it; it is printed nowhere."""
    said = run("user", "password", "set", "ada", input="another horse battery\r\nmore\n")
    assert said == "The new password proves ada.\n"
    assert outcome(served.do(ada.type("another horse battery"))) == "in"
    assert "at least 10 characters" in refused("user", "password", "set", "ada", input="abc123\n")
    assert refused("user", "password", "set", "ada", input=b"\xff\xfe" * 9, code=2) == (
        "Standard input: a password is text in UTF-8. (bad_request)"
    )
    assert run("user", "password", "rm", "ada") == "ada has no password any more.\n"
    assert refused("user", "password", "rm", "ada").endswith("(not_found)")


def test_a_password_is_asked_for_twice_at_a_terminal(
    served,
    run,
    ada,
    monkeypatch,
):
    """Until both are the same."""
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(ctl_credentials, "sys", terminal)
    typed = "another house battery\nanother horse battery\n" + "another horse battery\n" * 2
    words = ["--socket", str(served.path), "user", "password", "set", "ada"]
    said = CliRunner().invoke(deskctl.main, words, input=typed).output
    assert "battery" not in said
    assert said.endswith("The new password proves ada.\n")
    assert outcome(served.do(ada.type("another horse battery"))) == "in"


def test_no_password_is_an_argument(served, run):
    """It would stand in the list of processes."""
    run("user", "password", "set", "ada", PASSWORD, code=2)


def test_codes_of_a_lost_phone_are_taken_away(served, run, refused, ada):
    """They can be set up anew."""
    served.do(ada.enrol())
    assert run("user", "code", "rm", "ada") == "ada has no one-time codes any more.\n"
    assert refused("user", "code", "rm", "ada").endswith("(not_found)")
    served.do(ada.enrol())


# ----------------------------------------------------------------- disabled, policy, invites


def test_a_user_is_disabled_and_enabled(served, run, ada):
    """The list shows it."""
    assert run("user", "disable", "ada") == (
        "Nothing proves ada any more, until: deskctl user enable ada.\n"
    )
    assert table(run("user", "ls"))[1][2] == "no"
    assert run("user", "enable", "ada") == "What ada has proves them again.\n"
    assert table(run("user", "ls"))[1][2] == "yes"


def test_an_invite_is_printed_once(served, run, refused):
    """As the command that its user types."""
    said = run("user", "add", "ada", "--invite").splitlines()
    assert said[0] == "User ada is there."
    token = re.fullmatch(r"ssh -p 2222 invite\+([A-Za-z0-9_-]{32})@HOST", said[1])[1]
    until = served.broker.clock.now().replace(day=4).strftime("%Y-%m-%d %H:%MZ")
    assert said[2] == f"This is shown once, and good once, for ada, until {until}."
    assert served.do(served.broker.invites.of(token))[1].name == "ada"
    served.broker.clock.advance(1)
    other = run("user", "invite", "ada", "--valid", "1h", "--host", "desk.example").splitlines()[0]
    assert other.endswith("@desk.example")
    head, newest, oldest = table(run("invite", "ls"))
    assert head[:3] == ["ID", "USER", "STATE"]
    assert newest[1:3] == oldest[1:3] == ["ada", "open"]
    assert token not in run("--json", "invite", "ls")
    assert run("invite", "rm", oldest[0]) == f"Invite {oldest[0]} lets nobody in any more.\n"
    assert served.do(served.broker.invites.of(token)) is None
    assert refused("invite", "rm", oldest[0]).endswith("(not_found)")
    assert refused("user", "invite", "ada", "--valid", "soon").startswith("valid: found 'soon';")
    assert json.loads(run("user", "add", "bob", "--invite", "--json"))["invite"]["user"] == "bob"


# --------------------------------------------------------------------------------------- groups


def test_a_group_says_what_holds(served, run, refused, ada):
    """Each value as people write it, and as the policy shows it with who says so."""
    assert (
        run(
            "group",
            "add",
            "lab",
            "login.ways=key,password+code",
            "limits.desktops=7",
            "--priority=3",
        )
        == "Group lab is there.\n"
    )
    assert run("group", "join", "lab", "ada") == "ada is in lab.\n"
    policy = {row[0]: row[1:] for row in table(run("user", "policy", "ada"))}
    assert policy["login.ways"] == ["key, password+code", "group lab"]
    assert policy["limits.desktops"] == ["7", "group lab"]
    assert policy["allow.x11"] == ["true", "config"]
    assert run("group", "set", "lab", "login.ways=", "allow.x11=false", "idle.busy_cpu=1.5") == (
        "Group lab says now: allow.x11=false idle.busy_cpu=1.5 limits.desktops=7.\n"
    )
    assert run("group", "show", "lab").splitlines() == [
        "priority 3",
        "allow.x11=false",
        "idle.busy_cpu=1.5",
        "limits.desktops=7",
        "members: ada",
    ]
    assert table(run("group", "ls"))[1] == [
        "lab",
        "3",
        "1",
        "allow.x11=false idle.busy_cpu=1.5 limits.desktops=7",
    ]
    assert run("group", "leave", "lab", "ada") == "ada was taken out of lab.\n"
    assert run("group", "rm", "lab", "--yes") == "Group lab is gone.\n"
    assert refused("group", "show", "lab").endswith("(not_found)")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["allow.x11"], "'allow.x11' is no KEY=VALUE, as in allow.sftp=false.", 2),
        (["=x"], "'=x' is no KEY=VALUE", 2),
        ([], "There is nothing to set", 2),
        (["allow.x11=maybe"], "allow.x11: found 'maybe'; allowed are true and false.", 1),
        (["login.ways=key,nose"], "login.ways: found", 1),
        (["colour=red"], "A group has no 'colour'; there are allow.agent", 1),
    ],
)
def test_what_a_group_cannot_say_is_told(served, run, refused, words, said, code):
    """With what it can."""
    run("group", "add", "lab")
    assert refused("group", "set", "lab", *words, code=code).startswith(said)
    assert run("group", "show", "lab") == "priority 0\nmembers: nobody\n"


# ------------------------------------------------------------------------------- blocks, audit


def test_blocks_are_listed_and_lifted(served, run, refused, ada):
    """With how long is left."""
    served.do(ada.fail())
    head, row = table(run("login-block", "ls"))
    assert (head, row) == (
        ["ACCOUNT", "PLACE", "FAILURES", "LEFT"],
        ["ada", "elsewhere", "5", "30 s"],
    )
    assert run("login-block", "rm", "ada") == "ada can be tried again.\n"
    assert refused("login-block", "rm", "ada") == "No login of 'ada' is blocked. (not_found)"


def test_the_audit_is_listed_verified_and_exported(served, run, ada, monkeypatch):
    """The export is a line for each entry, however many pages it takes."""
    run("user", "disable", "ada")
    newest, *_ = table(run("audit", "ls", "--limit", "1"))[1:]
    assert newest[2:6] == [f"uid:{os.geteuid()}", "-", "local", "user.disable"]
    assert len(table(run("audit", "ls", "--user", "ada"))) == 4
    head = served.do(served.broker.store.audit(limit=1))[0]
    assert run("audit", "verify") == (
        f"{head.seq} entries are as they were written; the last is {head.seq}, with the hash"
        f" {head.hash}.\n"
    )
    lines = [json.loads(line) for line in run("audit", "export").splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, head.seq + 1))
    assert lines[-1]["hash"] == head.hash
    monkeypatch.setattr(audit, "_CHAIN", 2)
    assert [json.loads(line) for line in run("audit", "export").splitlines()] == lines
    rest = run("audit", "export", "--after", str(head.seq - 1)).splitlines()
    assert [json.loads(line)["seq"] for line in rest] == [head.seq]


def test_an_audit_that_is_not_whole_ends_with_1(served, run, ada):
    """And says which entry it is."""

    async def broken(*, after=0):
        found = await verify(after=after)
        return type(found)(entries=1, head=found.head, problem="Entry 2 was changed.")

    verify = served.broker.real_store.verify_audit
    served.broker.real_store.verify_audit = broken
    run("audit", "verify", code=1)
    run("--json", "audit", "verify", code=1)
