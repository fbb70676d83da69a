"""What restoring does to the machine: power, temperatures, clocks and memory while pictures run, and throttling."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from colora.benchmarks.section import Cell, Column, Section
from colora.benchmarks.settings import Settings
from colora.devices.sensors import open_sensors
from colora.runtime.latency import measure
from colora.runtime.session import load
from colora.runtime.telemetry import Recorder, Spread, Telemetry

INTERVAL_S = 0.25
"""Between readings."""
LEAST_S = 4.0
"""Pictures run for about as long, where the budget allows: sensors are slow."""


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Raises: what sessions raise."""
    report(f"sensors at {settings.size}×{settings.size}")
    picture = np.random.default_rng(settings.seed).integers(
        0, 256, (settings.size, settings.size, 3), np.uint8
    )
    with load(bundle, threads=settings.threads) as session:
        task = next(iter(settings.tasks or session.tasks), "")
        one = measure(session, picture, task, rounds=1).restore.p50_ms / 1e3
        rounds = max(settings.rounds, int(min(LEAST_S, settings.seconds) / one))
        recorder = Recorder(open_sensors("auto", INTERVAL_S), INTERVAL_S)
        with recorder:
            latency = measure(session, picture, task, rounds, warmups=0)
        backend = session.describe().backend
    telemetry = recorder.telemetry
    assert telemetry is not None
    return told(telemetry, latency.restore.n, f"{backend.name} {backend.version} on {backend.device}")


def told(telemetry: Telemetry, pictures: int, backend: str) -> Section:
    """What was found, as a section."""
    rows: list[tuple[Cell, ...]] = []
    kinds = (
        ("power", "mW", telemetry.power_mw),
        ("temperature", "°C", telemetry.temperature_c),
        ("clock", "MHz", telemetry.clock_mhz),
        ("load", "%", telemetry.load_percent),
    )
    for kind, unit, found in kinds:
        rows += [_row(kind, name, unit, spread) for name, spread in found.items()]
    if telemetry.memory_used_bytes is not None:
        used = telemetry.memory_used_bytes
        rows.append(_row("memory", "all", "MB", Spread(used.least / 1e6, used.mean / 1e6, used.most / 1e6)))
    slowed = {
        False: "it was not slowed down by heat or current",
        True: f"it WAS SLOWED DOWN: {'; '.join(telemetry.throttle_reasons)}",
    }
    begin = f"While {pictures} pictures ran on {backend}"
    how = f"{telemetry.readings} readings of {telemetry.source} in {telemetry.seconds:.1f} s"
    return Section(
        name="device",
        title="What it does to the machine",
        said="" if telemetry.throttled is None else f"{begin}, {slowed[telemetry.throttled]}.",
        columns=(
            *(Column("what"), Column("of"), Column("unit")),
            *(Column("least", "", how), Column("mean", "", how), Column("most", "", how)),
        ),
        rows=tuple(rows),
        notes=tuple(f"Not read: {name}: {why}" for name, why in telemetry.missing.items()),
    )


def _row(kind: str, name: str, unit: str, found: Spread) -> tuple[Cell, ...]:
    return (kind, name, unit, found.least, found.mean, found.most)
