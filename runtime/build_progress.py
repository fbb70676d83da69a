"""How far a build of TensorRT is: its nested phases as one share of the whole, and the way to stop it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt as trt

Progress = Callable[[str, float], None]
"""Phase, and the share done of all, 0 to 1."""


class Phases:
    """Phases under way. Each has a number of steps; one of a phase's steps may be a phase of its own."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str | None, int]] = {}
        self._done: dict[str, int] = {}
        self._share = 0.0
        self._lock = Lock()  # TensorRT calls from threads of its own

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase of `steps` steps."""
        with self._lock:
            self._open[name] = parent, max(steps, 1)
            self._done[name] = 0

    def step(self, name: str, step: int) -> float:
        """End a step, counted from 0; returns the share done of all, which never falls."""
        with self._lock:
            if name in self._done:
                self._done[name] = step + 1
            roots = [n for n, (parent, _) in self._open.items() if parent not in self._open]
            self._share = max(self._share, *(self._of(root) for root in roots), 0.0)
            return self._share

    def finish(self, name: str) -> None:
        """End a phase."""
        with self._lock:
            self._open.pop(name, None)
            self._done.pop(name, None)

    def _of(self, name: str) -> float:
        inner = sum(self._of(child) for child, (parent, _) in self._open.items() if parent == name)
        return min(1.0, (self._done[name] + min(inner, 1.0)) / self._open[name][1])


class Watch:
    """Passes a build's steps on to `progress`, and notes whether the user stopped it."""

    def __init__(self, progress: Progress | None) -> None:
        self.phases, self.interrupted = Phases(), False
        self._progress = progress

    def step(self, name: str, step: int) -> bool:
        """False ends the build: an error thrown here would be lost on its way through TensorRT.

        Python sees ctrl-C in such a call, since the builder itself is one long call.
        """
        try:
            share = self.phases.step(name, step)
            if self._progress is not None:
                self._progress(name, share)
        except KeyboardInterrupt:
            self.interrupted = True
        return not self.interrupted


def monitor(api: ModuleType, watch: Watch) -> "trt.IProgressMonitor":
    """What the builder of a module is given."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            watch.phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.phases.finish(phase_name)

    return Monitor()


@contextmanager
def build_bar(title: str) -> Iterator[Progress | None]:
    """A bar on stderr for a build, once it begins; None where stderr is no terminal, or rich is not there."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(title, total=1.0, visible=False)

        def progress(phase: str, share: float) -> None:
            bar.update(line, completed=share, description=f"{title}: {phase}", visible=True)

        yield progress
