"""Hot swap: a file copied into tasks/ is used from the next call, and a bad one changes nothing."""

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import BackendError, BundleError, CheckpointError, ParityError, UnknownName
from colora.runtime import resident
from colora.runtime.adapter import Adapter, to_float16, write_adapter
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import open_bundle
from colora.runtime.merge import GraphTensors
from colora.runtime.resident import ResidentAdapters
from colora.runtime.session import load


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="colora.runtime.resident")
    return caplog


@pytest.fixture
def file(null_bundle: Path) -> Path:
    return null_bundle / "tasks" / "rain.safetensors"


@pytest.fixture
def adapters(null_bundle: Path) -> ResidentAdapters:
    return ResidentAdapters(open_bundle(null_bundle), lambda adapter: None)


def doubled(adapter: Adapter) -> Adapter:
    """Another adapter of the same task and size."""
    params = {name: dataclasses.replace(p, scale=2 * p.scale) for name, p in adapter.params.items()}
    return dataclasses.replace(adapter, params=params)


def events(heard: pytest.LogCaptureFixture) -> list[tuple[int, str, str]]:
    return [(r.levelno, r.event, r.task) for r in heard.records]  # type: ignore[attr-defined]


def test_a_file_is_read_once(mini: Any, adapters: ResidentAdapters, monkeypatch: Any) -> None:
    monkeypatch.setattr("colora.runtime.stamp.SETTLED_S", 0.0)
    first = adapters.get("rain")
    assert first.content_sha256 == mini.adapters["rain"].content_sha256
    monkeypatch.setattr(resident.Bundle, "read_task", None)
    assert adapters.get("rain") is first
    assert adapters.size_bytes == 4 * first.stored_numbers()


