"""Numbers that tell what is wrong with a picture: traces of noise, blocks, blur, streaks, drops, haze and darkness.

They are measured on up to GRID × GRID windows spread over the picture, at its own resolution: noise and
compression live in single pixels and would not survive shrinking, and a large picture costs no more than
a small one. Statistics of natural images, each with its source at its function; which of them matter is
left to the weights in runtime/choice.safetensors.
"""

import math

import numpy as np
from colora.runtime.image import WHITE
from colora.runtime.weights import Array

SIDE, GRID = 96, 4
"""Pixels of a window's side, and windows along each side of the picture: 147,456 pixels at most."""
BLOCK = 8
MIN_SIDE = 32
"""Pixels; a smaller picture tells too little."""
TINY = 1e-4
"""Added before logarithms and divisions: a 40th of a level of 8 bits."""

Features = dict[str, float]


def measure(image: Array) -> Features:
    """Name → number, all finite, of an H×W×3 picture as of `as_image`, MIN_SIDE pixels or more a side."""
    red, green, blue = rgb = np.ascontiguousarray(windows(image).transpose(3, 0, 1, 2))
    luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    half = _halved(luma)
    quarter = _halved(half)
    found: Features = {}
    for name, level in (("1", luma), ("2", half), ("4", quarter)):
        found |= _prefixed(name, _gradients(level) | _local_contrast(level))
    found |= _sharpness(luma, half) | _compression(luma) | _tones(rgb, quarter)
    colours = (red - luma, blue - luma)
    for name, level in (("1", colours), ("2", [_halved(c) for c in colours])):
        chroma = float(np.sqrt(np.mean([_power(_diagonal(channel)) for channel in level])))
        found[f"chroma{name}"] = _log(chroma)
        found[f"chroma{name}_luma"] = _log(chroma) - found[f"{name}diagonal"]
    return found


