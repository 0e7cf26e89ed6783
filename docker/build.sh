#!/usr/bin/env bash
# Build the desktop image, unless the one these sources make is there already.
# Standard output carries only the image's reference.
#
#   docker run -d -p 2222:22 -p 6080:80 "$(docker/build.sh)"
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
readonly SOURCES=(Dockerfile src rootfs)
# What the image serves on port 80: beside this script where it was installed, else built in the tree.
readonly PAGES="$HERE/alone" WEB="$HERE/../broker/web"
readonly BASE=debian:trixie-slim
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/desk"
readonly PULL_SECONDS=120
readonly LOCAL_AUTHORITIES=/usr/local/share/ca-certificates

say() { printf 'build: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() {
  cat >&2 <<TEXT
usage: ${0##*/} [--flavour xfce|xfce-cjk|xfce-sound|xfce-cjk-sound] [--name-only]
  --flavour    xfce (the default); -cjk has Chinese, Japanese and Korean fonts, -sound can be heard in a browser
  --name-only  print the reference, build no image
TEXT
}

flavour=xfce
name_only=
while [ $# -gt 0 ]; do
  case "$1" in
    --flavour) flavour="${2:-}"; shift ;;
    --flavour=*) flavour="${1#*=}" ;;
    --name-only) name_only=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage; exit 2 ;;
  esac
  shift
done
case "$flavour" in
  xfce) build_args=(FONTS_CJK=0 SOUND=0) ;;
  xfce-cjk) build_args=(FONTS_CJK=1 SOUND=0) ;;
  xfce-sound) build_args=(FONTS_CJK=0 SOUND=1) ;;
  xfce-cjk-sound) build_args=(FONTS_CJK=1 SOUND=1) ;;
  *) usage; exit 2 ;;
esac

# Every file with its one mode bit that matters: a clone anywhere gives the same name.
name_of() {
  local directory="$1" pages="$2"
  printf 'desk-desktop:%s\n' "$({
    printf '%s\n' "$flavour" "${build_args[@]}"
    describe_files "$directory" "${SOURCES[@]}"
    if [ -d "$pages" ]; then describe_files "$pages" .; fi
  } | sha256sum | cut -c1-12)"
}

describe_files() {
  local directory="$1"
  shift
  (cd "$directory" && find "$@" -type f ! -name '*.pyc' -print | LC_ALL=C sort | while read -r file; do
    if [ -x "$file" ]; then mode=755; else mode=644; fi
    printf '%s %s %s\n' "$mode" "$(sha256sum <"$file" | cut -c1-64)" "$file"
  done)
}

copy_sources() {
  local context="$1"
  (cd "$HERE" && find "${SOURCES[@]}" -type f ! -name '*.pyc' -print | while read -r file; do
    if [ -x "$file" ]; then mode=755; else mode=644; fi
    install -D -m "$mode" "$file" "$context/$file"
  done)
  mkdir -p "$context/alone"
  if [ -d "$pages" ]; then cp -R "$pages/." "$context/alone/"; fi
  find "$context/alone" -type f -exec chmod 644 {} +
  find "$context" -mindepth 1 -type d -exec chmod 755 {} +
}

# An image without them is a desktop all the same: by ssh, by xpra, and by a broker's own pages.
provide_pages() {
  pages="$PAGES"
  [ ! -d "$pages" ] || return 0
  pages="$WEB/dist/alone"
  if [ -x "$WEB/build.sh" ] && "$WEB/build.sh"; then return; fi
  say "the pages are missing, so the image serves no desktop on port 80; all else works."
}

add_authorities() {
  local context="$1"
  # For a TLS proxy before the package index; they stay in the builder stage and out of the name.
  mkdir -p "$context/build-ca"
  find "$LOCAL_AUTHORITIES" -maxdepth 1 -name '*.crt' -exec install -m 644 -t "$context/build-ca" {} + 2>/dev/null || true
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

bootstrap_base() {
  local archive="$1/base.tar"
  if ! command -v mmdebstrap >/dev/null; then
    command -v apt-get >/dev/null || die "$BASE cannot be pulled, and mmdebstrap is missing to make it."
    say "installing mmdebstrap ..."
    as_root apt-get update -q >/dev/null || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends mmdebstrap >/dev/null ||
      die "$BASE cannot be pulled, and mmdebstrap could not be installed to make it."
  fi
  say "making $BASE from Debian's packages ..."
  # Without a mirror on the command line it takes the suite's security and update archives too.
  as_root mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' trixie "$archive" >&2 || die "$BASE could not be made; the reasons stand above."
  docker import "$archive" "$BASE" >/dev/null
}

provide_base() {
  if has_image "$BASE"; then return; fi
  say "fetching $BASE ..."
  if timeout --foreground "$PULL_SECONDS" docker pull -q "$BASE" >/dev/null 2>&1; then return; fi
  bootstrap_base "$1"
}

# One line for each step of either builder, out of all that they print.
show_steps() {
  sed -nE -u \
    -e 's/^Step ([0-9]+)\/([0-9]+) : (.{1,70}).*/build: step \1 of \2: \3/p' \
    -e 's/^#[0-9]+ \[([a-z]+ )? *([0-9]+)\/([0-9]+)\] (.{1,70}).*/build: \1step \2 of \3: \4/p' >&2
}

build() {
  local context="$1" log="$1.log" arguments=(--network host --tag "$reference") argument
  for argument in "${build_args[@]}"; do arguments+=(--build-arg "$argument"); done
  if docker buildx version >/dev/null 2>&1; then
    export DOCKER_BUILDKIT=1
    arguments+=(--progress plain)
  else
    export DOCKER_BUILDKIT=0
    arguments+=(--rm --force-rm)
  fi
  if ! docker build "${arguments[@]}" "$context" 2>&1 | tee "$log" | show_steps; then
    tail -n 25 "$log" >&2
    die "the image could not be built; the end of what the builder said stands above."
  fi
}

provide_pages
reference="$(name_of "$HERE" "$pages")"
if [ -n "$name_only" ]; then
  printf '%s\n' "$reference"
  exit 0
fi

if [ -z "${DOCKER_HOST:-}" ]; then
  DOCKER_HOST="$("$HERE/engine.sh" up)" || exit 1
  export DOCKER_HOST
fi
if ! has_image "$reference"; then
  mkdir -p "$CACHE"
  exec 9>"$CACHE/build.lock"
  flock -n 9 || { say "another build is under way; waiting for it ..."; flock 9; }
fi
if ! has_image "$reference"; then
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  # What runs in the foreground has been interrupted too: its failure is then no news.
  trap 'exit 130' INT
  mkdir "$work/context"
  say "building $reference ($flavour); this takes some minutes ..."
  provide_base "$work"
  copy_sources "$work/context"
  [ "$(name_of "$work/context" "$work/context/alone")" = "$reference" ] || die "the sources changed meanwhile: run this again."
  add_authorities "$work/context"
  build "$work/context"
  say "built $reference in $SECONDS seconds."
fi
printf '%s\n' "$reference"
