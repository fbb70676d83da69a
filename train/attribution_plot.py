"""`colora attribution`: which parts of a backbone a task's tuning used, as a table and as the paper's bar chart."""

from collections.abc import Sequence
from pathlib import Path

import click
from colora.devices.errors import ColoraError, missing_extra
from colora.train.contribution import POOLINGS, Attribution, Group, pool

PARTS = {
    "encoder": ("enc", "down"),
    "middle": ("middle", "latent"),
    "decoder": ("dec", "up", "reduce", "refinement"),
    "ends": ("",),
}
"""Part of the network → how the names of its groups begin; the first that fits counts."""


def part_of(group: str) -> str:
    """Entry of PARTS."""
    return next(part for part, starts in PARTS.items() if group.startswith(starts))


def draw(groups: Sequence[Group], path: Path, title: str = "", log: bool = False) -> None:
    """PNG, or what the suffix says, with a bar for each group: mean |FAIG| per number, in the network's order.

    As in the paper's figure, bars of the ends (intro, ending) that rise above all others run out of the chart; their
    values stand on top. `log` shows all of them, and the low ones, on a logarithmic axis.
    Raises MissingExtra without matplotlib, ColoraError where the file can't be written.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_extra("matplotlib", "bench", "drawing a bar chart") from error
    figure = matplotlib.figure.Figure(figsize=(max(6.4, 0.22 * len(groups)), 3.8), layout="constrained")
    axes = figure.add_subplot(title=title, ylabel="mean |FAIG| per number")
    for part, colour in zip(PARTS, ("tab:blue", "tab:gray", "tab:orange", "tab:green"), strict=True):
        mine = [(i, group.mean) for i, group in enumerate(groups) if part_of(group.name) == part]
        if mine:
            axes.bar(*zip(*mine, strict=True), color=colour, label=part)
    if log:
        axes.set_yscale("log")
    else:
        inner = [group.mean for group in groups if part_of(group.name) != "ends"]
        top = 1.15 * max(inner or [group.mean for group in groups])
        axes.set_ylim(0, top or 1)
        for i, group in enumerate(groups):
            if group.mean > top:
                axes.annotate(f"{group.mean:.1e}", (i, top), ha="center", va="bottom", fontsize=7)
    axes.set_xlim(-0.7, len(groups) - 0.3)
    axes.set_xticks(range(len(groups)), [group.name for group in groups], rotation=90, fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len({part_of(group.name) for group in groups}) > 1:  # not for kinds
        axes.legend(fontsize="small")
    try:
        figure.savefig(path, dpi=120, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as error:
        raise ColoraError(
            f"{path} was not drawn ({error}): give a name such as faig.png in a folder that is there"
        ) from error


def table(attribution: Attribution, groups: Sequence[Group]) -> str:
    """Groups with their numbers, mean, and share of the whole |FAIG|, aligned."""
    width = max(len(group.name) for group in groups)
    lines = [f"{'':{width}}  {'numbers':>10}  {'mean |FAIG|':>11}  {'share':>6}"]
    for group in groups:
        share = group.total / (attribution.total or 1)
        lines.append(f"{group.name:{width}}  {group.numbers:>10,}  {group.mean:>11.2e}  {share:>6.1%}")
    lines.append(
        f"N = {attribution.steps} on {attribution.images} images; the signed sum explains "
        f"{attribution.explained:.4g} of a change of the loss of {attribution.change:.4g}"
    )
    return "\n".join(lines)


@click.command("attribution")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--by", default="block", show_default=True, type=click.Choice(list(POOLINGS)))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Bar chart, PNG.")
@click.option("--log", is_flag=True, help="Logarithmic axis.")
def command(file: Path, by: str, output: Path | None, log: bool) -> None:
    """Show what each part of the backbone contributed to a task (FILE: the faig.json of colora adapt)."""
    attribution = Attribution.read(file)
    groups = pool(attribution, by)
    click.echo(table(attribution, groups))
    if output:
        draw(groups, output, f"contribution by {by}", log)
        click.echo(output)
