"""Sessions: the right weights for every task and mixture, exactly, whatever came before."""

import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import (
    BackendError,
    BundleError,
    ColoraError,
    ImageError,
    ParityError,
    UnknownName,
)  # fmt: skip
from colora.runtime import default
from colora.runtime.adapter import write_adapter
from colora.runtime.atomic import write_bytes
from colora.runtime.backend_null import NullBackend
from colora.runtime.backend_ort import OrtBackend
from colora.runtime.bundle import add_task, write_bundle, write_golden
from colora.runtime.default import find_bundle, restore
from colora.runtime.golden import golden_input
from colora.runtime.manifest import Manifest
from colora.runtime.merge import GraphTensors
from colora.runtime.session import Session, load

CLOSE = 1e-5
"""float32 sums of up to 27 products of order 1, against float64."""

MIXTURES: list[Any] = [
    "rain",
    "noise",
    {"rain": 0.6, "noise": 0.4},
    {"noise": -1.5},
    {},
    "rain",
    {"rain": 0.25},
]


@pytest.fixture
def image(picture: Any) -> Any:
    return (picture(48, 60) / 255).astype(np.float32) * np.float32(0.5) + np.float32(0.25)


def reference(mini: Any, image: Any, mixture: Any) -> Any:
    mixture = {mixture: 1.0} if isinstance(mixture, str) else mixture
    return np.clip(mini.forward(image.transpose(2, 0, 1)[None], mixture)[0].transpose(1, 2, 0), 0, 1)


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_every_task_and_mixture_is_the_reference(
    mini: Any, ort_bundle: Path, image: Any, policy: str
) -> None:
    with load(ort_bundle, policy=policy, threads=1) as session:
        assert session.describe().policy == policy
        assert session.describe().why == f"policy='{policy}' was asked for"
        for mixture in MIXTURES:
            got = session.restore(image, mixture)
            assert np.abs(got - reference(mini, image, mixture)).max() < CLOSE
        assert (
            np.abs(session.restore(image, "rain", strength=0.5) - reference(mini, image, {"rain": 0.5})).max()
            < CLOSE
        )
        assert np.abs(session.restore(image, "rain") - session.restore(image, "noise")).max() > 0.01


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_coming_back_gives_the_same_bits(ort_bundle: Path, image: Any, policy: str) -> None:
    with load(ort_bundle, policy=policy, threads=1) as session:
        first = [session.restore(image, mixture) for mixture in MIXTURES]
        for i in (2, 0, 5, 1, 4, 3, 6, 0):
            assert np.array_equal(session.restore(image, MIXTURES[i]), first[i])
    with load(ort_bundle, policy=policy, threads=1) as fresh:
        assert np.array_equal(fresh.restore(image, MIXTURES[2]), first[2])
        assert np.array_equal(fresh.restore(image, {"noise": 0.4, "rain": 0.6}), first[2])
        assert np.array_equal(fresh.restore(image, "rain", strength=0.0), first[4])


def test_dtype_and_size_are_kept(mini: Any, ort_bundle: Path, picture: Any, tmp_path: Path) -> None:
    with load(ort_bundle, threads=1) as session:
        for height, width in ((1, 1), (7, 50), (33, 31), (130, 100)):
            given = picture(height, width)
            got = session.restore(given, "rain")
            assert (got.shape, got.dtype) == (given.shape, np.uint8)
        small = picture(16, 20)
        expected = np.rint(reference(mini, small.astype(np.float32) / 255, "rain") * 255)
        assert np.abs(session.restore(small, "rain") - expected).max() <= 1  # a tie may round either way
        pytest.importorskip("PIL")
        from PIL import Image

        Image.fromarray(small).save(tmp_path / "a.png")
        for given in (tmp_path / "a.png", Image.fromarray(small)):
            assert np.array_equal(session.restore(given, "rain"), session.restore(small, "rain"))
        with pytest.raises(ImageError, match="has no pixels"):
            session.restore(small[:0], "rain")


def null_graph(session: Any) -> NullBackend:
    graph = session._switcher._graph
    assert isinstance(graph, NullBackend)
    return graph


