"""The measured tables of README.md, made from the records: `python -m colora.benchmarks.readme_table`.

Each stands, caption included, between two comments, `<!-- table NAME: … -->` and `<!-- end of table NAME -->`; what is
between them is replaced, and a test says that it is what the newest records of clean commits give.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from colora.benchmarks import networks
from colora.benchmarks.memory_systems import ORT, ORT_BEST, REFIT
from colora.benchmarks.record import RESULTS
from colora.benchmarks.script import run
from colora.benchmarks.section import Section
from colora.benchmarks.tables import markdown
from colora.devices.errors import ReportError
from colora.runtime.atomic import write_text
from colora.train.backbones import DEFAULT_BACKBONE

README = Path("README.md")
BEGIN = "<!-- table {}: made by python -m colora.benchmarks.readme_table -->"
END = "<!-- end of table {} -->"
WIDTH = 125

Record = Mapping[str, Any]

SETS = {
    "denoise_awgn25": "white, σ 25",
    "denoise_real_polyu": "real, JPEG",
    "derain_rain100h": "",
    "dehaze_real_ohaze": "real",
    "dehaze_sots_indoor": "",
    "jpeg": "quality 10 to 40",
    "lowlight_lol": "real",
    "deblur_camerashake": "",
    "raindrop_real": "real",
}
"""In the order of the table: set of pairs → what to know about it."""
SHORT = {
    "one gamma for a mean of": "gamma",
    "dark channel prior": "dark channel",
    "unsharp mask": "unsharp",
}
"""Of classical methods, where their first words are too long."""
COUNTS = (1, 2, 4, 6, 8, 12, 16)
"""Numbers of tasks shown, where the record has them."""


def quality_table(record: Record, file: str) -> str:
    """PSNR and SSIM by set, the best PSNR of a row in bold."""
    scores = {(score["set"], score["column"]): score for score in record["scores"]}
    found = [name for name, _ in scores]
    rows = []
    for name in sorted(set(found), key=lambda name: (name not in SETS, [*SETS, *found].index(name))):
        classical = max(
            (scores[name, column] for column in ("opencv", "bm3d") if (name, column) in scores),
            key=lambda score: float(score["psnr_db"]),
        )
        kinds = [scores[name, "input"], classical, scores[name, "backbone"], scores[name, "adapter"]]
        best = max(kinds, key=lambda score: float(score["psnr_db"]))
        cells = [_score(score, score is best) for score in kinds]
        cells[1] = f"{_method(classical['told'])} {cells[1]}"
        task = kinds[-1]["told"].split()[1].rstrip(",")
        known = f" ({SETS[name]})" if SETS.get(name) else ""
        rows.append([task, f"{name}{known}", str(kinds[0]["n"]), *cells])
    header = ["task", "set", "pictures", "input", "classical, best setting", "backbone alone", "with adapter"]
    return _caption(
        f"PSNR in dB / SSIM on 8-bit RGB, means over all pictures of {_count(len(rows))} public sets, none of which "
        f"was trained on ({_when(record)}, CPU, fp32, ONNX Runtime; "
        f"`python -m colora.benchmarks.quality --pairs DIR …`, [record]({file.removesuffix('.json')}.md)):"
    ) + markdown(header, rows, left=2)


def memory_table(record: Record, file: str) -> str:
    """Files and RSS by number of tasks, where ours and ONNX Runtime's were measured."""
    section = Section.read(record["section"])
    names = [column.name for column in section.columns]
    told = [dict(zip(names, row, strict=True)) for row in section.rows]
    rows = {(row["N"], row["tasks kept as"]): row for row in told if row["RSS"] is not None}
    lines = []
    for n in COUNTS:
        found = [rows.get((n, name)) for name in (REFIT, ORT, ORT_BEST)]
        if None in found:
            continue
        ours, default, best = [(float(row["files"]), float(row["RSS"])) for row in found if row]  # type: ignore[arg-type]
        cells = [f"{files:.1f} MB, {rss:.0f} MB" for files, rss in (ours, default)]
        ratios = f"{default[1] / ours[1]:.2f}, {best[1] / ours[1]:.2f}"
        lines.append([str(n), *cells, f"{best[1]:.0f} MB", f"{default[0] / ours[0]:.2f}", ratios])
    size = record["settings"]["size"]
    header = [
        *("N", "colora: files, RSS", "N models, default", "N models, best with all resident", "files ×"),
        "RSS × default, best",
    ]
    return _caption(
        f"Memory of N tasks at {size}×{size}, one backbone with adapters against N fully tuned models in ONNX Runtime, "
        f"all resident, at its default and its best setting known to us ({_when(record)}, {_where(record)}; RSS above "
        "an empty ONNX Runtime process; `python -m colora.benchmarks.scenario_memory BUNDLE`; OpenVINO, PyTorch, the "
        f"settings and what the memory model predicts in the [record]({file})):"
    ) + markdown(header, lines, left=0)


