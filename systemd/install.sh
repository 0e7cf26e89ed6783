#!/usr/bin/env bash
# Lay Desk out below DESTDIR, as a package or a host has it: programs, units, what the image is built from.
#
#   systemd/install.sh DESTDIR PYTHON-VERSION...
#
# Each version gets a tree of the libraries that uv.lock names, from wheels alone: nothing is compiled.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly DEST="${1:?usage: systemd/install.sh DESTDIR PYTHON-VERSION...}"
shift
readonly LIB="$DEST/usr/lib/desk" SHARE="$DEST/usr/share/desk"
umask 022

say() { printf 'install: %s\n' "$*" >&2; }

machine="$(uname -m)"
readonly machine

lay_libraries() {
  local requirements="$1" version
  shift
  for version; do
    say "libraries for Python $version ..."
    rm -rf "$LIB/py$version"
    # Copies: as links, which uv makes where it can, what is stripped below would be its cache's files,
    # and those of every environment made from it.
    env -u VIRTUAL_ENV .venv/bin/uv pip install -q --no-config --link-mode copy --target "$LIB/py$version" \
      --python-version "$version" --python-platform "$machine-manylinux_2_28" \
      --only-binary :all: --no-deps --require-hashes --no-compile-bytecode -r "$requirements"
    # Programs, headers and leftovers that nothing here starts or reads.
    rm -rf "$LIB/py$version"/bin "$LIB/py$version"/.lock
    find "$LIB/py$version" \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
    find "$LIB/py$version" -name '*.so' -exec chmod 644 {} +
    # Symbols for debuggers are two thirds of some of them.
    if command -v strip >/dev/null; then find "$LIB/py$version" -name '*.so' -exec strip --strip-unneeded {} +; fi
  done
}

# What git would have: no leftover of somebody's tools becomes part of it.
copy() {
  local from="$1" to="$2" file
  git ls-files -co --exclude-standard -- "$from" | while read -r file; do
    [ -e "$file" ] || continue
    if [ -x "$file" ]; then mode=755; else mode=644; fi
    install -D -m "$mode" "$file" "$to/${file#"$from"/}"
  done
}

requirements="$(mktemp)"
trap 'rm -f "$requirements"' EXIT
.venv/bin/uv export -q --frozen --no-dev --no-emit-project --format requirements-txt -o "$requirements" >/dev/null
lay_libraries "$requirements" "$@"

rm -rf "$LIB/app" "$SHARE"
copy broker "$LIB/app/broker"
# Of the pages what browsers get, and not what it is made from.
rm -rf "$LIB/app/broker/web"
if broker/web/build.sh; then
  mkdir -p "$LIB/app/broker/web" "$SHARE/docker"
  cp -r broker/web/dist "$LIB/app/broker/web/"
  cp -r broker/web/dist/alone "$SHARE/docker/"
else
  say 'Desk is laid out without pages for browsers.'
fi
copy migrations "$LIB/app/broker/migrations"
copy docker "$SHARE/docker"
install -D -m 755 -t "$DEST/usr/bin" systemd/deskd systemd/deskctl
install -D -m 644 -t "$DEST/usr/lib/systemd/system" systemd/*.service systemd/*.socket systemd/*.target
install -D -m 644 systemd/desk.sysusers "$DEST/usr/lib/sysusers.d/desk.conf"
install -D -m 644 systemd/desk.tmpfiles "$DEST/usr/lib/tmpfiles.d/desk.conf"
install -D -m 644 -t "$DEST/usr/share/doc/desk" README.md CHANGELOG.md docs/*.md
install -D -m 644 LICENSE "$DEST/usr/share/doc/desk/copyright"
completion() { install -D -m 644 <(PYTHONPATH="$LIB/app" .venv/bin/python -BP -m broker.cli.deskctl completion "$1") "$DEST/usr/share/$2"; }
completion bash bash-completion/completions/deskctl
completion zsh zsh/vendor-completions/_deskctl
completion fish fish/vendor_completions.d/deskctl.fish

if [ ! -e "$DEST/etc/desk/desk.yaml" ]; then
  install -D -m 644 config/desk.yaml "$DEST/etc/desk/desk.yaml"
  cat >>"$DEST/etc/desk/desk.yaml" <<'YAML'

# desk-firewall.service keeps the rules of the desktops' network; without them nothing starts.
network:
  required: true
YAML
fi
