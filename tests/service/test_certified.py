"""People with certificates at the broker: from the offer to the end of what it opened."""

import pytest

from broker.core.errors import AccessDenied, ConfigError
from broker.core.gateway import Allowance, Holdings, Identity, Login, OfferedKey
from broker.core.publickeys import authority, unarmoured
from tests import sshkeys

VALID = ("-V", "20200101Z:20400101Z")
HOME = "192.0.2.7"
SHARED = Login(None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "students-ca", "key"):
        sshkeys.made(folder, name)
    return folder


@pytest.fixture
def path(tmp_path):
    """The revocation list; empty."""
    path = tmp_path / "revoked"
    path.write_text("")
    return path


@pytest.fixture
async def trusting(world, folder, path):
    """A broker that trusts one authority for everybody, another for students, with three users of
    whom bob is a student.
    """
    login = {"authorities": [sshkeys.public(folder / "ca")], "revoked": str(path)}
    broker = await world.broker(login=login)
    for name in ("ada", "bob", "eve"):
        await broker.user(name)
    theirs = authority(sshkeys.public(folder / "students-ca"))
    await broker.groups.set(
        "students", priority=1, policy={"login.authorities": [theirs]}, actor="uid:0"
    )
    await broker.groups.join(await broker.accounts.user("bob"), "students", actor="uid:0")
    return broker


@pytest.fixture
def certified(folder):
    """What a client offers with a certificate."""

    def certified(*arguments, ca="ca"):
        encoded = sshkeys.certified(folder / ca, folder / "key", *VALID, *arguments)
        key = unarmoured(*sshkeys.public(folder / "key").split()[:2])
        return OfferedKey(
            algorithm=key.type,
            fingerprint=key.fingerprint,
            public=key.public,
            certificate=encoded,
        )

    return certified


async def who(broker, offered, login=SHARED):
    found = await broker.gateway.identify(login, offered, HOME)
    assert found is None or isinstance(found, Identity)
    return found


async def test_a_certificate_proves_whom_it_names(trusting, certified):
    """By a credential of its own, though nobody added the key."""
    identity = await who(trusting, certified("-z", "7"))
    assert (identity.user, identity.method, identity.address) == ("ada", "certificate", HOME)
    assert identity.credential.startswith("certificate:SHA256:")
    assert set(identity.allowed) == set(Allowance)
    assert (await trusting.authentication.still(identity)).name == "ada"


@pytest.mark.parametrize(
    ("principals", "login", "user"),
    [
        ("ada", None, "ada"),
        ("ada,students,admins", None, "ada"),
        ("ada,ada", None, "ada"),
        ("ada,bob", None, None),
        ("ada,bob", "bob", "bob"),
        ("ada,bob", "eve", None),
        ("nobody", None, None),
        ("nobody", "nobody", None),
        ("desk,root,admin", None, None),
    ],
)
async def test_of_its_names_one_is_meant(principals, login, user, trusting, certified):
    """The login's, or the only one that is a user."""
    found = await who(trusting, certified("-n", principals), Login(login, None))
    assert (found and found.user) == user


async def test_an_authority_of_a_group_counts_for_its_members_alone(trusting, certified):
    """And no longer than they are in it."""
    for name, wanted in (("bob", "bob"), ("ada", None)):
        found = await who(trusting, certified("-n", name, ca="students-ca"))
        assert (found and found.user) == wanted
    bob = await who(trusting, certified("-n", "bob", ca="students-ca"))
    await trusting.groups.leave(await trusting.accounts.user("bob"), "students", actor="uid:0")
    assert await who(trusting, certified("-n", "bob", ca="students-ca")) is None
    with pytest.raises(AccessDenied):
        await trusting.authentication.still(bob)
    assert (await who(trusting, certified("-n", "bob"))).user == "bob"


