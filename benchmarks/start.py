"""How soon a device works: the import of `colora.runtime`, and process start to the first restored picture.

`python -m colora.benchmarks.start` prints the table and writes the record.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click
import numpy as np
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.fleet import make_fleet
from colora.benchmarks.networks import BACKBONES, make_bundle
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.scenarios import INPUT, OUTPUT, picture
from colora.benchmarks.script import output_option, run
from colora.benchmarks.timing import order, paired_ratio, summary
from colora.devices.errors import BackendError

PACKAGES = ("numpy", "onnxruntime", "torch")
IMPORT_MOST, START_MOST = 0.1, 1.5

IMPORTS = {
    name: f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1e3)"
    for name, statement in {
        "import torch": "import torch",
        "import colora.runtime": "import colora.runtime",
        "from colora.runtime import load": "from colora.runtime import load",
        "import numpy": "import numpy",
        "import onnxruntime": "import onnxruntime",
    }.items()
}
"""Name → script that prints the milliseconds of one statement."""

BARE = f"""
import sys, numpy as np, onnxruntime as ort
image = np.load(sys.argv[2])
session = ort.InferenceSession(sys.argv[1] + "/graph.onnx", providers=["CPUExecutionProvider"])
tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
result = session.run(["{OUTPUT}"], {{"{INPUT}": tensor}})[0][0].transpose(1, 2, 0)
np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), flush=True)
"""
OURS = """
import sys, numpy as np
from colora.runtime import load
with load(sys.argv[1], backend="ort", policy={policy!r}) as session:
    session.restore(np.load(sys.argv[2]), {task!r})
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), flush=True)
"""
BARE_NAME = "bare ONNX Runtime script"
FIRST, LATER, MERGED = "first start", "later start", "start, policy merged"
POLICIES = {FIRST: "auto", LATER: "auto", MERGED: "merged"}

MEASURED = {
    "imports": "Milliseconds of the one statement inside a fresh interpreter (time.perf_counter); nothing of colora or "
    "torch was imported before it.",
    "start": "From before the process is made until its line after the first picture is read: interpreter, imports, "
    "session, one picture of the size given. The bare script opens the ONNX file with the task merged in at default "
    "options, on all cores; ours verifies every file of the bundle by SHA-256, proves graph and task on the golden "
    "input, and switches to the task.",
    FIRST: "load(backend='ort', policy='auto') and restore on a machine that never opened this bundle: its cache "
    "(XDG_CACHE_HOME) is empty, so that ONNX Runtime's layout is looked up and kept.",
    LATER: "The same with that cache as the first start has left it: every start of a device but one.",
    MERGED: "The same with policy='merged', which has nothing to look up.",
    "bytecode": "Of Python's modules, written by the warm-up where it was not there, as pip does when it installs.",
    "peak memory": "VmHWM of the process after its picture; median. (ru_maxrss begins with that of the process that "
    "made it.)",
    "rounds": "All by turns, the order rotating; one round of warm-up, so that files are in the system's cache. Ratios "
    "are medians of those within each round; quartiles are in the JSON.",
}
"""How the numbers came about; part of the record."""


def seconds_to_line(code: str, *args: str, cache: Path) -> tuple[float, float]:
    """Wall-clock seconds from starting a Python process to its first line, and the number there.

    Raises: BackendError if it fails.
    """
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(cache),
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - begin
        _, errors = process.communicate()
    if process.returncode or not line:
        raise BackendError(f"a script failed in a process of its own: {errors.strip()[-400:]}")
    return taken, float(line)


def import_ms(code: str, cache: Path) -> float:
    """What a script of IMPORTS prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment(cache)
    )
    return float(done.stdout)


def _environment(cache: Path) -> dict[str, str]:
    """Of this process, with another cache, and bytecode written."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"XDG_CACHE_HOME": str(cache)}


Times = dict[str, list[float]]


def measure(
    bundle: Path, model: Path, task: str, image: Path, rounds: int, folder: Path
) -> tuple[Times, Times]:
    """Name → milliseconds in each round, and of processes their peak memory in MB. folder: for caches."""
    names = {BARE_NAME: (BARE, str(model), str(image))}
    for name, policy in POLICIES.items():
        names[name] = (OURS.format(policy=policy, task=task), str(bundle), str(image))
    times: Times = {name: [] for name in (*IMPORTS, *names)}
    peaks: Times = {name: [] for name in names}
    for number in range(-1, rounds):
        for name in order(tuple(times), number):
            cache = folder / (f"cache-{number}" if name == FIRST else "cache")
            if name in IMPORTS:
                ms = import_ms(IMPORTS[name], cache)
            else:
                seconds, peak_kb = seconds_to_line(*names[name], cache=cache)
                ms = 1e3 * seconds
                if number >= 0:
                    peaks[name].append(peak_kb / 1e3)
            if number >= 0:
                times[name].append(ms)
    return times, peaks


def judge(times: Mapping[str, Sequence[float]], peaks: Mapping[str, Sequence[float]]) -> list[Demand]:
    """Medians, and the ratios that are asked for."""
    demands = [Demand(name, summary(ms).ms_p50, "ms") for name, ms in times.items()]
    demands += [Demand(f"{name}: peak memory", median(mb), "MB") for name, mb in peaks.items()]
    for name in ("import colora.runtime", "from colora.runtime import load"):
        ratio = paired_ratio(times[name], times["import torch"]).p50
        most = IMPORT_MOST if name == "import colora.runtime" else None
        demands.append(Demand(name, ratio, most=most, against="import torch"))
    for name, policy in POLICIES.items():
        ratio = paired_ratio(times[name], times[BARE_NAME]).p50
        most = START_MOST if policy == "auto" else None
        demands.append(Demand(f"{name}, to the first picture", ratio, most=most, against="the bare script"))
    return demands


@click.command()
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Used as it is, instead of exporting --backbone.",
)
@click.option("--backbone", default="nafnet-small", show_default=True, help=BACKBONES)
@click.option("--size", default=256, show_default=True, help="Side of the picture in px.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2))
@output_option
def command(bundle: Path | None, backbone: str, size: int, rounds: int, output: Path) -> None:
    """Time of imports against torch, and of the first picture against a bare ONNX Runtime script."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        work = bundle or make_bundle(backbone, Path(folder))
        (member,) = make_fleet(work, Path(folder) / "models", 1)
        image = Path(folder) / "picture.npy"
        np.save(image, picture(size))
        times, peaks = measure(work, member.model.parent, member.task, image, rounds, Path(folder))
    path = path_of(output, where, f"start-{bundle.name if bundle else backbone}")
    against = {name: BARE_NAME if name not in IMPORTS else "import torch" for name in times}
    ratios = {name: asdict(paired_ratio(ms, times[against[name]])) for name, ms in times.items()}
    content = {
        "settings": {"size_px": size, "rounds": rounds, "backbone": backbone},
        "ms": times,
        "peak_mb": peaks,
        "ratios": ratios,
    }
    click.echo(write_demands(path, "start", where, judge(times, peaks), MEASURED, content))
    click.echo(f"{path} and .md")


if __name__ == "__main__":
    run(command)
