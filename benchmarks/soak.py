"""Does a session hold for months? Many restores by many threads: memory stays flat, every result is its reference.

`python -m colora.benchmarks.soak` prints the table and writes the record and a plot of resident memory. Linux only.
"""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run
from colora.benchmarks.soak_plan import make_plan, make_references
from colora.benchmarks.soak_run import Outcome, Soak
from colora.benchmarks.tables import heading
from colora.devices.errors import missing_extra
from colora.runtime.atomic import write_text
from colora.runtime.bundle import open_bundle
from colora.runtime.policy import estimate

PACKAGES = ("numpy", "onnxruntime", "safetensors")
FLAT = 0.01
"""Largest growth of resident memory from the second quarter of the calls to the last."""
MERGED = 2
"""Merged graphs that have room beside the one edited in place, under --policy auto without --memory-budget."""
THREADS = (1, 2)
"""Of a network's run; sessions take them in turn."""

MEASURED = {
    "traffic": "Each call takes a picture and a mixture (the backbone, a task at strength 1 or 0.5, or two tasks), "
    "drawn from the seed and the call's number. 80 shifts: in each another number of threads calls, 1 to 8; every "
    "8 shifts the session is closed and another opened. Before some calls an adapter file is replaced by another "
    "version, or by half of itself, which must be refused, or a mixture is announced (prefetch).",
    "result": "SHA-256 of dtype, shape and every bit, against sessions of their own that made one call after another "
    "over the same versions of the adapters, by policy refit and, for auto, also by policy merged.",
    "memory": "Rss of /proc/self/smaps_rollup, 400 times; means of the second and the last quarter of them.",
}
"""How the numbers came about; part of the record."""


@click.command()
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A copy of it is used.  [default: a tiny network's]",
)
@click.option("--count", default=20_000, show_default=True, type=click.IntRange(8), help="Restores.")
@click.option("--seed", default=0, show_default=True)
@click.option("--policy", default="refit", show_default=True, type=click.Choice(["refit", "merged", "auto"]))
@click.option("--memory-budget", type=int, help="Bytes, for auto.  [default: room for 2 merged graphs]")
@click.option("--pictures", default=12, show_default=True, type=click.IntRange(1), help="Different ones.")
@click.option("--size", default=96, show_default=True, help="Longest side in px; sides are drawn.")
@output_option
def command(
    bundle: Path | None,
    count: int,
    seed: int,
    policy: str,
    memory_budget: int | None,
    pictures: int,
    size: int,
    output: Path,
) -> None:
    """Restore COUNT pictures with random tasks, sizes and threads, while adapter files are swapped and damaged.

    The exit code is 1 if a result is wrong, a call fails, or memory grows.
    """
    if find_spec("matplotlib") is None:  # known now, not after an hour
        raise missing_extra("matplotlib", "bench", "the plot of a soak")
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "bundle"
        if bundle is None:
            in_fresh_process("colora.benchmarks.tiny:tiny_bundle", work)
        else:
            shutil.copytree(bundle, work)
        if policy == "auto" and memory_budget is None:
            memory_budget = estimate(open_bundle(work)).total(True, MERGED)
        click.echo("references …", err=True)
        plan = make_plan(work, pictures, size, seed)
        references = make_references(
            work, plan, ("refit", "merged") if policy == "auto" else (policy,), THREADS
        )
        outcome = _with_progress(Soak(work, plan, references, policy, memory_budget, seed), count)
        backbone = open_bundle(work).manifest.backbone
    path = path_of(output, where, f"soak-{policy}")
    settings = {
        "backbone": backbone, "policy": policy, "memory_budget": memory_budget, "count": count, "seed": seed,
        "pictures": [[p.dtype.name, *p.shape[:2]] for p in plan.pictures], "references": len(references),
    }  # fmt: skip
    content = {"settings": settings, "measured": MEASURED, "growth": outcome.growth(), "limit": FLAT}
    write_record(path, "soak", where, content | vars(outcome))
    table = "\n".join(f"{name:<34}  {value:>12}  {limit}".rstrip() for name, value, limit in rows(outcome))
    title = f"soak: {backbone}, policy {policy}"
    page = f"{heading(title, where)}\n```\n{table}\n```\n\n![RSS]({path.stem}.png)\n"
    write_text(path.with_suffix(".md"), page)
    plot(outcome, f"{title}, {where.date_utc}, commit {where.commit[:12]}", path.with_suffix(".png"))
    click.echo(table)
    for finding in outcome.findings:
        click.echo(finding)
    click.echo(f"{path}, .md and .png")
    if outcome.wrong or outcome.errors or outcome.growth() > FLAT:
        raise SystemExit(1)


def rows(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Name, value and what is asked for."""
    t, mb = outcome.totals, 1e6
    return [
        ("restores", f"{outcome.restores:,}", ""),
        ("results that differ from references", f"{outcome.wrong:,}", "must be 0"),
        ("calls that raised", f"{outcome.errors:,}", "must be 0"),
        ("RSS, 2nd quarter of calls (MB)", f"{outcome.quarter_rss(2) / mb:,.1f}", ""),
        ("RSS, last quarter of calls (MB)", f"{outcome.quarter_rss(4) / mb:,.1f}", ""),
        ("growth (%)", f"{100 * outcome.growth():+.2f}", f"at most {100 * FLAT:+.2f}"),
        ("seconds", f"{outcome.seconds:,.0f}", ""),
        ("sessions opened", f"{outcome.sessions:,}", ""),
        ("switches", f"{t['switches']:,}", ""),
        ("merged graphs built in background", f"{t['prefetches']:,}", ""),
        ("… of them used", f"{t['prefetch_hits']:,}", ""),
        ("adapter files replaced", f"{outcome.swaps:,}", ""),
        ("… seen by the session", f"{t['swapped_adapters']:,}", ""),
        ("adapter files damaged", f"{outcome.damaged:,}", ""),
        ("warnings of them", f"{outcome.events['adapter_refused']:,}", "one in 10 s"),
    ]


def plot(outcome: Outcome, title: str, path: Path) -> None:
    """Resident memory over the calls, and the two quarters compared, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="restores", ylabel="RSS (MB)")
    axes.set_title(title, fontsize=8)
    step = outcome.restores / len(outcome.rss_bytes)
    axes.plot(
        [i * step for i in range(len(outcome.rss_bytes))], [b / 1e6 for b in outcome.rss_bytes], linewidth=1
    )
    for quarter in (2, 4):
        ends = ((quarter - 1) * outcome.restores / 4, quarter * outcome.restores / 4)
        mean = outcome.quarter_rss(quarter) / 1e6
        axes.plot(ends, (mean, mean), linewidth=2.5, label=f"mean of quarter {quarter}: {mean:.1f} MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def _with_progress(soak: Soak, count: int) -> Outcome:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Any = (TextColumn("soak"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("soak", total=count)
        return soak.run(count, lambda calls: bar.advance(line, calls))


if __name__ == "__main__":
    run(command)
