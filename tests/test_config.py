"""The configuration file: defaults, and every kind of mistake as one sentence for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import Config, load, parse
from broker.core.blocks import Rule
from broker.core.errors import ConfigError
from broker.core.idle import IdlePolicy
from broker.core.model import Template
from broker.core.policy import Policy, Way
from broker.core.pools import Pool
from broker.core.shares import Looks

ROOT = Path(__file__).resolve().parents[1]
CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsk2IRBmEjeCy9QSb0Ms8PD95yxSAdaZXvUVON+qUeN"
GOOD = "template:\n  image: desk:latest\n"


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "desk.yaml")
    return caught.value.public.splitlines()


def complaint(text: str) -> str:
    (only,) = complaints(text)
    return only


# ------------------------------------------------------------------------------------ what works


def test_the_image_alone_is_enough():
    """Everything else has a default that is safe."""
    config = parse(GOOD, "desk.yaml")
    assert config.state == Path("/var/lib/desk")
    assert str(config.ssh.listen) == "0.0.0.0:2222"
    assert config.web.listen.loopback
    assert config.engine.socket == "unix:///var/run/docker.sock"
    assert config.network.resolvers is None
    assert config.pools.ports == Pool(20000, 29999)
    assert config.starts.timeout == 90
    assert config.log == "auto"
    assert (config.database, config.admin_socket) == (None, Path("/var/lib/desk/admin.sock"))


def test_the_shipped_file_loads():
    """And says nothing else than the defaults."""
    config = load(ROOT / "config" / "desk.yaml")
    shipped = config.model_dump(exclude={"template"})
    assert shipped == parse(GOOD, "desk.yaml").model_dump(exclude={"template"})


def test_every_key_can_be_set():
    """All at once, each in the way that people write it."""
    config = parse(
        """
        state: /srv/desk
        ssh:
          listen: "[::1]:22"
          fast: false
          limits:
            {unauthenticated: 100, unauthenticated_start: 50, unauthenticated_per_address: 20,
             unauthenticated_per_address_start: 10, early_drop: 50, ipv4_prefix: 24, ipv6_prefix: 48,
             connections: 500, connections_per_user: 5, descriptors_reserved: 100,
             login_timeout: 1m, attempts: 3, early_packet: 36k, early_bytes: 128k,
             early_packets: 100, packet: 128k, packets_per_second: 5000, channels: 10,
             refused_opens: 100, undecided_requests: 100, undecided_bytes: 128k,
             waiting_packets: 100, waiting_bytes: 128k, global_replies: 100,
             environment_count: 5, environment_bytes: 1k, write_high: 512k, own_replies: 1m,
             deferred: 2m, rekeys_per_minute: 5, rekey_stall: 10s}
          penalties:
            {enabled: false, crash: 1h, violation: 1m, grace_exceeded: 30s, authfail: 5s,
             noauth: 0.5s, min: 30s, max: 1h, sources: 1000, overflow: deny,
             exempt: [192.0.2.7, 2001:db8::/32]}
        login:
          {ways: [key+code, key], hardware_keys: true, authorities: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsk2IRBmEjeCy9QSb0Ms8PD95yxSAdaZXvUVON+qUeN the lab's"],
           revoked: /etc/desk/revoked_keys, codes: {issuer: Lab 7}, invites: {valid: 1h},
           blocks: {after: 3, first: 1m, longest: 2m, exempt: [192.0.2.0/24]}}
        allow:
          {forward_local: false, forward_remote: false, agent: false, x11: false, sftp: false,
           pty: false, browser: false, clipboard_in: false, clipboard_out: false, share: false}
        share: {admins: tell}
        web:
          {listen: "[::1]:8081", tls: {certificate: /etc/tls/c.pem, key: /etc/tls/k.pem},
           proxies: [192.0.2.1], monitors: [192.0.2.9], patience: 5s, url: "https://Desk.Example:443/",
           sign_in: {idle: 1h, longest: 1d},
           limits: {connections: 300, connections_per_address: 20, arrivals: 50,
             arrivals_per_address: 10, rate: 90, rate_per_address: 9, requests: 40, requests_per_address: 4,
             requests_per_connection: 10, viewers: 9, viewers_per_user: 3, header: 4k, headers: 8k, body: 64k, upload: 1g,
             handshake_timeout: 5s, header_timeout: 6s, body_timeout: 7s, answer_timeout: 60s,
             stall_timeout: 9s}}
        oidc:
          {name: campus, issuer: "https://id.example/realm", client_id: desk,
           client_secret: /etc/desk/oidc, scopes: [openid, groups], user_claim: sub,
           groups_claim: groups, groups: {/staff: staff, /all: [a, b]}, create: false, adopt: true}
        engine: {socket: unix:///run/other.sock}
        network: {pool: 172.20.0.0/16, resolvers: [9.9.9.9, 1.1.1.1]}
        pools: {ports: 3000-3999, displays: 2000-2999, uids: 500000-500999}
        starts: {at_once: 2, waiting: 5, timeout: 2m}
        limits: {desktops_per_user: 1}
        idle:
          {freeze_after: 30m, stop_after: never, max_age: 7d, warn_before: 2m, keep_up_to: 8h,
           busy_for: 12h, busy_cpu: 0.5}
        template:
          {image: "reg.example/desk@sha256:0", memory: 4g, cpus: 1.5, pids: 512, shm: 1g, geometry: 800x600}
        log: json
        """,
        "desk.yaml",
    )
    assert str(config.ssh.listen) == "[::1]:22"
    assert config.ssh.limits.early_packet == 36 << 10
    assert config.ssh.limits.rekey_stall == 10
    assert config.ssh.penalties.noauth == 0.5
    assert config.ssh.penalties.exempt == ("192.0.2.7/32", "2001:db8::/32")
    assert config.login.ways == {Way.KEY, Way.KEY_CODE}
    assert config.login.authorities == (CA,)
    assert config.login.revoked == Path("/etc/desk/revoked_keys")
    assert config.login.codes.issuer == "Lab 7"
    assert config.login.invites.valid == 3600
    assert config.login.blocks.rule == Rule(after=3, first=60, longest=120)
    assert config.login.blocks.exempt == ("192.0.2.0/24",)
    assert config.web.listen.loopback
    assert config.network.resolvers == ("9.9.9.9", "1.1.1.1")
    assert config.pools.uids == Pool(500_000, 500_999)
    assert config.starts.timeout == 120
    assert config.idle.policy == IdlePolicy(
        freeze_after=1800,
        stop_after=None,
        max_age=7 * 86_400,
        warn_before=120,
        keep_up_to=8 * 3600,
        busy_for=12 * 3600,
        busy_cpu=0.5,
    )
    assert config.policy == Policy(
        ways=frozenset({Way.KEY, Way.KEY_CODE}),
        hardware_keys=True,
        authorities=config.login.authorities,
        idle=config.idle.policy,
        desktops=1,
        running=3,
        allowed=frozenset(),
        looks=Looks.TELL,
    )
    assert config.template.template("default") == Template(
        name="default",
        image="reg.example/desk@sha256:0",
        memory=4 << 30,
        cpus=1.5,
        pids=512,
        shm=1 << 30,
        geometry="800x600",
    )


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://Desk.Example:443/", "https://desk.example"),
        ("https://desk.example:8443", "https://desk.example:8443"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_the_address_of_the_pages_is_as_browsers_write_an_origin(written, origin):
    """They show it with each request, and it is compared."""
    assert parse(f"{GOOD}web: {{url: '{written}'}}\n", "desk.yaml").web.url == origin


def test_a_loaded_file_cannot_be_changed():
    """Whoever holds it can rely on it."""
    config = parse(GOOD, "desk.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.log = "json"


# ------------------------------------------------------------------------------------- the file


def test_a_file_that_is_not_there_is_named(tmp_path):
    """With the option that names another."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "desk.yaml")
    assert caught.value.public == (
        f"{tmp_path}/desk.yaml: there is no such file; name one with --config."
    )


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"log: \xff\n")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, make):
    """A directory, or bytes that are no text."""
    make(tmp_path / "desk.yaml")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "desk.yaml")
    assert caught.value.public.startswith(f"{tmp_path}/desk.yaml: cannot be read: ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "hello", "~"])
def test_a_file_without_keys_is_refused(text):
    """With the first one that is wanted."""
    assert complaint(text) == "desk.yaml: a file of keys is wanted, beginning with 'template:'."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("template:\n  image: [", "desk.yaml:2: this is no YAML: "),
        ("a: b: c\n", "desk.yaml:1: this is no YAML: "),
        ("log: json\n---\nlog: json\n", "desk.yaml:2: this is no YAML: "),
        ("\n\nlog: !!python/object/apply:os.system [id]", "desk.yaml:3: this is no YAML: "),
        ("? [a]\n: b\n", "desk.yaml:1: this is no YAML: found unhashable key."),
        ("log: \x07\n", "desk.yaml: this is no YAML: "),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text, said):
    """And no object is ever made from it."""
    assert "\n".join(complaints(text)).startswith(said)


