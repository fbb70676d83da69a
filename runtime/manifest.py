"""What a bundle says about itself: the facts of `manifest.json`, each checked when it is made.

Format 2. The JSON has the field names of these classes. A reader refuses missing and unknown fields, and other formats
than 2 and 1, which has one operation fewer in weight programs.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from colora.devices.errors import BundleError
from colora.runtime.program import Program, parse_program, program_json

T = TypeVar("T")

FORMAT = 2
READABLE = (1, 2)
KINDS = ("shared", "merged")
PRECISIONS = ("fp32", "fp16", "int8")
PAD_MODES = ("zeros", "reflect", "edge")
ACTIVATION_BYTES = 1024.0
"""For each pixel where a bundle does not say: 8 maps of 32 channels, 1.6 times what NAFNet of that width holds."""


@dataclass(frozen=True)
class ImageConvention:
    """The graph's one input and one output: 1×3×H×W."""

    input: str = "input"
    """Name of the graph's input."""
    output: str = "output"
    dtype: str = "float32"
    layout: str = "NCHW"
    channels: str = "RGB"
    low: float = 0.0
    """Value of black; white is `high`. Outputs may leave the range and are clipped outside the graph."""
    high: float = 1.0

    def __post_init__(self) -> None:
        found = (self.dtype, self.layout, self.channels, self.low, self.high)
        if found != ("float32", "NCHW", "RGB", 0.0, 1.0):
            raise BundleError(f"image convention {found}; this version runs float32 NCHW RGB in [0, 1] only")


@dataclass(frozen=True)
class Shapes:
    """Heights and widths that the graph takes, in pixels, after padding."""

    min: tuple[int, int]
    opt: tuple[int, int]
    """What engines are tuned for."""
    max: tuple[int, int]
    multiple_of: int

    def __post_init__(self) -> None:
        for i in (0, 1):
            if not 0 < self.min[i] <= self.opt[i] <= self.max[i]:
                raise BundleError(
                    f"shapes: expected 0 < min <= opt <= max, got {self.min}, {self.opt}, {self.max}"
                )
            if self.multiple_of < 1 or any(s[i] % self.multiple_of for s in (self.min, self.opt, self.max)):
                raise BundleError(
                    f"shapes {self.min}, {self.opt}, {self.max} are no multiples of {self.multiple_of}"
                )


@dataclass(frozen=True)
class Pad:
    """How an image is padded before the graph; the result is cropped back."""

    mode: str
    """`zeros`, `reflect` (without the border pixel, as often as it takes; `edge` for a side of one pixel) or `edge`."""
    multiple_of: int
    side: str = "bottom_right"

    def __post_init__(self) -> None:
        if self.mode not in PAD_MODES or self.multiple_of < 1 or self.side != "bottom_right":
            raise BundleError(
                f"pad {self.mode!r} to {self.multiple_of} on {self.side!r}; "
                f"expected {', '.join(PAD_MODES)}, a multiple of at least 1, on 'bottom_right'"
            )


@dataclass(frozen=True)
class Tile:
    """How large images are cut, in pixels."""

    size: int
    """Height and width of a tile, what the network was trained for."""
    overlap: int
    """Width shared by neighbouring tiles, blended linearly."""
    when_above: int
    """Images with a side above this, and above that of the graph's smallest shape, are cut; others run whole."""

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.overlap < self.size <= self.when_above:
            raise BundleError(
                f"tile size {self.size}, overlap {self.overlap}, when_above {self.when_above}; "
                "expected 0 <= 2·overlap < size <= when_above"
            )


@dataclass(frozen=True)
class FileRecord:
    """Size and hash of a file."""

    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise BundleError(
                f"file record {self.size_bytes}, {self.sha256!r}: expected a size and a SHA-256"
            )


