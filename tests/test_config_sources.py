"""What the file may say of outside sources; each mistake is one sentence, the page has each key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from broker.config import parse
from broker.config.oidc import OidcConfig
from broker.config.sources import _KINDS, LdapSource, WebhookSource
from broker.core.errors import ConfigError

PAGE = Path(__file__).resolve().parents[1] / "docs/config.md"

LDAP = {"kind": "ldap", "name": "campus", "url": "ldaps://x", "bind_dn": "uid={name},dc=x"}
SEARCH = {"kind": "ldap", "name": "campus", "url": "ldaps://x", "search_base": "dc=x"}
WEBHOOK = {"kind": "webhook", "name": "portal", "url": "https://x/", "secret": "/etc/secret"}


def read(*sources):
    data = {"template": {"image": "a"}, "login": {"sources": list(sources)}}
    return parse(yaml.safe_dump(data), "desk.yaml").login.sources


def problem(*sources):
    with pytest.raises(ConfigError) as raised:
        read(*sources)
    return re.sub(r"^desk.yaml:\d+: ", "", raised.value.public, flags=re.MULTILINE)


def test_each_kind_is_read_in_the_order_of_the_file():
    first, second = read(WEBHOOK, LDAP)
    assert isinstance(first, WebhookSource)
    assert isinstance(second, LdapSource)
    assert read() == ()


def test_a_group_of_theirs_is_one_of_ours_or_several():
    (source,) = read(LDAP | {"groups": {"cn=a,dc=x": "staff", "cn=b,dc=x": ["b", "c"]}})
    assert source.groups == {"cn=a,dc=x": ("staff",), "cn=b,dc=x": ("b", "c")}


@pytest.mark.parametrize(
    "url",
    ["ldaps://x", "ldaps://x:3269/", "ldaps://[2001:db8::1]:636", "ldapi://%2Frun%2Fldapi"]
    + ["ldap://127.0.0.1", "ldap://127.1.2.3:99", "ldap://[::1]", "ldap://localhost:389"],
)
def test_a_directory_may_be_there(url):
    assert read(LDAP | {"url": url})[0].url == url


@pytest.mark.parametrize(
    "url",
    ["x", "http://x", "ldaps://", "ldaps://x/dc=x", "ldaps://x?y", "ldaps://a:b@x", "ldapi://x"]
    + ["ldaps://x:port", "ldaps://x y", "ldaps://ä", "ldaps://x\n", "ldapi://", "ldaps://x:99999"],
)
def test_a_directory_may_not_be_there(url):
    assert problem(LDAP | {"url": url}).startswith("login.sources.0.url: found ")


@pytest.mark.parametrize("url", ["ldap://x", "ldap://192.0.2.1", "ldap://localhost.example"])
def test_no_password_passes_a_network_in_clear_unless_that_is_said(url):
    assert "'plain: true' allows that" in problem(LDAP | {"url": url})
    assert read(LDAP | {"url": url, "starttls": True})
    assert read(LDAP | {"url": url, "plain": True})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "local"}, "login.sources.0.name: found 'local'; allowed is a name of 1 to 31"),
        ({"name": "A"}, "login.sources.0.name: found 'A'; allowed is a name of 1 to 31"),
        ({"timeout": "2m"}, "login.sources.0.timeout: found '2m'; allowed is 0.1s to 1m."),
        ({"ca": "ca.pem"}, "login.sources.0.ca: found 'ca.pem'; allowed is an absolute path."),
        (
            {"groups": {"cn=a": "Staff"}},
            "login.sources.0.groups.cn=a: found 'Staff'; The group name 'Staff' cannot be used",
        ),
        ({"bind_dn": "uid=x"}, "login.sources.0.bind_dn: found 'uid=x'; allowed is a name with"),
        ({"bind_dn": "uid={user}"}, "login.sources.0.bind_dn: found 'uid={user}'; allowed is"),
        ({"bind_dn": None}, "allowed is one of bind_dn and search_base."),
        ({"search_base": "dc=x"}, "allowed is one of bind_dn and search_base."),
        ({"search_dn": "cn=x"}, "allowed are search_dn and search_password together."),
        (
            {"search_dn": "cn=x", "search_password": "/x"},
            "login.sources.0.search_dn: found 'cn=x'; allowed with search_base alone",
        ),
        ({"search_filter": "uid={name}"}, "allowed is a filter with {name} in it: (uid={name})."),
        ({"search_filter": "(uid=x)"}, "allowed is a filter with {name} in it: (uid={name})."),
        ({"search_filter": "(uid={dn}{name})"}, "allowed is a filter with {name} in it"),
        ({"group_filter": "(member=x)"}, "allowed is a filter with {dn} or {name} in it"),
        ({"group_filter": "(member={x})"}, "allowed is a filter with {dn} or {name} in it"),
        ({"starttls": True}, "login.sources.0.starttls: found 'true'; allowed with ldap:// alone."),
        ({"urls": "x"}, "login.sources.0.urls: found 'x'; this key is unknown; allowed are bind"),
    ],
)
def test_a_mistake_in_a_directory_is_told_at_its_key(more, said):
    assert said in problem(LDAP | more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"url": "http://x/"}, "allowed is https://, and http:// to loopback alone."),
        ({"url": "ftp://x/"}, "allowed is the address of a web service: https://HOST"),
        ({"url": "https://a@x/"}, "allowed is an address without a user name"),
        ({"url": "https://x/#y"}, "allowed is an address without a user name"),
        ({"secret": "x"}, "login.sources.0.secret: found 'x'; allowed is an absolute path."),
        ({"bind_dn": "x"}, "this key is unknown; allowed are ca, create, groups, kind, name"),
    ],
)
def test_a_mistake_in_a_webhook_is_told_at_its_key(more, said):
    assert said in problem(WEBHOOK | more)


def test_a_webhook_on_loopback_may_be_plain():
    assert read(WEBHOOK | {"url": "http://127.0.0.1:8000/check"})


def test_a_key_that_is_missing_is_named():
    entry = {key: value for key, value in WEBHOOK.items() if key != "secret"}
    assert problem(LDAP, entry) == "the key 'login.sources.1.secret' is missing."


@pytest.mark.parametrize("entry", [7, "x", [], {}, {"kind": "nis"}, {"kind": ["ldap"]}])
def test_an_entry_says_what_kind_it_is(entry):
    assert "allowed is an entry whose 'kind' is one of ldap, webhook." in problem(entry)


def test_two_of_one_name_are_one_too_many():
    assert "allowed are sources of different names." in problem(LDAP, WEBHOOK | {"name": "campus"})


# ------------------------------------------------------------------------------ the page of keys


def rows(heading):
    text = PAGE.read_text(encoding="utf-8").split(f"{heading}\n")[1]
    table = text.split("| key | default |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", table, re.MULTILINE))


@pytest.mark.parametrize(("kind", "heading"), [("ldap", "#### LDAP"), ("webhook", "#### Webhook")])
def test_the_page_has_every_key_with_its_default_and_no_other(kind, heading):
    told = rows("### Outside sources") | rows(heading)
    fields = _KINDS[kind].model_fields
    assert sorted(told) == sorted(fields)
    plain = {"ldap": SEARCH, "webhook": WEBHOOK}[kind]
    for key, default in told.items():
        if default == "required":
            assert fields[key].is_required(), key
        elif default == "none":
            assert not getattr(read(plain)[0], key) or key == "search_base", key
        else:
            value = yaml.safe_load(default.strip("`"))
            assert getattr(read(plain | {key: value})[0], key) == getattr(read(plain)[0], key), key


def test_the_example_of_the_page_can_be_used():
    (example,) = re.findall(
        r"^```\n(login:.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    config = parse("template: {image: a}\n" + example, "config.md")
    assert [source.name for source in config.login.sources] == ["campus", "portal"]


def test_a_provider_has_a_name_of_its_own_and_a_way_back():
    """Accounts say where they come from by it, and it sends people somewhere."""
    oidc = (
        "oidc: {name: NAME, issuer: 'https://id.example', client_id: a, client_secret: /s}\n"
        "login:\n  sources:\n    - {kind: webhook, name: portal, url: 'https://p', secret: /s}\n"
    )
    here = "template: {image: a}\nweb: {url: 'https://desk.example'}\n"
    assert parse(here + oidc.replace("NAME", "campus"), "x").oidc.name == "campus"
    with pytest.raises(ConfigError, match="no entry of 'login.sources' has"):
        parse(here + oidc.replace("NAME", "portal"), "x")
    with pytest.raises(ConfigError, match=r"beside 'web.url'"):
        parse("template: {image: a}\n" + oidc.replace("NAME", "campus"), "x")


def test_the_page_of_keys_has_every_key_of_a_provider():
    """And nothing else."""
    table = (
        PAGE.read_text(encoding="utf-8")
        .split("### OpenID Connect")[1]
        .split("| key |")[1]
        .split("\n\n")[0]
    )
    told = re.findall(r"^\| `([a-z_]+)` \| (.+?) \|", table, re.MULTILINE)
    assert [key for key, _ in told] == list(OidcConfig.model_fields)
    wanted = {key for key, default in told if default == "required"}
    assert wanted == {k for k, f in OidcConfig.model_fields.items() if f.is_required()}