def test_a_key_that_stands_twice_is_a_mistake():
    """YAML would take the last one and say nothing."""
    assert complaints(GOOD + "log: json\nstarts:\n  waiting: 5\n  waiting: 6\nlog: auto\n") == [
        "desk.yaml:7: 'log': this key stands here twice.",
        "desk.yaml:6: 'waiting': this key stands here twice.",
    ]


def test_a_file_that_refers_to_itself_is_only_wrong():
    """An alias of what it stands in does not hang anybody."""
    assert "allowed is" in complaints("template: &t\n  image: *t\n")[0]


# -------------------------------------------------------------------------------------- the keys


def test_an_unknown_key_is_told_with_those_that_are_known():
    """At the top, and deeper; each on its line."""
    top, deep = complaints("colour: red\nweb:\n  port: 80\n" + GOOD)
    assert {top, deep} == {
        (
            "desk.yaml:1: colour: this key is unknown; allowed are allow, audit, database,"
            " database_password, engine, idle, limits, log, log_level, login, network,"
            " oidc, pools, share, ssh, starts, state, template, web."
        ),
        (
            "desk.yaml:3: web.port: this key is unknown; allowed are limits, listen, monitors,"
            " patience, proxies, sign_in, tls, url."
        ),
    }


def test_a_key_that_is_no_text_is_refused():
    """YAML allows numbers there."""
    assert complaint(GOOD + "1: 2\n") == "desk.yaml:3: 1: found '2'; keys should be strings."


