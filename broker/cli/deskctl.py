"""deskctl: the admin's tool, nouns first; each noun has a module of its own."""

from __future__ import annotations

import io
import sys

import click

from broker import __version__
from broker.cli.client import Client
from broker.cli.ctl import Desk, form, forms
from broker.cli.ctl_audit import audit
from broker.cli.ctl_completion import completion
from broker.cli.ctl_config import config
from broker.cli.ctl_desktop import desktop, lease
from broker.cli.ctl_events import events
from broker.cli.ctl_group import group
from broker.cli.ctl_image import image
from broker.cli.ctl_login import invite, login_block
from broker.cli.ctl_maintenance import add_broadcast, add_outdated, maintenance
from broker.cli.ctl_place import place, where
from broker.cli.ctl_session import attachment, session
from broker.cli.ctl_settings import policy, settings, template
from broker.cli.ctl_share import share
from broker.cli.ctl_signin import sign_in
from broker.cli.ctl_status import add_status
from broker.cli.ctl_token import add_whoami, token
from broker.cli.ctl_user import user
from broker.cli.errors import plain_errors


@click.group()
@click.version_option(__version__, prog_name="deskctl")
@where
@forms
@click.pass_context
@plain_errors
def main(context: click.Context, /, **_place: object) -> None:
    """Manage users, desktops and sessions of a running broker."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal's alphabet lacks is written out.
            stream.reconfigure(errors="backslashreplace")
    context.obj = Desk(Client(place(context)), form(context))


for _noun in (
    user,
    invite,
    token,
    sign_in,
    group,
    policy,
    login_block,
    session,
    attachment,
    desktop,
    share,
    template,
    image,
    lease,
    settings,
    config,
    maintenance,
    audit,
    events,
):
    main.add_command(_noun)
add_whoami(main)
add_status(main)
add_broadcast(main)
add_outdated(desktop)
main.add_command(completion)


if __name__ == "__main__":
    sys.exit(main())
