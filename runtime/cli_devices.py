"""`colora devices`: what can be exported for."""

from collections.abc import Sequence

import click
from colora.devices.catalogue import ALIASES, DEVICES
from colora.devices.device import Device
from colora.devices.jetpack import JETPACKS

HEADER = (
    *("name", "machine", "GPU", "memory", "GB/s", "fp16 TFLOPS", "int8 TOPS", "DLA"),
    *("JetPack", "power modes"),
)
JETPACK_HEADER = ("JetPack", "L4T", "CUDA", "TensorRT", "Python")


@click.command("devices")
def command() -> None:
    """List the devices that bundles can be exported for.

    Rates are dense, at best, in the power mode listed first; sources are in devices/catalogue.py.
    """
    for line in table([HEADER, *(row(device) for device in DEVICES.values())]):
        click.echo(line)
    click.echo()
    releases = [(j.version, j.l4t, j.cuda, j.tensorrt, j.python) for j in JETPACKS.values()]
    for line in table([JETPACK_HEADER, *releases]):
        click.echo(line)
    click.echo()
    for alias, name in ALIASES.items():
        click.echo(f"{alias} means {name}")


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of equally many cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, r, widths)).rstrip() for r in rows]


def row(device: Device) -> tuple[str, ...]:
    """A device's cells under HEADER; what is not known or not there stays empty."""
    bandwidth = device.mode().bandwidth_gb_s
    return (
        device.name,
        device.title,
        f"SM {device.compute_capability}" if device.compute_capability else "",
        f"{device.memory_gb} GB" if device.memory_gb else "",
        f"{bandwidth:g}" if bandwidth else "",
        *(_tera(device.rate(precision)) for precision in ("fp16", "int8")),
        str(device.dla or ""),
        ", ".join(j.version for j in device.jetpacks),
        ", ".join(mode.name for mode in device.modes),
    )


def _tera(rate: float | None) -> str:
    return f"{rate / 1e12:.3g}" if rate else ""