def test_a_missing_key_is_named():
    """With the line of what it is missing in."""
    assert complaint("log: json\n") == "desk.yaml:1: the key 'template' is missing."
    assert complaint("log: json\ntemplate:\n  cpus: 1\n") == (
        "desk.yaml:2: the key 'template.image' is missing."
    )


def test_every_mistake_is_told_at_once():
    """One sentence a line."""
    said = complaints("state: var\ntemplate:\n  image: A\n  memory: 5\nlog: loud\n")
    assert [line.split(": ")[:2] for line in said] == [
        ["desk.yaml:1", "state"],
        ["desk.yaml:3", "template.image"],
        ["desk.yaml:4", "template.memory"],
        ["desk.yaml:5", "log"],
    ]


_DATABASE = "allowed is postgresql+asyncpg://USER@HOST[:PORT]/NAME, or"

MISTAKES = {
    "database: mysql://desk@localhost/desk": f"database: found 'mysql://desk@localhost/desk'; {_DATABASE}",
    "database: postgresql+asyncpg://desk@localhost/": f"database: found 'postgresql+asyncpg://desk@localhost/'; {_DATABASE}",
    "database: postgresql+asyncpg://localhost/desk": f"database: found 'postgresql+asyncpg://localhost/desk'; {_DATABASE}",
    "database: postgresql+asyncpg://desk@/desk": f"database: found 'postgresql+asyncpg://desk@/desk'; {_DATABASE}",
    "database: postgresql+asyncpg://desk@[::1/desk": f"database: found 'postgresql+asyncpg://desk@[::1/desk'; {_DATABASE}",
    "database: postgresql+asyncpg://d:hunter2@localhost/desk": "database: found 'postgresql+asyncpg://d:hunter2@localhost/desk'; allowed is an address without a password",
    "database: postgresql+asyncpg://desk@db.example/desk": "database: found 'postgresql+asyncpg://desk@db.example/desk'; allowed for a host elsewhere is an address with '?sslmode=verify-full'",
    'database: "postgresql+asyncpg://desk@/desk?host=db.example"': "database: found 'postgresql+asyncpg://desk@/desk?host=db.example'; allowed for a host elsewhere",
    "database_password: /etc/desk/password": "database_password: found '/etc/desk/password'; allowed is an absolute path, beside 'database'",
    "state: var/lib": "state: found 'var/lib'; allowed is an absolute path without '..': /var/lib/desk.",
    "state: [a]": "state: found '['a']'; allowed is a path.",
    "ssh: ~": "ssh: found '~'; allowed are the keys ",
    "pools: 3": "pools: found '3'; allowed are the keys displays, ports, uids.",
    "ssh: {listen: 2222}": "ssh.listen: found '2222'; allowed is ADDRESS:PORT: 0.0.0.0:2222.",
    "ssh: {listen: 0.0.0.0}": "ssh.listen: found '0.0.0.0'; allowed is ADDRESS:PORT",
    "ssh: {listen: 0.0.0.0:ssh}": "ssh.listen: found '0.0.0.0:ssh'; allowed is ADDRESS:PORT",
    "ssh: {listen: 0.0.0.0:²}": "ssh.listen: found '0.0.0.0:²'; allowed is ADDRESS:PORT",
    "ssh: {listen: host:22}": "ssh.listen: found 'host:22'; allowed is an IP address and a port",
    "ssh: {listen: 0.0.0.0:70000}": "ssh.listen: found '0.0.0.0:70000'; input should be less than",
    "ssh: {limits: {channel: 9}}": "ssh.limits.channel: this key is unknown; allowed are attempts, channels,",
    "ssh: {limits: {channels: 0}}": "ssh.limits.channels: found '0'; input should be greater than",
    "ssh: {limits: {channels: 1001}}": "ssh.limits.channels: found '1001'; input should be less than",
    "ssh: {limits: {login_timeout: 20}}": "ssh.limits.login_timeout: found '20'; allowed is a number and a unit",
    "ssh: {limits: {login_timeout: 1s}}": "ssh.limits.login_timeout: found '1s'; allowed is 2s to 10m.",
    "ssh: {limits: {login_timeout: never}}": "ssh.limits.login_timeout: found 'never'; allowed is a number",
    "ssh: {limits: {early_packet: 35000}}": "ssh.limits.early_packet: found '35000'; allowed is a number and",
    "ssh: {limits: {early_packet: 300k}}": "ssh.limits.early_packet: found '300k'; allowed is 35k to 256k.",
    "ssh: {limits: {packet: 0k}}": "ssh.limits.packet: found '0k'; 0 is not allowed",
    "ssh: {limits: {unauthenticated: 300}}": "ssh.limits.unauthenticated: found '300'; allowed is at least four times unauthenticated_per_address (96).",
    "ssh: {limits: {unauthenticated_per_address: 97}}": "ssh.limits.unauthenticated_per_address: found '97'; allowed is at most a quarter of unauthenticated (384).",
    "ssh: {limits: {unauthenticated_start: 385}}": "ssh.limits.unauthenticated_start: found '385'; allowed is at most unauthenticated (384).",
    "ssh: {limits: {own_replies: 1m}}": "ssh.limits.own_replies: found '1m'; allowed is at least twice write_high (1024k).",
    "ssh: {limits: {early_drop: 101}}": "ssh.limits.early_drop: found '101'; input should be less than",
    "ssh: {limits: {ipv4_prefix: 33}}": "ssh.limits.ipv4_prefix: found '33'; input should be less than",
    "ssh: {penalties: {authfail: 0s}}": "ssh.penalties.authfail: found '0s'; 0 is not allowed",
    "ssh: {penalties: {authfail: 2d}}": "ssh.penalties.authfail: found '2d'; allowed is at most 1d.",
    "ssh: {penalties: {min: 1m, max: 30s}}": "ssh.penalties.max: found '30s'; allowed is no less than min (1 min).",
    "ssh: {penalties: {min: 11m}}": "ssh.penalties.min: found '11m'; allowed is at most max (10 min).",
    "ssh: {penalties: {overflow: drop}}": "ssh.penalties.overflow: found 'drop'; allowed is what matches ^(permissive|deny)$.",
    "ssh: {penalties: {exempt: 10.0.0.1}}": "ssh.penalties.exempt: found '10.0.0.1'; allowed is a list.",
    "ssh: {penalties: {exempt: [campus]}}": "ssh.penalties.exempt.0: found 'campus'; allowed are addresses and networks",
    "ssh: {penalties: {exempt: [10.0.0.1/8]}}": "ssh.penalties.exempt.0: found '10.0.0.1/8'; allowed are addresses",
    "login: {ways: []}": "login.ways: found '[]'; allowed is a list of key, key+code, password, password+code.",
    "login: {ways: key}": "login.ways: found 'key'; allowed is a list of key, ",
    "login: {ways: [key, face]}": "login.ways: found '['key', 'face']'; allowed is a list of key, ",
    "login: {authorities: [mine]}": "login.authorities: found '['mine']'; allowed is an authority's",
    "login: {revoked: revoked_keys}": "login.revoked: found 'revoked_keys'; allowed is an absolute path",
    "login: {codes: {issuer: 'a:b'}}": "login.codes.issuer: found 'a:b'; allowed are 1 to 64 characters",
    "login: {codes: {issuer: ''}}": "login.codes.issuer: found ''; allowed are 1 to 64 characters",
    'login: {codes: {issuer: "a\\nb"}}': "login.codes.issuer: found 'a\\nb'; allowed are 1 to 64",
    "login: {blocks: {after: 0}}": "login.blocks.after: found '0'; input should be greater than",
    "login: {blocks: {first: 1h}}": "login.blocks.first: found '1h'; allowed is at most longest (15 min).",
    "login: {blocks: {first: 5m, longest: 1m}}": "login.blocks.longest: found '1m'; allowed is no less than first (5 min).",
    "login: {blocks: {exempt: [campus]}}": "login.blocks.exempt.0: found 'campus'; allowed are addresses and networks",
    "login: {invites: {valid: 30s}}": "login.invites.valid: found '30s'; allowed is 1m to 365d.",
    "login: {face: true}": "login.face: this key is unknown; allowed are authorities, blocks, codes,",
    "audit: {syslog: sometimes}": "audit.syslog: found 'sometimes'; input should be a valid boolean",
    "allow: {clipboard: true}": "allow.clipboard: this key is unknown; allowed are agent, browser,",
    "share: {admins: always}": "share.admins: found 'always'; input should be 'never', 'ask' or 'tell'.",
    "ssh: {penalties: {exempt: [7]}}": "ssh.penalties.exempt.0: found '7'; allowed are addresses and",
    "ssh: {fast: maybe}": "ssh.fast: found 'maybe'; input should be a valid boolean",
    "web: {listen: 0.0.0.0:80}": "web.listen: found '0.0.0.0:80'; allowed is a loopback address, 127.0.0.1 or ::1, unless web.tls names a certificate or web.proxies the proxy in front that has one.",
    "web: {listen: host}": "web.listen: found 'host'; allowed is ADDRESS:PORT",
    "web: {tls: {certificate: /c.pem}}": "web.tls.certificate: found '/c.pem'; allowed is a certificate with its key beside it.",
    "web: {tls: {key: /k.pem}}": "web.tls.key: found '/k.pem'; allowed is a key with its certificate beside it.",
    "web: {tls: {certificate: c.pem, key: /k.pem}}": "web.tls.certificate: found 'c.pem'; allowed is an absolute path",
    "web: {proxies: [0.0.0.0/0]}": "web.proxies: found '['0.0.0.0/0']'; allowed are the addresses of the proxies themselves",
    "web: {proxies: [front]}": "web.proxies.0: found 'front'; allowed are addresses and networks",
    "web: {url: http://desk.example}": "web.url: found 'http://desk.example'; allowed is https://HOST[:PORT], as browsers reach it, with nothing behind that; http:// for a loopback host alone.",
    "web: {url: https://desk.example/desk}": "web.url: found 'https://desk.example/desk'; allowed is https://HOST[:PORT]",
    "web: {url: https://ada@desk.example}": "web.url: found 'https://ada@desk.example'; allowed is https://HOST[:PORT]",
    "web: {url: https://desk.example:port}": "web.url: found 'https://desk.example:port'; allowed is https://HOST[:PORT]",
    "web: {url: desk.example}": "web.url: found 'desk.example'; allowed is https://HOST[:PORT]",
    "web: {sign_in: {idle: 8d}}": "web.sign_in.idle: found '8d'; allowed is at most longest (7 d).",
    "web: {sign_in: {idle: 1m}}": "web.sign_in.idle: found '1m'; allowed is 5m to 30d.",
    "oidc: {name: x, issuer: 'http://id.example', client_id: a, client_secret: /s}": "oidc.issuer: found 'http://id.example'; allowed is the provider's https://HOST[:PORT][/PATH]; http:// on loopback alone.",
    "oidc: {name: x, issuer: 'https://id.example/?x', client_id: a, client_secret: /s}": "oidc.issuer: found 'https://id.example/?x'; allowed is",
    "oidc: {name: x, issuer: 'https://id.example', client_id: a, client_secret: s}": "oidc.client_secret: found 's'; allowed is an absolute path",
    "oidc: {name: local, issuer: 'https://id.example', client_id: a, client_secret: /s}": "oidc.name: found 'local'; allowed is a name of",
    "oidc: {name: x, issuer: 'https://id.example', client_id: a, client_secret: /s, scopes: [profile]}": "oidc.scopes: found '['profile']'; allowed are scopes with 'openid' among them.",
    "oidc: {name: x, issuer: 'https://id.example', client_id: a, client_secret: /s, groups: {a: B C}}": "oidc.groups.a: found 'B C'; The group name 'B C' cannot be used",
    "oidc: {name: x, issuer: 'https://id.example', client_id: a, client_secret: /s}": "oidc: found",
    "web: {patience: 2m}": "web.patience: found '2m'; allowed is 0.1s to 1m.",
    "web: {limits: {body: 17m}}": "web.limits.body: found '17m'; allowed is 1k to 16m.",
    "web: {limits: {connections: 0}}": "web.limits.connections: found '0'; input should be greater than",
    "web: {limits: {header_timeout: never}}": "web.limits.header_timeout: found 'never'; allowed is a number",
    "web: {limits: {header: 9k, headers: 8k}}": "web.limits.headers: found '8k'; allowed is at least header (9k).",
    "web: {limits: {header: 32k}}": "web.limits.header: found '32k'; allowed is at most headers (16k).",
    "web: {limits: {rate: 50}}": "web.limits.rate: found '50'; allowed is at least rate_per_address (100).",
    "web: {limits: {viewers_per_user: 200}}": "web.limits.viewers_per_user: found '200'; allowed is at most viewers (128).",
    "web: {limits: {requests_per_address: 300}}": "web.limits.requests_per_address: found '300'; allowed is at most requests (256).",
    "engine: {socket: tcp://h:1}": "engine.socket: found 'tcp://h:1'; allowed is the engine's Unix",
    "network: {pool: here}": "network.pool: found 'here'; allowed is an IPv4 network",
    "network: {pool: 10.0.0.0/24}": "network.pool: found '10.0.0.0/24'; allowed is a private IPv4",
    "network: {pool: 8.0.0.0/8}": "network.pool: found '8.0.0.0/8'; allowed is a private IPv4",
    "network: {pool: 10.0.0.1/16}": "network.pool: found '10.0.0.1/16'; allowed is an IPv4 network",
    "network: {resolvers: 9.9.9.9}": "network.resolvers: found '9.9.9.9'; allowed is a list.",
    "network: {resolvers: [dns]}": "network.resolvers: found '['dns']'; allowed are IP",
    "network: {resolvers: [127.0.0.53]}": "network.resolvers: found '['127.0.0.53']'; a loopback",
    "network: {resolvers: [5]}": "network.resolvers.0: found '5'; allowed is text",
    "network: {resolvers: []}": "network.resolvers: found '[]'; allowed is a list of one",
    "pools: {ports: 80-90}": "pools.ports: found '80-90'; allowed is a range within 1024-65535.",
    "pools: {ports: 3000-70000}": "pools.ports: found '3000-70000'; allowed is a range within",
    "pools: {ports: 4000-3000}": "pools.ports: found '4000-3000'; allowed is a range of numbers",
    "pools: {ports: 4000}": "pools.ports: found '4000'; allowed is a range of numbers",
    "pools: {displays: 10-20}": "pools.displays: found '10-20'; allowed is a range within",
    "pools: {uids: 0-10}": "pools.uids: found '0-10'; allowed is a range within 1000-4000000000.",
    "starts: {at_once: 0}": "starts.at_once: found '0'; input should be greater than",
    "starts: {at_once: many}": "starts.at_once: found 'many'; input should be a valid integer",
    "starts: {waiting: 0}": "starts.waiting: found '0'; input should be greater than",
    "starts: {timeout: 90}": "starts.timeout: found '90'; allowed is a number and a unit: 30s",
    "starts: {timeout: 0s}": "starts.timeout: found '0s'; 0 is not allowed; allowed is a number",
    "starts: {timeout: 99999d}": "starts.timeout: found '99999d'; that is longer than 3650d",
    "limits: {desktops_per_user: 0}": "limits.desktops_per_user: found '0'; input should be",
    "idle: never": "idle: found 'never'; allowed are the keys ",
    "idle: {freeze_after: 0}": "idle.freeze_after: found '0'; allowed is a number and a unit: 30s, 10m, 8h, 7d, or never.",
    "idle: {freeze_after: 0s}": "idle.freeze_after: found '0s'; 0 is not allowed; allowed is a number",
    "idle: {stop_after: 90}": "idle.stop_after: found '90'; allowed is a number and a unit: 30s, 10m, 8h, 7d, or never.",
    "idle: {stop_after: off}": "idle.stop_after: found 'off'; allowed is a number and a unit",
    "idle: {max_age: 99999d}": "idle.max_age: found '99999d'; that is longer than 3650d",
    "idle: {max_age: -1d}": "idle.max_age: found '-1d'; allowed is a number and a unit",
    "idle: {warn_before: never}": "idle.warn_before: found 'never'; allowed is a number and a unit: 30s, 10m, 8h, 7d.",
    "idle: {warn_before: 61m}": "idle.warn_before: found '61m'; allowed is at most 1h.",
    "idle: {keep_up_to: never}": "idle.keep_up_to: found 'never'; allowed is a number and a unit",
    "idle: {busy_for: 0h}": "idle.busy_for: found '0h'; 0 is not allowed",
    "idle: {busy_cpu: 0}": "idle.busy_cpu: found '0'; input should be greater than",
    "idle: {busy_cpu: .nan}": "idle.busy_cpu: found '.nan'; input should be",
    "log: loud": "log: found 'loud'; allowed is what matches ^(auto|json|console)$.",
    "log_level: all": "log_level: found 'all'; allowed is what matches ^(debug|info|warning|error)$.",
    "log: on": "log: found 'on'; allowed is text, in quotes where YAML means something else",
    'log: "a\\x1b[2J"': "log: found 'a\\x1b[2J'; allowed is what matches",
}


