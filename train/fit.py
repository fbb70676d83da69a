"""The training loop, read top to bottom. It trains whatever parameters of the model require a gradient."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from colora.devices.errors import CheckpointError
from colora.runtime.weights import Array, read_tensors, write_tensors
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class FitConfig:
    """How to train. Betas, clipping, peak rate and cosine are those of NAFNet's public options."""

    steps: int
    """optimizer steps"""
    lr: float = 1e-3
    """peak learning rate, reached after `warmup` steps, then cosine to `lr_min`"""
    lr_min: float = 1e-6
    warmup: int = 100
    """steps of linear warm-up"""
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: float = 0.0
    clip: float = 0.01
    """largest gradient norm"""
    ema: float = 0.999
    """decay per step of the moving average of the weights, which is what is kept in the end"""
    bf16: bool = False
    """autocast the forward pass to bfloat16"""
    compile: bool = False
    """torch.compile the model"""
    threads: int | None = None
    """torch threads; None leaves torch's own choice"""
    save_every: int = 500
    """steps between resumable states"""
    validate_every: int = 1000
    """steps between validations; the last step always validates"""

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Progress:
    """One step's report. `psnr_db` is of the training batch; `validation_db` appears on validation steps only."""

    step: int
    steps: int
    loss: float
    psnr_db: float
    images_per_s: float
    seconds_left: float
    validation_db: float | None


def psnr_loss(output: Tensor, target: Tensor) -> Tensor:
    """Negative PSNR in dB for a peak of 1, mean over images (NAFNet's PSNRLoss): (N, 3, H, W) twice → scalar."""
    mse = (output - target).square().mean(dim=(1, 2, 3))
    return 10 / math.log(10) * torch.log(mse + 1e-8).mean()


def fit(
    model: nn.Module,
    batches: Dataset[tuple[Tensor, Tensor]],
    config: FitConfig,
    folder: Path,
    validate: Callable[[nn.Module], float] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Trains `model` in place; at the end its trainable parameters hold their moving average.

    `batches[step]` gives (degraded, clean), (N, 3, H, W) float32. `folder` receives `state.safetensors` (written
    atomically every `save_every` steps) and `curve.jsonl`. If a state is there, training goes on from it, and ends
    bit-equal to a run that was never stopped (fp32, same threads): batches depend on the step alone.
    Raises CheckpointError where the state in `folder` comes from another configuration or model, and
    FloatingPointError where the loss is no longer finite.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    average = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    start = _resume(folder, config, trained, average, optimizer)
    model.train()
    forward = torch.compile(model) if config.compile else model
    since, seen, curve = time.monotonic(), 0, folder / "curve.jsonl"
    for step, (degraded, clean) in zip(
        range(start, config.steps), _load(batches, start, config.steps), strict=True
    ):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        if config.compile:  # inductor's convolutions are faster so
            degraded = degraded.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            output = forward(degraded)
        loss = psnr_loss(output.float(), clean)
        if not math.isfinite(value := loss.item()):
            raise FloatingPointError(
                f"loss is {value} at step {step}: lower the learning rate (got {config.lr})"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), config.clip)
        optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in trained.values()], 1 - decay)

        seen += len(degraded)
        last = step + 1 == config.steps
        validation = None
        if validate and (last or (step + 1) % config.validate_every == 0):
            with swapped(trained, average):
                validation = validate(model)
            model.train()
        if last or (step + 1) % config.save_every == 0:
            _save(folder, config, step + 1, trained, average, optimizer)
        speed = seen / (time.monotonic() - since)
        left = (config.steps - step - 1) * len(degraded) / speed
        progress = Progress(step + 1, config.steps, value, -value, speed, left, validation)
        if validation is not None or last or (step + 1) % 50 == 0:
            with curve.open("a") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        report(progress)
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(average[name])
    model.eval()


class swapped:
    """Context in which the parameters hold other values; the tensors trade contents, so nothing is lost."""

    def __init__(self, trained: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
        self.trained, self.values = trained, values

    def _swap(self) -> None:
        for name, p in self.trained.items():
            kept = p.detach().clone()
            p.data.copy_(self.values[name])
            self.values[name].copy_(kept)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def _load(batches: Dataset[tuple[Tensor, Tensor]], start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches start…stop-1 in order, made ahead of time by one worker process."""
    workers = min(1, stop - start)
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            prefetch_factor=8 if workers else None,
        )
    )


def _identity(config: FitConfig) -> str:
    """The settings that a resumed run must share. Not its threads, nor its length: a run may go on for more or fewer
    steps than it was begun for (the learning rate then follows the new length from there)."""
    return json.dumps(
        {name: value for name, value in asdict(config).items() if name not in ("steps", "threads")}
    )


def _save(
    folder: Path,
    config: FitConfig,
    step: int,
    trained: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors: dict[str, Array] = {}
    for name, p in trained.items():
        state = optimizer.state[p]
        kinds = {"now": p.detach(), "average": average[name], "m": state["exp_avg"], "v": state["exp_avg_sq"]}
        tensors |= {f"{kind}/{name}": tensor.contiguous().numpy() for kind, tensor in kinds.items()}
    metadata = {"step": str(step), "config": _identity(config)}
    write_tensors(folder / "state.safetensors", tensors, metadata)


def _resume(
    folder: Path,
    config: FitConfig,
    trained: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    path = folder / "state.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        return 0
    tensors, metadata = read_tensors(path)
    if metadata.get("config") != _identity(config):
        raise CheckpointError(
            f"{path}: begun with other settings, {metadata.get('config')}; expected {_identity(config)}: "
            "give another folder, or the same settings to go on"
        )
    if tensors.keys() != {f"{kind}/{name}" for kind in ("now", "average", "m", "v") for name in trained}:
        raise CheckpointError(f"{path}: holds other parameters than this model trains: give another folder")
    step = int(metadata["step"])
    if step > config.steps:
        raise CheckpointError(
            f"{path}: has done {step} steps already, more than the {config.steps} asked for"
        )
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(torch.from_numpy(tensors[f"now/{name}"]))
            average[name].copy_(torch.from_numpy(tensors[f"average/{name}"]))
            optimizer.state[p] = {
                "step": torch.tensor(float(step)),
                "exp_avg": torch.from_numpy(tensors[f"m/{name}"].copy()),
                "exp_avg_sq": torch.from_numpy(tensors[f"v/{name}"].copy()),
            }
    return step
