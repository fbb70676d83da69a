"""`colora devices`: what can be exported for, what this machine is, and what a bundle will take on a device."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from colora.devices.catalogue import ALIASES, DEVICES, find_device
from colora.devices.cpu import WITHIN
from colora.devices.device import Device
from colora.devices.errors import PlanError
from colora.devices.fit import find_fitting, find_missing
from colora.devices.jetpack import JETPACKS, find_jetpack
from colora.devices.plan import MIB, Band, Plan, make_plan
from colora.devices.probe import Machine, probe

HEADER = (
    *("name", "machine", "GPU", "memory", "GB/s", "fp16 TFLOPS", "int8 TOPS", "DLA"),
    *("JetPack", "power modes"),
)
JETPACK_HEADER = ("JetPack", "L4T", "CUDA", "TensorRT", "Python")


@click.command("devices")
@click.option("--here", is_flag=True, help="Say what this machine is, which device fits and what is missing.")
@click.option(
    "--plan", "bundle", type=click.Path(path_type=Path), help="Predict memory and time of a bundle."
)
@click.option("--target", help="With --plan: the device; the bundle's own by default.")
@click.option("--image", default="1280x720", show_default=True, help="With --plan: width x height in pixels.")
@click.option("--mode", help="With --plan: power mode of the board; the fastest by default.")
@click.option("--policy", default="auto", show_default=True, help="With --plan: merged or refit.")
@click.option("--backend", default="ort", show_default=True, help="With --plan for a CPU: ort or openvino.")
@click.option(
    "--rates",
    type=click.Path(path_type=Path),
    help="With --plan for a CPU: record of python -m colora.benchmarks.predictions on it.",
)
def command(
    here: bool,
    bundle: Path | None,
    target: str | None,
    image: str,
    mode: str | None,
    policy: str,
    backend: str,
    rates: Path | None,
) -> None:
    """List the devices that bundles can be exported for.

    Rates are dense, at best, in the power mode listed first; sources are in devices/catalogue.py. --plan with --here
    plans for this machine, with the memory and the power mode that it has.
    """
    if bundle is not None:
        size = parse_size(image)
        lines = plan_lines(
            bundle_plan(bundle, size, target, mode, policy, backend, rates, probe() if here else None)
        )
    else:
        lines = here_lines(probe()) if here else list_lines()
    for line in lines:
        click.echo(line)


def bundle_plan(
    path: Path,
    image: tuple[int, int],
    target: str | None = None,
    mode: str | None = None,
    policy: str = "auto",
    backend: str = "ort",
    rates: Path | None = None,
    here: Machine | None = None,
) -> Plan:
    """Plan of a bundle on a device, the bundle's own by default. image: height, width in pixels.

    rates: record with those of a CPU (runtime/cpu_rates.py). here: a machine to plan for as it is, not a target.
    Raises: BundleError, UnknownName, MissingExtra; PlanError with what would fit.
    """
    from colora.runtime.bundle import open_bundle
    from colora.runtime.cpu_rates import read_rates
    from colora.runtime.tiles import cuts
    from colora.runtime.workload import bundle_workload

    bundle = open_bundle(path)
    m = bundle.manifest
    device = find_device(target or m.target)
    if here is not None:
        device, mode = _machine_device(here), mode or here.power_mode or None
    one_size = m.shapes.min == m.shapes.max and min(image) > 0
    plan = make_plan(
        bundle_workload(bundle),
        device,
        m.shapes.max if one_size else image,
        tile=m.tile.size,
        overlap=m.tile.overlap,
        when_above=max(m.shapes.max) if one_size else m.tile.when_above,
        multiple_of=m.pad.multiple_of,
        tasks=max(len(bundle.tasks), 1),
        mode=mode,
        policy=policy,
        backend=backend,
        rates=read_rates(rates, backend) if rates else None,
        memory_bytes=_machine_memory(here, device) if here else None,
    )
    if not one_size:
        return plan
    runs = math.prod(len(cuts(n, m.tile, least=least)) for n, least in zip(image, m.shapes.min, strict=True))
    seconds = plan.seconds and (runs * plan.seconds[0], runs * plan.seconds[1])
    return replace(plan, tiles=runs, seconds=seconds)


def _machine_device(machine: Machine) -> Device:
    device = find_fitting(machine)
    if device is None:
        raise PlanError(f"{find_missing(machine, None)[0]}; name the device that is nearest with --target")
    return device


def _machine_memory(machine: Machine, device: Device) -> int | None:
    """Of the GPU where it has its own, else what Linux has."""
    if device.compute_capability and not device.jetpacks:
        return next((gpu.memory_bytes for gpu in machine.gpus), None)
    return machine.memory_bytes


def plan_lines(plan: Plan, band: Band | None = None) -> list[str]:
    """A plan in words and numbers. band: the one it was made with."""
    height, width = plan.tile
    available = f" of {plan.available_bytes / MIB:.0f}" if plan.available_bytes is not None else ""
    models = f"{plan.tasks} whole models" if plan.policy == "merged" else f"one model for {plan.tasks} tasks"
    rows = [
        ("target", f"{plan.device.name}, {plan.device.title}, power mode {plan.mode}"),
        ("policy", f"{plan.policy}: {models}"),
        ("runs", f"{plan.tiles} of {width}×{height} px"),
        ("weights", f"{plan.weight_bytes / MIB:.1f} MiB"),
        ("activations", f"{plan.activation_bytes / MIB:.1f} MiB"),
        ("runtime", f"{plan.runtime_bytes / MIB:.1f} MiB"),
        ("total", f"{plan.total_bytes / MIB:.1f}{available} MiB"),
    ]
    if plan.seconds is not None:
        low, high = (1000 * s for s in plan.seconds)
        b = band or Band()
        if plan.device.compute_capability:
            why = f"between {b.high:.0%} and {b.low:.0%} of the roofline"
        else:
            why = f"{_ms((low + high) / 2)} ms by the rates measured there, ±{WITHIN:.0%}"
        rows.append(
            ("time", f"{_ms(low)} to {_ms(high)} ms, predicted: nobody measured it; {plan.bound}-bound")
        )
        rows.append(("", why))
    return table([*rows, *(("note", note) for note in plan.notes)])


def _ms(time: float) -> str:
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def parse_size(text: str) -> tuple[int, int]:
    """`1280x720` → height 720, width 1280. Raises: click.BadParameter."""
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found:
        raise click.BadParameter(f"got {text!r}; expected WIDTHxHEIGHT, e.g. 1280x720", param_hint="--image")
    return int(found[2]), int(found[1])


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