@pytest.mark.parametrize("line", MISTAKES, ids=str)
def test_a_mistake_names_file_line_key_what_was_found_and_what_is_allowed(line):
    """One sentence, safe to print."""
    said = complaint(GOOD + line + "\n")
    assert said.startswith(f"desk.yaml:3: {MISTAKES[line]}")
    assert said.endswith(".")
    assert said.isprintable()


TEMPLATE_MISTAKES = {
    "image: Desk": "template.image: found 'Desk'; allowed is what matches",
    'image: ""': "template.image: found ''; allowed is what matches",
    "memory: 2000000": "template.memory: found '2000000'; allowed is a number and a unit: 512m",
    "memory: 0g": "template.memory: found '0g'; 0 is not allowed",
    "memory: 0.0001k": "template.memory: found '0.0001k'; no container can have that",
    "memory: never": "template.memory: found 'never'; allowed is a number and a unit",
    "shm: [1]": "template.shm: found '[1]'; allowed is a number and a unit",
    "cpus: 0": "template.cpus: found '0'; input should be greater than or equal to 0.01",
    "cpus: .nan": "template.cpus: found '.nan'; input should be",
    "pids: 1": "template.pids: found '1'; input should be greater than",
    "geometry: 0x600": "template.geometry: found '0x600'; allowed is text, in quotes where YAML",
    "network: lan": "template.network: found 'lan'; allowed is none, internet, full, or a list",
    "network: [lan]": "template.network: found '['lan']'; of it, 'lan' is no IPv4 network",
    "home: 20": "template.home: found '20'; allowed is a number and a unit: 512m",
    "geometry: big": "template.geometry: found 'big'; allowed is what matches",
}


