"""A directory is asked as it wants to be, and nothing but a proven password counts."""

# ruff: noqa: E402 - the library is an extra

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

ldap = pytest.importorskip("ldap", reason="python-ldap is not installed: pip install '.[ldap]'")

from broker.config.sources import LdapSource
from broker.core.errors import ConfigError, SourceUnavailable
from broker.core.outside import Found, Refused
from broker.sources import tunnel
from broker.sources.ldap import _THREADS, Directory, _filled
from broker.system.clock import SystemClock
from tests.sources import certificates
from tests.sources.harness import Listener
from tests.sources.slapd import DESK, DESK_PASSWORD, GROUPS, PEOPLE, person

PASSWORD = "engine no 1"

#: Seconds that nothing here takes, on a machine that does something else as well, unless it waits
#: for what never comes.
SOON = 4

BY_NAME = {"bind_dn": f"uid={{name}},{PEOPLE}"}


@pytest.fixture
def by_search(tmp_path):
    secret = tmp_path / "search-password"
    secret.write_text(DESK_PASSWORD + "\n")
    return {"search_base": PEOPLE, "search_dn": DESK, "search_password": secret}


@pytest.fixture
def directory(request):
    """Makes one of what the file would say; those that were made are closed."""
    made = []

    def make(url, **keys):
        config = {"kind": "ldap", "name": "campus", "url": url, **keys}
        made.append(Directory(LdapSource.model_validate(config), SystemClock()))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def asked(source, name="ada", password=PASSWORD):
    return await source.check(name, password, address="192.0.2.7")


def found(*groups):
    return Found(source="campus", name="ada", groups=frozenset(groups))


# -------------------------------------------------------------------------------- ways to it


@pytest.mark.parametrize("way", ["plain", "ldaps", "starttls", "socket"])
@pytest.mark.parametrize("how", ["by name", "by search"])
async def test_a_right_password_proves_and_a_wrong_one_does_not(
    slapd, authority, directory, by_search, way, how
):
    url, keys = {
        "plain": (slapd.url, {}),
        "ldaps": (slapd.tls_url, {"ca": authority.certificate}),
        "starttls": (slapd.url, {"ca": authority.certificate, "starttls": True}),
        "socket": (slapd.local_url, {}),
    }[way]
    source = directory(url, **keys, **(BY_NAME if how == "by name" else by_search))
    assert await asked(source) == found()
    assert await asked(source, password="engine no 2") == Refused(known=how == "by search")
    assert await asked(source, name="eve") == Refused(known=False)
    assert await asked(source, name="nokey", password="x") == Refused(known=how == "by search")


async def test_a_password_is_any_text(slapd, directory):
    assert isinstance(await asked(directory(slapd.url, **BY_NAME), "bob", "Löwe zahm"), Found)


@pytest.mark.parametrize("starttls", [False, True])
@pytest.mark.parametrize("whose", ["nobody's", "another authority's", "another name's"])
async def test_a_certificate_that_proves_nothing_gets_no_password(
    slapd, authority, directory, tmp_path, starttls, whose
):
    other = certificates.authority(tmp_path, "other")
    url = slapd.url if starttls else slapd.tls_url
    ca = {"nobody's": None, "another authority's": other.certificate}.get(
        whose, authority.certificate
    )
    if whose == "another name's":
        # slapd hears on 127.0.0.1 alone: a relay stands where the other name leads.
        port = slapd.port if starttls else slapd.tls_port
        server = await asyncio.start_server(_relay_to(port), "127.0.0.2", 0)
        scheme = url.partition(":")[0]
        url = f"{scheme}://127.0.0.2:{server.sockets[0].getsockname()[1]}"
    source = directory(url, ca=ca, starttls=starttls, **BY_NAME)
    with pytest.raises(SourceUnavailable) as raised:
        await asked(source)
    why = "mismatch" if whose == "another name's" else "unable to get local issuer certificate"
    assert "certificate verify failed" in str(raised.value)
    assert why in str(raised.value)
    if whose == "another name's":
        server.close()
        await server.wait_closed()


def _relay_to(port):
    async def relay(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source, sink):
            try:
                while data := await source.read(4096):
                    sink.write(data)
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    return relay


