"""How a click command is run as `python -m colora.benchmarks.<name>`."""

import sys

import click
from colora.devices.errors import ColoraError


def run(command: click.Command) -> None:
    """Our own errors become a message and exit code 2."""
    try:
        command()
    except ColoraError as e:
        click.echo(f"colora: {e}", err=True)
        sys.exit(2)
