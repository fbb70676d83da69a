"""`colora bench --on-device`: how long a bundle takes on this machine, and what that does to it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.devices.sensors import SOURCES, open_sensors
from colora.runtime.cli_devices import parse_size, table
from colora.runtime.default import find_bundle
from colora.runtime.latency import MEASURED, Latency, measure
from colora.runtime.record import environment, slug, write_record
from colora.runtime.session import load
from colora.runtime.telemetry import Recorder, Spread, Telemetry

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "jetson-stats")


@click.command("bench")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--task", default="", help="Default: the first one of the bundle.")
@click.option("--image", default="1280x720", show_default=True, help="Width x height in pixels.")
@click.option("--rounds", default=50, show_default=True, type=click.IntRange(1))
@click.option("--warmups", default=3, show_default=True, type=click.IntRange(0))
@click.option("--backend", default="auto", show_default=True)
@click.option("--policy", default="auto", show_default=True, help="refit, merged or auto.")
@click.option("--threads", default=0, show_default=True, help="Of one run; 0: the backend's choice.")
@click.option("--on-device", is_flag=True, expose_value=False, help="What `colora bench` comes here by.")
@click.option(
    "--source", default="auto", show_default=True, help=f"Of power, clocks and so on: {', '.join(SOURCES)}."
)
@click.option(
    "--interval", default=0.5, show_default=True, type=click.FloatRange(0.02), help="Between readings, in s."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Default: colora-bench-<machine>.json here."
)
def command(
    bundle: Path | None,
    task: str,
    image: str,
    rounds: int,
    warmups: int,
    backend: str,
    policy: str,
    threads: int,
    source: str,
    interval: float,
    output: Path | None,
) -> None:
    """Time BUNDLE on one picture of noise with power, temperatures, clocks, memory, and whether it throttled.

    Writes a record, the same on a board and on a workstation.

    BUNDLE is $COLORA_BUNDLE by default, else ./colora-bundle.
    """
    height, width = parse_size(image)
    where = environment(PACKAGES)
    with load(find_bundle(bundle), backend=backend, policy=policy, threads=threads) as session:
        chosen = task or next(iter(session.tasks), "")
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        session.restore(picture, chosen)  # the switch, and what a first use allocates
        recorder = Recorder(open_sensors(source, interval), interval)
        with recorder:
            latency = measure(session, picture, chosen, rounds, warmups)
        facts = session.describe()
    telemetry = recorder.telemetry
    assert telemetry is not None  # its `with` has ended
    path = output or Path(f"colora-bench-{slug(where.board or where.cpu)}.json")
    content: dict[str, Any] = {
        "measured": MEASURED,
        "settings": {"image": f"{width}x{height}", "task": chosen, "rounds": rounds, "warmups": warmups},
        "session": asdict(facts) | {"bundle": Path(facts.bundle).name},
        "latency": asdict(latency),
        "telemetry": asdict(telemetry),
    }
    write_record(path, "bench", where, content)
    backend_told = f"{facts.backend.name} {facts.backend.version} on {facts.backend.device}, {facts.policy}"
    for line in lines(latency, telemetry, f"{where.board or where.cpu}: {chosen} by {backend_told}"):
        click.echo(line)
    click.echo(f"record: {path}")


def lines(latency: Latency, telemetry: Telemetry, title: str) -> list[str]:
    """A record in words and numbers."""
    times = [("ms", "p50", "p95", "p99")]
    for name, found in (
        ("restore", latency.restore),
        ("compute", latency.compute),
        ("copies", latency.copies),
    ):
        times.append((name, f"{found.p50_ms:.2f}", f"{found.p95_ms:.2f}", f"{found.p99_ms:.2f}"))
    told = [title, f"{latency.restore.n} rounds, {latency.tiles} tiles each", *table(times)]
    rows: list[tuple[str, ...]] = [("sensor", "least", "mean", "most")]
    rows += _rows("power, mW", telemetry.power_mw, "")
    rows += _rows("temperature, °C", telemetry.temperature_c, ".1f")
    rows += _rows("clock, MHz", telemetry.clock_mhz, "")
    rows += _rows("load, %", telemetry.load_percent, "")
    if telemetry.memory_used_bytes is not None:
        x = telemetry.memory_used_bytes
        in_mib = Spread(x.least / 2**20, x.mean / 2**20, x.most / 2**20)
        rows += _rows("memory, MiB", {"used by all": in_mib}, "")
    verdict = {None: "can't be told", False: "no", True: f"YES: {'; '.join(telemetry.throttle_reasons)}"}
    return [
        *told,
        f"{telemetry.readings} readings of {telemetry.source} in {telemetry.seconds:.1f} s",
        *(table(rows) if len(rows) > 1 else []),
        f"throttled: {verdict[telemetry.throttled]}",
        *(f"not read: {name}: {why}" for name, why in telemetry.missing.items()),
    ]


def _rows(kind: str, found: Mapping[str, Spread], form: str) -> list[tuple[str, ...]]:
    return [
        (f"{kind} {name}", *(format(value, form or ".0f") for value in (x.least, x.mean, x.most)))
        for name, x in found.items()
    ]
