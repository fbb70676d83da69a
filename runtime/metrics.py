"""What a session has done: for a log, a test, or a Prometheus scrape."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Timings:
    """The last call of a session, wall-clock."""

    prepare_ms: float
    """Reading and checking the picture, choosing its task if asked to, and waiting for other threads."""
    switch_ms: float
    """Changing weights; the first use of a task includes its golden check."""
    run_ms: float
    """Padding, network, blending, rounding."""


@dataclass(frozen=True)
class Metrics:
    """A session from `load` to now."""

    restores: int = 0
    """Pictures restored."""
    failures: int = 0
    """Calls of `restore` that raised."""
    switches: int = 0
    """Times that the weights of one mixture gave way to those of another, golden checks included."""
    merged_graphs: int = 0
    """Merged graphs open now."""
    prefetches: int = 0
    """Merged graphs built in the background, announced or foreseen."""
    prefetch_hits: int = 0
    """Those of them that were then used."""
    reopens: int = 0
    """Times that a backend that had failed was opened anew."""
    dropped_frames: int = 0
    """Frames of a service that gave way to newer ones; only `Service.metrics` knows, likewise the next."""
    late_frames: int = 0
    """Frames whose deadline passed while they waited."""
    swapped_adapters: int = 0
    """Adapters replaced by a new file while in use."""
    refused_adapters: int = 0
    """Tasks whose file, as last seen, is refused; `SessionFacts.refused` says why."""
    resident_bytes: int = 0
    """Numbers of the adapters in memory; graphs and their weights are the backend's."""
    prepare_s: float = 0.0
    """Sum of what `Timings` holds of one call; likewise the next two."""
    switch_s: float = 0.0
    run_s: float = 0.0

    def after(self, call: Timings) -> "Metrics":
        """With one more picture restored."""
        return replace(
            self,
            restores=self.restores + 1,
            prepare_s=self.prepare_s + call.prepare_ms / 1e3,
            switch_s=self.switch_s + call.switch_ms / 1e3,
            run_s=self.run_s + call.run_ms / 1e3,
        )


PROMETHEUS = (
    ("restores", "colora_restores_total", "counter", "Pictures restored."),
    ("failures", "colora_failures_total", "counter", "Calls that raised an error."),
    ("switches", "colora_switches_total", "counter", "Changes of the weights in use."),
    ("merged_graphs", "colora_merged_graphs", "gauge", "Merged graphs open."),
    ("prefetches", "colora_prefetches_total", "counter", "Merged graphs built in the background."),
    ("prefetch_hits", "colora_prefetch_hits_total", "counter", "Those of them that were then used."),
    ("reopens", "colora_reopens_total", "counter", "Failed backends opened anew."),
    ("dropped_frames", "colora_dropped_frames_total", "counter", "Frames that gave way to newer ones."),
    ("late_frames", "colora_late_frames_total", "counter", "Frames whose deadline passed."),
    ("swapped_adapters", "colora_swapped_adapters_total", "counter", "Adapters replaced while in use."),
    ("refused_adapters", "colora_refused_adapters", "gauge", "Tasks whose file is refused."),
    ("resident_bytes", "colora_resident_bytes", "gauge", "Bytes of the adapters in memory."),
    ("prepare_s", "colora_prepare_seconds_total", "counter", "Reading, checking and waiting."),
    ("switch_s", "colora_switch_seconds_total", "counter", "Changing weights and golden checks."),
    ("run_s", "colora_run_seconds_total", "counter", "Padding, network, blending and rounding."),
)
"""Field of Metrics, name, type and help text."""


def prometheus_text(metrics: Metrics) -> str:
    """Metrics in Prometheus' text format, version 0.0.4."""
    return "".join(
        f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {getattr(metrics, field)}\n"
        for field, name, kind, about in PROMETHEUS
    )