@dataclass(frozen=True)
class Manifest:
    """Everything a device must know before it opens the graph."""

    kind: str
    """`shared`: pristine backbone and tasks/; `merged`: one task folded into the graph."""
    backbone: str
    """Name of the backbone: a key of train's BACKBONES, or of an imported checkpoint the file's name."""
    backbone_sha256: str
    """`weights_sha256` of the pristine source parameters."""
    target: str
    """Name of the device it was exported for."""
    precision: str
    """Of PRECISIONS: what the graph's weights are stored and typed as."""
    image: ImageConvention
    shapes: Shapes
    pad: Pad
    tile: Tile
    program: Program = field(default_factory=dict)
    """Switchable graph tensor → steps; empty where a task is merged."""
    task: str = ""
    """The merged task; empty in a shared bundle."""
    adapter_sha256: str = ""
    """`content_sha256` of the merged adapter; empty in a shared bundle."""
    float_layers: tuple[str, ...] = ()
    """Convolutions that an int8 graph computes in float32, the most sensitive first."""
    activation_bytes_per_pixel: float = ACTIVATION_BYTES
    """Most that is alive at one time in a run, by the graph's shapes, for each pixel (runtime/workload.py)."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    """Path inside the bundle → record; filled in by `write_bundle`."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package → version of what wrote it."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BundleError(f"kind {self.kind!r}; expected {' or '.join(KINDS)}")
        if (self.kind == "merged") != bool(self.task) or (self.kind == "shared") != bool(self.program):
            raise BundleError(
                f"a {self.kind} bundle with task {self.task!r} and {len(self.program)} switchable tensors; "
                "expected a task and no program if merged, no task and a program if shared"
            )
        if self.precision not in PRECISIONS:
            raise BundleError(f"precision {self.precision!r}; expected {' or '.join(PRECISIONS)}")
        if self.precision == "int8" and self.kind != "merged":
            raise BundleError(
                "precision 'int8' of a shared bundle; expected a merged one: its ranges are a task's own"
            )
        if not 0 < self.activation_bytes_per_pixel < math.inf:
            raise BundleError(
                f"activations of {self.activation_bytes_per_pixel} bytes a pixel; expected more than 0"
            )
        if not re.fullmatch("[0-9a-f]{64}", self.backbone_sha256):
            raise BundleError(f"backbone_sha256 {self.backbone_sha256!r} is no SHA-256")
        if self.pad.multiple_of % self.shapes.multiple_of:
            raise BundleError(
                f"images are padded to multiples of {self.pad.multiple_of}, "
                f"but the graph takes multiples of {self.shapes.multiple_of}"
            )
        if max(self.tile.when_above, self.tile.size) > min(self.shapes.max):
            raise BundleError(
                f"images up to {self.tile.when_above} run whole, but the graph takes at most {self.shapes.max}"
            )
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
                raise BundleError(f"file {name!r} leads out of the bundle: refused")


def manifest_bytes(manifest: Manifest) -> bytes:
    """The JSON of `manifest.json`."""
    data = dataclasses.asdict(manifest)
    data["program"] = program_json(manifest.program)
    return (json.dumps(data, indent=1) + "\n").encode()


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """Manifest from its JSON. where: named in errors. Raises: BundleError."""
    try:
        data: Any = json.loads(raw)
        if data.get("format") not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise BundleError(f"format {data.get('format')}; this version reads {known}: export it again")
        data["image"] = _build(ImageConvention, data["image"])
        data["shapes"] = _build(Shapes, data["shapes"])
        data["pad"] = _build(Pad, data["pad"])
        data["tile"] = _build(Tile, data["tile"])
        data["files"] = {name: _build(FileRecord, record) for name, record in data["files"].items()}
        data["versions"] = {name: str(version) for name, version in data["versions"].items()}
        data["program"] = parse_program(data["program"])
        layers = data.get("float_layers", ())  # the first bundles do not have it
        data["float_layers"] = tuple(str(layer) for layer in layers)
        data.setdefault("activation_bytes_per_pixel", ACTIVATION_BYTES)  # the first bundles do not have it
        return _build(Manifest, data)
    except BundleError as e:
        raise BundleError(f"{where}: {e}") from e
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as e:
        raise BundleError(f"{where} is damaged or no colora manifest: {type(e).__name__} {e}") from e


def _build(kind: type[T], data: dict[str, Any]) -> T:
    """Dataclass from its JSON object: every field there, of its type, and none besides."""
    fields = {f.name: f.type for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if data.keys() != fields.keys():
        raise BundleError(f"{kind.__name__} has fields {sorted(data)}; expected {sorted(fields)}")
    for name, expected in fields.items():
        value = data[name]
        if expected == tuple[int, int]:
            data[name] = value = tuple(value)
            fits = [type(n) for n in value] == [int, int]
        elif expected is float:
            fits = type(value) in (int, float)
        else:
            fits = type(value) is expected or expected not in (str, int)
        if not fits:
            raise BundleError(f"{kind.__name__}.{name} is {value!r:.80}; expected {expected}")
    return kind(**data)
