"""The scenarios of a report, and one after another within a time."""

import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import click
from colora.benchmarks.record import environment, warn_if_dirty
from colora.benchmarks.report import Picture, Report
from colora.benchmarks.report_pictures import pictures
from colora.benchmarks.scenario_environment import PACKAGES, bundle_facts, zoo_hashes
from colora.benchmarks.section import Section
from colora.benchmarks.settings import Settings
from colora.devices.errors import ColoraError
from colora.runtime.bundle import open_bundle


@dataclass(frozen=True)
class Scenario:
    """A module with a function `section`, as docs/report.md says."""

    module: str
    title: str
    """Where it can't run; else its section has one."""
    extra: str
    """Brings what it imports."""
    share: float
    """Of the time, beside that of the others."""
    fixed: float = 0.0
    """Seconds on two cores that it takes besides, whatever its share: set aside, of at most half of what is left."""


SCENARIOS = {
    "memory": Scenario(
        "colora.benchmarks.scenario_memory", "Memory against the number of tasks", "bench", 58
    ),
    "peers": Scenario("colora.benchmarks.scenario_peers", "Against the alternatives", "bench", 14, fixed=100),
    "latency": Scenario("colora.benchmarks.scenario_latency", "Latency and switching", "ort", 40),
    "quality": Scenario("colora.benchmarks.scenario_quality", "Quality against size", "train", 14),
    "ops": Scenario("colora.benchmarks.scenario_ops", "Where the time goes", "ort", 4),
    "scaling": Scenario("colora.benchmarks.scenario_scaling", "How cost grows", "bench", 10),
    "device": Scenario("colora.benchmarks.scenario_device", "What it does to the machine", "ort", 5),
    "environment": Scenario("colora.benchmarks.scenario_environment", "What it was measured with", "ort", 1),
}
"""Shares: about the seconds that each needs for rows that are worth having; a report of 4.1 minutes gives them."""
LAST = "peers"
"""Converts the network for each of them: it runs when the others have had their shares."""
STOPPED = "Not measured: stopped by Ctrl-C."


def measure(
    bundle: Path, settings: Settings, names: list[str], progress: Callable[[str, int], None]
) -> tuple[Report, list[str]]:
    """The report, and the names of scenarios that broke. settings.seconds: for all of them.

    Each scenario gets its share of the time that is left, and what is set aside for it. Ctrl-C leaves out the rest.
    Raises: BundleError.
    """
    where = environment(PACKAGES)
    warn_if_dirty(where)
    facts = bundle_facts(open_bundle(bundle))
    begin = time.monotonic()
    sections, failed, took = dict[str, Section](), list[str](), dict[str, float]()
    shown: tuple[Picture, ...] = ()
    order = sorted(names, key=lambda name: name == LAST)
    for number, name in enumerate(order):
        started = time.monotonic()
        coming = [SCENARIOS[other] for other in order[number:]]
        left = max(settings.seconds - (started - begin), 1.0)
        left -= min(sum(one.fixed for one in coming), left / 2)
        share = coming[0].share / sum(one.share for one in coming)
        scratch = settings.scratch / name
        scratch.mkdir()
        own = replace(settings, scratch=scratch, seconds=left * share)
        try:
            found, broke = run_scenario(name, bundle, own, partial(_say, progress, name))
        except KeyboardInterrupt:  # what was found so far is still a report
            sections |= {n: Section(n, SCENARIOS[n].title, "", notes=(STOPPED,)) for n in order[number:]}
            break
        sections[name] = found
        failed += [name] if broke else []
        took[name] = time.monotonic() - started
        progress(name, 1)
    else:
        progress("pictures", 0)
        shown = _pictures(bundle, settings) if "quality" in names else ()
        progress("done", 1)
    told = asdict(settings) | {"pairs": [(task, folder.name) for task, folder in settings.pairs]}
    told = {name: value for name, value in told.items() if name != "scratch"}
    seconds = time.monotonic() - begin
    in_order = tuple(sections[name] for name in names)
    return Report(where, facts, zoo_hashes(), told, seconds, took, in_order, shown), failed


def _pictures(bundle: Path, settings: Settings) -> tuple[Picture, ...]:
    """None where they can't be had, which is told."""
    try:
        return pictures(bundle, settings)
    except (ColoraError, ImportError) as e:
        click.echo(f"no pictures: {e}", err=True)
        return ()


def run_scenario(
    name: str, bundle: Path, settings: Settings, report: Callable[[str], None]
) -> tuple[Section, bool]:
    """What a scenario found; where it can't run, a section that says why; whether that is a fault of ours."""
    known = SCENARIOS[name]
    try:
        scenario: Callable[[Path, Settings, Callable[[str], None]], Section] = importlib.import_module(
            known.module
        ).section
        return scenario(bundle, settings, report), False
    except ColoraError as e:
        return Section(name, known.title, "", notes=(f"Not measured: {e}",)), False
    except Exception as e:  # minutes of other measurements are not to be lost
        if isinstance(e, ModuleNotFoundError) and not (e.name or "colora").startswith("colora"):
            note = (
                f"Not measured: the package {e.name!r} is not installed: pip install 'colora[{known.extra}]'"
            )
            return Section(name, known.title, "", notes=(note,)), False
        traceback.print_exc()
        return Section(name, known.title, "", notes=(f"Failed, {type(e).__name__}: {e}",)), True


def _say(progress: Callable[[str, int], None], name: str, told: str) -> None:
    progress(told if told.startswith(name) else f"{name}: {told}", 0)
