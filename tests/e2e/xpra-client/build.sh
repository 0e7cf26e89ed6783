#!/usr/bin/env bash
# Build stock xpra clients that Debian 12 has no package of, for the tests that attach with them.
#
#   tests/e2e/xpra-client/build.sh [VERSION...]     all of them, without a version
#
# The images stay in the test engine; a second run builds nothing.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
readonly AUTHORITIES=/usr/local/share/ca-certificates
declare -rA SHA256=(
  [4.4.6]=1210d14bb8b6e35d7e5303d6c460bb3d13e049b5f4a82e6f880e06a1325fb355
  [5.1.6]=1c800036fb9db33c92aa1f77f55c9004a76341a1a3445eef852394dd2c67f37c
  [6.5.5]=58cf04107d5682f202987fe5c0f7d8af1c6e183304a8bd0887a34f3b55fa1c81
)

say() { printf 'xpra-client: %s\n' "$*" >&2; }

if [ -z "${DOCKER_HOST:-}" ]; then
  DOCKER_HOST="$("$HERE/../../../docker/engine.sh" up)"
  export DOCKER_HOST
fi
# The base that it is built on is the desktop's.
"$HERE/../../../docker/build.sh" >/dev/null

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
cp "$HERE/Dockerfile" "$context/"
mkdir "$context/build-ca"
find "$AUTHORITIES" -maxdepth 1 -name '*.crt' -exec install -m 644 -t "$context/build-ca" {} + 2>/dev/null || true

[ "$#" -gt 0 ] || set -- "${!SHA256[@]}"
for version; do
  [ -n "${SHA256[$version]:-}" ] || { say "no checksum is known for $version; there are ${!SHA256[*]}."; exit 2; }
  say "building xpra $version; this takes some minutes ..."
  DOCKER_BUILDKIT=0 docker build --rm --force-rm --network host --cpu-shares 256 --tag "desk-xpra-client:$version" \
    --build-arg "XPRA_VERSION=$version" --build-arg "XPRA_SHA256=${SHA256[$version]}" "$context" >"$context.log" 2>&1 ||
    { tail -n 30 "$context.log" >&2; exit 1; }
  rm -f "$context.log"
  say "built desk-xpra-client:$version."
done
