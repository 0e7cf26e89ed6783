# shellcheck shell=sh source=/dev/null
. /usr/local/lib/desk/display.sh
