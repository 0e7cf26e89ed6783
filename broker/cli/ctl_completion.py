"""deskctl completion: what a shell reads to complete words, of which `ctl_names` knows the names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

NAME = "deskctl"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, /, shell: str) -> None:
    """Print what makes a shell complete commands, options and the names of what is there."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, NAME, "_DESKCTL_COMPLETE").source())
