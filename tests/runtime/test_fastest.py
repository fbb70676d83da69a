"""`backend="auto"`: measured where there is a choice, once, and never a reason to fail."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from colora.devices.errors import BackendError, ParityError
from colora.runtime import fastest as module
from colora.runtime.backend import BACKENDS
from colora.runtime.bundle import open_bundle
from colora.runtime.fastest import AUTO, Fastest, cache_file, fastest
from colora.runtime.session import load

BOTH = AUTO[:2]
"""Before any test has changed it; TensorRT is tried in tests/runtime/tensorrt."""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "colora" / "backends.json"


class Clock:
    """Stands for the measurement: says what it is told, and counts."""

    def __init__(self, **times: float | Exception) -> None:
        self.times, self.asked = times, []  # type: ignore[var-annotated]

    def __call__(self, bundle: Any, name: str, *rest: Any) -> float:
        self.asked.append(name)
        found = self.times[name]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    """`clock(ort=…, openvino=…)` with both installed, whether they are or not."""
    monkeypatch.setattr(module, "AUTO", BOTH)
    monkeypatch.setattr(module, "find_spec", lambda package: package)

    def set_(**times: float | Exception) -> Clock:
        made = Clock(**times)
        monkeypatch.setattr(module, "_measure", made)
        return made

    return set_


def pick(folder: Path, policy: str = "auto", threads: int = 1, budget: int | None = None) -> Fastest:
    return fastest(open_bundle(folder), policy, threads, 1e-3, budget)


def test_no_candidate_lowers_the_precision() -> None:
    assert all(BACKENDS[name].precision == "" for name in BOTH)


def test_without_a_choice_nothing_is_measured_or_written(
    clock: Any, cache: Path, null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = clock()
    monkeypatch.setattr(module, "find_spec", lambda package: package == "openvino" or None)
    assert pick(null_bundle) == Fastest("openvino", "")
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    assert pick(null_bundle) == Fastest("ort", "")  # which then names its extra
    assert never.asked == [] and not cache.exists()


@pytest.mark.parametrize(
    ("openvino", "name"),
    [(80.0, "openvino"), (95.0, "ort"), (200.0, "ort")],
    ids=["faster", "hardly", "slower"],
)
def test_the_faster_one_if_it_is_worth_it(clock: Any, null_bundle: Path, openvino: float, name: str) -> None:
    clock(ort=100.0, openvino=openvino)
    assert pick(null_bundle) == Fastest(name, f"{name}: measured ort 100 ms, openvino {openvino:.0f} ms")


def test_it_is_remembered_for_what_it_depends_on(clock: Any, cache: Path, null_bundle: Path) -> None:
    first = clock(ort=100.0, openvino=50.0)
    found = pick(null_bundle)
    assert first.asked == ["ort", "openvino"]
    again = clock(ort=1.0, openvino=50.0)
    assert pick(null_bundle) == pick(null_bundle, "refit") == found and again.asked == []
    assert pick(null_bundle, "merged").name == pick(null_bundle, threads=2).name == "ort"
    assert pick(null_bundle) == found
    assert len(json.loads(cache.read_text())["fastest"]) == 3
    assert cache == cache_file()


def test_another_version_is_measured_again(
    clock: Any, null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(ort=100.0, openvino=50.0)
    pick(null_bundle)
    monkeypatch.setattr(module, "_version", lambda package: "99")
    assert clock(ort=1.0, openvino=50.0) and pick(null_bundle).name == "ort"


def test_one_that_refuses_is_passed_over(clock: Any, null_bundle: Path) -> None:
    clock(ort=100.0, openvino=BackendError("no such operator"))
    assert pick(null_bundle) == Fastest(
        "ort", "ort: measured ort 100 ms, openvino refused (no such operator)"
    )
    clock(ort=ParityError("differs"), openvino=100.0)
    assert pick(null_bundle, threads=2).name == "openvino"


def test_where_all_refuse_the_first_is_tried_again_each_time(
    clock: Any, cache: Path, null_bundle: Path
) -> None:
    clock(ort=BackendError("a"), openvino=BackendError("b"))
    assert pick(null_bundle).name == "ort" and not cache.exists()


def test_a_memory_budget_is_for_the_first(clock: Any, null_bundle: Path) -> None:
    never = clock()
    assert pick(null_bundle, budget=10**9) == Fastest("ort", "ort: memory_budget is estimated for it alone")
    assert never.asked == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff{", b"[1]", b'{"format": 2, "fastest": {}}', b'{"format": 1, "fastest": []}',
     b'{"format": 1, "fastest": {"KEY": {"name": "null", "why": ""}}}', b'{"format": 1, "fastest": {"KEY": 1}}',
     b'{"format": 1, "fastest": {"KEY": {"name": ["ort"], "why": 3}}}', b"[" * 100_000],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_file_is_measured_over(clock: Any, cache: Path, null_bundle: Path, damage: bytes) -> None:
    clock(ort=100.0, openvino=50.0)
    pick(null_bundle)
    (key,) = json.loads(cache.read_text())["fastest"]
    cache.write_bytes(damage.replace(b"KEY", key.encode()))
    again = clock(ort=100.0, openvino=50.0)
    assert pick(null_bundle).name == "openvino" and again.asked
    assert list(json.loads(cache.read_text())["fastest"]) == [key]


def test_a_cache_that_cant_be_written_does_no_harm(
    clock: Any, null_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    clock(ort=100.0, openvino=50.0)
    assert pick(null_bundle).name == "openvino"


@pytest.mark.skipif(os.name == "nt", reason="users have names there")
def test_without_a_home_nothing_is_remembered(
    clock: Any, null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that runs under any number: neither $HOME nor a line in /etc/passwd."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    for _ in range(2):
        measured = clock(ort=100.0, openvino=50.0)
        assert pick(null_bundle).name == "openvino" and measured.asked
    assert not cache_file().exists()


@pytest.mark.parametrize("policy", ["auto", "merged"])
def test_both_are_really_run(
    ort_bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, picture: Any, policy: str
) -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    monkeypatch.setattr(module, "AUTO", BOTH)
    with load(ort_bundle, "auto", policy, threads=1) as session:
        facts = session.describe()
        assert facts.backend.name in BOTH
        assert f"; backend {facts.backend.name}: measured ort " in facts.why and ", openvino " in facts.why
        session.restore(picture(20, 24), "rain")
    assert cache.is_file()
