"""A batch of pictures with different tasks: read first, then grouped, so that switches are few."""

from collections.abc import Mapping, Sequence
from typing import Any

from colora.devices.errors import ImageError
from colora.runtime.image import as_image
from colora.runtime.mixture import task_strengths
from colora.runtime.use import Recipe, recipe
from colora.runtime.weights import Array


def read_all(images: Sequence[Any], tasks: Sequence[object]) -> list[Array]:
    """Every picture as `as_image` gives it. Raises: ImageError, also where there is not one task for each."""
    if len(images) != len(tasks):
        raise ImageError(f"{len(images)} pictures and {len(tasks)} tasks; expected a task for each picture")
    pictures = []
    for i, image in enumerate(images):
        try:
            pictures.append(as_image(image))
        except ImageError as e:
            raise ImageError(f"picture {i} of the batch: {e}") from e
    return pictures


def by_recipe(
    tasks: Sequence[str | Mapping[str, float]], otherwise: str, strength: float
) -> dict[Recipe, list[int]]:
    """Mixture → numbers of the pictures that want it. otherwise: what an empty task stands for.

    Raises: BackendError if a strength is not finite.
    """
    groups: dict[Recipe, list[int]] = {}
    for i, task in enumerate(tasks):
        groups.setdefault(recipe(task_strengths(task or otherwise, strength)), []).append(i)
    return groups