def test_only_tensors_of_the_old_or_the_new_task_change(null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null") as session:
        graph = null_graph(session)
        image = picture(8, 8)
        steps = []
        for task in ("rain", "rain", "noise", {}, {"rain": 0.5}, {"rain": 0.6}):
            graph.changed.clear()
            session.restore(image, task)
            steps.append(set(graph.changed))
        rain, noise = {"w1", "b1", "w3", "b3"}, {"w2a", "b2a", "w2b", "b2b"}
        assert steps == [rain, set(), rain | noise, noise, rain, rain]


def test_weights_handed_over_are_w0_plus_delta(mini: Any, null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), {"rain": 0.3, "noise": 2.0})
        w = mini.adapted({"rain": 0.3, "noise": 2.0})
        given = null_graph(session).weights
    graph_w2 = w["conv2.weight"] * w["norm.weight"][None, :, None, None]
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), {"rain": 0.3, "noise": 2.0})
        given = dict(null_graph(session).weights)
    assert np.allclose(given["w1"], w["conv1.weight"], atol=1e-6)  # float32 roundings of numbers below 4
    assert np.allclose(given["w2b"], graph_w2[8:], atol=1e-6)
    assert np.allclose(given["b3"], w["conv3.bias"] * w["beta"].ravel(), atol=1e-6)
    assert all(tensor.dtype == np.float32 for tensor in given.values())


def test_a_switch_that_fails_half_way_is_made_good_by_the_next(
    ort_bundle: Path, image: Any, monkeypatch: Any
) -> None:
    with load(ort_bundle, policy="refit", threads=1) as session:
        rain = session.restore(image, "rain")
        noise = session.restore(image, "noise")
        real = GraphTensors.write

        def half(self: GraphTensors, mixture: Any, buffers: Any, names: Any) -> None:
            real(self, mixture, buffers, names[:1])
            raise BackendError("power dip")

        with monkeypatch.context() as patch:
            patch.setattr(GraphTensors, "write", half)
            with pytest.raises(BackendError, match="power dip"):
                session.restore(image, "rain")
        assert np.array_equal(session.restore(image, "noise"), noise)
        assert np.array_equal(session.restore(image, "rain"), rain)


def test_merged_graphs_are_kept_for_the_tasks_used_last(ort_bundle: Path, image: Any) -> None:
    with load(ort_bundle, policy="merged", hot_tasks=2, threads=1) as session:
        graphs = session._switcher.hot._graphs
        for task in ("rain", "noise", "rain"):
            session.restore(image, task)
        assert len(graphs) == 2
        held = list(graphs.values())
        session.restore(image, {})
        assert len(graphs) == 2
        assert held[1] in graphs.values()  # rain, used last, stays
        assert held[0] not in graphs.values()


def test_auto_falls_back_to_merged_and_says_why(
    mini: Any, ort_bundle: Path, image: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    def ignores(self: OrtBackend) -> None:
        raise BackendError("ignores in-place changes")

    monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path / "cache")
    )  # a graph that was probed is not probed again
    monkeypatch.setattr(OrtBackend, "_probe", ignores)
    with load(ort_bundle, threads=1) as session:
        facts = session.describe()
        assert facts.policy == "merged"
        assert facts.why == "weights can't be changed in place here: ignores in-place changes"
        assert np.abs(session.restore(image, "rain") - reference(mini, image, "rain")).max() < CLOSE
    with pytest.raises(BackendError, match="ignores in-place changes"):
        load(ort_bundle, policy="refit")


def test_a_task_that_fails_its_golden_check_is_refused_and_others_stay(
    mini: Any, ort_bundle: Path, image: Any, tmp_path: Path
) -> None:
    rain = mini.adapters["rain"]
    lies = dataclasses.replace(rain, golden_output=rain.golden_output + np.float32(0.01))
    write_adapter(tmp_path / "rain.safetensors", lies)
    add_task(ort_bundle, tmp_path / "rain.safetensors")
    with load(ort_bundle, threads=1) as session:
        for _ in range(2):
            with pytest.raises(
                ParityError, match=r"task rain differs from its golden output by 0\.01, more than 0\.001"
            ):
                session.restore(image, "rain")
            with pytest.raises(ParityError):
                session.restore(image, {"rain": 0.5, "noise": 0.5})
        assert np.abs(session.restore(image, "noise") - reference(mini, image, "noise")).max() < CLOSE
    with load(ort_bundle, threads=1, golden_tolerance=0.02) as session:
        session.restore(image, "rain")


def test_a_graph_that_is_not_the_backbone_is_refused_at_load(
    mini: Any, tmp_path: Path, ort_bundle: Path
) -> None:
    def fill(folder: Path) -> Manifest:
        manifest: Manifest = mini.fill_with_graph(folder)
        write_golden(folder / "golden.npz", mini.forward(np.zeros((1, 3, 64, 64))).astype(np.float32))
        return manifest

    with pytest.raises(ParityError, match="the backbone differs from its golden output"):
        load(write_bundle(tmp_path / "other", fill))