async def test_a_server_that_cannot_do_tls_gets_no_password(directory):
    """It would be in clear: what answers StartTLS with a refusal is away."""
    refusal = bytes.fromhex("300c02010178070a010204000400")
    async with Listener(refusal).serving() as listener:
        source = directory(f"ldap://127.0.0.1:{listener.port}", starttls=True, **BY_NAME)
        with pytest.raises(SourceUnavailable) as raised:
            await asked(source)
    assert "the directory does not offer StartTLS" in str(raised.value)
    assert listener.heard.endswith(b"1.3.6.1.4.1.1466.20037")


# ------------------------------------------------------------------------------- who it is


@pytest.mark.parametrize("password", ["", "\0", "engine no 1\0", "\ud800", "x" * 1025])
@pytest.mark.parametrize("how", ["by name", "by search"])
async def test_what_can_be_no_password_is_not_asked(directory, by_search, how, password):
    async with Listener().serving() as listener:
        url = f"ldap://127.0.0.1:{listener.port}"
        source = directory(url, **(BY_NAME if how == "by name" else by_search))
        assert await asked(source, password=password) == Refused(known=False)
    assert listener.connections == 0


def test_the_directory_here_lets_the_empty_password_through(slapd):
    """So that the tests above stand for something."""
    connection = ldap.initialize(slapd.url)
    connection.simple_bind_s(f"uid=ada,{PEOPLE}", "")
    connection.unbind_s()


@pytest.mark.parametrize("code", range(1, 81))
async def test_a_refusal_is_told_from_a_fault_by_its_code(directory, code):
    """Wrong, not there, without a password, locked: nobody's fault but the person's."""
    answer = bytes.fromhex(f"300c02010161070a01{code:02x}04000400")
    async with Listener(answer).serving() as listener:
        source = directory(f"ldap://127.0.0.1:{listener.port}", timeout="2s", **BY_NAME)
        if code in {19, 32, 34, 48, 49, 53}:
            assert await asked(source) == Refused(known=False)
        else:
            with pytest.raises(SourceUnavailable):
                await asked(source)


async def test_two_entries_of_one_name_are_nobody(slapd, directory, by_search):
    slapd.add(f"ou=more,{PEOPLE}", objectClass=["organizationalUnit"], ou="more")
    first = person(slapd, "twin", "a")
    second = slapd.add(
        f"uid=twin,ou=more,{PEOPLE}",
        objectClass=["inetOrgPerson"],
        uid="twin",
        cn="t",
        sn="t",
        userPassword="a",
    )
    with pytest.raises(SourceUnavailable) as raised:
        await asked(directory(slapd.url, **by_search), "twin", "a")
    assert "several entries" in str(raised.value)
    slapd.admin.delete_s(second)
    assert isinstance(await asked(directory(slapd.url, **by_search), "twin", "a"), Found)
    slapd.admin.delete_s(first)


@pytest.mark.parametrize("attribute", ["search_dn", "search_base"])
async def test_who_may_not_search_is_told_from_a_wrong_password(
    slapd, directory, by_search, attribute
):
    keys = by_search | {attribute: f"cn=nobody,{PEOPLE}"}
    with pytest.raises(SourceUnavailable) as raised:
        await asked(directory(slapd.url, **keys))
    assert DESK_PASSWORD not in str(raised.value)


#: What would mean something in a name of an entry or in a filter.
HOSTILE = [
    "*",
    "a*",
    "ada)(uid=*",
    "*)(|(uid=*",
    "ada)(&",
    "(",
    ")",
    "\\",
    "\\2a",
    "ada,ou=people",
    "ada+cn=ada",
    "ada\0",
    "\0",
    "a\nd",
    " ada",
    "ada ",
    "#616461",
    '"ada"',
    "ada;x",
    "<ada>",
    "ada=ada",
    "{dn}",
    "{name}",
    "ädä",
    "ada\u202e",
    "a" * 5000,
    "",
    "bob,ou=people,dc=example,dc=org\0",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("how", ["by name", "by search"])
async def test_a_name_is_nothing_but_a_name(slapd, directory, by_search, how, name):
    """Ada's password proves no other name, whatever it would mean to a directory."""
    source = directory(slapd.url, **(BY_NAME if how == "by name" else by_search))
    try:
        answer = await asked(source, name)
    except SourceUnavailable as unavailable:
        assert PASSWORD not in str(unavailable)
    else:
        # That leading and trailing spaces count for nothing is how a directory compares.
        assert isinstance(answer, Found) is (name.strip(" ") == "ada")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip() and "\0" not in name])
