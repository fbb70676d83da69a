"""What a report is measured with: one frozen value, made by `colora bench` and handed to every scenario."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Part of report.json, the folders apart."""

    scratch: Path
    """An empty folder for what a scenario writes; gone when the report is done."""
    size: int = 256
    """Side of the square picture, in px, where one size is enough."""
    sizes: tuple[int, ...] = (128, 256, 512)
    """Sides, where the size is what varies."""
    threads: int = 1
    """Of every network; 0 leaves it to the backend."""
    rounds: int = 10
    """Of interleaved calls, and fresh processes where those are compared."""
    seconds: float = 45.0
    """Budget of one scenario: it leaves out its dearest cases, and notes which, rather than take much longer."""
    seed: int = 0
    """Of pictures and of the bootstrap."""
    tasks: tuple[str, ...] = ()
    """Those measured; empty: all of the bundle."""
    counts: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of tasks, where that is what varies."""
    pairs: tuple[tuple[str, Path], ...] = ()
    """(task, folder with input/ and target/) by which quality is scored."""
    pictures: int = 4
    """Of each folder of pairs, the first by name."""
    confidence: float = 0.95
    """Of the intervals."""

    def __post_init__(self) -> None:
        """Raises: ValueError for what no scenario could use."""
        counts = (self.size, self.rounds, self.pictures, *self.sizes, *self.counts)
        if min(counts) < 1 or self.threads < 0 or self.seconds <= 0 or not 0 < self.confidence < 1:
            raise ValueError(
                f"got {self}; expected sizes, rounds, pictures and counts of at least 1, threads of at least 0, "
                "seconds above 0 and a confidence between 0 and 1"
            )