def test_tasks_come_and_go_while_the_session_runs(
    mini: Any, ort_bundle: Path, image: Any, tmp_path: Path
) -> None:
    with load(ort_bundle, threads=1) as session:
        session.restore(image, "rain")
        with pytest.raises(UnknownName, match="unknown task 'haze'"):
            session.restore(image, "haze")
        write_adapter(tmp_path / "haze.safetensors", dataclasses.replace(mini.adapters["noise"], task="haze"))
        add_task(ort_bundle, tmp_path / "haze.safetensors")
        assert session.tasks == ("haze", "noise", "rain")
        assert np.array_equal(session.restore(image, "haze"), session.restore(image, "noise"))
        updated = dataclasses.replace(mini.adapters["noise"], task="rain")
        write_adapter(tmp_path / "rain.safetensors", updated)
        add_task(ort_bundle, tmp_path / "rain.safetensors")
        assert np.array_equal(session.restore(image, "rain"), session.restore(image, "noise"))
        (ort_bundle / "tasks" / "rain.safetensors").write_bytes(b"torn off")
        assert np.array_equal(session.restore(image, "rain"), session.restore(image, "noise"))
        (ort_bundle / "tasks" / "rain.safetensors").unlink()
        assert np.array_equal(session.restore(image, "rain"), session.restore(image, "noise"))
        with pytest.raises(UnknownName, match="did you mean"):
            session.restore(image, "rains" if "rains" in session.tasks else "hase")


def test_a_bundle_replaced_under_a_session_is_noticed(null_bundle: Path, picture: Any) -> None:
    weights = null_bundle / "weights.safetensors"
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), "rain")
        write_bytes(weights, weights.read_bytes()[:-1] + b"?")
        for _ in range(2):
            with pytest.raises(BundleError, match="was replaced while it was in use: load it again"):
                session.restore(picture(8, 8), "noise")
            session.restore(picture(8, 8), "rain")  # which the graph holds


