# shellcheck shell=sh
# Sourced by every shell that sshd starts: the desktop's display, unless sshd forwards one.
# It cannot be among sshd's own settings, which would override a forwarded one.
if [ -z "${DISPLAY:-}" ] && [ -n "${DESK_DISPLAY:-}" ]; then export DISPLAY=":$DESK_DISPLAY"; fi
