"""`colora inspect`: what a bundle or an adapter is, in an aligned table."""

from pathlib import Path

import click
from colora.devices.errors import ColoraError
from colora.runtime.adapter import Adapter, read_adapter
from colora.runtime.bundle import open_bundle

Rows = list[tuple[str, str]]


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    """Verify PATH, a bundle folder or an adapter file, and say what it is."""
    rows = bundle_rows(path) if path.is_dir() else adapter_rows(read_adapter(path))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def bundle_rows(path: Path) -> Rows:
    """Name and value of what a bundle says about itself; a damaged task is a row that says so."""
    bundle = open_bundle(path)
    m = bundle.manifest
    rows = [
        ("bundle", str(path)),
        ("kind", m.kind),
        ("backbone", f"{m.backbone} {m.backbone_sha256[:12]}"),
        ("target", m.target),
        ("precision", m.precision),
        ("sizes", f"{_size(m.shapes.min)} to {_size(m.shapes.max)}, multiples of {m.shapes.multiple_of}"),
        ("padding", f"{m.pad.mode} to multiples of {m.pad.multiple_of}"),
        ("tiles", f"{m.tile.size} px, overlap {m.tile.overlap} px, for sides above {m.tile.when_above} px"),
        ("switchable", f"{len(m.program)} tensors"),
        (
            "written by",
            ", ".join(f"{name} {version}" for name, version in sorted(m.versions.items())) or "unknown",
        ),
    ]
    rows += [(f"file {name}", f"{record.size_bytes:,} bytes") for name, record in sorted(m.files.items())]
    if m.kind == "merged":
        return [*rows, (f"task {m.task}", f"merged in, adapter {m.adapter_sha256[:12]}")]
    for task in bundle.tasks:
        try:
            rows.append((f"task {task}", _summary(bundle.read_task(task))))
        except ColoraError as e:
            rows.append((f"task {task}", f"REFUSED: {e}"))
    return rows


def adapter_rows(adapter: Adapter) -> Rows:
    """Name and value of what an adapter says about itself, and one row for each parameter."""
    rows = [
        ("adapter", adapter.task),
        ("method", adapter.method),
        ("backbone", adapter.backbone_sha256[:12]),
        ("content", adapter.content_sha256[:12]),
        ("stored", f"{adapter.stored_numbers():,} numbers"),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in sorted(adapter.seeds.items())) or "none"),
    ]
    rows += [(f"quality {name}", f"{figure:g}") for name, figure in sorted(adapter.quality.items())]
    for name, p in sorted(adapter.params.items()):
        rank = f" rank {p.rank}" if p.rank else ""
        rows.append(
            (name, f"{p.kind}{rank} {_size(p.shape)}, scale {p.scale:g}, contribution {p.contribution:.3g}")
        )
    return rows


def _summary(adapter: Adapter) -> str:
    return f"{adapter.method}, {adapter.stored_numbers():,} numbers in {len(adapter.params)} parameters"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
