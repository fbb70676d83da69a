"""A training's curves for TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from colora.devices.errors import missing_extra
from colora.train.distributed import rank_and_world
from colora.train.fit import Progress


@contextmanager
def tensorboard_log(folder: Path | None) -> Iterator[Callable[[Progress], None]]:
    """Context that yields a function to hand to `fit` as `report`: it logs every step to `folder`, if that is given.

    Of several processes the first one logs. Raises MissingExtra where TensorBoard is not installed.
    """
    if folder is None or rank_and_world()[0]:
        yield lambda progress: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_extra("tensorboard", "tensorboard", "--tensorboard") from error

    def log(progress: Progress) -> None:
        values = {
            "loss": progress.loss,
            "psnr_db/batch": progress.psnr_db,
            "psnr_db/held_out": progress.validation_db,
            "images_per_s": progress.images_per_s,
        }
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(name, value, progress.step)  # type: ignore[no-untyped-call]

    writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
    try:
        yield log
    finally:
        writer.close()  # type: ignore[no-untyped-call]
