"""What damaged and hostile files do: each must be refused with our error, or come out right; nothing may crash or hang.

`python -m colora.benchmarks.fuzz` prints the table and writes the record. Cases run in processes of their own with a
limit on memory and time; a finding is told with its number, and `--only NUMBER` runs it again. Linux only.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import click
from colora.benchmarks.fuzz_child import MEMORY
from colora.benchmarks.fuzz_verdict import Verdict
from colora.benchmarks.record import environment, path_of, warn_if_dirty, write_record
from colora.benchmarks.resident import in_fresh_process
from colora.benchmarks.script import output_option, run
from colora.benchmarks.tables import heading
from colora.runtime.atomic import write_text

PACKAGES = ("numpy", "onnxruntime", "safetensors", "pillow", "opencv-python-headless", "tifffile")
HANG_S = 60.0
"""A case that takes longer is a finding; most take a few ms."""
BATCH = 250
"""Cases of one process."""
MEASURED = {
    "bundles": "A bundle of nafnet-tiny with two tasks, damaged in one way (benchmarks/fuzz_ways.py), loaded, and "
    "one picture restored. Refused: a ColoraError that names the bundle or a file in it. Accepted: the bits of the "
    "whole bundle; within 0.02 where the damage was given right hashes: only the golden check (0.001) is left then.",
    "images": "A picture file of one of the kinds in benchmarks/fuzz_images.py, damaged, read by `read_image`. "
    "Refused: an ImageError that names the file. Accepted: what the trusted decoders make of the same bytes.",
    "processes": f"Each batch of cases in a process with {MEMORY / 2**30:g} GiB of address space; a process that dies, "
    f"or says nothing for {HANG_S:g} s, is a finding of the case it was at.",
}
"""How the numbers came about; part of the record."""


@dataclass
class Tally:
    """Verdicts of one kind of files."""

    cases: Counter[str] = field(default_factory=Counter)
    """By kind of damage; likewise the next two."""
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """By class."""
    findings: dict[int, str] = field(default_factory=dict)
    """By number of the case."""

    def add(self, number: int, verdict: Verdict) -> None:
        self.cases[verdict.way] += 1
        if verdict.finding:
            self.findings[number] = f"{verdict.way}: {verdict.done}: {verdict.finding}"
        elif verdict.refused:
            self.refused[verdict.way] += 1
            self.errors[verdict.refused] += 1
        else:
            self.accepted[verdict.way] += 1


def verdicts(
    kind: str, whole: Path, folder: Path, seed: int, first: int, last: int
) -> Iterator[tuple[int, Verdict]]:
    """Of the cases `first` to `last` - 1, in processes that are started anew when one dies."""
    while first < last:
        command = [sys.executable, "-m", "colora.benchmarks.fuzz_child", kind]
        args = [whole, folder, seed, first, last]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                [*command, *map(str, args)], stdout=subprocess.PIPE, stderr=errors, env=env
            ) as child:
                at, hung = first - 1, False
                for line in _lines(child):
                    if line is None:
                        child.kill()
                        hung = True
                    elif "case" in line:
                        at = line["case"]
                    else:
                        yield at, Verdict(**line)
                        first = at + 1
            if first >= last:
                return
            code = child.returncode
            reason = f"hangs for {HANG_S:g} s" if hung else f"ends the process: {_ended(code)}"
            errors.seek(0)
            said = errors.read()[-300:].decode(errors="replace").strip()
            yield max(at, first), Verdict("process", "", finding=f"{reason}; {said}")
            first = max(at, first) + 1


def _lines(child: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any] | None]:
    """JSON lines of a process; None where it said nothing for too long."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        buffered = b""
        while True:
            if not waiting.select(HANG_S):
                yield None
                return
            read = os.read(child.stdout.fileno(), 1 << 16)
            if not read:
                return
            *lines, buffered = (buffered + read).split(b"\n")
            yield from (json.loads(line) for line in lines)


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


