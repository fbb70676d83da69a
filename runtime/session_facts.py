"""What a session is, for reports."""

from collections.abc import Mapping
from dataclasses import dataclass

from colora.runtime.backend import BackendFacts
from colora.runtime.bundle import Bundle
from colora.runtime.hot import recipe_of
from colora.runtime.switch import Switcher
from colora.runtime.use import told


@dataclass(frozen=True)
class SessionFacts:
    """What a session is."""

    bundle: str
    kind: str
    backbone: str
    target: str
    precision: str
    policy: str
    """How weights change: `refit`, `merged`, or `refit+merged`, with graphs of their own for hot tasks."""
    why: str
    """Why this policy, and where the backend was `auto`, why this backend."""
    memory_budget: int | None
    estimated_bytes: int
    """Of what is open now, by the rule of runtime/policy.py."""
    merged_room: int
    """Merged graphs that may be open at once."""
    hot: tuple[str, ...]
    """Mixtures whose merged graphs are open, the one used last at the end."""
    tasks: tuple[str, ...]
    refused: Mapping[str, str]
    """Task → why its file, as last seen, is refused."""
    switchable_tensors: int
    backend: BackendFacts


def facts_of(bundle: Bundle, switcher: Switcher) -> SessionFacts:
    """Of the session over both. Raises: BackendError when closed."""
    manifest = bundle.manifest
    return SessionFacts(
        bundle=str(bundle.path),
        kind=manifest.kind,
        backbone=manifest.backbone,
        target=manifest.target,
        precision=manifest.precision,
        policy=switcher.policy,
        why=switcher.why,
        memory_budget=switcher.memory_budget,
        estimated_bytes=switcher.estimated_bytes(),
        merged_room=switcher.room(),
        hot=tuple(told(recipe_of(key)) for key in switcher.hot.keys),
        tasks=switcher.adapters.tasks,
        refused=switcher.adapters.refused,
        switchable_tensors=len(manifest.program),
        backend=switcher.describe(),
    )
