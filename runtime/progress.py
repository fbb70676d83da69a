"""A progress bar on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from colora.devices.errors import missing_extra


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[str, int], None]]:
    """Yields what to call with a name and the pictures or frames done of it. Raises: MissingExtra."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as e:
        raise missing_extra("rich", "image", "colora restore") from e
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("restoring", total=total)
        yield lambda name, done: bar.update(line, advance=done, description=name)
