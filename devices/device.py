"""What is known of a machine that bundles are exported for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JetPack:
    """One release of NVIDIA's system software for Jetson."""

    version: str
    l4t: str
    """Linux for Tegra, its kernel and drivers."""
    cuda: str
    tensorrt: str
    python: str


@dataclass(frozen=True)
class Device:
    """One kind of machine."""

    name: str
    """What `--target` takes."""
    title: str
    compute_capability: str
    """Of the GPU, as CUDA numbers it; empty where there is no GPU."""
    memory_gb: int | None
    """Memory that CPU and GPU share, by the product's name; None where the name does not say."""
    jetpacks: tuple[JetPack, ...] = ()
    """Releases that run on it, oldest first."""

    def __post_init__(self) -> None:
        if bool(self.compute_capability) != bool(self.jetpacks):
            raise ValueError(f"{self.name}: a GPU and the JetPacks that run on it come together")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ValueError(f"{self.name}: memory_gb {self.memory_gb}; expected more than 0")
