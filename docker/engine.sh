#!/usr/bin/env bash
# Find, or bring up, a container engine. Standard output carries only the value for DOCKER_HOST.
#
#   export DOCKER_HOST="$(docker/engine.sh up)"
set -euo pipefail

# The daemon and the firewall's tool lie where an ordinary login of Debian does not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly SYSTEM_SOCKET=/var/run/docker.sock
readonly ENGINE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/desk/engine"
readonly ENGINE_SOCKET="$ENGINE_DIR/docker.sock"
readonly ENGINE_PID="$ENGINE_DIR/docker.pid"
readonly ENGINE_LOG="$ENGINE_DIR/dockerd.log"
readonly START_SECONDS=60

say() { printf 'engine: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() {
  cat >&2 <<TEXT
usage: ${0##*/} up|down|status
  up      print the DOCKER_HOST of an engine that answers; install and start one where none does
  down    stop the engine that 'up' started, when nothing depends on it
  status  tell in one line which engine answers
TEXT
}

answers() { timeout 10 docker -H "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

has_socket() { [ -S "${1#unix://}" ] && answers "$1"; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

need_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  command -v sudo >/dev/null || die "$1 needs root: run this as root, or install sudo."
  # Without a terminal there is nobody to type the password.
  [ -t 0 ] || sudo -n true 2>/dev/null || die "$1 needs root, and sudo asks for a password: run this in a terminal, or as root."
}

# The engine that answers now, if there is one.
find_engine() {
  local socket
  for socket in "unix://$SYSTEM_SOCKET" "unix://$ENGINE_SOCKET"; do
    if has_socket "$socket"; then
      printf '%s\n' "$socket"
      return 0
    fi
  done
  return 1
}

install_engine() {
  local -a packages=()
  command -v dockerd >/dev/null || packages+=(docker.io)
  command -v containerd >/dev/null || packages+=(containerd)
  command -v runc >/dev/null || packages+=(runc)
  command -v iptables >/dev/null || packages+=(iptables)
  [ "${#packages[@]}" -gt 0 ] || command -v docker >/dev/null || packages+=(docker.io)
  [ "${#packages[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "no container engine is installed, and this is no Debian: install Docker, then run this again."
  need_root "installing the container engine"
  say "installing ${packages[*]} ..."
  as_root apt-get update -qq >&2 || say "the package lists could not be refreshed; going on with the ones at hand."
  # From Debian 13 on the command line client is a package of its own.
  if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${packages[@]}" >/dev/null ||
    die "the container engine could not be installed; the package manager's words stand above."
}

default_mtu() {
  local interface
  interface="$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)"
  if [ -n "$interface" ] && [ -r "/sys/class/net/$interface/mtu" ]; then
    cat "/sys/class/net/$interface/mtu"
  else
    echo 1500
  fi
}

await_engine() {
  local socket="$1" deadline=$((SECONDS + START_SECONDS))
  while [ "$SECONDS" -lt "$deadline" ]; do
    if has_socket "$socket"; then return 0; fi
    sleep 0.3
  done
  return 1
}

start_managed() {
  need_root "starting the container engine"
  [ "${#ENGINE_SOCKET}" -le 100 ] || die "the path $ENGINE_SOCKET is too long for a socket: set XDG_CACHE_HOME to a shorter one."
  mkdir -p "$ENGINE_DIR"
  chmod 700 "$ENGINE_DIR" # whoever reaches the socket is as good as root, a shared group too
  if [ -f "$ENGINE_LOG" ] && [ "$(stat -c %s "$ENGINE_LOG")" -gt 4194304 ]; then mv -f "$ENGINE_LOG" "$ENGINE_LOG.1"; fi
  say "starting an engine of its own in $ENGINE_DIR ..."
  # The lock's descriptor must not live on in the daemon. Networks inherit the uplink's MTU:
  # a larger one loses big packets on their way out.
  as_root setsid dockerd \
    --host "unix://$ENGINE_SOCKET" --group "$(id -gn)" \
    --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" --pidfile "$ENGINE_PID" \
    --mtu "$(default_mtu)" --live-restore --log-driver local \
    >>"$ENGINE_LOG" 2>&1 </dev/null 9>&- &
  disown
  await_engine "unix://$ENGINE_SOCKET" || {
    tail -n 15 "$ENGINE_LOG" >&2
    die "the engine did not answer within $START_SECONDS seconds; the end of $ENGINE_LOG stands above."
  }
}

# The system's engine is for root and its group; waiting does not change that.
may_use_system() {
  [ ! -S "$SYSTEM_SOCKET" ] || [ -w "$SYSTEM_SOCKET" ] ||
    die "the system's engine is there, but $(id -un) may not use it: run 'sudo make up', or 'sudo usermod -aG docker $(id -un)' and log in anew."
}

start_system() {
  may_use_system
  need_root "starting the container engine"
  say "starting docker.service ..."
  as_root systemctl start docker >&2 || die "docker.service did not start: see 'journalctl -u docker'."
  may_use_system
  await_engine "unix://$SYSTEM_SOCKET" || die "docker.service runs, but $SYSTEM_SOCKET does not answer: see 'journalctl -u docker'."
}

systemd_runs() { [ -d /run/systemd/system ]; }

up() {
  if [ -n "${DOCKER_HOST:-}" ]; then
    command -v docker >/dev/null || install_engine
    answers "$DOCKER_HOST" || die "DOCKER_HOST is set to $DOCKER_HOST, but no engine answers there."
    printf '%s\n' "$DOCKER_HOST"
    return
  fi
  if find_engine; then return; fi
  mkdir -p "$ENGINE_DIR"
  exec 9>"$ENGINE_DIR/.lock"
  flock -n 9 || { say "another start is under way; waiting for it ..."; flock -w 600 9 || die "another start did not end."; }
  if find_engine; then return; fi
  install_engine
  if systemd_runs; then start_system; else start_managed; fi
  find_engine
}

managed_pid() {
  local pid
  pid="$(cat "$ENGINE_PID" 2>/dev/null)" || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -Fxq "$ENGINE_DIR/data" || return 1
  printf '%s\n' "$pid"
}

# Containers that hold the managed engine: whatever runs, and whatever was not made by Desk.
holders() {
  local docker=(docker -H "unix://$ENGINE_SOCKET")
  {
    "${docker[@]}" ps --format '{{.Names}}'
    "${docker[@]}" ps --all --format '{{.Names}} {{.Labels}}' | sed -E '/[ ,]desk\./d; s/ .*//'
  } | sort -u
}

down() {
  local pid held
  pid="$(managed_pid)" || { say "no engine of its own runs."; return; }
  held="$(holders)" || die "the engine (process $pid) does not answer; it is left as it is."
  [ -z "$held" ] || die "the engine stays: it holds $(paste -sd ' ' <<<"$held")."
  say "stopping the engine (process $pid) ..."
  as_root kill -TERM "$pid"
  for _ in $(seq 100); do
    [ -d "/proc/$pid" ] || return 0
    sleep 0.2
  done
  die "the engine (process $pid) did not stop within 20 seconds."
}

status() {
  local socket
  if [ -n "${DOCKER_HOST:-}" ]; then
    if answers "$DOCKER_HOST"; then echo "DOCKER_HOST answers at $DOCKER_HOST"; else echo "DOCKER_HOST is set to $DOCKER_HOST and does not answer"; return 1; fi
  elif socket="$(find_engine)"; then
    if [ "$socket" = "unix://$ENGINE_SOCKET" ]; then echo "an engine of its own answers at $socket"; else echo "the system's engine answers at $socket"; fi
  else
    echo "no engine answers"
    return 1
  fi
}

case "${1:-}" in
  up | down | status) "$1" ;;
  -h | --help) usage ;;
  *) usage; exit 2 ;;
esac