@click.command()
@click.option(
    "--bundles", default=5000, show_default=True, type=click.IntRange(0), help="Bundles and adapters."
)
@click.option("--images", default=2000, show_default=True, type=click.IntRange(0))
@click.option("--seed", default=0, show_default=True)
@click.option("--only", type=int, help="Run this case alone, of --bundles 0 or --images 0 the other kind.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes at once.")
@output_option
def command(bundles: int, images: int, seed: int, only: int | None, jobs: int, output: Path) -> None:
    """Damage BUNDLES bundles and IMAGES pictures and see what becomes of them. The exit code is 1 after a finding."""
    where = environment(PACKAGES)
    warn_if_dirty(where)
    tallies = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, count in (("bundles", bundles), ("images", images)):
            if count:
                whole = Path(folder) / "whole"
                if kind == "bundles":
                    in_fresh_process("colora.benchmarks.tiny:tiny_bundle", whole)
                numbers = range(count) if only is None else range(only, only + 1)
                tallies[kind] = _fuzz(kind, whole, Path(folder), seed, numbers, jobs)
    found = 0
    text = []
    for kind, tally in tallies.items():
        found += len(tally.findings)
        text += table(kind, tally)
        text += [f"  case {number}: {finding}" for number, finding in sorted(tally.findings.items())]
    click.echo("\n".join(text))
    if only is None:
        path = path_of(output, where, "fuzz", "numpy")
        content = {"settings": {"bundles": bundles, "images": images, "seed": seed}, "measured": MEASURED}
        write_record(
            path, "fuzz", where, content | {kind: _as_dict(tally) for kind, tally in tallies.items()}
        )
        write_text(
            path.with_suffix(".md"),
            "\n".join([heading(f"fuzz, seed {seed}", where), "```", *text, "```", ""]),
        )
        click.echo(f"{path} and .md")
    if found:
        raise SystemExit(1)


def table(kind: str, tally: Tally) -> list[str]:
    """Aligned lines: each kind of damage, and the sum."""
    lines = [f"{kind:<28} {'cases':>7} {'refused':>8} {'right':>7} {'findings':>9}"]
    rows = [(way, tally.cases[way], tally.refused[way], tally.accepted[way]) for way in sorted(tally.cases)]
    all_, refused, right = (sum(c.values()) for c in (tally.cases, tally.refused, tally.accepted))
    rows.append(("sum", all_, refused, right))
    lines += [f"{w:<28} {n:>7,} {r:>8,} {a:>7,} {n - r - a:>9,}" for w, n, r, a in rows]
    errors = ", ".join(f"{name} {n:,}" for name, n in tally.errors.most_common())
    return [*lines, f"refused with: {errors}", ""]


def _as_dict(tally: Tally) -> dict[str, Any]:
    """As `dataclasses.asdict`, which can't copy a Counter."""
    return {name: dict(value) for name, value in vars(tally).items()}


def _fuzz(kind: str, whole: Path, folder: Path, seed: int, numbers: range, jobs: int) -> Tally:
    """All cases of one kind, several processes at once. Findings are told as they come."""
    from rich.console import Console
    from rich.progress import Progress

    batches = [(n, min(n + BATCH, numbers.stop)) for n in range(numbers.start, numbers.stop, BATCH)]
    tally, adding = Tally(), Lock()
    with Progress(console=Console(stderr=True)) as bar, ThreadPoolExecutor(jobs) as pool:
        line = bar.add_task(kind, total=len(numbers))

        def batch(ends: tuple[int, int]) -> None:
            for number, verdict in verdicts(kind, whole, folder / f"{kind}-{ends[0]}", seed, *ends):
                with adding:
                    tally.add(number, verdict)
                bar.advance(line)
                if verdict.finding:
                    click.echo(f"case {number}: {tally.findings[number]}", err=True)

        list(pool.map(batch, batches))
    return tally


if __name__ == "__main__":
    run(command)
