"""A model card for a trained weight file: what it is, what made it, how good it is, and its curve.

`python -m colora.train.card runs/rain.safetensors --command "colora adapt …" -o train/zoo` copies the weights, draws
the curve of the run's folder and writes the card, all three named after the file.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from colora.devices.errors import CheckpointError, missing_extra
from colora.runtime.adapter import Adapter, read_adapter
from colora.runtime.weights import read_header
from colora.train.checkpoint import load_backbone, zoo
from colora.train.tasks import TASKS


@dataclass(frozen=True)
class Curve:
    """One training run as `fit` logged it."""

    name: str
    steps: Sequence[int]
    psnr_db: Sequence[float]
    """of the training batch"""
    held_out: Sequence[tuple[int, float]]
    """(step, dB) of each validation"""
    kept_step: int
    """whose averaged weights the run ended with"""


def read_curves(folder: Path) -> list[Curve]:
    """Curves of a run's folder: its own, or those of the runs inside it. Raises CheckpointError where there is none."""
    files = sorted(folder.glob("curve.jsonl")) or sorted(folder.glob("*/curve.jsonl"))
    if not files:
        raise CheckpointError(
            f"{folder}: no curve.jsonl here or just below; expected the folder of a training run"
        )
    curves = []
    for file in files:
        rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
        name = file.parent.name.split("-")[0] if file.parent != folder else folder.name
        held_out = [(row["step"], row["validation_db"]) for row in rows if row["validation_db"] is not None]
        kept = rows[-1].get("kept_step", rows[-1]["step"])  # older runs kept the last
        curves.append(Curve(name, [r["step"] for r in rows], [r["psnr_db"] for r in rows], held_out, kept))
    return curves


