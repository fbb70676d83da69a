"""What a training step of an adapter costs beside one of full tuning: time by turns, and memory of the optimizer.

`python -m colora.benchmarks.steps` prints the ratios, and records them. A step is that of `train.fit`: forward, loss,
backward, clipping, AdamW, moving average. Weight space is what `train.methods` does: W = W0 + B·A is built, and
backward goes through the whole ∂L/∂W. Activation space, x·W0 + (x·A)·B, needs no ∂L/∂W but two small convolutions more,
each way; it stands here as the other way to do it. Without any weight gradient is a bound that no adapter can pass.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from colora.benchmarks.record import RESULTS, environment, warn_if_dirty, write_record
from colora.benchmarks.script import run
from colora.benchmarks.tables import show
from colora.benchmarks.timing import Ratio, interleave, paired_ratio, summary
from colora.benchmarks.tiny import make_tiny
from colora.train.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    import torch
    from colora.train.checkpoint import Checkpoint
    from colora.train.methods import Delta
    from colora.train.ranks import Allocation

PACKAGES = ("numpy", "torch")
FULL, WEIGHTS, ACTIVATIONS, BOUND = "full tuning", "weight space", "activation space", "no weight gradients"
ASKED = {WEIGHTS: 0.9, ACTIVATIONS: 1.1}
"""speed that was asked for, per that of full tuning; activation space is for training where it reaches its number"""
ASKED_MEMORY = 0.15

MEASURED = {
    "speed": "Time of a full-tuning step / time of this step, in each round; median and quartiles of the rounds. The "
    "calls take turns in one process. Data loading is not part of a step.",
    "optimizer_memory": "Bytes of AdamW's two moments / those of full tuning.",
    "ranks": "The same share of every kernel, for the budget; biases, norms, scales, depthwise kernels dense.",
    "agreement": "Largest difference of activation space from weight space: of outputs in [0, 1], and of each "
    "tensor's gradient per largest gradient of that tensor.",
}
"""How the numbers came about; part of the record."""


@dataclass(frozen=True)
class Row:
    """One way to train."""

    way: str
    ms_p50: float
    speed: Ratio
    optimizer_bytes: int
    memory: float
    """of full tuning's optimizer"""


class Training:
    """A network with what a step of `fit` needs. Frozen networks get a gradient for their input alone."""

    def __init__(self, model: "torch.nn.Module", size: tuple[int, int, int, int], bf16: bool) -> None:
        import torch

        self.model, self.bf16 = model.train(), bf16
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.trained]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-6, fused=True) if self.trained else None
        rng = torch.Generator().manual_seed(0)
        self.degraded, self.clean = (torch.rand(size, generator=rng) for _ in range(2))

    def step(self) -> None:
        """One step, as `fit` takes it."""
        import torch
        from colora.train.losses import psnr_loss

        degraded = self.degraded.clone().requires_grad_(not self.trained)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output = self.model(degraded).float()
        loss = psnr_loss(output, self.clean)
        loss.item()
        if self.optimizer:
            self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.optimizer:
            torch.nn.utils.clip_grad_norm_(self.trained, 0.01)
            self.optimizer.step()
            torch._foreach_lerp_(self.average, [p.detach() for p in self.trained], 0.001)

    def optimizer_bytes(self) -> int:
        """Of the moments, after the first step."""
        if not self.optimizer:
            return 0
        moments = (t for state in self.optimizer.state.values() for n, t in state.items() if n != "step")
        return sum(t.numel() * t.element_size() for t in moments)


def weight_space(backbone: "Checkpoint", ranks: "Allocation") -> "torch.nn.Module":
    """A fresh copy with an adapter attached whose change is not zero."""
    import torch
    from colora.train.methods import attach, attached_deltas, merged

    model = merged(backbone, {})
    attach(model, ranks.ranks, {}, seed=0)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, delta in attached_deltas(model):
            if delta.kind == "low-rank":
                delta.tensors["lora_B"].copy_(
                    0.01 * torch.randn(delta.tensors["lora_B"].shape, generator=rng)
                )
    return model


def activation_space(backbone: "Checkpoint", ranks: "Allocation") -> "torch.nn.Module":
    """The same adapter, each low-rank change of a convolution computed beside it."""
    from colora.train.methods import attached_deltas

    model = weight_space(backbone, ranks)
    for parameter, delta in attached_deltas(model):
        if delta.kind == "low-rank":
            conv = model.get_submodule(parameter.rpartition(".")[0])
            conv.forward = _beside(conv, delta)
    return model


def _beside(conv: "torch.nn.Module", delta: "Delta") -> "Callable[[torch.Tensor], torch.Tensor]":
    import torch
    from torch.nn.functional import conv2d

    assert isinstance(conv, torch.nn.Conv2d)
    frozen: torch.Tensor = conv.parametrizations["weight"].original  # type: ignore[index,union-attr]
    stride, padding = conv.stride, conv.padding

    def forward(x: torch.Tensor) -> torch.Tensor:
        a, b = delta.tensors["lora_A"], delta.tensors["lora_B"]
        small = conv2d(x, a.view(-1, *frozen.shape[1:]), None, stride, padding)
        return conv2d(x, frozen, conv.bias, stride, padding) + conv2d(small, b[:, :, None, None])

    return forward


