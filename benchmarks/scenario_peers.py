"""colora against other ways to run the same network and change its task, in one run: losses as plainly as wins.

`python -m colora.benchmarks.scenario_peers BUNDLE` prints the table and writes a record. Linux only.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from colora.benchmarks.peer_models import write_weights
from colora.benchmarks.peer_open import COMPILED, PEERS, missing
from colora.benchmarks.peer_table import COLUMNS, REFIT, Found, plots, row, sentence
from colora.benchmarks.record import environment, warn_if_dirty
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run
from colora.benchmarks.section import Section
from colora.benchmarks.section_record import keep, page
from colora.benchmarks.settings import Settings
from colora.devices.errors import BackendError, BundleError
from colora.runtime.atomic import write_text
from colora.runtime.bundle import open_bundle

PACKAGES = (
    "numpy",
    "onnxruntime",
    "openvino",
    "onnx",
    "onnxsim",
    "torch",
    "ncnn",
    "pnnx",
    "peft",
    "transformers",
)
RUN = "colora.benchmarks.peer_run"
COMPILER_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def section(bundle: Path, settings: Settings, report: Callable[[str], None]) -> Section:
    """Measure. Raises: BundleError for a bundle that shares no backbone or has fewer than two tasks; BackendError."""
    opened = open_bundle(bundle)
    tasks = (settings.tasks or tuple(opened.tasks))[:2]
    if opened.manifest.kind != "shared" or len(tasks) < 2:
        raise BundleError(
            f"{bundle}: has {len(tasks)} task(s) to switch between; expected a shared bundle with two or more"
        )
    found = compare(bundle, tasks, settings, report)
    rng = np.random.default_rng(settings.seed)
    rows = tuple(row(peer, found, rng, settings.confidence) for peer in PEERS.values())
    notes = [f"Not measured, {name}: {one.why}." for name, one in found.items() if one.why]
    rounds = min((len(one.ms) for one in found.values() if one.ms), default=0)
    notes += [
        f"{rounds} rounds, {settings.size}×{settings.size} px, tasks {' and '.join(tasks)}, "
        f"{settings.threads or 'all'} thread(s) each.",
        "PEFT holds low-rank changes of ungrouped convolutions only: biases, norms and depthwise kernels stay the "
        "backbone's, so its picture differs from the task's; it computes less than the others.",
        "colora's memory holds adapters of both tasks; merged, both graphs. PyTorch and PEFT hold both tasks' changes; "
        "ONNX Runtime plain, OpenVINO and ncnn hold one model and read the other from its file.",
    ]
    return Section(
        "peers",
        "Against other ways to run the same network",
        sentence(found),
        COLUMNS,
        rows,
        plots(found),
        tuple(notes),
    )


COMPILING_S = 180.0
"""Below it torch.compile is not begun: it would only slow down what is measured beside it."""


def compare(
    bundle: Path, tasks: Sequence[str], settings: Settings, report: Callable[[str], None]
) -> dict[str, Found]:
    """Every one of PEERS, by name. What is compiled is compiled beside all that is not timed."""
    found = {name: Found(why=lacks(missing(peer, installed), peer.extra)) for name, peer in PEERS.items()}
    if settings.seconds < COMPILING_S and COMPILED in found and not found[COMPILED].why:
        found[COMPILED] = Found(
            why=f"compiling takes minutes, and {settings.seconds:.0f} s are set: python -m "
            f"colora.benchmarks.scenario_peers BUNDLE --seconds {COMPILING_S:.0f}"
        )
    able = [name for name, one in found.items() if not one.why]
    pair, folder, begin = ",".join(tasks), settings.scratch / "models", time.monotonic()
    variables = {COMPILER_CACHE: os.environ.get(COMPILER_CACHE, str(settings.scratch / "inductor"))}
    common = [str(bundle), pair, str(folder), str(settings.threads)]
    write_weights(open_bundle(bundle), folder, tasks)
    with ExitStack() as stack:
        if COMPILED in able:
            compiling = warm(common, settings.size, variables)
            stack.callback(compiling.kill)
        report("peers: files for each")
        failed = make_files(bundle, folder, pair, settings.size, {needs(name) for name in able})
        found |= {name: Found(why=failed[needs(name)]) for name in able if needs(name) in failed}
        report("peers: memory of each")
        able = [name for name in able if not found[name].why]
        held = memories([name for name in able if name != COMPILED], common, settings, variables)
        if COMPILED in able:
            report("peers: waiting for torch.compile")
            left = settings.seconds - (time.monotonic() - begin)
            found[COMPILED] = Found(why=finish(compiling, max(left, 5.0), settings.seconds))
            held |= memories([COMPILED], common, settings, variables) if not found[COMPILED].why else {}
    found |= {name: Found(why=str(told["failed"])) for name, told in held.items() if "failed" in told}
    if found[REFIT].why:
        raise BackendError(f"colora itself could not be opened: {found[REFIT].why}")
    able = [name for name in able if not found[name].why]
    report("peers: pictures and changes of task, by turns")
    limits = (str(settings.size), str(settings.rounds), str(settings.seconds))
    times = in_fresh_process(f"{RUN}:times", "|".join(able), *common, *limits, variables=variables)
    return found | {
        name: Found(
            times["ms"].get(name, ()),
            times["switch_ms"].get(name, ()),
            held[name]["bytes"],
            times["differs"].get(name),
            times["failed"].get(name, ""),
        )
        for name in able
    }


def installed(package: str) -> bool:
    """Whether a package could be imported."""
    return find_spec(package) is not None


def lacks(packages: Sequence[str], extra: str) -> str:
    """Why a peer without these packages is not measured; empty for none."""
    return f"{', '.join(packages)} not installed: pip install 'colora[{extra}]'" if packages else ""


def needs(name: str) -> str:
    """What must have been made for a peer."""
    return PEERS[name].file or ("" if name.startswith("colora") else "weights")


def make_files(bundle: Path, folder: Path, tasks: str, size: int, wanted: set[str]) -> dict[str, str]:
    """File → why it could not be made; see benchmarks/peer_models.py. Nothing is made for colora alone."""
    if not any(wanted):
        return {}
    try:
        found: dict[str, str] = in_fresh_process(
            "colora.benchmarks.peer_models:write", bundle, folder, tasks, str(size)
        )
    except BackendError as e:  # a layout that has no name here: nothing can be made
        why = str(e).rpartition(": ")[2]
        return {
            needs(name): why for name in PEERS if needs(name)
        }  # PyTorch peers are built from that layout too
    return found


def memories(
    names: Sequence[str], common: list[str], settings: Settings, variables: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What fresh processes grew by, two at a time: bytes are no slower beside one another."""

    def one(name: str) -> dict[str, Any]:
        arguments = (name, *common, str(settings.size))
        found: dict[str, Any] = in_fresh_process(f"{RUN}:memory", *arguments, variables=variables)
        return found

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def warm(common: list[str], size: int, variables: Mapping[str, str]) -> "subprocess.Popen[str]":
    """A process that compiles for PyTorch, and leaves it in Inductor's cache."""
    code = f"import sys; from {RUN} import warm; warm(*sys.argv[1:])"
    command = [sys.executable, "-c", code, COMPILED, *common, str(size)]
    own = os.environ | variables
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=own)


def finish(process: "subprocess.Popen[str]", wait: float, seconds: float) -> str:
    """Why it did not; empty if it did."""
    try:
        _, errors = process.communicate(timeout=wait)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"compiling took longer than the {seconds:.0f} s set: allow more (--seconds)"
    if process.returncode:
        return (errors.strip().splitlines() or ["it said nothing"])[-1]
    return ""


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--size", default=256, show_default=True, help="Side of the picture in px.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(3))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--seconds", default=90.0, show_default=True, help="For compiling, and again for what is timed, about."
)
@output_option
def command(bundle: Path, size: int, rounds: int, threads: int, seconds: float, output: Path) -> None:
    """Pictures, changes of task and memory of BUNDLE's network by colora and by its peers."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        given = Settings(Path(folder), size=size, rounds=rounds, threads=threads, seconds=seconds)
        found = section(bundle, given, lambda text: click.echo(text, err=True))
    path = keep(found, "peers", given, where, output)
    write_text(path.with_suffix(".md"), page(found, where))
    click.echo("and .md")


if __name__ == "__main__":
    run(command)
