"""What the commands that train have in common: their options, and where and by how many processes they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path

import click
import torch
from click.core import ParameterSource
from colora.devices.errors import ColoraError
from colora.train.distributed import process_group, rank_and_world
from colora.train.fit import KEEPS, FitConfig, Keep
from colora.train.losses import LOSSES
from colora.train.patches import Stage, read_stages


def _stages(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[Stage, ...]:
    try:
        return read_stages(text) if text else ()
    except ColoraError as error:
        raise click.BadParameter(str(error)) from error


OPTIONS = (
    click.option(
        "--batch", type=click.IntRange(min=1), default=4, show_default=True, help="Patches in a step."
    ),
    click.option(
        "--patch",
        type=click.IntRange(min=1),
        default=128,
        show_default=True,
        help="Side of a training patch in pixels.",
    ),
    click.option(
        "--patches",
        callback=_stages,
        help="Progressive patches instead of --patch and --batch: patch x batch in the order of training, with equal "
        "shares of the steps, or with those given: 64x16,96x8,128x4 or 64x16:2,128x4:1. With --compile every size is "
        "compiled, minutes each the first time, from the ninth on none.",
    ),
    click.option(
        "--held-out",
        type=click.IntRange(min=0),
        help="How many to keep out of training. [default: an eighth, at most 12]",
    ),
    click.option(
        "--augment/--no-augment",
        default=True,
        show_default=True,
        help="Vary exposure, colours, scale and tilt of clean photographs before they are degraded. Real pairs are "
        "turned and mirrored only.",
    ),
    click.option("--loss", type=click.Choice(list(LOSSES)), default="psnr", show_default=True),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    click.option(
        "--validate-every",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="Steps between validations.",
    ),
    click.option(
        "--patience",
        type=click.IntRange(min=1),
        help="Stop after so many validations in a row without a new best. [default: never]",
    ),
    click.option(
        "--keep",
        type=click.Choice(KEEPS),
        default="best",
        show_default=True,
        help="What training ends with: the averaged weights of the best validation, or of the last step.",
    ),
    click.option("--device", default="cpu", show_default=True, help="Of torch, e.g. cuda."),
    click.option("--bf16", is_flag=True, help="Autocast the forward pass to bfloat16."),
    click.option(
        "--compile",
        is_flag=True,
        help="torch.compile the network: minutes at its first use on a machine, then kept on disk.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="Torch threads."),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes that degrade pictures for the trainer. A GPU waits for them: give all cores but one.",
    ),
    click.option(
        "--echo",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Steps that each batch serves (data echoing), where a GPU waits for patches with all workers at work.",
    ),
    click.option(
        "--tensorboard",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to log curves to, for TensorBoard.",
    ),
)


@dataclass(frozen=True)
class TrainOptions:
    """Values of OPTIONS."""

    batch: int
    patch: int
    patches: tuple[Stage, ...]
    held_out: int | None
    augment: bool
    loss: str
    seed: int
    validate_every: int
    patience: int | None
    keep: Keep
    device: str
    bf16: bool
    compile: bool
    threads: int | None
    workers: int
    echo: int
    tensorboard: Path | None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """`patches`, or where there are none the one stage of `patch` and `batch`."""
        return self.patches or (Stage(self.patch, self.batch),)

    def fit_config(self, steps: int, lr: float) -> FitConfig:
        """With these steps and this peak learning rate."""
        return FitConfig(
            steps=steps,
            lr=lr,
            loss=self.loss,
            bf16=self.bf16,
            compile=self.compile,
            device=self.device,
            threads=self.threads,
            workers=self.workers,
            echo=self.echo,
            validate_every=self.validate_every,
            patience=self.patience,
            keep=self.keep,
        )

    @contextmanager
    def joined(self) -> Iterator["TrainOptions"]:
        """Joins the processes that torchrun started, if any, and yields the options with this one's device.

        Raises click's exceptions for a device that is not there, a batch that the processes can't share equally, a
        loss that is no longer finite, and where another process has ended.
        """
        with process_group(_checked(self.device)) as device:
            world = rank_and_world()[1]
            for stage in self.stages:
                if stage.batch % world:
                    raise click.UsageError(
                        f"a batch of {stage.batch} can't be shared by {world} processes: give a multiple"
                    )
            try:
                yield replace(self, device=device)
            except FloatingPointError as error:
                raise click.ClickException(str(error)) from error
            except RuntimeError as error:
                if world == 1 or "closed by peer" not in str(error):  # as Gloo says it
                    raise
                raise click.ClickException(
                    "another process of the group has ended: its own output says why; called again, all go on from "
                    "the last state"
                ) from error


def _checked(device: str) -> str:
    try:
        if torch.device(device).type == "cuda":
            torch.cuda.get_device_properties(
                device
            )  # an allocation would occupy the first GPU in every process
        else:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise click.BadParameter(
            f"{device!r} can't be used here: {reason}; take cpu", param_hint="--device"
        ) from error
    return device


def train_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator that gives a command OPTIONS; it gets their values as one argument, `options`."""

    @wraps(command)
    def with_options(**values: object) -> None:
        shared = {field.name: values.pop(field.name) for field in fields(TrainOptions)}
        source = click.get_current_context().get_parameter_source
        if shared["patches"] and {source("patch"), source("batch")} != {ParameterSource.DEFAULT}:
            raise click.UsageError("--patches says how large and how many: leave --patch and --batch out")
        command(options=TrainOptions(**shared), **values)  # type: ignore[arg-type]

    for option in reversed(OPTIONS):
        with_options = option(with_options)
    return with_options