def agreement(one: Training, other: Training) -> tuple[float, float]:
    """(largest difference of outputs, of gradients per largest gradient of a tensor) of two equal adapters, in fp32."""
    import torch

    found = []
    for training in (one, other):
        output = training.model(training.degraded)
        loss = (output - training.clean).square().sum()
        found.append((output.detach(), torch.autograd.grad(loss, training.trained)))
    (a, ga), (b, gb) = found
    gradients = (
        float((p - q).abs().max() / p.abs().max().clamp(min=1e-12)) for p, q in zip(ga, gb, strict=True)
    )
    return float((a - b).abs().max()), max(gradients)


def measure(
    backbone: "Checkpoint", ranks: "Allocation", size: tuple[int, int, int, int], rounds: int, bf16: bool
) -> tuple[list[Row], tuple[float, float]]:
    """Rows of all ways, and the agreement of activation with weight space. size: (batch, 3, patch, patch)."""
    from colora.train.methods import merged

    models = {
        FULL: merged(backbone, {}),
        WEIGHTS: weight_space(backbone, ranks),
        ACTIVATIONS: activation_space(backbone, ranks),
        BOUND: merged(backbone, {}).requires_grad_(False),
    }
    trainings = {way: Training(model, size, bf16) for way, model in models.items()}
    agreed = agreement(trainings[WEIGHTS], trainings[ACTIVATIONS])
    times = interleave({way: t.step for way, t in trainings.items()}, rounds, warmups=1)
    whole = trainings[FULL].optimizer_bytes()
    rows = []
    for way, training in trainings.items():
        used, speed = training.optimizer_bytes(), paired_ratio(times[FULL], times[way])
        rows.append(Row(way, summary(times[way]).ms_p50, speed, used, used / whole))
    return rows, agreed


def print_table(rows: list[Row]) -> None:
    """Aligned, with what was asked."""
    lines = []
    for row in rows:
        adapter = row.way in ASKED
        lines.append(
            (
                row.way,
                f"{row.ms_p50:.0f}",
                f"{row.speed.p50:.2f}×",
                f"{row.speed.p25:.2f}–{row.speed.p75:.2f}",
                f"≥ {ASKED[row.way]:g}" if adapter else "",
                f"{row.memory:.3f}×",
                f"≤ {ASKED_MEMORY:g}" if adapter else "",
            )
        )
    header = ("step", "ms", "speed", "quartiles", "asked", "optimizer", "asked")
    show(header, lines, title="per full tuning")


@click.command()
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="Zoo name or file.")
@click.option("--tiny", is_flag=True, help="A random network instead, to try the command.")
@click.option("--budget", default=0.07, show_default=True, help="Numbers of the deltas per number.")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1))
@click.option("--patch", default=128, show_default=True, type=click.IntRange(8))
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(2))
@click.option("--bf16", is_flag=True, help="Autocast the forward pass to bfloat16.")
@click.option("--threads", type=click.IntRange(1), help="Torch threads.")
@click.option(
    "-o",
    "--output",
    default=RESULTS / "steps.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
def command(
    backbone: str,
    tiny: bool,
    budget: float,
    batch: int,
    patch: int,
    rounds: int,
    bf16: bool,
    threads: int | None,
    output: Path,
) -> None:
    """Speed and optimizer memory of an adapter's training step beside full tuning; written to OUTPUT."""
    import torch
    from colora.train.allocations import uniform
    from colora.train.checkpoint import load_backbone

    if threads:
        torch.set_num_threads(threads)
    where = environment(PACKAGES)
    warn_if_dirty(where)
    with tempfile.TemporaryDirectory() as folder:
        named = str(make_tiny(Path(folder)).backbone) if tiny else backbone
        base = load_backbone(named)
    size = sum(p.numel() for p in base.module.parameters())
    ranks = uniform(base.shapes, {}, int(budget * size))
    rows, (outputs, gradients) = measure(base, ranks, (batch, 3, patch, patch), rounds, bf16)
    print_table(rows)
    click.echo(
        f"activation and weight space differ by at most {outputs:.1e} in the output and {gradients:.1e} in a "
        "gradient (asked: 1e-5)"
    )
    settings = {
        "backbone": base.backbone.name,
        "batch": batch,
        "patch_px": patch,
        "budget": budget,
        "bf16": bf16,
        "torch_threads": torch.get_num_threads(),
        "rounds": rounds,
    }
    content = {
        "settings": settings,
        "measured": MEASURED,
        "asked": {"speed": ASKED, "optimizer_memory": ASKED_MEMORY},
        "agreement": {"output": outputs, "gradient": gradients},
        "rows": [asdict(row) for row in rows],
    }
    write_record(output, "steps", where, content)
    click.echo(f"{output}: {', '.join(f'{name} {value}' for name, value in settings.items())}")


if __name__ == "__main__":
    run(command)
