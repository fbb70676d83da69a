"""The releases of JetPack, NVIDIA's system software for Jetson, and what each brings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JetPack:
    """One release, or a run of releases that bring the same."""

    version: str
    l4t: str
    """Linux for Tegra, its kernel and drivers: `first-last`, each `R<release>[.<revision>]`, or one of them."""
    cuda: str
    tensorrt: str
    python: str
    """The system's Python, for which TensorRT's package is built."""

    def covers(self, l4t: str) -> bool:
        """Whether `l4t`, e.g. `36.4.3`, is one of its releases."""
        first, _, last = self.l4t.replace("R", "").partition("-")
        low, high, found = numbers(first), numbers(last or first), numbers(l4t)
        return low <= found[: len(low)] and found[: len(high)] <= high


# JetPack → L4T: rbonghi/jetson_stats f41d5ca, NVIDIA_JETPACK. CUDA, TensorRT, Python: dusty-nv/jetson-containers
# dd206bf and NVIDIA's JetPack and TensorRT pages, read in November 2026; 4.6 apart from 4.6.1: NVIDIA's table as in
# gist.github.com/Tiryoh/2b5dc1f86ab6bc3e6922e97a4c1ac2f2. TensorRT 10.16.2.10 and Python 3.12.3 were
# also read off an Orin Nano with JetPack 7.2.1 by its owner (published notes).
JETPACKS = {
    j.version: j
    for j in (
        JetPack("4.6", "R32.6", "10.2", "8.0.1", "3.6"),
        JetPack("4.6.1-4.6.6", "R32.7", "10.2", "8.2.1", "3.6"),
        JetPack("5.0", "R34.1-R35.1", "11.4", "8.4", "3.8"),
        JetPack("5.1", "R35.2-R35.6", "11.4", "8.5.2", "3.8"),
        JetPack("6.0", "R36.0-R36.3", "12.2", "8.6.2", "3.10"),
        JetPack("6.1-6.2", "R36.4-R36.5", "12.6", "10.3.0", "3.10"),
        JetPack("7.0-7.1", "R38", "13.0", "10.13", "3.12"),
        JetPack("7.2", "R39", "13.2", "10.16", "3.12"),
    )
}
"""Version → release, oldest first."""


def find_jetpack(l4t: str) -> JetPack | None:
    """Release that has this Linux for Tegra, e.g. `36.4.3`; None where the table does not have it."""
    return next((jetpack for jetpack in JETPACKS.values() if jetpack.covers(l4t)), None)


def numbers(version: str) -> tuple[int, ...]:
    """`10.3.0-1+cuda12.6` → (10, 3, 0): versions as tuples, which compare as they should."""
    found = []
    for part in version.split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
