#!/bin/sh
# Make .venv with what Desk needs, and install the Debian packages around it when they are missing.
#
#   docker/bootstrap.sh run     what `make up` needs
#   docker/bootstrap.sh dev     that, and the linters and test tools
#   docker/bootstrap.sh test    that, and the programs that the test suite drives
#
# Nothing is done that is done already, and nothing needs root where nothing is missing.
set -eu

cd "$(dirname "$0")/.."

UV='uv>=0.9,<1'
CLIENTS='nftables iproute2 openssh-client openssh-server openssh-sftp-server rsync git sshfs sshpass curl openssl mosh xvfb xauth
  x11-utils x11-apps xpra python3-gi-cairo python3-paramiko dropbear-bin putty-tools imagemagick busybox-static shellcheck procps
  chromium firefox-esr fonts-noto-cjk websockify'
# A directory, and what the library that asks it is built with.
LDAP='slapd libldap-dev libsasl2-dev gcc libc6-dev python3-dev'

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# ------------------------------------------------------------------ Debian packages

can_be_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  command -v sudo >/dev/null 2>&1 || return 1
  # Without a terminal a question for the password would hang for ever.
  [ -t 0 ] || sudo -n true 2>/dev/null
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

known() { apt-cache policy "$1" 2>/dev/null | grep 'Candidate:' | grep -qv '(none)'; }

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null
}

refresh() { as_root apt-get update -qq >&2 || say 'the package lists could not be refreshed; going on with those at hand.'; }

# install_missing WHY PACKAGE...: what is missing; a package that this release lacks is told and left out.
install_missing() {
  why="$1"
  shift
  missing=
  for package; do installed "$package" || missing="$missing $package"; done
  [ -n "$missing" ] || return 0
  can_be_root || die "$why needs the Debian packages$missing: install them, or run this as root or with sudo."
  say "installing$missing, which $why needs ..."
  refresh
  wanted=
  for package in $missing; do
    if known "$package"; then wanted="$wanted $package"; else say "this release has no package $package; what needs it is skipped."; fi
  done
  [ -n "$wanted" ] || return 0
  # shellcheck disable=SC2086 # a list of package names
  apt_install $wanted || die "the packages could not be installed; the package manager's words stand above."
}

# ------------------------------------------------------------------ Python

# A Python that is new enough and can make an environment with pip in it.
find_python() {
  for python in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# An earlier sudo leaves root's files; as they are, anybody may use them.
demand_writable() {
  if [ -e .venv ] && [ ! -w .venv ]; then
    die ".venv belongs to $(stat -c %U .venv) and must be renewed: run this with sudo, or remove it first."
  fi
}

make_venv() {
  # The programs in an environment name its path: one that was moved is made anew.
  if [ -e .venv/.desk-path ] && [ "$(cat .venv/.desk-path)" != "$(pwd)" ]; then rm -rf .venv; fi
  if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then return; fi
  demand_writable
  if ! python="$(find_python)"; then
    command -v apt-get >/dev/null 2>&1 || die 'Python 3.11 or newer with its venv module is missing: install it, then run this again.'
    install_missing 'making the Python environment' python3 python3-venv ca-certificates
    python="$(find_python)" || die 'the Python of this release is older than 3.11: install a newer one and name it with PYTHON=.'
  fi
  say "making .venv with $python ..."
  rm -rf .venv
  "$python" -m venv .venv
}

# pip, uv and npm follow the certificates that the environment names, where a proxy stands before the registry.
follow_certificates() {
  if [ -n "${SSL_CERT_FILE:-}" ]; then
    : "${PIP_CERT:=$SSL_CERT_FILE}" "${NODE_EXTRA_CA_CERTS:=$SSL_CERT_FILE}"
    export PIP_CERT NODE_EXTRA_CA_CERTS
  fi
  export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_PYTHON_DOWNLOADS=never
  unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
}

make_uv() {
  if .venv/bin/uv --version >/dev/null 2>&1; then return; fi
  say 'installing uv into .venv ...'
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
  .venv/bin/python -m pip install -q "$UV" || die 'uv could not be installed; the words of pip stand above.'
}

fingerprint() {
  { .venv/bin/python -V; cat uv.lock pyproject.toml; } | cksum
}

# A stamp for each of the three; the larger ones hold the smaller.
current() {
  [ -x .venv/bin/deskd ] && [ "$(cat ".venv/.desk-$1" 2>/dev/null)" = "$(fingerprint)" ]
}

sync_venv() {
  for stamp in test dev run; do
    if current "$stamp"; then return; fi
    [ "$stamp" != "$1" ] || break
  done
  demand_writable
  follow_certificates
  make_uv
  say "installing the Python packages that uv.lock names ($1) ..."
  case "$1" in
    run) groups='--no-dev' ;;
    dev) groups='--group dev' ;;
    test) groups='--group dev --extra ldap' ;;
  esac
  # --inexact: an environment that developers test with keeps what they have in it.
  # shellcheck disable=SC2086 # several words
  .venv/bin/uv sync -q --frozen --inexact $groups ||
    die 'the Python packages could not be installed; the words of uv stand above.'
  pwd >.venv/.desk-path
  fingerprint >".venv/.desk-$1"
}

