"""Symbolic shapes are noted for every picture, as multiples of the input's."""

from __future__ import annotations

import onnx
from colora.export.shapes import with_shapes

TEXT = """<ir_version: 8, opset_import: ["": 18]>
g (float[{batch},3,{height},{width}] input, float[8,3,3,3] w, float[16,8,2,2] d) => (float[a,b,c,e] output)
<int64[2] space = {{2, 3}}> {{
  x = Conv <pads=[1,1,1,1]> (input, w)
  half = Conv <strides=[2,2]> (x, d)
  pooled = GlobalAveragePool (half)
  back = DepthToSpace <blocksize=2> (half)
  cut = Conv (x, w2)
  output = Mul (half, pooled)
}}"""


def shapes(**sizes: str) -> dict[str, list[object]]:
    text = TEXT.format(**sizes).replace("  cut = Conv (x, w2)\n", "  cut = Conv (x, d)\n")
    noted = with_shapes(onnx.parser.parse_model(text))
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in noted.graph.value_info
    }


def test_multiples_of_the_symbols() -> None:
    assert shapes(batch="1", height='"16*h"', width='"16*w"') == {
        "x": [1, 8, "16*h", "16*w"],
        "half": [1, 16, "8*h", "8*w"],
        "pooled": [1, 16, 1, 1],
        "back": [1, 4, "16*h", "16*w"],
    }  # `cut` is one pixel smaller than x: no multiple


def test_a_symbolic_batch_keeps_its_name() -> None:
    assert shapes(batch="n", height='"2*h"', width='"2*w"')["half"] == ["n", 16, "h", "w"]


def test_fixed_sizes_are_left_to_inference() -> None:
    assert shapes(batch="1", height="32", width="32") == {}


def test_the_model_itself_is_left_as_it_is() -> None:
    model = onnx.parser.parse_model(TEXT.format(batch="1", height='"2*h"', width='"2*w"').replace("w2", "d"))
    before = model.SerializeToString(deterministic=True)
    with_shapes(model)
    assert model.SerializeToString(deterministic=True) == before
