"""A real directory: OpenLDAP's slapd in a folder of its own, without rights, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import ldap
from ldap.modlist import addModlist

from tests.sources.certificates import Pair

PROGRAM = shutil.which("slapd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")

SUFFIX = "dc=example,dc=org"
PEOPLE, GROUPS = f"ou=people,{SUFFIX}", f"ou=groups,{SUFFIX}"
ROOT, ROOT_PASSWORD = f"cn=root,{SUFFIX}", "everything"
DESK, DESK_PASSWORD = f"cn=desk,{SUFFIX}", "searcher's own"

#: An unauthenticated bind is let through on purpose: some directories do that as they come.
CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
allow bind_anon_cred bind_anon_dn
pidfile {folder}/pid
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
TLSVerifyClient never
database mdb
suffix "{suffix}"
rootdn "{root}"
rootpw {root_password}
directory {folder}/data
maxsize 16777216
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to dn.exact="cn=hidden,{groups}" by dn.exact="{desk}" read by * none
access to * by dn.exact="{desk}" read by self read by dn.subtree="{people}" read by * auth
"""


class Slapd:
    """It answers once it is made."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        assert PROGRAM is not None
        self.port, self.tls_port = _free_port(), _free_port()
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.tls_url = f"ldaps://127.0.0.1:{self.tls_port}"
        self.local_url = f"ldapi://{quote(str(folder / 'ldapi'), safe='')}"
        (folder / "data").mkdir()
        certificate, key = (shutil.copy(path, folder) for path in (pair.certificate, pair.key))
        (folder / "slapd.conf").write_text(
            CONFIG.format(
                folder=folder,
                certificate=certificate,
                key=key,
                suffix=SUFFIX,
                root=ROOT,
                root_password=ROOT_PASSWORD,
                desk=DESK,
                people=PEOPLE,
                groups=GROUPS,
            )
        )
        # Under another path: a profile of AppArmor binds the one that Debian gave it.
        program = shutil.copy(PROGRAM, folder / "slapd")
        nobody = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid)
            nobody = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        urls = f"{self.url} {self.tls_url} {self.local_url}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, "-f", str(folder / "slapd.conf"), "-h", urls, "-d", "0"],
            stdout=self._log,
            stderr=self._log,
            **nobody,
        )
        self._wait(folder)
        self.admin = ldap.initialize(self.url)
        self.admin.simple_bind_s(ROOT, ROOT_PASSWORD)

    def _wait(self, folder: Path) -> None:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                dead = self._process.poll() is not None
                if dead or time.monotonic() > until:
                    self._end()
                    raise RuntimeError((folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def add(self, dn: str, **attributes: str | list[str]) -> str:
        values = {
            key: [value.encode() for value in ([given] if isinstance(given, str) else given)]
            for key, given in attributes.items()
        }
        self.admin.add_s(dn, addModlist(values))
        return dn

    def close(self) -> None:
        self.admin.unbind_s()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


def person(slapd: Slapd, name: str, password: str | None, **more: str | list[str]) -> str:
    """An entry of somebody; returns its name."""
    own = {} if password is None else {"userPassword": password}
    escaped = ldap.dn.escape_dn_chars(name)
    return slapd.add(
        f"uid={escaped},{PEOPLE}",
        objectClass=["inetOrgPerson"],
        uid=name,
        cn=name,
        sn=name,
        **own,
        **more,
    )


def populate(slapd: Slapd) -> None:
    """Ada is in staff by her entry, in printers by a posix group, and in one that people do not see;
    bob is in nothing.
    """
    slapd.add(SUFFIX, objectClass=["dcObject", "organization"], dc="example", o="Example")
    for base in (PEOPLE, GROUPS):
        slapd.add(base, objectClass=["organizationalUnit"], ou=base.split(",")[0][3:])
    slapd.add(
        DESK,
        objectClass=["organizationalRole", "simpleSecurityObject"],
        cn="desk",
        userPassword=DESK_PASSWORD,
    )
    ada = person(slapd, "ada", "engine no 1")
    person(slapd, "bob", "Löwe zahm")
    person(slapd, "nokey", None)
    for group in ("Staff", "hidden"):
        slapd.add(f"cn={group},{GROUPS}", objectClass=["groupOfNames"], cn=group, member=ada)
    slapd.add(
        f"cn=printers,{GROUPS}",
        objectClass=["posixGroup"],
        cn="printers",
        gidNumber="1",
        memberUid="ada",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
