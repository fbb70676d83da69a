"""What plans predict of the CPU backends, against what is measured: time and memory of networks not used to find rates.

`python -m colora.benchmarks.predictions` prints the table and writes the record, whose rates `colora devices --plan
BUNDLE --target cpu --rates RECORD` takes. Linux only.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from colora.benchmarks.demand import Demand, write_demands
from colora.benchmarks.predictions_run import FITTED, JUDGED
from colora.benchmarks.record import environment, path_of, warn_if_dirty
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run
from colora.devices.catalogue import find_device
from colora.devices.cpu import WITHIN, CpuRates
from colora.devices.plan import Plan, make_plan
from colora.devices.workload import Workload
from colora.runtime.bundle import open_bundle
from colora.runtime.cpu_rates import cache_bytes, fit_rates, rates_record
from colora.runtime.workload import bundle_workload

PACKAGES = ("numpy", "onnxruntime", "openvino", "onnx", "torch")
WAYS = (("ort", "merged"), ("ort", "refit"), ("openvino", "merged"))
"""Backend and policy; `refit` edits weights in place."""
FITTED_SIZES, SIZES = (128, 256), (128, 256, 384)
"""Side in px: of the networks that rates come from, and of those judged."""
MODULE = "colora.benchmarks.predictions_run"
MB = 1e6

MEASURED = {
    "rates": f"Four for each backend and policy, from runs of {'; '.join(FITTED)}, random weights, at "
    f"{' and '.join(map(str, FITTED_SIZES))} px: products, bytes near and far, functions a second (devices/cpu.py), "
    "the least squares of relative errors, products at most at the rate of numpy's product of two 2048×2048 matrices. "
    "None of the networks judged is among them.",
    "time": "The least of several runs of the network on one square picture, fitted and judged networks by turns in "
    "one process, order rotating. One thread: CPU time of the process. Predicted: the middle of the plan's range.",
    "memory": "Resident memory of a fresh process at the peak of a run (VmHWM, set back before it), one task, opening "
    "left out. Predicted: the plan's total, by constants in devices/cpu.py, which these networks at two sizes helped "
    "to find: another version of a package is what they are held against.",
    "asked": f"Predicted / measured between {1 - WITHIN:g} and {1 + WITHIN:g}.",
}
"""How the numbers came about; part of the record."""


def predict(workload: Workload, size: int, backend: str, policy: str, rates: CpuRates) -> Plan:
    """The plan of one run on a picture of size×size px, whole."""
    return make_plan(
        workload,
        find_device("cpu"),
        (size, size),
        when_above=size,
        policy=policy,
        backend=backend,
        rates={policy: rates},
    )


def judge(
    folder: Path, workloads: dict[str, Workload], ways: Sequence[tuple[str, str]], threads: str, rounds: str
) -> tuple[list[Demand], dict[str, dict[str, CpuRates]], list[dict[str, object]]]:
    """Demands, the rates found, and figures of every run."""
    cases = [(n, s) for n in FITTED for s in FITTED_SIZES] + [(n, s) for n in JUDGED for s in SIZES]
    demands: list[Demand] = []
    found: dict[str, dict[str, CpuRates]] = {}
    figures: list[dict[str, object]] = []
    for backend, policy in ways:
        click.echo(f"{backend}, {policy} …", err=True)
        asked = ";".join(f"{name}@{size}" for name, size in cases)
        seconds = in_fresh_process(f"{MODULE}:times", folder, backend, policy, threads, rounds, asked)
        measured = dict(zip(cases, seconds, strict=True))
        most = in_fresh_process(f"{MODULE}:product_rate", threads, rounds)
        runs = [(workloads[n], s * s, t) for (n, s), t in measured.items() if n in FITTED]
        rates = fit_rates(runs, cache_bytes(int(threads)), most)
        found.setdefault(backend, {})[policy] = rates
        for (name, size), took in measured.items():
            told = f"{name}, {size} px, {backend} {policy}"
            predicted = rates.seconds(workloads[name], size * size)
            figures.append(
                {"run": told, "fitted": name in FITTED, "seconds": took, "predicted_seconds": predicted}
            )
            if name in JUDGED:
                plan = predict(workloads[name], size, backend, policy, rates)
                assert plan.seconds is not None
                ratio = sum(plan.seconds) / 2 / took
                demands.append(_within(f"{told}: predicted time", ratio, f"{took * 1e3:.1f} ms"))
        for name in JUDGED:
            sides = ",".join(map(str, SIZES))
            held = in_fresh_process(f"{MODULE}:memory", folder, backend, policy, threads, name, sides)
            for size, peak in zip(SIZES, held, strict=True):
                told = f"{name}, {size} px, {backend} {policy}"
                total = predict(workloads[name], size, backend, policy, rates).total_bytes
                figures.append({"run": told, "bytes": peak, "predicted_bytes": total})
                demands.append(
                    _within(f"{told}: predicted memory", total / peak, f"{peak / MB:.0f} MB measured")
                )
    return demands, found, figures


def _within(what: str, ratio: float, against: str) -> Demand:
    return Demand(what, ratio, least=1 - WITHIN, most=1 + WITHIN, against=against)


@click.command()
@click.option("--threads", default=0, show_default=True, help="Of one run; 0: the package's choice.")
@click.option(
    "--way",
    "ways",
    multiple=True,
    type=click.Choice([" ".join(way) for way in WAYS]),
    help="Backend and policy; all by default.",
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--bundles",
    type=click.Path(path_type=Path),
    help="Folder that keeps the bundles, so that a second time exports nothing.",
)
@output_option
def command(threads: int, ways: tuple[str, ...], rounds: int, bundles: Path | None, output: Path) -> None:
    """Time and memory that plans predict of the CPU backends, against what is measured."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    chosen = [way for way in WAYS if not ways or " ".join(way) in ways]
    with tempfile.TemporaryDirectory() as temporary:
        folder = bundles or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        workloads = {}
        for name in (*FITTED, *JUDGED):
            if not (folder / name).exists():
                click.echo(f"{name}: export …", err=True)
                in_fresh_process(f"{MODULE}:export", name, folder)
            workloads[name] = bundle_workload(open_bundle(folder / name))
        demands, rates, figures = judge(folder, workloads, chosen, str(threads), str(rounds))
    path = path_of(output, where, "predictions")
    content = {
        "settings": {"threads": threads, "rounds": rounds},
        "rates": rates_record(rates),
        "figures": figures,
    }
    click.echo(write_demands(path, "predictions", where, demands, MEASURED, content))
    for backend, of in rates.items():
        for policy, x in of.items():
            click.echo(
                f"rates of {backend} {policy}: {x.products_per_s / 1e9:.0f} GFLOP/s, "
                f"{x.near_bytes_per_s / 1e9:.1f} GB/s to {x.cache_bytes / 2**20:g} MiB, then "
                f"{x.far_bytes_per_s / 1e9:.1f}, {x.functions_per_s / 1e6:.0f} M functions/s"
            )
    missed = sum(d.holds is False for d in demands)
    click.echo(f"{len(demands) - missed} of {len(demands)} within {WITHIN:.0%}; {path} and .md")


if __name__ == "__main__":
    run(command)
