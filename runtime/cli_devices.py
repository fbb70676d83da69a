"""`colora devices`: what can be exported for, and what this machine is."""

from collections.abc import Sequence

import click
from colora.devices.catalogue import ALIASES, DEVICES
from colora.devices.device import Device
from colora.devices.fit import find_fitting, find_missing
from colora.devices.jetpack import JETPACKS, find_jetpack
from colora.devices.probe import Machine, probe

HEADER = (
    *("name", "machine", "GPU", "memory", "GB/s", "fp16 TFLOPS", "int8 TOPS", "DLA"),
    *("JetPack", "power modes"),
)
JETPACK_HEADER = ("JetPack", "L4T", "CUDA", "TensorRT", "Python")


@click.command("devices")
@click.option("--here", is_flag=True, help="Say what this machine is, which device fits and what is missing.")
def command(here: bool) -> None:
    """List the devices that bundles can be exported for.

    Rates are dense, at best, in the power mode listed first; sources are in devices/catalogue.py.
    """
    for line in here_lines(probe()) if here else list_lines():
        click.echo(line)


def list_lines() -> list[str]:
    """The table of devices, that of JetPacks, and what the aliases mean."""
    releases = [(j.version, j.l4t, j.cuda, j.tensorrt, j.python) for j in JETPACKS.values()]
    return [
        *table([HEADER, *(row(device) for device in DEVICES.values())]),
        "",
        *table([JETPACK_HEADER, *releases]),
        "",
        *(f"{alias} means {name}" for alias, name in ALIASES.items()),
    ]


def here_lines(machine: Machine) -> list[str]:
    """What is known of the machine, the device of the table that it is, and what it lacks."""
    fitting = find_fitting(machine)
    jetpack = find_jetpack(machine.l4t) if machine.l4t else None
    rows = [
        ("board", " ".join([machine.model, *machine.modules])),
        ("processor", machine.machine),
        ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else ""),
        *(("GPU", _gpu(gpu.name, gpu.compute_capability, gpu.memory_bytes)) for gpu in machine.gpus),
        ("L4T", f"{machine.l4t} (JetPack {jetpack.version})" if jetpack else machine.l4t),
        ("TensorRT", machine.tensorrt),
        ("power mode", machine.power_mode),
        ("Python", machine.python),
        ("packages", ", ".join(machine.packages)),
        ("fits", fitting.name if fitting else "no device of the table"),
        *(("missing", line) for line in find_missing(machine, fitting)),
    ]
    return table([r for r in rows if r[1]])


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


def _gpu(name: str, capability: str, memory_bytes: int | None) -> str:
    memory = f", {memory_bytes / 2**30:.1f} GiB" if memory_bytes else ""
    return f"{name} (SM {capability or 'unknown'}{memory})"
