"""How a click command is run as `python -m colora.benchmarks.<name>`, and options that many have."""

import sys
from pathlib import Path

import click
from colora.benchmarks.record import RESULTS
from colora.devices.errors import ColoraError

output_option = click.option(
    "-o", "--output", default=RESULTS, show_default=True, type=click.Path(path_type=Path), help="Folder."
)
threads_option = click.option(
    "--threads", default=0, show_default=True, help="Of one run; 0: ONNX Runtime's choice."
)


def run(command: click.Command) -> None:
    """Our own errors become a message and exit code 2."""
    try:
        command()
    except ColoraError as e:
        click.echo(f"colora: {e}", err=True)
        sys.exit(2)
