#!/bin/sh
# Build the pages into dist/, unless those that these sources make are there already.
# With --check nothing is built: it ends with 0 where they are there.
# Needs node and npm, and npm's registry the first time; ends with 1 and a reason where it cannot.
set -eu

cd "$(dirname "$0")"

say() { printf 'pages: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

fingerprint() { find src build.mjs package.json package-lock.json -type f | LC_ALL=C sort | xargs cksum | cksum; }

current() { [ -e dist/index.html ] && [ "$(cat .built 2>/dev/null)" = "$(fingerprint)" ]; }

if current; then exit 0; fi
if [ "${1:-}" = --check ]; then exit 1; fi
command -v node >/dev/null 2>&1 || die 'node is missing, which builds them: install nodejs (18 or newer).'
[ -w . ] || die "$(pwd) cannot be written: run this as $(stat -c %U .)."

# Two that build at a time would find each other's halves.
if command -v flock >/dev/null 2>&1; then exec 9>.lock; flock 9; fi
if current; then exit 0; fi

if ! cmp -s package-lock.json node_modules/.desk-lock; then
  command -v npm >/dev/null 2>&1 || die 'npm is missing, which fetches what they are built from: install npm.'
  # npm follows the certificates that the environment names, where a proxy stands before the registry.
  if [ -n "${SSL_CERT_FILE:-}" ]; then export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$SSL_CERT_FILE}"; fi
  say 'fetching the packages that package-lock.json names ...'
  npm ci --ignore-scripts --include=dev --include=optional --no-audit --no-fund --silent >&2 || {
    rm -rf node_modules
    die "the packages could not be fetched from $(npm config get registry); 'npm ci' in broker/web says why."
  }
  cp package-lock.json node_modules/.desk-lock
fi
# Told beforehand: what changes meanwhile is built the next time.
made="$(fingerprint)"
node build.mjs dist.new >&2 || die 'they could not be built; the reasons stand above.'
rm -rf dist
mv dist.new dist
printf '%s\n' "$made" >.built
say 'built.'
