"""The bundle: written whole or not at all, verified before it is used, tasks refused one by one."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BundleError, CheckpointError, ColoraError, UnknownName
from colora.runtime.adapter import write_adapter
from colora.runtime.bundle import add_task, open_bundle, write_bundle, write_golden
from colora.runtime.manifest import (
    ACTIVATION_BYTES,
    Manifest,
    Pad,
    Shapes,
    Tile,
    manifest_bytes,
    parse_manifest,
)
from colora.runtime.weights import write_tensors


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    edit(data)
    (bundle / "manifest.json").write_text(json.dumps(data))


def test_what_is_written_is_opened(mini: Any, null_bundle: Path) -> None:
    bundle = open_bundle(null_bundle)
    assert bundle.tasks == ("noise", "rain")
    assert bundle.manifest == dataclasses.replace(mini.manifest, files=bundle.manifest.files)
    assert set(bundle.manifest.files) == {"graph.onnx", "golden.npz", "weights.safetensors"}
    assert bundle.shapes == {name: t.shape for name, t in mini.weights.items()}
    assert bundle.read_task("rain").content_sha256 == mini.adapters["rain"].content_sha256
    assert bundle.golden_output.shape == (1, 3, 64, 64)


def test_two_exports_of_the_same_are_the_same_bytes(mini: Any, tmp_path: Path) -> None:
    one, two = (contents(write_bundle(tmp_path / name, mini.fill)) for name in ("one", "two"))
    assert one == two


def test_an_export_that_fails_leaves_the_previous_bundle(mini: Any, null_bundle: Path) -> None:
    before = contents(null_bundle)

    def breaks(folder: Path) -> Manifest:
        mini.fill(folder)
        raise RuntimeError("parity")

    def lacks_graph(folder: Path) -> Manifest:
        manifest: Manifest = mini.fill(folder)
        (folder / "graph.onnx").unlink()
        return manifest

    def foreign_task(folder: Path) -> Manifest:
        manifest: Manifest = mini.fill(folder)
        adapter = dataclasses.replace(mini.adapters["rain"], backbone_sha256="0" * 64)
        write_adapter(folder / "tasks" / "rain.safetensors", adapter)
        return manifest

    def other_backbone(folder: Path) -> Manifest:
        manifest: Manifest = mini.fill(folder)
        write_tensors(folder / "weights.safetensors", {n: t + 1 for n, t in mini.weights.items()}, {})
        return manifest

    for fill, error in (
        (breaks, "parity"),
        (lacks_graph, "lists no graph.onnx; a shared bundle needs it"),
        (foreign_task, "was trained on backbone 0000"),
        (other_backbone, "holds backbone .* but the manifest says"),
    ):
        with pytest.raises((RuntimeError, BundleError, CheckpointError), match=error):
            write_bundle(null_bundle, fill)
        assert contents(null_bundle) == before
    assert list(null_bundle.parent.iterdir()) == [null_bundle]


def test_a_kill_or_a_full_disk_leaves_the_previous_bundle(null_bundle: Path) -> None:
    before = contents(null_bundle)
    begin = """
import resource, time
from pathlib import Path
from colora.runtime.bundle import write_bundle
def fill(folder):
    (folder / "graph.onnx").write_bytes(b"x" * 1000)
    print("ready", flush=True)
    time.sleep(60)
