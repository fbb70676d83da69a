"""What a training reports: on the terminal a bar with loss, PSNR, speed, time left, or lines; curves to TensorBoard.

What only counts, attribution for one, reports by `counting`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from colora.devices.errors import missing_extra
from colora.train.distributed import rank_and_world
from colora.train.fit import Progress


@contextmanager
def reporting(title: str, log: Path | None = None) -> Iterator[Callable[[Progress], None]]:
    """Context that yields the function to hand to `fit` as `report`: a progress bar, and TensorBoard in `log`."""
    with progress_bar(title) as show, tensorboard_log(log) as write:

        def report(progress: Progress) -> None:
            show(progress)
            write(progress)

        yield report


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """Context that yields a function that shows progress; of several processes only the first one shows any."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    if rank_and_world()[0]:
        yield lambda progress: None
        return
    console = Console()
    if not console.is_terminal:
        print(title, flush=True)
        yield _print_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        line = bar.add_task(title, total=None, facts="")
        told = ""

        def show(progress: Progress) -> None:
            nonlocal told
            told = _held_out(progress) or told
            bar.update(line, total=progress.steps, completed=progress.step, facts=_facts(progress) + told)

        yield show


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """Context that yields a function (done, total) → a bar with the time left, or a line at every tenth of the total.

    Of several processes only the first one shows any.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    if rank_and_world()[0]:
        yield lambda done, total: None
        return
    console = Console()
    if not console.is_terminal:
        print(title, flush=True)
        yield _print_tenth
        return
    with Bar(console=console) as bar:
        line = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def _print_tenth(done: int, total: int) -> None:
    if 10 * done // total > 10 * (done - 1) // total:
        print(f"{done:6d}/{total}", flush=True)


def _facts(progress: Progress) -> str:
    return f"loss {progress.loss:7.3f}  {progress.psnr_db:5.2f} dB  {progress.images_per_s:5.1f} images/s"


def _held_out(progress: Progress) -> str:
    """What a validation found, and which step is kept where an earlier one was better; nothing where there was none."""
    if progress.validation_db is None:
        return ""
    earlier = f" (kept: step {progress.kept_step})" if progress.kept_step < progress.step else ""
    return f"  held out {progress.validation_db:.2f} dB{earlier}"


def _print_line(progress: Progress) -> None:
    if progress.step % 50 and progress.validation_db is None and progress.step != progress.steps:
        return
    print(
        f"{progress.step:6d}/{progress.steps}  {_facts(progress)}  "
        f"{progress.seconds_left / 60:5.1f} min left{_held_out(progress)}",
        flush=True,
    )


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
                writer.add_scalar(name, value, progress.step)

    writer = SummaryWriter(str(folder))
    try:
        yield log
    finally:
        writer.close()