def test_a_file_that_is_written_twice_in_one_tick(
    adapters: ResidentAdapters, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place, as `rsync --inplace` does, by a clock of 10 ms: read when half new, it is not refused for good."""
    real = Path.stat

    def coarse(self: Path, *, follow_symlinks: bool = True) -> SimpleNamespace:
        found, tick = real(self, follow_symlinks=follow_symlinks), 10_000_000
        times = {name: getattr(found, name) // tick * tick for name in ("st_mtime_ns", "st_ctime_ns")}
        return SimpleNamespace(st_mode=found.st_mode, st_ino=found.st_ino, st_size=found.st_size, **times)

    monkeypatch.setattr(Path, "stat", coarse)
    good = file.read_bytes()
    half = good[:-4] + b"half"
    adapters.get("rain")
    for _ in range(20):
        for content in (half, good):
            with file.open("r+b") as written:
                written.write(content)
            adapters.get("rain")
            assert bool(adapters.refused) == (content is half)


def test_what_float16_holds_is_held_in_it(mini: Any, adapters: ResidentAdapters, file: Path) -> None:
    rain = mini.adapters["rain"]
    rounded = dataclasses.replace(rain, params=to_float16(rain.params))
    write_adapter(file, rounded)
    held = adapters.get("rain")
    assert held.content_sha256 == rounded.content_sha256
    low_rank = sum(t.size for t in rain.params["conv1.weight"].tensors.values())
    assert held.size_bytes == 4 * held.stored_numbers() - 2 * low_rank
    for name, param in rounded.params.items():
        assert all(np.array_equal(held.params[name].tensors[short], t) for short, t in param.tensors.items())


def test_a_new_file_is_used_from_the_next_call(
    mini: Any, adapters: ResidentAdapters, file: Path, heard: Any
) -> None:
    adapters.get("rain")
    write_adapter(file, doubled(mini.adapters["rain"]))
    assert adapters.get("rain").content_sha256 == doubled(mini.adapters["rain"]).content_sha256
    assert adapters.swaps == 1
    assert events(heard) == [(logging.INFO, "adapter_swapped", "rain")]


def test_a_file_overwritten_in_place_with_its_facts_preserved_is_noticed(
    mini: Any, adapters: ResidentAdapters, file: Path
) -> None:
    adapters.get("rain")
    before = file.stat()
    write_adapter(file.with_name("other"), doubled(mini.adapters["rain"]))
    content = file.with_name("other").read_bytes()
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    assert adapters.get("rain").content_sha256 == doubled(mini.adapters["rain"]).content_sha256


def foreign(mini: Any, file: Path) -> None:
    write_adapter(file, dataclasses.replace(mini.adapters["rain"], backbone_sha256="0" * 64))


def misnamed(mini: Any, file: Path) -> None:
    write_adapter(file, mini.adapters["noise"])


def flipped(mini: Any, file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda mini, file: file.write_bytes(b"torn off"), "is truncated"),
        (flipped, "is damaged: content and content_sha256 differ"),
        (foreign, "was trained on backbone 000000000000"),
        (misnamed, "holds task 'noise'"),
    ],
)
def test_a_bad_file_is_refused_with_one_warning_and_the_old_adapter_stays(
    spoil: Callable[[Any, Path], None],
    reason: str,
    mini: Any,
    adapters: ResidentAdapters,
    file: Path,
    heard: Any,
) -> None:
    good, first = file.read_bytes(), adapters.get("rain")
    spoil(mini, file)
    for _ in range(3):
        assert adapters.get("rain") is first
    assert events(heard) == [(logging.WARNING, "adapter_refused", "rain")]
    assert reason in heard.records[0].reason
    assert reason in adapters.refused["rain"]
    assert adapters.swaps == 0
    file.write_bytes(good)
    assert adapters.get("rain").content_sha256 == first.content_sha256
    assert not adapters.refused
    assert len(heard.records) == 1


def test_a_file_that_is_copied_slowly_is_told_now_and_then(
    adapters: ResidentAdapters, file: Path, heard: Any, monkeypatch: Any
) -> None:
    now = 1000.0
    monkeypatch.setattr(resident.time, "monotonic", lambda: now)
    monkeypatch.setattr("colora.runtime.stamp.SETTLED_S", 0.0)
    whole = file.read_bytes()
    first = adapters.get("rain")
    for size in range(0, len(whole), len(whole) // 20):
        file.write_bytes(whole[:size])
        assert adapters.get("rain") is first
        now += 1
    said = len(heard.records)
    assert said == 2 + 1  # of 21 seconds: at 0, 10 and 20
    now += 10
    adapters.get("rain")
    assert len(heard.records) == said  # what was said last is still so
    file.write_bytes(whole[:-1])
    adapters.get("rain")
    file.write_bytes(whole[:-2])
    adapters.get("rain")
    assert len(heard.records) == said + 1
    now += 10
    adapters.get("rain")  # what went unsaid is said later, although the file did not change again
    assert len(heard.records) == said + 2


def test_a_task_whose_file_went_away_is_served_from_memory(
    adapters: ResidentAdapters, file: Path, heard: Any
) -> None:
    first = adapters.get("rain")
    file.unlink()
    for _ in range(3):
        assert adapters.get("rain") is first
    assert events(heard) == [(logging.WARNING, "adapter_missing", "rain")]
    assert adapters.tasks == ("noise", "rain")
    (file.parent / "noise.safetensors").unlink()  # never used
    with pytest.raises(UnknownName, match="unknown task 'noise': known: rain"):
        adapters.get("noise")


def test_without_an_older_one_a_bad_file_is_an_error_each_time(
    mini: Any, adapters: ResidentAdapters, file: Path, heard: Any
) -> None:
    file.write_bytes(b"torn off")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"rain\.safetensors is truncated"):
            adapters.get("rain")
    assert not heard.records
    assert list(adapters.refused) == ["rain"]
    file.unlink()
    with pytest.raises(UnknownName):
        adapters.get("rain")
    assert not adapters.refused
    write_adapter(file, mini.adapters["rain"])
    assert adapters.get("rain").task == "rain"


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_a_swap_that_fails_its_golden_check_leaves_the_old_adapter_in_use(
    mini: Any, ort_bundle: Path, picture: Any, heard: Any, policy: str
) -> None:
    file, rain = ort_bundle / "tasks" / "rain.safetensors", mini.adapters["rain"]
    with load(ort_bundle, policy=policy, threads=1) as session:
        before = session.restore(picture(20, 24), "rain")
        mixed = session.restore(picture(20, 24), {"rain": 0.5, "noise": 0.5})
        write_adapter(file, doubled(rain))  # with the golden output of the one that is not doubled
        for _ in range(2):
            assert np.array_equal(session.restore(picture(20, 24), "rain"), before)
        assert np.array_equal(session.restore(picture(20, 24), {"rain": 0.5, "noise": 0.5}), mixed)
        assert events(heard) == [(logging.WARNING, "adapter_refused", "rain")]
        assert "differs from its golden output" in heard.records[0].reason
    with load(ort_bundle, policy=policy, threads=1) as session, pytest.raises(ParityError):
        session.restore(picture(20, 24), "rain")


def test_verify_proves_every_task_ahead(mini: Any, ort_bundle: Path, picture: Any) -> None:
    with load(ort_bundle, threads=1) as session:
        assert session.verify() == {}
        session.restore(picture(20, 24), "rain")
        lies = dataclasses.replace(mini.adapters["noise"], golden_output=mini.adapters["rain"].golden_output)
        write_adapter(ort_bundle / "tasks" / "noise.safetensors", lies)
        write_adapter(ort_bundle / "tasks" / "haze.safetensors", dataclasses.replace(lies, task="haze"))
        refused = session.verify()
        assert list(refused) == ["haze", "noise"]
        assert all("differs from its golden output" in reason for reason in refused.values())
        session.restore(picture(20, 24), "noise")  # by the older one
        with pytest.raises(ParityError):
            session.restore(picture(20, 24), "haze")
    with pytest.raises(BackendError, match="is closed"):
        session.verify()


def test_a_golden_output_that_is_nan_is_no_pass(ort_bundle: Path, picture: Any, monkeypatch: Any) -> None:
    with load(ort_bundle, threads=1) as session:
        run = OrtBackend.run
        monkeypatch.setattr(OrtBackend, "run", lambda self, tensor: run(self, tensor) * np.float32("nan"))
        with pytest.raises(ParityError, match="task rain differs from its golden output by nan"):
            session.restore(picture(20, 24), "rain")


def test_after_a_switch_that_failed_every_task_is_proven_anew(
    ort_bundle: Path, picture: Any, monkeypatch: Any
) -> None:
    with load(ort_bundle, policy="refit", threads=1) as session:
        session.verify()

        def fails(*args: Any) -> None:
            raise BackendError("power dip")

        with monkeypatch.context() as patch:
            patch.setattr(GraphTensors, "write", fails)
            with pytest.raises(BackendError, match="power dip"):
                session.restore(picture(20, 24), "noise")
        run = OrtBackend.run
        with monkeypatch.context() as patch:  # a graph that is not what it was
            patch.setattr(OrtBackend, "run", lambda self, tensor: run(self, tensor) + np.float32(0.1))
            with pytest.raises(ParityError, match=r"rain differs from its golden output by 0\.1,"):
                session.restore(picture(20, 24), "rain")
        session.restore(picture(20, 24), "rain")


def test_a_task_outside_the_bundle_is_refused(adapters: ResidentAdapters, file: Path, tmp_path: Path) -> None:
    adapters.get("rain")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert adapters.get("rain").task == "rain"
    assert "leads out of the bundle" in adapters.refused["rain"]
    (file.parent / "noise.safetensors").unlink()
    (file.parent / "noise.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        adapters.get("noise")
