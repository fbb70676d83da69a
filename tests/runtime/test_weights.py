"""Tensors on disk: what is written is read back by anyone; what is damaged is refused by name and reason."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from colora.devices.errors import BundleError, CheckpointError
from colora.runtime.weights import MappedTensors, read_header, read_tensors, weights_sha256, write_tensors

TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "half": np.array([0.5, -2.0], np.float16),
    "codes": np.array([1, 255], np.uint8),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "w.safetensors", TENSORS, {"colora": "{}"})
    return tmp_path / "w.safetensors"


def test_round_trip_upcasts_half_and_keeps_the_rest(file: Path) -> None:
    tensors, metadata = read_tensors(file)
    assert metadata == {"colora": "{}"}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == (np.float32 if name == "half" else tensor.dtype)
        assert tensors[name].shape == tensor.shape
        assert np.array_equal(tensors[name], tensor)
        assert tensors[name].flags.writeable


def test_the_published_reader_agrees(file: Path) -> None:
    theirs = safetensors.numpy.load_file(file)
    assert all(np.array_equal(theirs[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_who_may_read_a_file_is_the_umask_s(tmp_path: Path) -> None:
    file, before = tmp_path / "w.safetensors", os.umask(0o027)
    try:
        for _ in range(2):  # anew, and in the place of another
            write_tensors(file, TENSORS, {})
            assert file.stat().st_mode & 0o777 == 0o640
            file.chmod(0o600)
    finally:
        os.umask(before)


def test_a_transposed_view_is_stored_in_its_own_order(tmp_path: Path) -> None:
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_tensors(tmp_path / "v.safetensors", {"v": view}, {})
    assert np.array_equal(read_tensors(tmp_path / "v.safetensors")[0]["v"], view)


def test_every_truncation_is_refused_by_name(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors is (truncated|damaged)"):
            read_tensors(cut)


def test_trailing_bytes_are_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_tensors(file)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}, "tensors end at byte"),
        ({"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}, "claims bytes 0..8"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, r"shape \(-2,\)"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "claims bytes 4..12"),
        ({"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}, "tensor t is BF16; expected one of"),
        ({"dtype": "F32", "shape": "x"}, "data_offsets"),
        (7, "damaged"),
    ],
)
def test_headers_that_lie_are_refused_before_allocation(entry: object, reason: str, tmp_path: Path) -> None:
    header = json.dumps({"t": entry}).encode()
    path = tmp_path / "lie.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match=reason):
        read_header(path)


def test_pickles_are_refused_whatever_they_are_called(tmp_path: Path) -> None:
    for protocol in (2, 3, 4, 5):
        path = tmp_path / f"p{protocol}.safetensors"
        path.write_bytes(pickle.dumps({"state": list(range(999))}, protocol=protocol))
        with pytest.raises(CheckpointError, match=r"is a pickle .* convert it to safetensors"):
            read_tensors(path)
    zipped = tmp_path / "net.pth"
    np.savez(tmp_path / "net.npz", x=np.zeros(9))  # a .pth is a zip archive too
    (tmp_path / "net.npz").rename(zipped)
    with pytest.raises(CheckpointError, match="is a pickle"):
        read_tensors(zipped)


def test_a_header_as_long_as_a_pickle_magic_is_no_pickle(tmp_path: Path) -> None:
    header = b"{}".ljust(0x0280)  # its length starts with the bytes 80 02
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_tensors(path) == ({}, {})


def test_missing_files_and_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.safetensors can't be read: No such file"):
        read_tensors(tmp_path / "none.safetensors", BundleError)


def test_a_write_that_runs_out_of_room_leaves_the_old_file(file: Path) -> None:
    before = file.read_bytes()
    code = f"""
import resource, numpy as np
from colora.runtime.weights import write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_tensors({str(file)!r}, {{"big": np.zeros(99999, np.float32)}}, {{}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search(r"CheckpointError: .*w\.safetensors was not written: .* unchanged", done.stderr)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_mapped_tensors_are_the_read_ones_and_read_only(file: Path) -> None:
    mapped, read = MappedTensors(file), read_tensors(file)[0]
    for _ in range(2):
        for name in TENSORS:
            assert mapped[name].dtype == np.float32
            assert np.array_equal(mapped[name], read[name].astype(np.float32))
        mapped.release()
    with pytest.raises(ValueError, match="read-only"):
        mapped["a.weight"][0, 0] = 1
    with pytest.raises(KeyError):
        mapped["b.weight"]


def test_a_mapped_file_that_is_replaced_is_read_as_it_was(file: Path) -> None:
    mapped = MappedTensors(file)
    write_tensors(file, {"a.weight": np.zeros((3, 4), np.float32)}, {})
    assert np.array_equal(mapped["a.weight"], TENSORS["a.weight"])


def test_mapping_refuses_what_reading_refuses(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"w\.safetensors is truncated or damaged"):
        MappedTensors(file, BundleError)
    with pytest.raises(BundleError, match="can't be read: No such file"):
        MappedTensors(tmp_path / "none.safetensors", BundleError)


def test_hash_sees_numbers_names_and_shapes_but_not_dtype_or_order() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    base = weights_sha256({"a": a, "b": b})
    assert weights_sha256({"b": b.astype(">f4"), "a": np.asfortranarray(a.astype(np.float64))}) == base
    assert weights_sha256({"a": a.reshape(3, 2), "b": b}) != base
    assert weights_sha256({"a": a, "c": b}) != base
    assert weights_sha256({"a": a, "b": np.nextafter(b, 2, dtype=np.float32)}) != base
    by_hand = hashlib.sha256(b'["x", [1]]' + b"\x00\x00\x80\x3f").hexdigest()
    assert weights_sha256({"x": np.array([1.0], np.float32)}) == by_hand
