"""Peers: the graph that takes factors, PEFT's layers, and the table, which says plainly who wins and who is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from colora.benchmarks import scenario_peers
from colora.benchmarks.peer_factors import tuned, with_factors
from colora.benchmarks.peer_open import PEERS, Peer, missing
from colora.benchmarks.peer_table import COLUMNS, REFIT, Found, plots, row, sentence
from colora.benchmarks.scenario_peers import finish, lacks
from colora.benchmarks.section import Section
from colora.benchmarks.settings import Settings
from colora.devices.errors import BundleError
from colora.runtime.adapter import ParamDelta

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def low_rank(shape: tuple[int, ...], rank: int) -> ParamDelta:
    stored = {"lora_A": numbers(rank, int(np.prod(shape[1:]))), "lora_B": numbers(shape[0], rank)}
    return ParamDelta("low-rank", shape, stored, 0.5, rank)


def dense(shape: tuple[int, ...]) -> ParamDelta:
    return ParamDelta("dense", shape, {"delta": numbers(*shape)})


WEIGHTS = {
    "first.weight": numbers(4, 3, 3, 3),
    "first.bias": numbers(4),
    "depthwise.weight": numbers(4, 1, 3, 3),
}
ADAPTERS = (
    {"first.weight": low_rank((4, 3, 3, 3), 2), "first.bias": dense((4,))},
    {"first.weight": low_rank((4, 3, 3, 3), 1), "depthwise.weight": low_rank((4, 1, 3, 3), 1)},
)


def test_factors_as_inputs_restore_as_tuned_weights_do(tmp_path: Path) -> None:
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def network(weights: dict[str, np.ndarray]) -> object:
        nodes = [
            helper.make_node("Conv", ["input", "first.weight", "first.bias"], ["x"], pads=[1] * 4),
            helper.make_node("Conv", ["x", "depthwise.weight"], ["output"], pads=[1] * 4, group=4),
        ]
        ends = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, c, 8, 8))
            for name, c in (("input", 3), ("output", 4))
        ]
        stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    made, inputs = with_factors(network(WEIGHTS), WEIGHTS, ADAPTERS)
    providers = ["CPUExecutionProvider"]
    session = ort.InferenceSession(made.SerializeToString(), providers=providers)
    image = {"input": numbers(1, 3, 8, 8)}
    for number, (deltas, given) in enumerate(zip(ADAPTERS, inputs, strict=True)):
        file, held = ort.AdapterFormat(), {name: np.ascontiguousarray(x) for name, x in given.items()}
        file.set_adapter_version(1)
        file.set_model_version(1)
        file.set_parameters({name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in held.items()})
        file.export_adapter(str(tmp_path / f"{number}.onnx_adapter"))
        adapter, options = ort.LoraAdapter(), ort.RunOptions()
        adapter.Load(str(tmp_path / f"{number}.onnx_adapter"))
        options.add_active_adapter(adapter)
        whole = ort.InferenceSession(network(tuned(WEIGHTS, deltas)).SerializeToString(), providers=providers)
        # sums of 27 products in another order, of numbers up to 30
        np.testing.assert_allclose(session.run(None, image, options)[0], whole.run(None, image)[0], atol=1e-4)


def test_peft_holds_our_factors_and_changes_between_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft", reason="PEFT: pip install 'colora[peers]'")
    from colora.benchmarks.peer_peft import NAMES, attach, lora_modules

    def network(weights: dict[str, np.ndarray]) -> object:
        module = torch.nn.Module()
        module.first, module.depthwise = (
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.Conv2d(4, 4, 3, groups=4, bias=False),
        )
        module.forward = lambda x: module.depthwise(module.first(x))
        module.load_state_dict({name: torch.from_numpy(x) for name, x in weights.items()})
        return module

    module, image = network(WEIGHTS), torch.from_numpy(numbers(1, 3, 8, 8))
    assert lora_modules(module, ADAPTERS[1]) == ["first"], "a depthwise kernel is out of PEFT's reach"
    model = attach(module, ["first"], list(ADAPTERS))
    with torch.no_grad():
        for name, deltas in zip(NAMES, ADAPTERS, strict=True):
            model.set_adapter(name)
            expected = network(tuned(WEIGHTS, {"first.weight": deltas["first.weight"]}))(image)
            assert torch.allclose(model(image), expected, atol=1e-4)  # another order of sums


def found() -> dict[str, Found]:
    every = {name: Found(why="left out here") for name in PEERS}
    every[REFIT] = Found([10.0, 12.0, 11.0], [1.0, 1.0, 1.0], 100_000_000, 0.0)
    every["ncnn"] = Found([5.0, 6.0, 5.5], [4.0, 4.0, 4.0], 50_000_000, 1 / 255)
    every["PyTorch, eager"] = Found([20.0, 24.0, 22.0], [2.0, 2.0, 2.0], 300_000_000, 0.0)
    return every


def test_the_sentence_names_losses() -> None:
    assert sentence(found()) == (
        "colora refit against 2 peers: in a picture it loses to ncnn (0.50×); in a change of task none of 2 beats it; "
        "in memory it loses to ncnn (0.50×)."
    )
    at_once = replace(found()["ncnn"], switch_ms=[1e-4] * 3)
    assert "in a change of task it loses to ncnn (0.0001×)" in sentence(found() | {"ncnn": at_once})


def test_a_row_is_measured_or_says_why_not() -> None:
    names = [column.name for column in COLUMNS]
    told = dict(zip(names, row(PEERS["ncnn"], found(), RNG, 0.95), strict=True))
    assert (told["ratio of a picture"], told["ratio of a change"], told["ratio of memory"]) == (0.5, 4.0, 0.5)
    assert told["differs"] == 1.0
    absent = {
        **found(),
        "ncnn": Found(why=lacks(missing(PEERS["ncnn"], lambda name: name == "torch"), "peers")),
    }
    told = dict(zip(names, row(PEERS["ncnn"], absent, RNG, 0.95), strict=True))
    assert told["picture"] is None
    assert told["restores by"] == "not measured: ncnn, pnnx not installed: pip install 'colora[peers]'"
    assert "ncnn" not in plots(absent)[0].series[0].x


def test_a_compiler_that_is_too_slow_is_ended_and_told() -> None:
    for code, wait, expected in (
        (
            "import time; time.sleep(60)",
            0.05,
            "compiling took longer than the 9 s set: allow more (--seconds)",
        ),
        ("raise ValueError('no compiler')", 60.0, "ValueError: no compiler"),
        ("", 60.0, ""),
    ):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        assert finish(process, wait, 9.0) == expected
        assert process.poll() is not None


def test_section_measures_both_policies_of_a_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name: peer for name, peer in PEERS.items() if name.startswith("colora")}
    absent = Peer("a peer", ("no_such_package",), "peers", lambda subject: None, "", "")
    monkeypatch.setattr(scenario_peers, "PEERS", ours | {absent.name: absent})
    told = scenario_peers.section(bundle, Settings(tmp_path, size=64, rounds=3, seconds=1), lambda text: None)
    names = [column.name for column in told.columns]
    rows = {str(cells[0]): dict(zip(names, cells, strict=True)) for cells in told.rows}
    assert rows[REFIT]["ratio of a picture"] == rows[REFIT]["ratio of a change"] == 1
    merged = rows["colora, merged"]
    assert 0 <= merged["picture, low"] <= merged["picture"] <= merged["picture, high"]
    assert merged["change of task"] > 0 and merged["memory"] > 0
    assert merged["differs"] == 0, "in place and merged give the same bits"
    assert "Not measured, a peer: no_such_package not installed: pip install 'colora[peers]'." in told.notes
    assert Section.read(json.loads(json.dumps(asdict(told)))) == told


def test_one_task_has_nothing_to_change_to(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has 1 task.s. to switch between; expected .* two or more"):
        scenario_peers.section(bundle, Settings(tmp_path, tasks=("rain",)), lambda text: None)