# ------------------------------------------------------------------ the three targets

ssh_client() {
  if command -v ssh >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then return; fi
  if can_be_root; then
    install_missing 'connecting from this machine' openssh-client
  else
    say 'there is no ssh here: install openssh-client to connect from this machine.'
  fi
}

# The program lies where an ordinary login of Debian does not look.
packet_filter() {
  if PATH="$PATH:/usr/sbin:/sbin" command -v nft >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then return; fi
  if can_be_root; then
    install_missing 'keeping desktops off this host' nftables
  else
    say 'there is no nft here: install nftables, or desktops can reach this host.'
  fi
}

test_clients() {
  if ! command -v apt-get >/dev/null 2>&1; then
    say "this is no Debian: tests of clients that are not installed are skipped."
    return
  fi
  # As it is installed it would serve an empty directory to the network: tests start their own.
  if ! installed slapd && can_be_root; then
    echo 'slapd slapd/no_configuration boolean true' | as_root debconf-set-selections
  fi
  # Likewise: tests start a server of their own from its programs.
  clusters=/etc/postgresql-common/createcluster.d
  if ! installed postgresql && can_be_root; then
    as_root mkdir -p "$clusters"
    echo 'create_main_cluster = false' | as_root tee "$clusters/desk-tests.conf" >/dev/null
  fi
  # shellcheck disable=SC2086 # a list of package names
  install_missing 'the test suite' $CLIENTS $LDAP postgresql
}

# A node of another origin is left alone: Debian's npm would take its place, or refuse to lie beside it.
node_and_npm() {
  if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then return; fi
  if command -v apt-get >/dev/null 2>&1; then install_missing "$1" nodejs npm; fi
}

# Desk runs without its pages: what is missing here for them is told, and stops nothing.
pages() {
  if broker/web/build.sh --check; then return; fi
  if ! command -v npm >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && can_be_root; then
    # In a shell of its own: what cannot be installed ends that one alone.
    (node_and_npm 'building the pages for browsers') || true
  fi
  broker/web/build.sh || say 'Desk has no pages for browsers until that is mended and this is run again; all else works.'
}

# The accessibility checker that is loaded into pages under test.
page_checker() (
  cd tests/browser
  if cmp -s package-lock.json node_modules/.desk-lock; then return; fi
  if ! command -v npm >/dev/null 2>&1; then
    say 'there is no npm here: the accessibility of pages is not checked.'
    return
  fi
  follow_certificates
  npm ci --ignore-scripts --silent || die 'the checker of pages could not be installed; the words of npm stand above.'
  cp package-lock.json node_modules/.desk-lock
)

# The library for directories is built here, which another system may not be ready for.
test_venv() {
  if installed libldap-dev; then sync_venv test; else sync_venv dev; fi
}

case "${1:-}" in
  run) make_venv; sync_venv run; ssh_client; packet_filter; pages ;;
  dev) make_venv; sync_venv dev ;;
  test) make_venv; test_clients; test_venv; node_and_npm 'testing pages'; page_checker; pages ;;
  *) usage ;;
esac
