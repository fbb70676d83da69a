"""The names of `colora.runtime` are there without being imported before they are used."""

import subprocess
import sys

import colora.runtime
import pytest


def test_every_name_is_found_where_it_is_from() -> None:
    for name in colora.runtime.__all__:
        value = getattr(colora.runtime, name)
        assert value.__name__ == name
        assert value.__module__.startswith(("colora.runtime.", "colora.devices.errors"))
    assert dir(colora.runtime) == sorted(colora.runtime.__all__)
    with pytest.raises(AttributeError, match=r"module 'colora\.runtime' has no attribute 'lead'"):
        getattr(colora.runtime, "lead")  # noqa: B009 — mypy knows that it is not there


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, colora.runtime; print(*[m for m in sys.modules if m == 'numpy' or m.startswith('colora.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["colora.runtime"]
    code = "import sys; from colora.runtime import load; print('colora.runtime.service' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