def test_a_program_may_go_to_another_folder(
    null_bundle: Path, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(null_bundle.parent)
    with load(null_bundle.name, "null") as session:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        for task in ("rain", "noise"):
            session.restore(picture(8, 8), task)


def test_the_same_bundle_copied_anew_is_no_other(mini: Any, null_bundle: Path, picture: Any) -> None:
    with load(null_bundle, "null") as session:
        session.restore(picture(8, 8), "rain")
        write_bundle(null_bundle, mini.fill)
        session.restore(picture(8, 8), "noise")


@pytest.mark.parametrize("policy", ["refit", "merged"])
def test_a_graph_whose_hash_nobody_checked_is_not_opened(
    ort_bundle: Path, picture: Any, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a new task nor after a failure: a signed bundle would run what its owner never signed."""
    graph = ort_bundle / "graph.onnx"
    with load(ort_bundle, "ort", policy=policy, hot_tasks=1 if policy == "merged" else None) as session:
        session.restore(picture(8, 8), "rain")
        graph.write_bytes(graph.read_bytes().replace(b"output", b"outpux"))
        if policy == "refit":
            session._switcher.discard()
        with pytest.raises(BundleError, match="was replaced while it was in use: load it again"):
            session.restore(picture(8, 8), "noise")


def test_a_merged_bundle_runs_its_task_and_nothing_else(
    mini: Any, image: Any, tmp_path: Path, ort_bundle: Path
) -> None:
    def fill(folder: Path) -> Manifest:
        weights = {name: t.astype(np.float32) for name, t in mini.adapted({"rain": 1.0}).items()}
        dataclasses.replace(mini, weights=weights).fill_with_graph(folder)
        (folder / "weights.safetensors").unlink()
        shutil.rmtree(folder / "tasks")
        write_golden(folder / "golden.npz", mini.adapters["rain"].golden_output)
        return dataclasses.replace(
            mini.manifest, kind="merged", program={}, task="rain", adapter_sha256="0" * 64
        )

    merged = write_bundle(tmp_path / "merged", fill)
    with load(merged, threads=1) as session:
        assert session.tasks == ("rain",)
        assert session.describe().policy == "merged"
        assert session.describe().why == "task 'rain' is merged in"
        for task in ("rain", "", {"rain": 1.0}):
            assert np.abs(session.restore(image, task) - reference(mini, image, "rain")).max() < CLOSE
        with pytest.raises(UnknownName, match="unknown task 'noise'"):
            session.restore(image, "noise")
        with pytest.raises(
            BackendError, match="merged in at strength 1; other strengths need a shared bundle"
        ):
            session.restore(image, "rain", strength=0.5)
    with pytest.raises(BackendError, match="can't change: use policy='auto'"):
        load(merged, policy="refit")


def test_arguments_are_checked(null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown policy 'refits': did you mean refit"):
        load(null_bundle, "null", "refits")
    with pytest.raises(BackendError, match="hot_tasks 0, threads 0; expected"):
        load(null_bundle, "null", hot_tasks=0)
    with pytest.raises(BundleError, match="is no bundle"):
        load(tmp_path / "nothing")
    with load(null_bundle, "null") as session, pytest.raises(BackendError, match="strength of rain is nan"):
        session.restore(picture(8, 8), "rain", strength=float("nan"))


def test_numbers_that_no_picture_can_hold_are_refused(ort_bundle: Path, image: Any) -> None:
    with load(ort_bundle, threads=1) as session:
        with pytest.raises(ColoraError, match="with NaN or infinity; expected finite numbers"):
            session.restore(image, "rain", strength=1e30)
        assert np.isfinite(session.restore(image, "rain")).all()


def test_a_closed_session_says_so(null_bundle: Path, picture: Any) -> None:
    session = load(null_bundle, "null")
    session.restore(picture(8, 8), "rain")
    timings = session.timings
    assert timings is not None
    assert min(timings.prepare_ms, timings.switch_ms, timings.run_ms) > 0
    session.close()
    session.close()
    for call in (lambda: session.restore(picture(8, 8), "rain"), session.describe):
        with pytest.raises(BackendError, match="is closed: load it again"):
            call()


def test_the_default_session(
    mini: Any, ort_bundle: Path, image: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLORA_BUNDLE", raising=False)
    with pytest.raises(
        BundleError, match=r"no bundle: none was named .* \$COLORA_BUNDLE is not set, \./colora-bundle is"
    ):
        restore(image, "rain")
    monkeypatch.setenv("COLORA_BUNDLE", str(ort_bundle))
    got = restore(image, "rain")
    assert np.abs(got - reference(mini, image, "rain")).max() < CLOSE
    held = default.default_session()
    assert default.default_session(ort_bundle) is held
    write_bundle(tmp_path / "colora-bundle", mini.fill_with_graph)
    assert find_bundle() == ort_bundle
    monkeypatch.delenv("COLORA_BUNDLE")
    assert find_bundle() == Path("colora-bundle")
    assert np.array_equal(restore(image, "rain"), got)
    assert default.default_session() is not held
    write_bundle(tmp_path / "colora-bundle", mini.fill_with_graph)  # exported anew: loaded anew
    assert np.array_equal(restore(image, "noise", strength=0.5), restore(image, {"noise": 0.5}, ort_bundle))
    default.default_session().close()
    monkeypatch.setattr(default, "_session", None)


def test_a_picture_cut_by_its_caller_is_all_of_one_adapter(mini: Any, ort_bundle: Path) -> None:
    rain = mini.adapters["rain"]
    stronger = {name: dataclasses.replace(p, scale=2 * p.scale) for name, p in rain.params.items()}
    new = dataclasses.replace(rain, params=stronger)
    draft = dataclasses.replace(mini, adapters={**mini.adapters, "rain": new})
    golden = draft.forward(golden_input(), {"rain": 1.0}).astype(np.float32)
    with load(ort_bundle, "ort") as session:
        begun = session.network("rain")
        first = begun(golden_input())
        write_adapter(
            ort_bundle / "tasks" / "rain.safetensors", dataclasses.replace(new, golden_output=golden)
        )
        assert np.array_equal(begun(golden_input()), first)
        assert not np.array_equal(session.network("rain")(golden_input()), first)
        assert np.array_equal(begun(golden_input()), first)


def test_threads_may_ask_for_different_bundles(
    ort_bundle: Path, tmp_path: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`restore` holds one session: a thread that asks for another bundle waits for the picture in work."""
    other = tmp_path / "other"
    shutil.copytree(ort_bundle, other)
    in_work, closed, real, close = threading.Event(), threading.Event(), Session.restore, Session.close

    def slow(self: Session, *arguments: Any) -> Any:
        in_work.set()
        closed.wait(0.3)  # time for the other thread to do what it must not
        return real(self, *arguments)

    def told(self: Session) -> None:
        closed.set()
        close(self)

    monkeypatch.setattr(Session, "restore", slow)
    monkeypatch.setattr(Session, "close", told)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(restore, picture(8, 8), "rain", bundle=ort_bundle)
        assert in_work.wait(60)
        second = pool.submit(restore, picture(8, 8), "rain", bundle=other)
        assert np.array_equal(first.result(60), second.result(60))