@pytest.mark.parametrize("line", TEMPLATE_MISTAKES, ids=str)
def test_a_mistake_in_the_template_is_told_on_its_own_line(line):
    """Not on the line of the block that it stands in."""
    image = "" if line.startswith("image") else "  image: desk:latest\n"
    said = complaint(f"template:\n{image}  {line}\n")
    number = 2 if not image else 3
    assert said.startswith(f"desk.yaml:{number}: {TEMPLATE_MISTAKES[line]}")


# ---------------------------------------------------------------------------------------- sleep


@pytest.mark.parametrize("text", ["never", "Never", " NEVER "])
def test_a_stage_can_be_left_out(text):
    """Each by itself, and all of them."""
    for key in ("freeze_after", "stop_after", "max_age"):
        idle = parse(f"{GOOD}idle: {{{key}: '{text}'}}\n", "desk.yaml").idle
        assert getattr(idle.policy, key) is None
    every = "idle: {freeze_after: never, stop_after: never, max_age: never}\n"
    policy = parse(GOOD + every, "desk.yaml").idle.policy
    assert (policy.freeze_after, policy.stop_after, policy.max_age) == (None, None, None)


def test_what_is_not_set_sleeps_within_a_day():
    """Nobody has to know of these keys to have a host that does not fill up."""
    assert parse(GOOD, "desk.yaml").idle.policy == IdlePolicy(
        freeze_after=3600,
        stop_after=86_400,
        max_age=None,
        warn_before=300,
        keep_up_to=3 * 86_400,
        busy_for=86_400,
        busy_cpu=0.1,
    )


