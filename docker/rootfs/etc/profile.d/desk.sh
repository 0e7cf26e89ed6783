. /usr/local/lib/desk/display.sh