async def test_a_hostile_name_finds_its_own_entry_alone(slapd, directory, by_search, name):
    """The escapes are right: who really has such a name is found by it."""
    if len(name) > 200 or "\n" in name or name.strip() == "ada":
        pytest.skip("no entry may have that name")
    dn = person(slapd, name, "own")
    try:
        for keys in (BY_NAME, by_search):
            answer = await asked(directory(slapd.url, **keys), name, "own")
            assert isinstance(answer, Found), keys
    finally:
        slapd.admin.delete_s(dn)


def test_what_is_filled_in_is_no_template():
    assert _filled("({name})({dn})", str, name="{dn}", dn="{name}") == "({dn})({name})"


# ---------------------------------------------------------------------------------- groups


@pytest.mark.parametrize("how", ["by name", "by search"])
@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({}, {"staff", "people"}),
        ({"group_attribute": None}, set()),
        (
            {
                "group_attribute": None,
                "group_base": GROUPS,
                "group_filter": "(|(member={dn})(memberUid={name}))",
            },
            {"staff", "people", "printers"},
        ),
        (
            {"group_base": GROUPS, "group_filter": "(memberUid={name})"},
            {"staff", "people", "printers"},
        ),
    ],
    ids=["of the entry", "none", "by search", "both"],
)
async def test_groups_are_those_that_are_mapped(slapd, directory, by_search, how, keys, groups):
    mapped = {
        f"CN=staff, OU=Groups,{GROUPS.partition(',')[2]}": ["staff", "people"],
        f"cn=printers,{GROUPS}": "printers",
        f"cn=chess,{GROUPS}": "chess",
    }
    source = directory(
        slapd.url, groups=mapped, **keys, **(BY_NAME if how == "by name" else by_search)
    )
    assert await asked(source) == found(*groups)


@pytest.mark.parametrize("how", ["by name", "by search"])
async def test_groups_are_searched_by_who_searches(slapd, directory, by_search, how):
    source = directory(
        slapd.url,
        groups={f"cn=hidden,{GROUPS}": "hidden"},
        group_attribute=None,
        group_base=GROUPS,
        **(BY_NAME if how == "by name" else by_search),
    )
    assert await asked(source) == (found() if how == "by name" else found("hidden"))


async def test_groups_that_cannot_be_read_prove_nobody(slapd, directory):
    """What they restrict would not be restricted."""
    keys = {"group_base": f"ou=nowhere,{GROUPS}", "groups": {f"cn=x,{GROUPS}": "x"}}
    with pytest.raises(SourceUnavailable):
        await asked(directory(slapd.url, **keys, **BY_NAME))


def test_a_group_is_named_as_an_entry_is(directory):
    with pytest.raises(ConfigError) as raised:
        directory("ldaps://x", groups={"staff": "staff"}, **BY_NAME)
    assert "found 'staff'; allowed is the whole name of a group's entry" in raised.value.public


# ------------------------------------------------------------------------------- referrals


async def test_nobody_is_followed_elsewhere(slapd, directory, by_search):
    """A directory that would send the question on is where the password stays."""
    async with Listener().serving() as listener:
        away = f"ldap://127.0.0.1:{listener.port}/uid=away,dc=elsewhere"
        dn = f"uid=away,{PEOPLE}"
        slapd.add(dn, objectClass=["referral", "extensibleObject"], uid="away", ref=away)
        try:
            for keys in (BY_NAME, by_search):
                answer = await asked(directory(slapd.url, **keys), "away")
                assert answer == Refused(known=False)
            assert await asked(directory(slapd.url, **by_search)) == found()
        finally:
            slapd.admin.set_option(ldap.OPT_REFERRALS, 0)
            slapd.admin.delete_ext_s(dn, [ldap.controls.simple.ManageDSAITControl()])
    assert listener.connections == 0


# ------------------------------------------------------------------------------------ away


def ends_soon(source):
    """Whether no thread of it is held any longer."""
    began = time.monotonic()
    source._pool.shutdown(wait=True)
    return time.monotonic() - began < SOON


@pytest.mark.parametrize("scheme", ["ldap", "ldaps", "starttls"])
@pytest.mark.parametrize("how", ["by name", "by search"])
async def test_a_server_that_never_answers_is_away_in_time(directory, by_search, scheme, how):
    async with Listener().serving() as listener:
        source = directory(
            f"{scheme.replace('starttls', 'ldap')}://127.0.0.1:{listener.port}",
            starttls=scheme == "starttls",
            timeout="0.3s",
            **(BY_NAME if how == "by name" else by_search),
        )
        began = time.monotonic()
        with pytest.raises(SourceUnavailable) as raised:
            await asked(source)
        assert time.monotonic() - began < SOON
        assert listener.connections == 1
        assert raised.value.public == SourceUnavailable.default
        assert "campus" in str(raised.value)
        assert ends_soon(source)