def test_no_stage_is_shorter_than_its_warning():
    """Told on the line of the very key, each of them, not on that of the block."""
    said = complaints(
        GOOD + "idle:\n  warn_before: 10m\n  freeze_after: 10m\n  stop_after: 2h\n  max_age: 30s\n"
    )
    assert said == [
        (
            "desk.yaml:5: idle.freeze_after: found '10m'; allowed is more than warn_before (10 min),"
            " or nobody could be warned."
        ),
        (
            "desk.yaml:7: idle.max_age: found '30s'; allowed is more than warn_before (10 min),"
            " or nobody could be warned."
        ),
    ]


def test_a_stage_that_is_too_short_for_the_usual_warning_is_told():
    """The file has one of the two keys, and that one is named."""
    assert complaint(GOOD + "idle:\n  busy_for: 1h\n  stop_after: 5m\n") == (
        "desk.yaml:5: idle.stop_after: found '5m'; allowed is more than warn_before (5 min),"
        " or nobody could be warned."
    )


def test_a_warning_that_is_too_long_for_the_usual_stages_is_told():
    """The other way round."""
    assert complaint(GOOD + "idle:\n  busy_for: 1h\n  warn_before: 60m\n") == (
        "desk.yaml:5: idle.warn_before: found '60m'; allowed is less than freeze_after (1 h),"
        " or nobody could be warned."
    )
    parse(GOOD + "idle: {warn_before: 60m, freeze_after: 61m}\n", "desk.yaml")


