"""The shapes between operators, noted in the graph: symbolic in height and width as the input is.

Shape inference does not follow `16*h` through a convolution. A runtime that can't tell that two pictures are of one
shape has to treat their product as a broadcast: ONNX Runtime then leaves its channel blocks around each, which costs
an eighth of a restore on two cores.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

SAMPLE = (48, 80)
"""height and width in units of the symbols h and w, to run shape inference with: apart, and of many divisors"""
FORM = re.compile(r"(?:(\d+)\*)?(\w+)")
"""`16*h`, `h`"""


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says the shape of every N×C×H×W value whose height and width are whole multiples of the symbols.

    What can't be told, or is no such multiple, is left out. An input without symbolic height and width gets what
    inference knows.
    """
    import onnx

    noted, sized = onnx.ModelProto(), onnx.ModelProto()
    noted.CopyFrom(model)
    sized.CopyFrom(model)
    del noted.graph.value_info[:], sized.graph.value_info[:]
    symbols: list[tuple[str, int, int]] = []  # symbol, its factor in the input, sample
    for axis, sample in zip(sized.graph.input[0].type.tensor_type.shape.dim[2:], SAMPLE, strict=False):
        if found := FORM.fullmatch(axis.dim_param):
            symbols.append((found[2], int(found[1] or 1), sample))
            axis.dim_value = int(found[1] or 1) * sample
    for output in sized.graph.output:
        output.type.tensor_type.ClearField("shape")
    for value in onnx.shape_inference.infer_shapes(sized, data_prop=True).graph.value_info:
        tensor = value.type.tensor_type
        sizes = [
            axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in tensor.shape.dim
        ]
        if len(sizes) != 4 or len(symbols) != 2:
            continue
        told = [
            _told(size, symbol, sample) for size, (symbol, _, sample) in zip(sizes[2:], symbols, strict=True)
        ]
        if all(told) and sizes[1]:
            shape = [sizes[0] or None, sizes[1], *told]
            noted.graph.value_info.append(
                onnx.helper.make_tensor_value_info(value.name, tensor.elem_type, shape)
            )
    return noted


def _told(size: int | str, symbol: str, sample: int) -> str | int | None:
    """A size as a multiple of the symbol; 1 as 1; None where it is neither."""
    if not isinstance(size, int) or size < 1:
        return None
    if size == 1:
        return 1
    whole, rest = divmod(size, sample)
    return None if rest else symbol if whole == 1 else f"{whole}*{symbol}"
