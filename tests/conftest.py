"""Fixtures that several folders share. Nothing here loads torch until a fixture asks for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn

SPANDREL = "pip install --no-deps spandrel spandrel-extra-arches && pip install einops"
"""--no-deps, because both ask for torchvision, of which they use three functions that no test here calls."""


@contextmanager
def placeholder_torchvision() -> Iterator[None]:
    """Lets spandrel import without torchvision; afterwards torchvision is as absent as before."""
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: ModuleType(name) for name in names}
    for function in ("InterpolationMode", "normalize", "rotate"):
        setattr(modules[names[-1]], function, None)
    sys.modules.update(modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its CodeFormer calls torch.jit.script
            yield
    finally:
        for name in names:
            del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests find out about this machine is not for its user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def spandrel_load() -> Callable[[nn.Module], Any]:
    """`spandrel_load(model)`: spandrel's descriptor of the architecture it finds in the model's state dict.

    spandrel reads the layout from tensor names and shapes, builds its own network, and loads strictly.
    """
    for package in ("torch", "spandrel", "spandrel_extra_arches", "einops"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'colora[train]' && {SPANDREL}")
    with placeholder_torchvision():
        spandrel = importlib.import_module("spandrel")
        extra = importlib.import_module("spandrel_extra_arches")
    extra.install(ignore_duplicates=True)
    return lambda model: spandrel.MAIN_REGISTRY.load(model.state_dict())


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`backend="auto"` is ONNX Runtime, so that no test hangs on which backend was faster (runtime/fastest.py)."""
    monkeypatch.setattr("colora.runtime.fastest.AUTO", ("ort",))
