"""How fast a bundle is: pictures by backend, policy and size, changes of task, and starts, cold and warm.

`python -m colora.benchmarks.scenario_latency BUNDLE` prints the table and writes a record.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from colora.benchmarks import latency_view as view
from colora.benchmarks.interval import error_of_one
from colora.benchmarks.latency_run import LEAST_ROUNDS, OPEN
from colora.benchmarks.latency_view import Times
from colora.benchmarks.noise import Noise
from colora.benchmarks.record import environment, warn_if_dirty
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.scenarios import picture
from colora.benchmarks.script import output_option, run
from colora.benchmarks.section import Section
from colora.benchmarks.section_record import keep
from colora.benchmarks.settings import Settings
from colora.benchmarks.starts import WHOLE, starts
from colora.runtime.backend import BACKENDS
from colora.runtime.bundle import Bundle, open_bundle

SHARES = {"pictures": 0.5, "starts": 0.35}
"""Of the scenario's budget; the rest is for changes of task, and for opening what is measured."""
SWITCHES = 2
"""Changes of task for each round of settings: they are short."""
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Measure. Raises: BundleError; BackendError if no backend can open the bundle, or a process fails."""
    import numpy as np

    rng = np.random.default_rng(settings.seed)
    opened = open_bundle(bundle)
    tasks = (settings.tasks or tuple(opened.tasks))[:2]
    shared = opened.manifest.kind == "shared" and bool(tasks)
    notes: list[str] = []
    paces: list[float] = []
    report("latency: pictures")
    found = {"pictures": pictures(opened, tasks[0] if tasks else "", settings, notes, paces)}
    models = whole_models(opened, tasks, settings, notes) if shared else []
    if shared:
        report("latency: changes of task")
        found["switches"] = switches(opened, tasks, models, settings, notes, paces)
    report("latency: starts, cold and warm")
    found["starts"] = begin(opened, tasks[0] if tasks else "", models, settings, notes)
    pace = error_of_one(paces, rng, settings.confidence)
    notes.append(
        f"The pace of the reference loop, {len(paces)} times in all, adds {pace:.0%} to the error of every time."
    )
    figures = {
        name: [view.figure(times, rng, settings.confidence, pace) for times in rows]
        for name, rows in found.items()
    }
    rounds = sorted({len(times.ms) for rows in found.values() for times in rows})
    if rounds[0] < settings.rounds:
        notes.append(
            f"Some rows have {rounds[0]} rounds instead of {settings.rounds}, to keep within the time set."
        )
    plots = [view.by_size(figures["pictures"]), view.percentile_bars(figures["pictures"])]
    if shared:
        plots.append(view.distribution(figures["switches"]))
    plots.append(view.bars("From the start of a process to its first picture", figures["starts"]))
    return Section(
        "latency",
        "Speed: pictures, changes of task, starts",
        view.sentence(figures["pictures"], figures.get("switches", []), settings.size),
        view.COLUMNS,
        tuple(view.cells(figure) for rows in figures.values() for figure in rows),
        tuple(plots),
        tuple(notes),
    )


def pictures(
    bundle: Bundle, task: str, settings: Settings, notes: list[str], paces: list[float]
) -> list[Times]:
    """Every backend that is installed and computes in the graph's own precision, under each policy.

    paces: of the reference loop, in ms; the thirds of each size are added.
    """
    policies = ("refit", "merged") if bundle.manifest.kind == "shared" else ("merged",)
    backends = [name for name, entry in BACKENDS.items() if not entry.precision and name != "null"]
    found = in_fresh_process(
        "colora.benchmarks.latency_run:pictures",
        bundle.path,
        task,
        ",".join(map(str, sorted(set(settings.sizes)))),
        ",".join(f"{backend} {policy}" for backend in backends for policy in policies),
        str(settings.threads),
        str(settings.rounds),
        str(SHARES["pictures"] * settings.seconds),
    )
    notes += [f"Not measured, {name}: {why}" for name, why in refusals(found["refused"]).items()]
    notes += [
        f"{size} px was left out: {LEAST_ROUNDS} rounds of it would take longer than the time set (--minutes)."
        for size in found["left_out"]
    ]
    rows = []
    for size, measured in found["sizes"].items():
        noise = read_noise(measured["noise"])
        paces += noise.pace_ms
        notes.append(f"{size} px: {noise.sentence()}")
        against = next((way for way in measured["ms"] if way.endswith("merged")), "")
        for way, ms in measured["ms"].items():
            latency = measured["latency"][way]
            rows.append(
                Times(
                    "picture",
                    way.replace(" ", ", "),
                    ms,
                    int(size),
                    against.replace(" ", ", "),
                    measured["ms"].get(against, ()) if way != against else (),
                    latency["compute"]["p50_ms"],
                    latency["copies"]["p50_ms"],
                )
            )
    return rows


def whole_models(bundle: Bundle, tasks: tuple[str, ...], settings: Settings, notes: list[str]) -> list[Path]:
    """Folders of graph.onnx with one task merged in, for each of the tasks; none without the package onnx."""
    from colora.benchmarks.fleet import write_merged

    folder = settings.scratch / "whole"
    try:
        return [write_merged(bundle, bundle.read_task(task), folder / task).parent for task in tasks]
    except ModuleNotFoundError as e:
        notes.append(f"Not compared with whole models: {e}; pip install 'colora[bench]'")
        return []


def switches(
    bundle: Bundle,
    tasks: tuple[str, ...],
    models: list[Path],
    settings: Settings,
    notes: list[str],
    paces: list[float],
) -> list[Times]:
    """Changes between two tasks, or of one task on and off; by ONNX Runtime. paces: as of `pictures`."""
    found = in_fresh_process(
        "colora.benchmarks.latency_run:switches",
        bundle.path,
        ",".join((*tasks, "")[:2]),
        ",".join(str(folder / "graph.onnx") for folder in models) if len(models) == 2 else "",
        str(settings.threads),
        str(SWITCHES * settings.rounds),
    )
    noise = read_noise(found["noise"])
    paces += noise.pace_ms
    notes.append(f"Changes of task: {noise.sentence()}")
    peer = found["ms"].get(OPEN, [])
    return [
        Times(
            "change of task",
            name,
            ms,
            against=OPEN,
            reference=peer if name != OPEN else (),
        )
        for name, ms in found["ms"].items()
    ]


def begin(bundle: Bundle, task: str, models: list[Path], settings: Settings, notes: list[str]) -> list[Times]:
    """Starts of fresh processes."""
    import numpy as np

    image = settings.scratch / "start.npy"
    np.save(image, picture(settings.size))
    seconds = SHARES["starts"] * settings.seconds
    found = starts(
        bundle.path,
        models[0] if models else None,
        task,
        image,
        settings.rounds,
        seconds,
        settings.scratch / "caches",
    )
    notes.append(
        "A cold start finds the files of bundle or model on the disk alone and no cache of colora's, a warm one both "
        "in memory; interpreter and packages are in memory for either. Starts use all cores, by ONNX Runtime."
    )
    if found.stayed > 0.1:
        notes.append(
            f"Cold starts were not cold: the system kept up to {found.stayed:.0%} of a file in memory."
        )
    return [
        Times(
            kind,
            who,
            ms,
            settings.size,
            f"{WHOLE}, {kind}",
            found.ms.get((kind, WHOLE), ()) if who != WHOLE else (),
        )
        for (kind, who), ms in found.ms.items()
    ]


def refusals(told: Mapping[str, str]) -> dict[str, str]:
    """Backend or way → why it was not opened; a backend that opens under no policy is told once."""
    backends = {way.split()[0] for way in told if way.endswith(" merged")}
    return {
        way.split()[0] if way.split()[0] in backends else way.replace(" ", ", "): why
        for way, why in told.items()
        if way.endswith(" merged") or way.split()[0] not in backends
    }


def read_noise(told: dict[str, Any]) -> Noise:
    """From what `asdict` and JSON made of one."""
    return Noise(**told | {name: tuple(told[name]) for name in ("pace_ms", "throttled")})


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--size", "sizes", multiple=True, type=click.IntRange(16), help="In px.  [default: 128, 256, 512]"
)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(3))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(0))
@click.option("--seconds", default=45.0, show_default=True, type=click.FloatRange(1))
@output_option
def command(
    bundle: Path, sizes: tuple[int, ...], rounds: int, threads: int, seconds: float, output: Path
) -> None:
    """Pictures, changes of task and starts of BUNDLE, each with the interval in which an equal run's median falls."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), rounds=rounds, threads=threads, seconds=seconds)
        settings = replace(settings, sizes=sizes or settings.sizes)
        found = section(bundle, settings, lambda text: click.echo(text, err=True))
    keep(found, "latency", settings, where, output)


if __name__ == "__main__":
    run(command)