def windows(image: Array) -> Array:
    """n×h×w×3 float32 in [0, 1]: parts of the picture, evenly spread, n from 1 to GRID².

    Sides are multiples of BLOCK up to SIDE. Corners are multiples of BLOCK too, so that the blocks of a
    JPEG file lie alike in all of them.
    """
    rows, columns = (starts(length) for length in image.shape[:2])
    h, w = (min(SIDE, length // BLOCK * BLOCK) for length in image.shape[:2])
    cut = np.stack([image[y : y + h, x : x + w] for y in rows for x in columns])
    return cut.astype(np.float32) / np.float32(WHITE[image.dtype.name])


def starts(length: int) -> list[int]:
    """Where windows begin along a side of `length` pixels."""
    side = min(SIDE, length // BLOCK * BLOCK)
    count = min(GRID, length // side)
    spread = np.linspace(0, length - side, count) if count > 1 else [(length - side) / 2]
    return [int(start) // BLOCK * BLOCK for start in spread]


def _gradients(x: Array) -> Features:
    """Energies of differences and their directions: noise is alike in all, streaks and motion are not."""
    right, down = x[:, :-1, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, :-1]
    rising, falling = x[:, 1:, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, 1:]
    energies = [_powers(d) for d in (right, down, rising, falling)]
    xx, yy, up, fall = (float(e.mean()) for e in energies)
    xy = (energies[2] - energies[3]) / 4  # mean of right·down, by windows
    along = energies[0] - energies[1]
    total = energies[0] + energies[1] + TINY**2
    tilt = np.hypot(along, 2 * xy) / total  # coherence of the structure tensor (Bigün & Granlund, ICCV 1987)
    diagonal = np.abs(_diagonal(x)).ravel()
    rms = float(np.sqrt(_power(diagonal)))
    middle = float(np.median(diagonal))
    return {
        "diagonal": _log(rms),
        "diagonal_peaks": _log(middle) - _log(rms),
        "gradient": _log(np.sqrt((xx + yy) / 2)),
        "across": _log(np.sqrt(xx)) - _log(np.sqrt(yy)),
        "slant": _log(np.sqrt(up)) - _log(np.sqrt(fall)),
        "direction": float(np.hypot(along.mean(), 2 * xy.mean()) / total.mean()),
        "coherence": float(tilt.mean()),
        "same_direction": float(np.hypot((along / total).mean(), (2 * xy / total).mean())),
        "across_least": float((along / total).min()),
        "across_most": float((along / total).max()),
        "skew_right": _skew(right),
        "skew_down": _skew(down),
    }


def _local_contrast(x: Array) -> Features:
    """Mean-subtracted contrast-normalised luminance and its neighbours' products (BRISQUE, Mittal et al., TIP 2012).

    Bright streaks on the picture make its high-pass skewed.
    """
    mean = _boxed(x)
    high = x - mean
    deviation = np.sqrt(np.maximum(_boxed(x * x) - mean * mean, 0))
    normal = high / (deviation + np.float32(1 / 255))
    products = (
        normal[:, :, 1:] * normal[:, :, :-1],
        normal[:, 1:] * normal[:, :-1],
        normal[:, 1:, 1:] * normal[:, :-1, :-1],
        normal[:, 1:, :-1] * normal[:, :-1, 1:],
    )
    power = _power(normal) + TINY
    fourth, second = _power(high * high), _power(high)
    found = {
        "contrast": _log(deviation.mean()),
        "contrast_spread": float(deviation.std() / (deviation.mean() + TINY)),
        "normal": power,
        "normal_peaks": float(np.abs(normal).mean() / np.sqrt(power)),
        "normal_skew": _skew(normal),
        "high_skew": _skew(high),
        "high_peaks": float(np.log(fourth / (second**2 + TINY**4) + TINY)),
    }
    for i, product in enumerate(products):
        found[f"neighbours{i}"] = float(product.mean()) / power
        found[f"neighbours{i}_size"] = float(np.abs(product).mean()) / power
    return found


def _sharpness(luma: Array, half: Array) -> Features:
    """How the energy of fine detail is spread over blocks: its floor is noise, its ceiling the sharpest edge.

    Blur lowers the ceiling everywhere, drops on the glass in places; a noisy picture has no quiet block
    (Immerkær's noise estimate, CVIU 1996, taken by quantiles).
    """
    found: Features = {}
    for name, level, side in (("fine", luma, BLOCK), ("coarse", half, BLOCK // 2)):
        detail = _diagonal(level) ** 2 + TINY**2
        blocks = 0.5 * np.log(_by_blocks(np.add, detail, side) / side**2)
        found |= _quantiles(name, blocks, (5, 25, 50, 75, 95))
        found[f"{name}_spread"] = float(blocks.std())
        steps = np.abs(np.diff(blocks, axis=1)).mean() + np.abs(np.diff(blocks, axis=2)).mean()
        found[f"{name}_steps"] = float(steps) / (float(blocks.std()) + 0.01)
    return found


def _compression(luma: Array) -> Features:
    """Steps at the borders of 8×8 blocks (Wang, Sheikh & Bovik, ICIP 2002), and DCT coefficients that are gone.

    The blocks may begin anywhere, since pictures get cropped: the place with the largest steps is taken.
    """
    right, down = np.abs(np.diff(luma, axis=2)).mean((0, 1)), np.abs(np.diff(luma, axis=1)).mean((0, 2))
    column, x = _grid(right)
    row, y = _grid(down)
    found = {"blocks": min(column, row), "blocks_most": max(column, row)}
    zero = _vanished(luma[:, y:, x:])
    shifted = _vanished(luma[:, (y + 4) % 8 :, (x + 4) % 8 :])
    for name in zero:
        found[f"gone_{name}"] = zero[name]
        found[f"gone_{name}_shifted"] = zero[name] - shifted[name]
    return found


def _grid(steps: Array) -> tuple[float, int]:
    """How far steps at the strongest of 8 places stand out, and where blocks begin."""
    extra = steps[1:-1] - (steps[2:] + steps[:-2]) / 2
    places = np.array([extra[(place - 2) % 8 :: 8].mean() for place in range(8)])
    size = float(steps.mean()) + 10 * TINY
    return float(places.max() - np.median(places)) / size, int(places.argmax())


def _vanished(x: Array) -> Features:
    """Shares of the DCT coefficients of 8×8 blocks that are below one level of 8 bits, by frequency."""
    k = np.arange(8)
    dct = np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / 16) * np.sqrt(np.where(k[:, None], 2, 1) / 8)
    dct = dct.astype(np.float32)
    blocks = _blocks(x, 8).transpose(0, 1, 3, 2, 4)
    gone = np.abs(dct @ blocks @ dct.T) < 1 / 255
    shares, order = gone.reshape(-1, 8, 8).mean(0), k[:, None] + k[None]
    bands = {"low": (1, 3), "middle": (4, 6), "high": (7, 14)}
    return {name: float(shares[(order >= a) & (order <= b)].mean()) for name, (a, b) in bands.items()}


def _tones(rgb: Array, luma: Array) -> Features:
    """Brightness, contrast and colour; haze lifts the darkest of a neighbourhood (He, Sun & Tang, CVPR 2009)."""
    least, most = rgb.min(0), rgb.max(0)
    dark, bright = _by_blocks(np.minimum, least, BLOCK), _by_blocks(np.maximum, most, BLOCK)
    spans = bright - dark
    found = _quantiles("luma", luma, (1, 10, 50, 90, 99)) | _quantiles("dark", dark, (5, 50, 95))
    centred = dark - dark.mean()
    slope = float((centred * (spans - spans.mean())).mean() / (dark.std() * spans.std() + 10 * TINY))
    return found | {
        "mean": float(luma.mean()),
        "deviation": _log(luma.std()),
        "log_mean": _log(luma.mean() + 0.01),
        "saturation": float(((most - least) / (most + 0.02)).mean()),
        "colour": float((most - least).mean()),
        "span": _log(spans.mean()),
        "span_by_dark": slope,
        "clipped": float((most > 0.995).mean()),
    }


def _diagonal(x: Array) -> Array:
    """Finest diagonal detail of the Haar wavelet; white noise keeps its σ in it."""
    return (x[:, 1:, 1:] + x[:, :-1, :-1] - x[:, 1:, :-1] - x[:, :-1, 1:]) / 2


def _halved(x: Array) -> Array:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _boxed(x: Array) -> Array:
    """Mean of 5×5, the border repeated."""
    wide = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows = wide[:, :-4] + wide[:, 1:-3] + wide[:, 2:-2] + wide[:, 3:-1] + wide[:, 4:]
    both = rows[..., :-4] + rows[..., 1:-3] + rows[..., 2:-2] + rows[..., 3:-1] + rows[..., 4:]
    return np.asarray(both * np.float32(1 / 25))


def _blocks(x: Array, side: int) -> Array:
    """n × rows × side × columns × side; what does not fill a block is left out."""
    n, h, w = x.shape[0], x.shape[1] // side, x.shape[2] // side
    return x[:, : h * side, : w * side].reshape(n, h, side, w, side)


def _by_blocks(fold: np.ufunc, x: Array, side: int) -> Array:
    """n × rows × columns; in two steps, the first along whole rows, which is what numpy is quick at."""
    n, h, w = x.shape[0], x.shape[1] // side, x.shape[2] // side
    rows = fold.reduce(x[:, : h * side, : w * side].reshape(n, h, side, w * side), axis=2)
    return np.asarray(fold.reduce(rows.reshape(n, h, w, side), axis=3))


def _powers(x: Array) -> Array:
    """Mean of squares, by windows."""
    flat = x.reshape(len(x), -1)
    return np.asarray(np.einsum("ij,ij->i", flat, flat) / flat.shape[1])


def _power(x: Array) -> float:
    """Mean of squares."""
    flat = x.ravel()
    return float(np.dot(flat, flat)) / flat.size


def _skew(x: Array) -> float:
    centred = (x - x.mean()).ravel()
    squares = centred * centred
    third, second = float(np.dot(squares, centred) / centred.size), float(squares.mean()) + TINY * TINY
    return third / (second * math.sqrt(second))


def _quantiles(name: str, x: Array, shares: tuple[int, ...]) -> Features:
    """In percent."""
    return {f"{name}{q}": float(value) for q, value in zip(shares, np.percentile(x, shares), strict=True)}


def _log(x: float | np.floating) -> float:
    return float(np.log(x + TINY))


def _prefixed(name: str, found: Features) -> Features:
    return {f"{name}{key}": value for key, value in found.items()}
