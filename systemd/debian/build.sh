#!/usr/bin/env bash
# Build one package for Debian 12 and 13. Standard output carries only its path.
#
#   make deb VERSION=1.2.3 DIST=dist
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE PYTHONS=(3.11 3.13)
cd "$HERE/../.."

say() { printf 'deb: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v dpkg-deb >/dev/null || die "dpkg-deb is missing: packages are built on a Debian, or with its dpkg."

# Of two builds of one version, the later is the newer.
base="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)"
version="${VERSION:-$base+$(git log -1 --format=%cd --date=format:%Y%m%d%H%M%S 2>/dev/null || date +%Y%m%d%H%M%S)}"
architecture="$(dpkg --print-architecture)"
dist="${DIST:-dist}"

tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
systemd/install.sh "$tree" "${PYTHONS[@]}" >&2
install -m 755 "$HERE/purge" "$tree/usr/lib/desk/purge"

mkdir "$tree/DEBIAN"
install -m 755 -t "$tree/DEBIAN" "$HERE"/{preinst,postinst,prerm,postrm}
echo /etc/desk/desk.yaml >"$tree/DEBIAN/conffiles"
size="$(du -sk --exclude=DEBIAN "$tree" | cut -f1)"
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/" \
  "$HERE/control.in" >"$tree/DEBIAN/control"
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)

mkdir -p "$dist"
file="$dist/desk_${version}_${architecture}.deb"
say "packing $file ..."
dpkg-deb --root-owner-group -Zxz -z3 --build "$tree" "$file" >&2
printf '%s\n' "$file"