@pytest.mark.parametrize(
    "database",
    [
        "postgresql+asyncpg://desk@/desk?host=/run/postgresql",
        "postgresql+asyncpg://desk@localhost:5433/desk",
        "postgresql+asyncpg://desk@[::1]/desk",
        "postgresql+asyncpg://desk@db.example/desk?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    ],
)
def test_a_database_elsewhere_is_reached_under_encryption_alone(database):
    """By a socket and on this host without."""
    config = parse(f"{GOOD}database: {database}\ndatabase_password: /etc/desk/word\n", "desk.yaml")
    assert config.database == database


def test_every_key_has_a_mistake_in_this_table():
    """A new key comes with a test of how it is refused."""
    tested = {line.split(":")[0] for line in MISTAKES} | {"template"}
    assert set(Config.model_fields) <= tested


@pytest.mark.parametrize("section", ["limits", "penalties"])
def test_no_bound_of_the_front_door_can_be_left_out(section):
    """Neither by a nought, nor by less, nor by a word, nor by a number without an end."""
    for key, field in getattr(parse(GOOD, "x").ssh, section):
        if isinstance(field, (bool, str, tuple)):
            continue
        for text in ("0", "-1", "never", ".inf", "1e99", "99999999999", "0s", "0k", "9999d", "9t"):
            said = complaint(GOOD + f"ssh: {{{section}: {{{key}: {text}}}}}\n")
            assert said.startswith(f"desk.yaml:3: ssh.{section}.{key}: found "), said
