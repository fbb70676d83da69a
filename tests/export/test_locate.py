"""A parity that fails names the first tensor that differs and the step of the export that made it so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from colora.devices.errors import GraphError, ParityError
from colora.export import compile as compiler
from colora.export import passes
from colora.export.draft import Draft, Outcome
from colora.export.passes import Pass
from colora.export.pipeline import export
from colora.export.tensors import GraphTensors
from colora.runtime.program import Step

WRONG = "encoders.1.0.conv4.weight"


def with_pass(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    monkeypatch.setitem(passes.PASSES, "broken", Pass("broken", "for a test", run))


def attempt(nafnet: Any, folder: Path, names: tuple[str, ...] = ("onnxsim", "broken")) -> None:
    """Exports; whatever happens, nothing may be left behind."""
    file = nafnet.write(folder, "rain", 1)
    try:
        export(backbone=str(nafnet.file), output=folder / "b", adapters=[file], passes=names)
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["rain.safetensors"]


def test_a_pass_with_wrong_algebra(nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(draft: Draft) -> Outcome:
        draft.program[WRONG] = (*draft.program[WRONG], Step("center_in"))
        return Outcome(1)

    with_pass(monkeypatch, run)
    first = r"The first tensor that differs is \S*encoders\.1\.0/conv4/Conv\S* of \S*conv4/Conv \(Conv\)"
    where = rf"{first}, .*, since pass broken$"
    with pytest.raises(ParityError, match=f"Nothing was written.*{where}"):
        attempt(nafnet, tmp_path)


def test_a_twin_that_computes_something_else(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel of the last convolution, as the twin's program makes it, has lost its mean."""
    real = compiler.make_twin

    def wrong(module: Any) -> Any:
        twin = real(module)
        twin.program["ups.1.0.weight"] = (Step("param", ("ups.1.0.weight",)), Step("center_in"))
        return twin

    monkeypatch.setattr(compiler, "make_twin", wrong)
    with pytest.raises(
        ParityError, match=r"differs is \S+ of \S*decoders\.1\.0/conv1/Conv \(Conv\).*since torch\.onnx$"
    ):
        attempt(nafnet, tmp_path, ("onnxsim",))


def test_a_runtime_that_computes_something_else(
    nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime opened fully optimised over other weights than were asked for."""
    from colora.export import locate, parity

    class Wrong(parity.OrtBackend):  # type: ignore[name-defined, misc]
        def __init__(self, graph: Path, image: Any, weights: Any, refit: bool, threads: int) -> None:
            if isinstance(weights, GraphTensors) and not refit:
                weights = {**weights, WRONG: weights[WRONG] * 1.5}
            super().__init__(graph, image, weights, refit, threads)

    monkeypatch.setattr(parity, "OrtBackend", Wrong)
    monkeypatch.setattr(locate, "OrtBackend", Wrong)
    found = r"differs is \S*conv4/Conv\S* of .*since ONNX Runtime's session \(fully optimised\)$"
    with pytest.raises(ParityError, match=rf"\(merged, \d+×\d+\).*{found}"):
        attempt(nafnet, tmp_path, ("onnxsim",))


def test_a_pass_that_merges_two_weights(nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(draft: Draft) -> Outcome:
        values = {value.name: value for value in draft.graph.inputs}
        values["encoders.0.0.norm2.bias"].replace_all_uses_with(values["encoders.0.0.norm1.bias"])
        return Outcome(1)

    with_pass(monkeypatch, run)
    with pytest.raises(GraphError, match=r"pass broken: .*lost or unused: encoders\.0\.0\.norm2\.bias;"):
        attempt(nafnet, tmp_path)


def test_an_operator_that_nothing_knows(nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(draft: Draft) -> Outcome:
        import onnx_ir as ir

        last = draft.graph.outputs[0]
        node = ir.node("Sharpen", [last.producer().inputs[0]], domain="acme", name="sharpen_1")  # type: ignore[union-attr]
        draft.graph.append(node)
        return Outcome(1)

    with_pass(monkeypatch, run)
    with pytest.raises(
        GraphError, match=r"pass broken: sharpen_1: acme::Sharpen is no operator of ONNX's opset 18"
    ):
        attempt(nafnet, tmp_path)


def test_a_pass_that_stumbles(nafnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from colora.export.draft import at_each

    def rewrite(draft: Draft, node: Any) -> None:
        raise IndexError("tuple index out of range")

    def run(draft: Draft) -> Outcome:
        return at_each(
            draft, lambda d, n: n if n.op_type == "DepthToSpace" else None, lambda d, n: "", rewrite
        )

    with_pass(monkeypatch, run)
    with pytest.raises(
        GraphError, match=r"pass broken: at \S+ \(DepthToSpace\): IndexError: tuple index out of range"
    ):
        attempt(nafnet, tmp_path)


def test_a_target_whose_tensorrt_is_too_old(nafnet: Any, tmp_path: Path) -> None:
    file = nafnet.write(tmp_path, "rain", 1)
    message = (
        r"Jetson AGX Xavier.*: TensorRT 8\.5\.2 of JetPack 5\.1 reads operators up to opset 17, and "
        r"\S*ReduceMean is ReduceMean of opset 18: choose another --target"
    )
    with pytest.raises(GraphError, match=message):
        export(backbone=str(nafnet.file), output=tmp_path / "b", adapters=[file], target="jetson-agx-xavier")
    assert not (tmp_path / "b").exists()