async def test_a_server_that_sends_a_little_at_a_time_is_away_in_time(directory):
    """Each byte is in time; all of them are not."""

    async def drip(reader, writer):
        try:
            while True:
                writer.write(b"\x16")
                await writer.drain()
                await asyncio.wait_for(reader.read(4096), 0.05)
        except (OSError, TimeoutError):
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = directory(f"ldaps://127.0.0.1:{port}", timeout="0.3s", **BY_NAME)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        await asked(source)
    assert time.monotonic() - began < SOON
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "answer", [b"\x00" * 64, b"HTTP/1.1 200 OK\r\n\r\n", b"0\x84\xff\xff\xff\xff"]
)
async def test_what_is_no_directory_is_away(directory, answer):
    async with Listener(answer).serving() as listener:
        url = f"ldap://127.0.0.1:{listener.port}"
        with pytest.raises(SourceUnavailable):
            await asked(directory(url, timeout="0.5s", **BY_NAME))


async def test_a_port_where_nobody_listens_is_away_at_once(directory):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ldap://127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            await asked(directory(url, **BY_NAME))
        assert time.monotonic() - began < SOON


async def test_a_crowd_waits_in_few_threads_and_leaves_the_loop_free(directory):
    loop = asyncio.get_running_loop()
    async with Listener().serving() as listener:
        source = directory(f"ldap://127.0.0.1:{listener.port}", timeout="0.3s", **BY_NAME)
        crowd = [loop.create_task(asked(source, f"u{i}")) for i in range(40)]
        turns = 0
        while not all(one.done() for one in crowd):
            turns += 1
            names = [thread.name for thread in threading.enumerate()]
            assert sum(name.startswith("ldap campus") for name in names) <= _THREADS
            await asyncio.sleep(0.005)
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(answer) for answer in answers} == {SourceUnavailable}
        assert turns > 5  # a loop that is held by them would have none


async def test_a_server_that_stops_after_starttls_is_away_in_time(directory):
    """It agrees and is mute from then on: the handshake never comes to an end."""
    agreed = bytes.fromhex("300c02010178070a010004000400")
    async with Listener(agreed).serving() as listener:
        url = f"ldap://127.0.0.1:{listener.port}"
        source = directory(url, starttls=True, timeout="0.3s", **BY_NAME)
        with pytest.raises(SourceUnavailable):
            await asked(source)
        assert ends_soon(source)
    assert PASSWORD.encode() not in listener.heard


@pytest.mark.parametrize(
    "more", [b"\x30", bytes.fromhex("300c02010161070a010004000400"), b"x" * 5000]
)
async def test_what_came_in_clear_behind_starttls_is_not_believed(directory, more):
    agreed = bytes.fromhex("300c02010178070a010004000400")
    async with Listener(agreed + more).serving() as listener:
        source = directory(f"ldap://127.0.0.1:{listener.port}", starttls=True, **BY_NAME)
        with pytest.raises(SourceUnavailable) as raised:
            await asked(source)
    assert "StartTLS" in str(raised.value)
    assert listener.heard.endswith(b"1.3.6.1.4.1.1466.20037")


async def test_an_answer_that_is_too_long_is_none(slapd, directory, by_search, monkeypatch):
    monkeypatch.setattr(tunnel, "MOST", 60)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        await asked(directory(slapd.url, **by_search))
    assert time.monotonic() - began < SOON


async def test_who_is_cancelled_waits_no_longer(directory):
    async with Listener().serving() as listener:
        source = directory(f"ldap://127.0.0.1:{listener.port}", timeout="0.5s", **BY_NAME)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asked(source)
        assert ends_soon(source)


@pytest.mark.parametrize("key", ["ca", "search_password"])
def test_a_file_that_is_not_there_is_told_at_start(directory, tmp_path, by_search, key):
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError) as raised:
        directory("ldaps://x", **(by_search | {key: missing}))
    assert raised.value.public == (
        f"login.sources: 'campus': {key}: {missing} cannot be used: No such file or directory."
    )
