"""`colora devices`: what can be exported for."""

import click
from colora.devices.catalogue import ALIASES, DEVICES
from colora.devices.device import Device

HEADER = ("name", "machine", "GPU", "memory", "JetPack (TensorRT)")


@click.command("devices")
def command() -> None:
    """List the devices that bundles can be exported for."""
    rows = [HEADER, *(row(device) for device in DEVICES.values())]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADER))]
    for r in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(r, widths, strict=True)).rstrip())
    for alias, name in ALIASES.items():
        click.echo(f"{alias} means {name}")


def row(device: Device) -> tuple[str, ...]:
    """A device's cells under HEADER."""
    return (
        device.name,
        device.title,
        f"SM {device.compute_capability}" if device.compute_capability else "",
        f"{device.memory_gb} GB" if device.memory_gb else "",
        ", ".join(f"{j.version} ({j.tensorrt})" for j in device.jetpacks),
    )
