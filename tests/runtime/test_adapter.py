"""Deltas and the adapter file."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import CheckpointError
from colora.runtime.adapter import Adapter, ParamDelta, read_adapter, to_float16, write_adapter
from colora.runtime.deltas import DELTAS
from colora.runtime.golden import golden_input
from colora.runtime.weights import read_header, read_tensors, write_tensors


def low_rank(**changes: Any) -> ParamDelta:
    a = np.arange(24, dtype=np.float32).reshape(2, 12) / 7
    b = np.arange(10, dtype=np.float32).reshape(5, 2) - 3
    return ParamDelta(
        **{"kind": "low-rank", "shape": (5, 3, 2, 2), "tensors": {"lora_A": a, "lora_B": b}, "rank": 2}
        | changes
    )


def test_low_rank_is_scale_times_b_a_in_c_order() -> None:
    p = low_rank(scale=0.5)
    change = p.delta(np.zeros((5, 3, 2, 2), np.float32))
    a, b = p.tensors["lora_A"], p.tensors["lora_B"]
    o, i, y, x = 4, 2, 0, 1
    assert change.shape == (5, 3, 2, 2)
    assert change.dtype == np.float32
    # two products and a sum: at most a few float32 roundings
    assert change[o, i, y, x] == pytest.approx(
        0.5 * sum(b[o, r] * a[r, i * 4 + y * 2 + x] for r in (0, 1)), rel=1e-6
    )
    assert np.linalg.matrix_rank(change.reshape(5, 12)) == 2


def test_torch_and_numpy_share_the_deltas() -> None:
    torch = pytest.importorskip("torch")
    p = low_rank()
    w0 = np.zeros(p.shape, np.float32)
    tensors = {name: torch.tensor(t, requires_grad=True) for name, t in p.tensors.items()}
    change = DELTAS["low-rank"].delta(tensors, torch.tensor(w0))
    assert np.allclose(change.detach().numpy(), p.delta(w0), rtol=1e-6)  # float32 sums of two products
    change.sum().backward()
    assert tensors["lora_A"].grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "lowrank"}, "unknown delta kind 'lowrank'; this version of colora knows low-rank, dense"),
        ({"rank": 3}, r"rank 3: stores .* expected .*'lora_A': \(3, 12\)"),
        ({"rank": 0, "tensors": {}}, "rank 0; expected at least 1"),
        ({"shape": (60,)}, r"shape \(60,\); expected 2 axes or more: store it dense"),
        ({"kind": "dense"}, r"expected {'delta': \(5, 3, 2, 2\)}"),
        ({"scale": float("nan")}, "scale nan or contribution 0.0 is not finite"),
        ({"tensors": {"lora_A": np.full((2, 12), np.inf, np.float32), "lora_B": np.ones((5, 2), np.float32)}},
         "lora_A holds numbers that are not finite"),
        ({"tensors": {"lora_A": np.ones((2, 12)), "lora_B": np.ones((5, 2))}}, "lora_A is float64, expected float32"),
    ],
)  # fmt: skip
def test_unusable_deltas_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        low_rank(**changes)


def test_round_trip(mini: Any, tmp_path: Path) -> None:
    adapter = mini.adapters["rain"]
    write_adapter(tmp_path / "rain.safetensors", adapter)
    back = read_adapter(tmp_path / "rain.safetensors", mini.sha256)
    assert (back.task, back.method, back.seeds, back.quality) == (
        "rain",
        "colora",
        {"fit": 3},
        {"made_up_psnr_db": 24.5},
    )
    assert back.content_sha256 == adapter.content_sha256
    for name, p in adapter.params.items():
        q = back.params[name]
        assert (p.kind, p.shape, p.scale, p.rank, p.contribution) == (
            q.kind,
            q.shape,
            q.scale,
            q.rank,
            q.contribution,
        )
        assert all(np.array_equal(p.tensors[short], q.tensors[short]) for short in p.tensors)


def test_every_stored_number_is_counted(mini: Any, tmp_path: Path) -> None:
    adapter = mini.adapters["rain"]
    write_adapter(tmp_path / "a.safetensors", adapter)
    assert adapter.stored_numbers() == sum(
        t.size for t in read_tensors(tmp_path / "a.safetensors")[0].values()
    )
    assert (
        adapter.stored_numbers() == 2 * (27 + 8) + 8 + 3 + 3 * 64 * 64
    )  # A and B, bias, beta, golden output


def test_half_precision_files_are_upcast(mini: Any, tmp_path: Path) -> None:
    exact = ParamDelta("dense", (8,), {"delta": np.arange(8, dtype=np.float32) / 4})
    golden = np.full((1, 3, 64, 64), 0.5, np.float32)
    adapter = Adapter("x", "colora", mini.sha256, {"conv1.bias": exact}, golden)
    write_adapter(tmp_path / "x.safetensors", adapter)
    tensors, metadata = read_tensors(tmp_path / "x.safetensors")
    write_tensors(tmp_path / "x.safetensors", {n: t.astype(np.float16) for n, t in tensors.items()}, metadata)
    back = read_adapter(tmp_path / "x.safetensors")
    assert back.params["conv1.bias"].tensors["delta"].dtype == np.float32
    assert back.content_sha256 == adapter.content_sha256


def test_rounded_deltas_take_half_the_bytes_and_come_back_as_they_were(mini: Any, tmp_path: Path) -> None:
    full = mini.adapters["rain"]
    rounded = dataclasses.replace(full, params=to_float16(full.params))
    for name, p in rounded.params.items():
        for short, tensor in p.tensors.items():
            assert tensor.dtype == np.float32
            # rounding to 11 bits of mantissa; below 6e-5 float16 is spaced evenly, by 6e-8
            np.testing.assert_allclose(tensor, full.params[name].tensors[short], rtol=2**-11, atol=3e-8)
    for name, adapter in (("full", full), ("rounded", rounded)):
        write_adapter(tmp_path / name, adapter)
    assert read_adapter(tmp_path / "rounded").content_sha256 == rounded.content_sha256
    header = read_header(tmp_path / "rounded")
    assert {str(kind) for name, kind in header.dtypes.items() if name != "golden.output"} == {"float16"}
    assert str(header.dtypes["golden.output"]) == "float32"  # is compared with, to 1e-4
    delta = low_rank()
    huge = dataclasses.replace(delta, tensors={k: np.full_like(t, 7e4) for k, t in delta.tensors.items()})
    with pytest.raises(CheckpointError, match="not finite"):
        to_float16({"conv": huge})


def test_another_backbone_is_refused(mini: Any, tmp_path: Path) -> None:
    write_adapter(tmp_path / "rain.safetensors", mini.adapters["rain"])
    with pytest.raises(CheckpointError, match=r"rain\.safetensors was trained on backbone .* not on 0000"):
        read_adapter(tmp_path / "rain.safetensors", "0" * 64)


def test_any_flipped_number_or_word_is_noticed(mini: Any, tmp_path: Path) -> None:
    path = tmp_path / "rain.safetensors"
    write_adapter(path, mini.adapters["rain"])
    whole = bytearray(path.read_bytes())
    header = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for position in [*rng.integers(8, 8 + header, 40), *rng.integers(8 + header, len(whole), 40)]:
        broken = whole.copy()
        broken[position] ^= 1
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"rain\.safetensors"):
            read_adapter(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.pop("params"), "KeyError 'params'"),
        (lambda a: a.update(format=2), "format 2; this colora reads 1"),
        (lambda a: a.update(task="../rain"), "task name '../rain': expected a-z"),
        (lambda a: a.update(task=5), "5 where text was expected"),
        (lambda a: a["params"].pop("beta"), "holds undeclared tensors: beta.delta"),
        (lambda a: a["params"]["beta"].update(kind="tucker"), "parameter beta: unknown delta kind 'tucker'"),
        (lambda a: a["params"]["conv1.weight"].update(shape=[8, 28]), "parameter conv1.weight: .* expected"),
        (lambda a: a["params"]["beta"].update(scale=2.0), "content and content_sha256 differ"),
        (lambda a: a["quality"].update(made_up_psnr_db=99.0), "content and content_sha256 differ"),
        (lambda a: a["quality"].update(made_up_psnr_db=float("nan")), "is not finite"),
    ],
)
def test_edited_metadata_is_refused(edit: Any, message: str, mini: Any, tmp_path: Path) -> None:
    path = tmp_path / "rain.safetensors"
    write_adapter(path, mini.adapters["rain"])
    tensors, metadata = read_tensors(path)
    about = json.loads(metadata["colora"])
    edit(about)
    write_tensors(path, tensors, {"colora": json.dumps(about)})
    with pytest.raises(CheckpointError, match=rf"rain\.safetensors.*{message}"):
        read_adapter(path)


def test_a_backbone_is_no_adapter(tmp_path: Path) -> None:
    write_tensors(tmp_path / "b.safetensors", {"w": np.zeros(2, np.float32)}, {})
    with pytest.raises(CheckpointError, match="is no colora adapter: its metadata has no key 'colora'"):
        read_adapter(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "golden", [np.zeros((1, 3, 64, 63), np.float32), np.full((1, 3, 64, 64), np.nan, np.float32)]
)
def test_the_golden_output_must_be_usable(golden: np.ndarray, mini: Any) -> None:
    with pytest.raises(CheckpointError, match=r"golden\.output is float32"):
        dataclasses.replace(mini.adapters["rain"], golden_output=golden)


def test_the_golden_input_never_changes() -> None:
    golden = golden_input()
    assert (golden.shape, golden.dtype) == ((1, 3, 64, 64), np.float32)
    assert 0 <= golden.min() < 0.1
    assert 0.8 < golden.max() <= 1
    levels = np.rint(golden * 255).astype(np.uint8)
    assert np.array_equal(levels.astype(np.float32) / np.float32(255), golden)
    assert (
        hashlib.sha256(levels.tobytes()).hexdigest()
        == "8c464f98daf892f604f0c4f7a4353e997a19cfa547b2606526530940ddd55388"
    )
    assert golden_input() is not golden