def compiled_table(record: Record, file: str, *others: tuple[Record, str]) -> str:
    """Times of the compiled graph against a plain export. others: records of other networks, and their files."""
    rows, notes = _compiled_rows(record, ""), ""
    for other, where in others:
        network = other["settings"]["backbone"]
        rows += _compiled_rows(other, f", {network}")
        notes += (
            f" Below, {network} ({networks.MILLIONS[network]} M parameters, random weights; {_when(other)}, "
            f"{other['settings']['rounds']} rounds, [record]({where}))."
        )
    header = [
        *("picture", "plain export", "ours, merged", "ours, weights changed in place"),
        "its convolutions alone",
    ]
    return _caption(
        "The compiled graph of a CPU bundle against `torch.onnx.export` → onnxsim → ONNX Runtime at its highest level "
        f"and a fixed size ({_when(record)}, {_where(record)}, medians of paired ratios of "
        f"{record['settings']['rounds']} interleaved rounds; `python -m colora.benchmarks.compiled`, every form in the "
        f"[record]({file}))" + (f".{notes}" if notes else ":")
    ) + markdown(header, rows, left=1)


def _compiled_rows(record: Record, network: str) -> list[list[str]]:
    form = list(record["forms"])[-1]
    names = (f"merged: {form}", f"refit: {form}", "convolutions: ENABLE_ALL")
    return [
        [
            f"{size}×{size}{network}",
            f"{found['plain']['ms_p50']:,.0f} ms",
            *(f"{found[name]['ratio_to_plain_p50']:.2f}" for name in names),
        ]
        for size, found in record["latency"].items()
    ]


@dataclass(frozen=True)
class Source:
    """Where a table comes from."""

    kind: str
    """of the record"""
    module: str
    """of benchmarks/, which measures it"""
    table: Callable[..., str]
    """of a record, and its file; then, where there are any, pairs of these for `others`"""
    others: tuple[str, ...] = ()
    """networks beside the default one"""


TABLES = {
    "quality": Source("quality", "quality", quality_table),
    "memory": Source("memory-systems", "scenario_memory", memory_table),
    "compiled": Source("compiled", "compiled", compiled_table, tuple(networks.RANDOM)),
}
"""By the name in README's comments."""


def newest(source: Source, folder: Path, backbone: str = DEFAULT_BACKBONE) -> tuple[Record, str]:
    """The last record of its kind, of that backbone and a clean commit, and its name.

    Raises: ReportError for none.
    """
    found = []
    for file in sorted(folder.glob("*.json")):
        record = json.loads(file.read_text("utf-8"))
        if not isinstance(record, dict) or record.get("kind") != source.kind:
            continue
        network = record.get("settings", {}).get("backbone", DEFAULT_BACKBONE)
        if network == backbone and record["environment"]["clean_tree"]:
            found.append((record["environment"]["date_utc"], file.name, record))
    if not found:
        raise ReportError(
            f"{folder} has no record of kind {source.kind!r} made of a clean commit: make one by "
            f"python -m colora.benchmarks.{source.module}"
        )
    _, name, record = max(found, key=lambda one: one[:2])
    return record, name


def renewed(text: str, folder: Path) -> str:
    """README's text with every table made anew. Raises: ReportError for a missing record or comment."""
    for name, source in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ReportError(
                f"expected one line {begin!r}, and behind it one {end!r}: put them around the table"
            )
        record, file = newest(source, folder)
        others = []
        for network in source.others:
            with suppress(ReportError):  # not measured yet
                other, where = newest(source, folder, network)
                others.append((other, (RESULTS / where).as_posix()))
        made = source.table(record, (RESULTS / file).as_posix(), *others)
        text = text[: text.index(begin) + len(begin)] + f"\n{made}\n" + text[text.index(end) :]
    return text


def _caption(text: str) -> str:
    wrapped = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"\n{wrapped}\n\n"


def _score(score: Record, best: bool) -> str:
    text = f"{score['psnr_db']:.2f} / {score['ssim']:.3f}"
    return f"**{text}**" if best else text


def _method(told: str) -> str:
    found = re.match(r"[^,:]+?(?= \d|,|:|$)", told)
    name = found[0] if found else told
    return SHORT.get(name, name)


def _when(record: Record) -> str:
    where = record["environment"]
    return f"{where['date_utc'][:10]}, commit {where['commit'][:7]}"


def _where(record: Record) -> str:
    where = record["environment"]
    cpu = re.sub(r"\((R|TM)\)| Processor| CPU", "", where["cpu"])
    cores = f"{_count(where['cores'])} {cpu} core{'s' if where['cores'] > 1 else ''}"
    return f"{cores}, ONNX Runtime {where['packages']['onnxruntime']}"


def _count(n: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[n] if n < len(words) else str(n)


@click.command()
@click.option("--readme", default=README, show_default=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--results", default=RESULTS, show_default=True, type=click.Path(path_type=Path), help="Folder."
)
def command(readme: Path, results: Path) -> None:
    """Make the measured tables of README.md anew."""
    old = readme.read_text("utf-8")
    new = renewed(old, results)
    if new != old:
        write_text(readme, new)
    click.echo(f"{readme}: {'renewed' if new != old else 'as the records say'}")


if __name__ == "__main__":
    run(command)
