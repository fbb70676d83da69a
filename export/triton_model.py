"""The model `colora` of a Triton repository: any task of the bundle beside this file, by name, from one backbone.

Triton's Python backend imports it as model.py; it needs the package colora with the extra `ort`, and no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colora.devices.errors import ColoraError
from colora.runtime.session import load


class TritonPythonModel:
    """What Triton calls. Requests are answered one after another: a network is one task at a time."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Raises: ColoraError; Triton then serves what it served before."""
        self.session = load(Path(__file__).with_name("bundle"))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """image H×W×3 uint8, task, and strength or 1 → restored H×W×3 uint8; an error for what is refused."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Called once, at the end."""
        self.session.close()

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as triton

        def given(name: str) -> Any:
            tensor = triton.get_input_tensor_by_name(request, name)
            return None if tensor is None else tensor.as_numpy()

        strength = given("strength")
        try:
            task = given("task")[0].decode()
            restored = self.session.restore(
                given("image"), task, 1.0 if strength is None else float(strength[0])
            )
        except ColoraError as e:
            return triton.InferenceResponse(error=triton.TritonError(str(e)))
        return triton.InferenceResponse([triton.Tensor("restored", restored)])
