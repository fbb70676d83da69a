"""What a network does for each pixel of its input: what plans are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What a network does for each pixel of its input; runtime/workload.py reads it from a bundle."""

    operations_per_pixel: float
    """A multiply-add counted as two."""
    weight_bytes: int
    """As stored in the graph."""
    activation_bytes_per_pixel: float
    """Largest sum of the tensors alive at one time."""
    fused_bytes_per_pixel: float
    """Read and written by convolutions and matrix products alone."""
    moved_bytes_per_pixel: float
    """Read and written by every node."""
    precision: str = "fp32"
    factor_bytes: int = 0
    """Adapters of all tasks together, which stay resident beside shared weights."""
    products_per_pixel: float = 0.0
    """Of the operations, those of convolutions and matrix products, depthwise ones left out: they wait for memory."""
    functions_per_pixel: float = 0.0
    """Numbers that erf, division and softmax give, which cost a CPU as much as tens of operations each."""
    operators: tuple[tuple[float, int], ...] = ()
    """Of each node that moves anything, bytes that it reads and writes for each pixel (`moved_bytes_per_pixel` in all),
    and those of its weights."""

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "fp16", "int8"):
            raise ValueError(f"precision {self.precision!r}; expected fp32, fp16 or int8")
        if not 0 < self.fused_bytes_per_pixel <= self.moved_bytes_per_pixel:
            raise ValueError(
                f"fused {self.fused_bytes_per_pixel} and moved {self.moved_bytes_per_pixel} bytes a pixel; "
                "expected 0 < fused <= moved"
            )
        if min(self.operations_per_pixel, self.weight_bytes, self.activation_bytes_per_pixel) <= 0:
            raise ValueError("a workload has operations, weights and activations: all more than 0")