async def test_what_a_certificate_denies_no_policy_allows(trusting, certified):
    """And what the policy denies no permit gives."""
    await trusting.groups.set("students", priority=1, policy={"allow.x11": False}, actor="uid:0")
    found = await who(trusting, certified("-n", "bob", "-O", "no-agent-forwarding"))
    assert set(Allowance) - set(found.allowed) == {Allowance.AGENT, Allowance.X11}


async def test_a_key_in_a_certificate_is_nobodys_by_itself(trusting, certified, folder):
    """Without the certificate it proves nobody; and one that is no good is no key of its owner's."""
    offered = certified("-n", "bob")
    plain = OfferedKey(
        algorithm=offered.algorithm, fingerprint=offered.fingerprint, public=offered.public
    )
    assert await who(trusting, plain) is None
    await trusting.accounts.add_key("ada", sshkeys.public(folder / "key"), actor="uid:0")
    assert (await who(trusting, plain)).user == "ada"
    assert (await who(trusting, offered)).user == "bob"
    assert await who(trusting, certified("-n", "eve", ca="students-ca")) is None


async def test_a_user_who_is_gone_is_proven_by_no_certificate(trusting, certified):
    """Nor is whoever has the name later by an open connection."""
    before = await who(trusting, certified())
    await trusting.accounts.remove_user("ada", actor="uid:0")
    assert await who(trusting, certified()) is None
    await trusting.user("ada")
    assert (await who(trusting, certified())).user == "ada"
    with pytest.raises(AccessDenied):
        await trusting.authentication.still(before)


async def test_revoking_ends_what_the_certificate_opened(trusting, certified, path):
    """At the next look, two seconds apart; the rest goes on."""
    seven, eight = [await who(trusting, certified("-z", serial)) for serial in ("7", "8")]
    for identity in (seven, eight):
        await trusting.gateway.proven(identity)
    path.write_text("serial: 7")
    await trusting.revoking.once()
    assert trusting.connections.ended == [seven.credential]
    assert await who(trusting, certified("-z", "7")) is None
    with pytest.raises(AccessDenied):
        await trusting.authentication.still(seven)
    assert (await trusting.authentication.still(eight)).name == "ada"


async def test_what_was_opened_before_the_broker_began_is_revoked_too(trusting, certified, path):
    """A door tells of it when it comes."""
    identity = await who(trusting, certified("-z", "7"))
    await trusting.gateway.catch_up(
        Holdings(identities=(identity,), sessions=()), trusting.connections
    )
    path.write_text("serial: 7")
    await trusting.revoking.once()
    assert trusting.connections.ended == [identity.credential]


async def test_what_was_revoked_while_a_door_was_away_ends_when_it_comes(trusting, certified, path):
    """Once."""
    identity = await who(trusting, certified("-z", "7"))
    path.write_text("serial: 7")
    await trusting.gateway.catch_up(
        Holdings(identities=(identity,), sessions=()), trusting.connections
    )
    await trusting.revoking.once()
    assert trusting.connections.ended == [identity.credential]


async def test_revoking_a_plain_key_ends_what_it_opened(trusting, folder, certified, path):
    """A user's own key, by the same list."""
    await trusting.accounts.add_key("ada", sshkeys.public(folder / "key"), actor="uid:0")
    offered = certified()
    plain = OfferedKey(
        algorithm=offered.algorithm, fingerprint=offered.fingerprint, public=offered.public
    )
    identity = await who(trusting, plain)
    await trusting.gateway.proven(identity)
    path.write_text(offered.fingerprint)
    await trusting.revoking.once()
    assert trusting.connections.ended == [identity.credential]
    assert await who(trusting, plain) is None


async def test_a_list_that_cannot_be_used_is_told_at_the_start(trusting, path):
    """Before anybody is heard."""
    await trusting.certificates.check()
    path.write_text("serial: all")
    with pytest.raises(ConfigError, match="line 1: found 'serial: all'"):
        await trusting.certificates.check()
