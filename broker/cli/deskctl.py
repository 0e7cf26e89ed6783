"""deskctl: the admin's tool, nouns first; each noun has a module of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from broker import __version__
from broker.cli.client import Client
from broker.cli.ctl import Desk
from broker.cli.ctl_audit import audit
from broker.cli.ctl_desktop import desktop, lease
from broker.cli.ctl_group import group
from broker.cli.ctl_login import invite, login_block
from broker.cli.ctl_session import attachment, session
from broker.cli.ctl_user import user
from broker.cli.output import Output


@click.group()
@click.version_option(__version__, prog_name="deskctl")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/desk/admin.sock"),
    show_default=True,
    envvar="DESK_SOCKET",
    help="The broker's admin socket.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def main(context: click.Context, socket: Path, *, as_json: bool) -> None:
    """Manage users, desktops and sessions of a running broker."""
    context.obj = Desk(Client(socket), Output(as_json=as_json))


for _noun in (user, invite, group, login_block, session, attachment, desktop, lease, audit):
    main.add_command(_noun)


if __name__ == "__main__":
    sys.exit(main())