def draw(curves: Sequence[Curve], path: Path) -> None:
    """PNG of PSNR against step: the batches' running mean over 10 log lines, and the held-out set, where a ring marks
    the step whose weights were kept."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_extra("matplotlib", "bench", "drawing a training curve") from error
    figure = matplotlib.figure.Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        parts = [curve.psnr_db[max(0, i - 9) : i + 1] for i in range(len(curve.psnr_db))]
        mean = [sum(part) / len(part) for part in parts]
        axes.plot(curve.steps, mean, linewidth=1, label=f"{curve.name}: training batches")
        if curve.held_out:
            label = f"{curve.name}: held out, kept step {curve.kept_step:,}"
            (line,) = axes.plot(*zip(*curve.held_out, strict=True), marker="o", markersize=3, label=label)
            kept = dict(curve.held_out).get(curve.kept_step, float("nan"))  # not validated: no ring
            axes.plot(curve.kept_step, kept, "o", markersize=8, fillstyle="none", color=line.get_color())
    axes.set(xlabel="optimizer step", ylabel="PSNR (dB)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def quality_table(quality: Mapping[str, float]) -> str:
    """Markdown table of an adapter's figures, named <set>_<column>_psnr_db."""
    known = ("input", "backbone", "start", "adapted", "full_tuning")
    columns = [c for c in known if any(f"_{c}_psnr_db" in name for name in quality)]
    sets: dict[str, dict[str, float]] = {}
    for name, value in quality.items():
        for column in columns:
            if name.endswith(suffix := f"_{column}_psnr_db"):
                sets.setdefault(name.removesuffix(suffix), {})[column] = value
    lines = [
        "| set | " + " | ".join(c.replace("_", " ") for c in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, row in sets.items():
        cells = (f"{row[c]:.2f}" if c in row else "–" for c in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def public_sets(task: str, scores: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of the public sets that a record of `benchmarks.quality` scored with the adapter `task`; "" for none.

    scores: its rows, each with set, column, n, psnr_db, ssim, told.
    """
    sets = [row["set"] for row in scores if row["column"] == "adapter" and f"task {task}," in row["told"]]
    if not sets:
        return ""
    shown = ("input", "opencv", "bm3d", "backbone", "adapter")
    columns = [c for c in shown if any(row["column"] == c and row["set"] in sets for row in scores)]
    lines = ["| public set | n | " + " | ".join(columns) + " |", "| --- | ---: |" + " ---: |" * len(columns)]
    for name in sets:
        found = {row["column"]: row for row in scores if row["set"] == name}
        cells = (
            f"{found[c]['psnr_db']:.2f} / {found[c]['ssim']:.3f}" if c in found else "–" for c in columns
        )
        lines.append(f"| {name} | {found['adapter']['n']} | " + " | ".join(cells) + " |")
    told = "PSNR in dB / SSIM, whole images, in ONNX Runtime; classical methods at their best setting on the very set:"
    return f"{told}\n\n" + "\n".join(lines) + "\n"


def _adapter_facts(adapter: Adapter, backbone: str, scores: Sequence[Mapping[str, Any]]) -> str:
    checkpoint = load_backbone(backbone)
    total = sum(p.numel() for p in checkpoint.module.parameters())
    low_rank = {n: p for n, p in adapter.params.items() if p.kind == "low-rank"}
    ranks = sorted(p.rank for p in low_rank.values())
    task = TASKS.get(adapter.task)
    return f"""Adapter for the task **{adapter.task}**{f" ({task.summary})" if task else ""} on the backbone
`{checkpoint.backbone.name}` (sha256 `{adapter.backbone_sha256[:16]}…`), method {adapter.method}.

- {adapter.stored_numbers():,} numbers, {adapter.stored_numbers() / total:.2%} of the backbone's {total:,}, the golden
  output that the file carries to verify itself counted in
- {len(low_rank)} kernels at ranks {ranks[0]} to {ranks[-1]} (median {ranks[len(ranks) // 2]}),
  {len(adapter.params) - len(low_rank)} parameters with dense deltas
- seeds: {", ".join(f"{name} {seed}" for name, seed in adapter.seeds.items())}{_started(adapter)}

## Quality

Mean PSNR in dB on 8-bit RGB, whole images, fp32 PyTorch. *backbone* is the network without the adapter, *start* the
adapter that this one went on from, *full tuning* the copy that attribution compared with, tuned for the steps that the
command names. *held out* are pictures kept out of training; the other sets have nothing to do with the training data.

{quality_table(adapter.quality)}

{public_sets(adapter.task, scores)}"""


def _started(adapter: Adapter) -> str:
    """A line about the adapter that this one went on from; nothing where it began from zero."""
    if not adapter.started_from:
        return ""
    names = [name for name, path in zoo().items() if _content(path) == adapter.started_from]
    named = f"`{names[0]}` of the zoo, " if names else ""
    return f"\n- went on from the adapter {named}content sha256 `{adapter.started_from}`: its ranks and its values"


def _content(path: Path) -> str:
    """What a file of the zoo gives as its content's hash; backbones give none."""
    return str(json.loads(read_header(path, CheckpointError).metadata["colora"]).get("content_sha256", ""))


def _patches(training: Mapping[str, Any]) -> str:
    """As `--patches` has them; older files tell the two numbers of their only stage."""
    return str(training.get("patches") or f"{training['patch']}x{training['batch']}")


def _kept(training: Mapping[str, Any]) -> int:
    """The step whose average was kept; older files kept the last."""
    return int(training.get("kept_step", training["fit"]["steps"]))


def _backbone_facts(path: Path, metadata: Mapping[str, str]) -> str:
    facts = json.loads(metadata["colora"])
    checkpoint = load_backbone(str(path))
    training = facts["training"]
    return f"""Backbone `{facts["backbone"]}`, pre-trained on randomly ordered degradations ({training["method"]}):
1 to {training["max_count"]} of {", ".join(training["degradations"])}, each at most once; mode
{training.get("mode", "random")}, each count {training.get("decay", 1)} times as frequent as the one before.

- {sum(p.numel() for p in checkpoint.module.parameters()):,} parameters, float32, sha256 `{checkpoint.sha256}`
- {training["fit"]["steps"]:,} steps of patches × batch {_patches(training)},
  seed {training["seed"]}, AdamW, peak learning rate {training["fit"]["lr"]}, cosine, PSNR loss,
  EMA {training["fit"]["ema"]}, kept as it was after step {_kept(training):,}
- it restores by itself what it can guess; an adapter makes it a specialist
"""


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--command", "command_line", required=True, help="The command line that made the weights.")
@click.option("--data", required=True, help="The training data and its licence, a sentence.")
@click.option("--limits", required=True, help="Where it fails, as seen.")
@click.option(
    "--backbone", default="nafnet-small", show_default=True, help="Of an adapter: zoo name or file."
)
@click.option(
    "--quality",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Record of colora.benchmarks.quality: an adapter's card shows what it reaches on public sets.",
)
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(
    weights: Path,
    command_line: str,
    data: str,
    limits: str,
    backbone: str,
    quality: Path | None,
    output: Path,
) -> None:
    """Copy WEIGHTS to the output folder, with a card and a drawing of the run's curve beside it."""
    metadata = read_header(weights, CheckpointError).metadata
    is_adapter = json.loads(metadata.get("colora", "{}")).get("kind") != "backbone"
    scores = json.loads(quality.read_text())["scores"] if quality else []
    if is_adapter:
        facts = _adapter_facts(read_adapter(weights), backbone, scores)
    else:
        facts = _backbone_facts(weights, metadata)
    output.mkdir(parents=True, exist_ok=True)
    draw(read_curves(weights.with_suffix("")), output / f"{weights.stem}.png")
    if weights.resolve() != (output / weights.name).resolve():
        shutil.copyfile(weights, output / weights.name)
    card = f"""# {weights.stem}

{facts}
## Made by

```
{command_line}
```

Data: {data}

![PSNR against step]({weights.stem}.png)

## Limits

{limits}
"""
    (output / f"{weights.stem}.md").write_text(card)
    click.echo(f"{output / weights.name}  {output / weights.stem}.md  {output / weights.stem}.png")


if __name__ == "__main__":
    main()
