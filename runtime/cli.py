"""The `colora` command. Each subcommand is loaded when it is called, so that `colora restore` never loads torch."""

import importlib
import sys

import click
from colora.devices.errors import ColoraError, MissingExtra, unknown

COMMANDS = {
    "pretrain": ("colora.train.pretrain:command", "Train a backbone on randomly ordered degradations."),
    "adapt": ("colora.train.cli_adapt:command", "Adapt a backbone to one task."),
    "attribution": ("colora.train.attribution_plot:command", "Show what parts of a backbone a task uses."),
    "import": ("colora.train.import_checkpoint:command", "Take a published checkpoint as a backbone."),
    "export": ("colora.export.cli:command", "Compile a backbone and adapters into a bundle."),
    "build": ("colora.runtime.cli_build:command", "Build a bundle's TensorRT engines on this device."),
    "restore": ("colora.runtime.cli_restore:command", "Restore pictures with a bundle."),
    "inspect": ("colora.runtime.cli_inspect:command", "Say what a bundle or an adapter is."),
    "sign": ("colora.runtime.cli_sign:command", "Sign a bundle or an adapter as its owner."),
    "bench": (
        "colora.benchmarks.report_cli:command",
        "Measure a bundle on this machine, and write a report.",
    ),
    "devices": ("colora.runtime.cli_devices:command", "List the devices that can be exported for."),
}
"""Name → module:function and what it does."""

EXTRAS = {
    "colora.train": "train",
    "colora.export": "export",
    "colora.runtime": "image",
    "colora.benchmarks": "bench",
}
"""Package → extra that brings what its commands import."""


class LazyGroup(click.Group):
    """Subcommands by the table above; our own errors become a message and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """Raises: UnknownName with the nearest names; MissingExtra naming the extra."""
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        module, _, attribute = COMMANDS[name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as e:
            if e.name is None or e.name.startswith("colora"):
                raise
            extra = EXTRAS[module.rpartition(".")[0]]
            raise MissingExtra(
                f"colora {name} needs the package {e.name!r}, which is not installed: "
                f"pip install 'colora[{extra}]'"
            ) from e
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ColoraError as e:
            click.echo(f"colora: {e}", err=True)
            sys.exit(2)


@click.group(cls=LazyGroup)
@click.version_option(package_name="colora")
def main() -> None:
    """One restoration backbone, many tasks, one small edge GPU."""
