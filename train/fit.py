"""The training loop, read top to bottom. It trains whatever parameters of the model require a gradient."""

import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from colora.devices.errors import ColoraError, unknown
from colora.train.distributed import from_first, mean_over_all, rank_and_world
from colora.train.echo import echoed, first_needed
from colora.train.functional import Compiled
from colora.train.losses import LOSSES, psnr_loss
from colora.train.photos import Batches
from colora.train.state import State, rewind
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

Keep = Literal["best", "last"]
KEEPS: tuple[Keep, ...] = get_args(Keep)


@dataclass(frozen=True)
class FitConfig:
    """How to train. Betas, clipping, peak rate and cosine are those of NAFNet's public options.

    Raises ColoraError for a rate that is negative or not finite.
    """

    steps: int
    """optimizer steps"""
    loss: str = "psnr"
    """one of LOSSES"""
    lr: float = 1e-3
    """peak learning rate, reached after `warmup` steps, then cosine to `lr_min`, or not at all where that is higher"""
    lr_min: float = 1e-6
    warmup: int = 100
    """steps of linear warm-up"""
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: float = 0.0
    clip: float = 0.01
    """largest gradient norm"""
    ema: float = 0.999
    """decay per step of the moving average of the weights, which is what is kept"""
    keep: Keep = "best"
    """which of the averages: that of the best validation (the last one where nothing validates), or that of the last
    step. The best of n validations is a little too good: judge the result on pictures that chose nothing."""
    bf16: bool = False
    """autocast the forward pass to bfloat16"""
    compile: bool = False
    """torch.compile the network, once for each size of patch"""
    echo: int = 1
    """steps that each batch serves, see `echoed`: above 1 where making patches takes longer than learning from them"""
    device: str = "cpu"
    """of torch: cpu, cuda, cuda:1"""
    workers: int = 1
    """processes that make batches ahead of the trainer; batches are the same for any number, and where no process can
    be forked (Windows) the trainer makes them"""
    threads: int | None = None
    """torch threads; None leaves torch's own choice"""
    save_every: int = 500
    """steps between resumable states"""
    validate_every: int = 1000
    """steps between validations; the last step always validates"""
    patience: int | None = None
    """validations in a row without a new best after which it stops early; None: never"""

    def __post_init__(self) -> None:
        if not 0 <= self.lr < math.inf:
            raise ColoraError(f"learning rate {self.lr}: expected a finite number, at least 0, such as 1e-3")

    @property
    def recipe(self) -> dict[str, object]:
        """All settings but those that say where it runs, which make no other weights but for rounding."""
        where = ("device", "threads", "workers")
        return {name: value for name, value in asdict(self).items() if name not in where}

    @property
    def made(self) -> int:
        """Batches to make for these steps."""
        return math.ceil(self.steps / self.echo)

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        low = min(self.lr_min, self.lr)
        return low + (self.lr - low) * 0.5 * (1 + math.cos(math.pi * done))


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
    kept_step: int = 0
    """the step whose average would be the result if this were the last"""


