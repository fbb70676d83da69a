"""`colora build`: a bundle's engines, on the machine that will run them, proven on their golden outputs."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import click
from colora.devices.errors import BackendError, unknown
from colora.runtime.backend import Backend, backend_class
from colora.runtime.bundle import WEIGHTS, Bundle, open_bundle
from colora.runtime.graphs import GraphMaker
from colora.runtime.mixture import Mixture, Part
from colora.runtime.session import GOLDEN_TOLERANCE

POLICIES = ("auto", "refit", "merged")


@click.command("build")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, help="Task to build a merged engine of; all by default.")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="auto",
    help="refit: one engine whose weights change; merged: one for each task; auto: refit, or merged if that fails.",
)
@click.option("--golden-tolerance", type=float, help="Largest difference from a golden output that passes.")
def command(bundle: Path, tasks: tuple[str, ...], policy: str, golden_tolerance: float | None) -> None:
    """Build the TensorRT engines of BUNDLE for this device, where they are not there yet, and prove each."""
    for line in build_engines(bundle, tasks, policy, golden_tolerance):
        click.echo(line)


def build_engines(
    path: Path, tasks: Iterable[str] = (), policy: str = "auto", golden_tolerance: float | None = None
) -> Iterable[str]:
    """Build and prove; yields a line for each engine.

    tasks, policy: as for the command. Raises: BackendError, MissingExtra, PlanError, BundleError, UnknownName;
    ParityError for an engine that does not compute what was trained; KeyboardInterrupt. Engines that were there before
    stay until the new one is whole.
    """
    bundle = open_bundle(path)
    tolerance = GOLDEN_TOLERANCE[bundle.manifest.precision] if golden_tolerance is None else golden_tolerance
    for task in tasks:
        if task not in bundle.tasks:
            raise unknown("task", task, bundle.tasks)
    maker = GraphMaker(bundle, partial(backend_class("tensorrt").open, threads=0), tolerance)
    if bundle.manifest.kind == "shared" and policy != "merged":
        try:
            yield from _refit(maker, bundle, tasks or bundle.tasks)
            return
        except BackendError as e:
            if policy == "refit":
                raise
            yield f"refit: {e}"
    yield from _merged(maker, bundle, tasks or bundle.tasks)


def _refit(maker: GraphMaker, bundle: Bundle, tasks: Iterable[str]) -> Iterable[str]:
    """One engine, turned to each task in turn."""
    graph = maker.refit()
    try:
        maker.check(graph, "the backbone", bundle.golden_output)
        yield f"refit engine: {_told(graph)}; the backbone is proven"
        held: Mixture = ()
        for task in tasks:
            adapter = bundle.read_task(task)
            mixture = (Part(adapter, 1.0),)
            maker.check_files(WEIGHTS)
            maker.edit(graph, mixture, maker.touched(held, mixture))
            maker.check(graph, f"task {task}", adapter.golden_output)
            held = mixture
            yield f"refit engine: task {task} is proven"
    finally:
        graph.close()


def _merged(maker: GraphMaker, bundle: Bundle, tasks: Iterable[str]) -> Iterable[str]:
    """An engine for each task; of a shared bundle the backbone has one too, with which a session begins."""
    for task in ("", *tasks) if bundle.manifest.kind == "shared" else ("",):
        graph = maker.build(((task, 1.0),) if task else (), {}, frozenset())[1]
        yield f"merged engine: {_told(graph)}; {task or bundle.manifest.task or 'the backbone'} is proven"
        graph.close()


def _told(graph: Backend) -> str:
    facts = graph.describe()
    return f"TensorRT {facts.version} on {facts.device}"
