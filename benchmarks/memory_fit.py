"""The constants of the memory model, fitted to networks that no report judges it by.

`python -m colora.benchmarks.memory_fit` prints the table of benchmarks/memory_laws.py (minutes). Linux only.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
from colora.benchmarks import memory_laws
from colora.benchmarks.memory_laws import FITTED_PX
from colora.benchmarks.memory_measure import empty, make_models, readings
from colora.benchmarks.memory_model import Facts, Law, facts_of
from colora.benchmarks.memory_systems import MERGED, ORT_TURNS, REFIT, SYSTEMS
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import run
from colora.runtime.atomic import write_text

NETWORKS = {"width 16": (16, (1, 1, 1, 8)), "width 64": (64, (1, 1, 1, 1))}
"""Name → width and encoder blocks of a NAFNet of random weights: powers of two, as networks in use have. Fitted to
widths of 24 and 40 at 192 and 320 px, the model was up to a fifth too high for ONNX Runtime at width 32 and 256 px."""
COUNTS = (1, 2, 4, 8)
COMPUTED = (REFIT, MERGED)
"""Systems that keep adapters, which the law counts rather than fits."""
Point = tuple[Facts, int, int]
"""Facts, tasks, bytes measured."""


def make(name: str, folder: str) -> str:
    """A bundle of one of NETWORKS with two adapters of 7 %, and its checkpoint, whose path is returned."""
    from colora.benchmarks.tiny import make_tiny
    from colora.export.pipeline import export
    from colora.runtime.manifest import Tile
    from colora.train.backbones import Backbone
    from colora.train.nafnet import NAFNetConfig

    width, encoder = NETWORKS[name]
    layout = Backbone("calibration", NAFNetConfig(width, encoder, 1, (1, 1, 1, 1)), Tile(512, 32, 1024))
    files = make_tiny(Path(folder), backbone=layout, share=0.07)
    adapters = [files.rain, files.noise]
    export(target="cpu", backbone=str(files.backbone), output=Path(folder) / "bundle", adapters=adapters)
    return str(files.backbone)


def fit(points: Sequence[Point], adapters: bool, each: bool = True) -> Law:
    """Least squares of the relative error, with no constant below 0. each: whether a task takes anything of its own."""
    rows, left = [], []
    for facts, tasks, measured in points:
        sizes = [facts.weights, facts.activations]
        rows.append(np.array([1e6, *sizes, *(tasks * x for x in (facts.graph, *sizes))]) / measured)
        left.append(1 - adapters * tasks * facts.adapter / measured)
    a, y, free = np.array(rows), np.array(left), list(range(6 if each else 3))
    while (x := np.linalg.lstsq(a[:, free], y, rcond=None)[0]).min() < 0:
        del free[int(np.argmin(x * np.linalg.norm(a[:, free], axis=0)))]
    found = np.zeros(6)
    found[free] = x
    found[0] *= 1e6
    once, once_weights, once_activations, *task = map(float, found)
    return Law(once, once_weights, once_activations, task[0], task[1], task[2], adapters)


def worst(law: Law, points: Sequence[Point]) -> float:
    """Largest relative error."""
    return max(abs(law.bytes(facts, tasks) / measured - 1) for facts, tasks, measured in points)


def literal(laws: Mapping[str, Law]) -> str:
    """As Python, for benchmarks/memory_laws.py."""
    lines = []
    for system, law in laws.items():
        lines.append(f'    "{system}": Law(')
        for field in fields(Law):
            value = getattr(law, field.name)
            lines.append(
                f"        {field.name}={value if isinstance(value, bool) else float(f'{value:.4g}')!r},"
            )
        lines.append("    ),")
    return "\n".join(["LAWS: dict[str, Law] = {", *lines, "}"])


@click.command()
@click.option("--system", "systems", multiple=True, default=tuple(SYSTEMS), type=click.Choice(tuple(SYSTEMS)))
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--write", is_flag=True, help="Put them into memory_laws.py, those of other systems as they are."
)
def command(systems: tuple[str, ...], threads: int, write: bool) -> None:
    """Fit the memory model's constants on this machine."""
    points: dict[str, list[Point]] = {system: [] for system in systems}
    bases = {package: empty(package) for package in {SYSTEMS[system].package for system in systems}}
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            click.echo(f"{name}: exporting …", err=True)
            checkpoint = in_fresh_process("colora.benchmarks.memory_fit:make", name, folder)
            fleet = make_models(folder / "bundle", folder / "fleet", max(COUNTS), checkpoint)
            for size in FITTED_PX:
                facts = facts_of(fleet.bundle, size)
                click.echo(f"{name}, {size} px: {facts}", err=True)
                for system in systems:
                    base = bases[SYSTEMS[system].package]
                    found = readings(fleet, system, COUNTS, base, size=size, threads=threads, seconds=900)
                    points[system] += [(facts, r.tasks, r.memory.rss_bytes) for r in found]
                    click.echo(
                        f"  {system}: {[round(r.memory.rss_bytes / 1e6, 1) for r in found]} MB", err=True
                    )
    laws = {system: fit(points[system], system in COMPUTED, system != ORT_TURNS) for system in systems}
    click.echo(literal(laws))
    if write:
        file = Path(memory_laws.__file__)
        head = file.read_text("utf-8").partition("LAWS")[0]
        write_text(file, f"{head}{literal(memory_laws.LAWS | laws)}\n")
    for system in systems:
        click.echo(
            f"# {system}: off by at most {worst(laws[system], points[system]):.1%} where it was fitted"
        )


if __name__ == "__main__":
    run(command)
