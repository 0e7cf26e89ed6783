"""The package in Debians that boot in containers, with systemd as their first program."""