def fit(
    model: nn.Module,
    batches: Batches,
    config: FitConfig,
    folder: Path,
    validate: Callable[[nn.Module], float] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    shared: Mapping[str, object] | None = None,
) -> int:
    """Trains `model` in place; at the end its trainable parameters hold their moving average, on the CPU: which one
    says `config.keep`. Returns after how many steps that was.

    `folder` receives `state.safetensors` (written atomically every `save_every` steps) and `curve.jsonl`. If a state
    is there, training goes on from it, and ends bit-equal to a run that was never stopped (fp32, one thread;
    with two, two unbroken runs differed, too): batches depend on the step alone. In a process group each process takes
    its share of every batch; the first one reads and writes `folder`.
    `shared` are further settings, as JSON has them, that a run must share with the state from which it goes on.
    Raises CheckpointError where the state in `folder` comes from another configuration or model or another process
    trains there, UnknownName for a loss that is not in LOSSES, ColoraError for patience without validation, and
    FloatingPointError where the loss or its gradient is not finite: it names the batch, and the last state saved,
    which is never one after such a step.
    """
    if config.loss not in LOSSES:
        raise unknown("loss", config.loss, LOSSES)
    if config.patience is not None and validate is None:
        raise ColoraError(
            f"patience {config.patience} counts validations, and nothing is held out to validate on: hold some out, or "
            "leave --patience out"
        )
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rank, world = rank_and_world()
    device = torch.device(config.device)
    model.to(device)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    average = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    state = State(trained, average, optimizer)
    identity = _identity(config, batches, shared or {})
    state.resume(folder, identity, config.steps)
    model.train()
    forward: nn.Module = Compiled(model) if config.compile else model
    if world > 1:
        forward = DistributedDataParallel(forward)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # patches have one size for long
    since, start, seen, saved = time.monotonic(), state.step, 0, state.step
    curve = folder / "curve.jsonl"
    if rank == 0:
        rewind(curve, state.step)
    for step, (degraded, clean) in _load(batches.part(rank, world), state.step, config, device):
        if _gave_up(state, config):
            break
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            output = forward(degraded).float()
        loss = LOSSES[config.loss](output, clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.nn.utils.clip_grad_norm_(trained.values(), config.clip)
        value, norm = torch.stack((loss.detach(), gradient)).tolist()  # the step's one wait for the device
        value = mean_over_all(value)
        if not math.isfinite(value + norm):
            what = f"loss is {value} and the norm of its gradient {norm}"
            finite = all(bool(torch.isfinite(t).all()) for t in (degraded, clean))
            raise FloatingPointError(_told_batch(what, step, batches, finite, config, folder, saved))
        optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in trained.values()], 1 - decay)

        state.step = step + 1
        seen += batches.stage(step // config.echo).batch
        last = state.step == config.steps
        validation = None
        if validate and (last or state.step % config.validate_every == 0):
            if rank == 0:
                with swapped(trained, average):
                    validation = validate(model)
                model.train()
            validation = from_first(validation)
            state.judge(validation)
        if last or state.step % config.save_every == 0 or _gave_up(state, config):
            if rank == 0:
                state.save(folder, identity)
            saved = state.step
        if rank == 0:
            took = time.monotonic() - since
            left = (config.steps - state.step) * took / (state.step - start)
            db = -value if config.loss == "psnr" else -psnr_loss(output.detach(), clean).item()
            kept = _kept(state, config)[1]
            progress = Progress(state.step, config.steps, value, db, seen / took, left, validation, kept)
            if validation is not None or last or state.step % 50 == 0:
                with curve.open("a") as file:
                    file.write(json.dumps(asdict(progress)) + "\n")
            report(progress)
    weights, kept = _kept(state, config)
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(weights[name])
    model.cpu().eval()
    return kept


def _kept(state: State, config: FitConfig) -> tuple[dict[str, Tensor], int]:
    """(weights that are the result if training ends here, steps after which they were so)."""
    best = config.keep == "best" and state.best
    return (state.best, state.best_step) if best else (state.average, state.step)


def _gave_up(state: State, config: FitConfig) -> bool:
    return config.patience is not None and state.stale >= config.patience


def _told_batch(
    what: str, step: int, batches: Batches, finite: bool, config: FitConfig, folder: Path, saved: int
) -> str:
    """What stopped a training, on which batch, what to do, and what is left: `saved` steps, those of the last state."""
    made = f"Batches(draw, stages, {batches.steps}, seed={batches.seed})[{step // config.echo}]"
    drawn = f"{made} draws it again" if config.echo == 1 else f"of patches made up to {made}"
    remedy = (
        f"lower the learning rate (got {config.lr}) and start again with another output"
        if finite
        else "its pictures hold numbers that are not finite, correct what makes them"
    )
    state = folder / "state.safetensors"
    left = (
        f"The last good state, after {saved} steps, is {state}; train for {saved} steps to end with it"
        if saved
        else f"No state was saved yet, the first would have been after {config.save_every} steps"
    )
    return f"{what} at step {step}, on the batch of seed {batches.seed} and that step ({drawn}): {remedy}. {left}"


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


def _load(
    batches: Batches, start: int, config: FitConfig, device: torch.device
) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """(step, batch on the device) from `start` to the last, made ahead of time by worker processes."""
    fresh = range(first_needed(start, config.echo), config.made if start < config.steps else 0)
    forks = "fork" in multiprocessing.get_all_start_methods()  # other ways have to pickle what draws
    workers = min(config.workers, len(fresh)) if forks else 0
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=fresh,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        prefetch_factor=8 if workers else None,
        pin_memory=config.device != "cpu",
    )
    moved = ((a.to(device, non_blocking=True), b.to(device, non_blocking=True)) for a, b in loader)
    return zip(range(start, config.steps), echoed(moved, start, config.echo, batches.seed), strict=False)


def _identity(config: FitConfig, batches: Batches, shared: Mapping[str, object]) -> str:
    """The settings that a resumed run must share. Not where it runs, what it keeps, nor its length: a run may go on for
    more or fewer steps than it was begun for (learning rate and progressive patches follow the new length from there).
    """
    told = {name: value for name, value in config.recipe.items() if name not in ("steps", "patience", "keep")}
    patches = ",".join(map(str, batches.stages))
    return json.dumps({**told, "patches": patches, "seed": batches.seed, **shared})