"""
    call = f"write_bundle({str(null_bundle)!r}, fill)"
    killed = subprocess.Popen([sys.executable, "-c", begin + call], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"ready\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert contents(null_bundle) == before
    full = begin + "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n" + call
    done = subprocess.run([sys.executable, "-c", full], capture_output=True, text=True, check=False)
    assert "BundleError" in done.stderr
    assert "was not written: [Errno 27] File too large; what was there before is unchanged" in done.stderr
    assert contents(null_bundle) == before
    assert list(null_bundle.parent.iterdir()) == [null_bundle]  # the killed one's litter is swept


def test_only_bundles_are_replaced(mini: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("dear")
    with pytest.raises(BundleError, match="photos exists and is no bundle: it was left alone"):
        write_bundle(tmp_path / "photos", mini.fill)
    assert (tmp_path / "photos" / "a.jpg").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    assert open_bundle(write_bundle(tmp_path / "empty", mini.fill)).tasks == ("noise", "rain")


@pytest.mark.parametrize("name", ["graph.onnx", "weights.safetensors", "golden.npz"])
def test_damaged_files_are_named(name: str, null_bundle: Path) -> None:
    file = null_bundle / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(
        BundleError, match=rf"{name} is damaged: {len(whole) - 1} bytes, expected {len(whole)}; copy"
    ):
        open_bundle(null_bundle)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=rf"{name} is damaged: its SHA-256 is not the manifest's"):
        open_bundle(null_bundle)
    file.unlink()
    with pytest.raises(BundleError, match=rf"{name} can't be read: No such file"):
        open_bundle(null_bundle)


def test_a_manifest_that_may_not_be_read_is_named(null_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(Path, "read_bytes", refused)  # modes don't bind root
    with pytest.raises(BundleError, match=r"manifest\.json can't be read: Permission denied$"):
        open_bundle(null_bundle)


def test_a_folder_without_manifest_is_no_bundle(null_bundle: Path) -> None:
    (null_bundle / "manifest.json").unlink()
    with pytest.raises(
        BundleError, match=r"is no bundle: manifest\.json is missing; make one with colora-export"
    ):
        open_bundle(null_bundle)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(format=3), "format 3; this version reads 1 and 2"),
        (lambda m: m.pop("pad"), "damaged or no colora manifest: KeyError 'pad'"),
        (lambda m: m.update(extra=1), "Manifest has fields .*extra"),
        (lambda m: m["pad"].update(mode="mirror"), "pad 'mirror' to 4 .* expected zeros, reflect, edge"),
        (lambda m: m["tile"].update(size=64.0), r"Tile\.size is 64\.0; expected"),
        (lambda m: m["shapes"].update(min=[4]), r"Shapes\.min is \(4,\)"),
        (lambda m: m.update(kind="merged"), "a merged bundle with task '' and 8 switchable tensors"),
        (lambda m: m.update(activation_bytes_per_pixel=0.0), "activations of 0.0 bytes a pixel"),
        (lambda m: m.update(activation_bytes_per_pixel=float("inf")), "activations of inf bytes a pixel"),
        (lambda m: m.update(activation_bytes_per_pixel="9"), r"Manifest\.activation_bytes_per_pixel is '9'"),
        (lambda m: m.update(target=None), r"Manifest\.target is None"),
        (lambda m: m["program"].update(w1=[["exec", "rm"]]), "weight program of w1: unknown step"),
        (
            lambda m: m["program"].update(w1=[["param", "conv9.weight"]]),
            "w1 reads conv9.weight, which weights",
        ),
        (lambda m: m["files"].pop("graph.onnx"), r"lists no graph\.onnx"),
        (
            lambda m: m["files"].update({"../x": m["files"]["graph.onnx"]}),
            r"file '\.\./x' leads out of the bundle",
        ),
        (
            lambda m: m["files"].update({"/etc/passwd": m["files"]["graph.onnx"]}),
            "file '/etc/passwd' leads out",
        ),
        (lambda m: m["files"].update({"c:\\x": m["files"]["graph.onnx"]}), "leads out"),
    ],
)
def test_manifests_that_say_something_wrong_are_refused(edit: Any, message: str, null_bundle: Path) -> None:
    edit_manifest(null_bundle, edit)
    with pytest.raises(BundleError, match=rf"manifest\.json.*{message}"):
        open_bundle(null_bundle)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_manifests_that_are_no_json_objects_are_refused(raw: bytes, null_bundle: Path) -> None:
    (null_bundle / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged or no colora manifest"):
        open_bundle(null_bundle)


def test_links_that_lead_out_are_refused(mini: Any, null_bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(null_bundle / "graph.onnx", outside)
    (null_bundle / "graph.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"graph\.onnx leads out of the bundle to .*outside: refused"):
        open_bundle(null_bundle)
    (null_bundle / "graph.onnx").unlink()
    shutil.move(outside, null_bundle / "graph.onnx")
    write_adapter(tmp_path / "rain.safetensors", mini.adapters["rain"])
    (null_bundle / "tasks" / "rain.safetensors").unlink()
    (null_bundle / "tasks" / "rain.safetensors").symlink_to(tmp_path / "rain.safetensors")
    with pytest.raises(BundleError, match=r"rain\.safetensors leads out"):
        open_bundle(null_bundle).read_task("rain")


def test_links_in_circles_and_pipes_are_refused(null_bundle: Path) -> None:
    """Found by benchmarks.fuzz: the one raised RuntimeError, the other would be waited for."""
    rain = null_bundle / "tasks" / "rain.safetensors"
    rain.unlink()
    rain.symlink_to(rain)
    with pytest.raises(ColoraError, match=r"rain\.safetensors"):
        open_bundle(null_bundle).read_task("rain")
    for name in ("tasks/rain.safetensors", "golden.npz"):
        (null_bundle / name).unlink()
        os.mkfifo(null_bundle / name)
        with pytest.raises(
            BundleError, match=rf"{Path(name).name} is no regular file: refused; copy the file in"
        ):
            open_bundle(null_bundle).read_task("rain")


@pytest.mark.parametrize("name", ["graph\0.onnx", "\ud800", "n" * 300])
def test_names_that_no_system_has_are_refused(name: str, null_bundle: Path) -> None:
    edit_manifest(null_bundle, lambda m: m["files"].update({name: m["files"]["graph.onnx"]}))
    with pytest.raises(BundleError, match=r"can't be (followed|read)"):
        open_bundle(null_bundle)


def test_a_golden_file_that_unpacks_to_much_is_refused(null_bundle: Path) -> None:
    np.savez_compressed(null_bundle / "golden.npz", input=np.zeros(10**7), output=np.zeros(1))
    file = null_bundle / "golden.npz"
    import hashlib

    record = {"size_bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    edit_manifest(null_bundle, lambda m: m["files"].update({"golden.npz": record}))
    with pytest.raises(BundleError, match=r"golden\.npz unpacks to 800\d+ bytes, more than"):
        open_bundle(null_bundle)


def test_a_bad_task_is_refused_and_the_others_stay(null_bundle: Path) -> None:
    file = null_bundle / "tasks" / "rain.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    (null_bundle / "tasks" / "fog.safetensors").write_bytes(
        (null_bundle / "tasks" / "noise.safetensors").read_bytes()
    )
    bundle = open_bundle(null_bundle)
    assert bundle.tasks == ("fog", "noise", "rain")
    with pytest.raises(CheckpointError, match=r"rain\.safetensors is truncated"):
        bundle.read_task("rain")
    with pytest.raises(
        BundleError, match=r"fog\.safetensors holds task 'noise': rename it to noise\.safetensors"
    ):
        bundle.read_task("fog")
    assert bundle.read_task("noise").task == "noise"


def test_unknown_tasks_get_the_nearest_name(null_bundle: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown task 'rian': did you mean rain\? known: noise, rain"):
        open_bundle(null_bundle).read_task("rian")
    with pytest.raises(UnknownName):
        open_bundle(null_bundle).read_task("../tasks/rain")


def test_adding_a_task_touches_nothing_else(mini: Any, null_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(null_bundle)
    before = contents(null_bundle)
    haze = dataclasses.replace(mini.adapters["rain"], task="haze")
    write_adapter(tmp_path / "any-name.safetensors", haze)
    assert (
        add_task(null_bundle, tmp_path / "any-name.safetensors") == null_bundle / "tasks" / "haze.safetensors"
    )
    after = contents(null_bundle)
    assert after.pop("tasks/haze.safetensors") == (tmp_path / "any-name.safetensors").read_bytes()
    assert after == before
    assert bundle.tasks == ("haze", "noise", "rain")  # a bundle already open sees it


def test_adapters_that_do_not_fit_are_not_added(mini: Any, null_bundle: Path, tmp_path: Path) -> None:
    rain = mini.adapters["rain"]
    file = tmp_path / "a.safetensors"
    before = contents(null_bundle)
    bias = rain.params["conv1.bias"]
    for params, message in (
        ({"conv1.weights": rain.params["conv1.weight"]}, "parameter conv1.weights is .* in this bundle None"),
        ({"conv3.bias": bias}, r"conv3\.bias is \(8,\), in this bundle \(3,\)"),
    ):
        write_adapter(file, dataclasses.replace(rain, params=params))
        with pytest.raises(CheckpointError, match=message):
            add_task(null_bundle, file)
    edit_manifest(null_bundle, lambda m: m["program"].pop("b1"))
    write_adapter(file, rain)
    with pytest.raises(CheckpointError, match=r"no switchable tensor .* depends on parameter conv1\.bias"):
        add_task(null_bundle, file)
    assert {n: b for n, b in contents(null_bundle).items() if n != "manifest.json"} == {
        n: b for n, b in before.items() if n != "manifest.json"
    }


def test_a_merged_bundle_has_one_task_and_takes_no_other(mini: Any, tmp_path: Path) -> None:
    def fill(folder: Path) -> Manifest:
        (folder / "graph.onnx").write_bytes(b"graph")
        write_golden(folder / "golden.npz", mini.adapters["rain"].golden_output)
        sha256 = mini.adapters["rain"].content_sha256
        return dataclasses.replace(
            mini.manifest, kind="merged", program={}, task="rain", adapter_sha256=sha256
        )

    path = write_bundle(tmp_path / "merged", fill)
    assert open_bundle(path).tasks == ("rain",)
    write_adapter(tmp_path / "noise.safetensors", mini.adapters["noise"])
    with pytest.raises(BundleError, match="has task 'rain' merged in: export a shared one"):
        add_task(path, tmp_path / "noise.safetensors")


def test_facts_that_contradict_are_refused(mini: Any) -> None:
    for make, message in (
        (lambda: Shapes((4, 4), (2, 2), (8, 8), 2), "expected 0 < min <= opt <= max"),
        (lambda: Shapes((4, 4), (6, 6), (8, 8), 4), "no multiples of 4"),
        (lambda: Pad("zeros", 4, "center"), "on 'center'"),
        (lambda: Tile(64, 32, 128), "expected 0 <= 2·overlap < size <= when_above"),
        (lambda: Tile(64, 8, 32), "expected 0 <= 2·overlap < size <= when_above"),
        (
            lambda: dataclasses.replace(mini.manifest, pad=Pad("zeros", 2)),
            "padded to multiples of 2, but the graph",
        ),
        (
            lambda: dataclasses.replace(mini.manifest, tile=Tile(64, 8, 256)),
            "run whole, but the graph takes at most",
        ),
        (
            lambda: dataclasses.replace(mini.manifest, precision="int3"),
            "precision 'int3'; expected fp32 or fp16",
        ),
    ):
        with pytest.raises(BundleError, match=message):
            make()


def test_the_manifest_round_trips(mini: Any) -> None:
    assert parse_manifest(manifest_bytes(mini.manifest), "here") == mini.manifest


def test_a_bundle_that_does_not_say_what_its_activations_take_is_read(null_bundle: Path) -> None:
    """The first ones did not; a cautious figure stands for it."""
    edit_manifest(null_bundle, lambda m: m.update(activation_bytes_per_pixel=12.5))
    assert open_bundle(null_bundle).manifest.activation_bytes_per_pixel == 12.5
    edit_manifest(null_bundle, lambda m: m.pop("activation_bytes_per_pixel"))
    assert open_bundle(null_bundle).manifest.activation_bytes_per_pixel == ACTIVATION_BYTES
