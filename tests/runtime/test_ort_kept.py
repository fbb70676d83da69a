"""Graphs kept from one start to the next: taken where all is as before, made anew where anything is not."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BundleError
from colora.runtime import ort_kept, ort_open
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.golden import golden_input
from colora.runtime.manifest import ImageConvention
from colora.runtime.onnx_file import Initializer, OnnxFile
from colora.runtime.weights import Array


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "colora" / "graphs"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A convolution that is edited and one that is not, whose numbers are beside the file."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return write(tmp_path / "a", np.random.default_rng(1).standard_normal((32, 32, 1, 1), np.float32))


WEIGHTS = {"w": np.random.default_rng(0).standard_normal((32, 3, 3, 3), np.float32)}


def write(folder: Path, fixed: Array) -> Path:
    import onnx

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[1,3,h,w] input, float[32,3,3,3] w, float[32,32,1,1] fixed, '
        "float[3,32,1,1] last) => (float[1,3,h,w] output) "
        "{ a = Conv <pads=[1,1,1,1]> (input, w)\n b = Conv (a, fixed)\n output = Conv (b, last) }"
    )
    values = {**WEIGHTS, "fixed": fixed, "last": np.full((3, 32, 1, 1), 0.01, np.float32)}
    for value in list(model.graph.input)[1:]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(values[value.name], value.name))
        model.graph.input.remove(value)
    folder.mkdir()
    onnx.save(
        model, folder / "graph.onnx", save_as_external_data=True, location="graph.data", size_threshold=0
    )
    return folder / "graph.onnx"


def result(graph: Path) -> Array:
    return OrtBackend.open(graph, ImageConvention(), WEIGHTS, True, 1).run(golden_input())


def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Grows by each graph that is optimised from now on."""
    graphs, real = [], ort_open.save_optimised

    def save(graph: Path, *rest: Any) -> None:
        graphs.append(graph)
        real(graph, *rest)

    monkeypatch.setattr(ort_open, "save_optimised", save)
    return graphs


def test_a_graph_is_optimised_once(graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimised = made(monkeypatch)
    first = result(graph)
    assert np.array_equal(result(graph), first) and optimised == [graph]
    (kept,) = cache.iterdir()
    files = {path.name: path.stat() for path in kept.iterdir()}
    assert files.keys() == {"optimised.onnx", "optimised.onnx.data", "places.json", "probed"}


def test_edits_are_probed_once(graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes, real = [], OrtBackend._probe

    def fails(self: OrtBackend) -> None:
        raise BackendError("ignored")

    def probe(self: OrtBackend) -> None:
        probes.append(self)
        real(self)

    monkeypatch.setattr(OrtBackend, "_probe", fails)
    for _ in range(2):  # one that failed is not taken for granted the next time
        with pytest.raises(BackendError, match="ignored"):
            result(graph)
    monkeypatch.setattr(OrtBackend, "_probe", probe)
    first = result(graph)
    assert np.array_equal(result(graph), first) and len(probes) == 1
    (kept,) = cache.iterdir()
    (kept / "optimised.onnx").write_bytes(b"damaged")  # made anew, so it is another one
    assert np.array_equal(result(graph), first) and len(probes) == 2


def test_its_constants_count(graph: Path, cache: Path, tmp_path: Path) -> None:
    """The ONNX file is the same, and the numbers beside it are others."""
    other = write(tmp_path / "b", np.eye(32, dtype=np.float32).reshape(32, 32, 1, 1))
    assert graph.read_bytes() == other.read_bytes()
    assert not np.array_equal(result(graph), result(other))
    assert len(list(cache.iterdir())) == 2


def test_so_do_the_package_and_the_processor(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimised = made(monkeypatch)
    for module, name, value in (
        ("onnxruntime", "__version__", "99"),
        ("colora.runtime.ort_kept", "cpu_facts", list),
    ):
        result(graph)
        monkeypatch.setattr(f"{module}.{name}", value)
    result(graph)
    assert len(optimised) == len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("file", ["../secret", "/etc/hostname", "link", "pipe", "none"])
def test_constants_are_read_beside_the_graph_only(graph: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / "secret").write_text("numbers")
    (graph.parent / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(graph.parent / "pipe")
    read = OnnxFile((), {"c": Initializer((1,), file, 0, size_bytes=4)})
    with pytest.raises(BundleError, match="expected a file beside the graph"):
        ort_kept.folder_of(graph, read, {}, "1")


@pytest.mark.parametrize("name", ["optimised.onnx", "optimised.onnx.data", "places.json"])
@pytest.mark.parametrize("damage", ["bit", "half", "gone"])
def test_what_is_damaged_is_made_anew(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    first = result(graph)
    (kept,) = cache.iterdir()
    file, note = kept / name, json.loads((kept / "places.json").read_bytes())
    data = bytearray(file.read_bytes())
    at = note["constants"][0][1] if name.endswith("data") else len(data) // 2  # elsewhere is a hole
    data[at + 1] ^= 1
    file.write_bytes(data if damage == "bit" else data[: at + 1])
    if damage == "gone":
        file.unlink()
    optimised = made(monkeypatch)
    assert np.array_equal(result(graph), first) and optimised == [graph]
    assert np.array_equal(result(graph), first) and optimised == [graph]


@pytest.mark.parametrize("note", [b"[" * 100_000, b"[1]", b'{"digest": 1, "places": 2, "constants": 3}', b""])
def test_a_foreign_note_is_made_anew(graph: Path, cache: Path, note: bytes) -> None:
    first = result(graph)
    (kept,) = cache.iterdir()
    (kept / "places.json").write_bytes(note)
    assert np.array_equal(result(graph), first)


def test_where_nothing_can_be_written_nothing_is_kept(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    optimised = made(monkeypatch)
    assert np.array_equal(result(graph), result(graph)) and len(optimised) == 2


def test_the_graphs_used_last_are_kept(
    graph: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_kept, "KEPT", 2)
    graphs = [graph, *(write(tmp_path / str(i), np.full((32, 32, 1, 1), i, np.float32)) for i in (1, 2))]
    for used in (graphs[0], graphs[1], graphs[0], graphs[2]):
        result(used)
    optimised = made(monkeypatch)
    for used in (graphs[0], graphs[2], graphs[1]):
        result(used)
    assert optimised == [graphs[1]]
