"""What a camera does to a picture between lens and file: blur, motion, resampling, JPEG; and the contract of all
degradation functions, (image, rng) → (image, description).

Images are H×W×3 RGB float32 in [0, 1]; every function returns the same and clips. All randomness comes from the
`numpy.random.Generator` handed in, so a seed reproduces a draw; the description tells it in the field's units.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]
Degradation = Callable[[Image, Generator], tuple[Image, str]]


def clip(image: NDArray[np.floating]) -> Image:
    clipped: Image = np.clip(image, 0.0, 1.0).astype(np.float32, copy=False)
    return clipped


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


GAMMA = 2.2
"""of a picture's numbers: light adds up in image ** GAMMA"""


DIRECT = 11
"""side of the largest kernel that OpenCV applies tap by tap, leaving out taps of 0; larger ones go through a Fourier
transform, which takes longer than the taps of moving points and lines, most of which are 0"""


def convolve(image: NDArray[np.float32], kernel: NDArray[np.floating], border: int) -> NDArray[np.float32]:
    """H×W or H×W×3 picture, weighted by an odd-sided kernel; `border`: one of cv2.BORDER_*. As cv2.filter2D has it."""
    if max(kernel.shape) <= DIRECT:
        return np.asarray(cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=border))
    y, x = (side // 2 for side in kernel.shape)
    return convolve_inside(np.asarray(cv2.copyMakeBorder(image, y, y, x, x, border)), kernel)


def convolve_inside(image: NDArray[np.float32], kernel: NDArray[np.floating]) -> NDArray[np.float32]:
    """Like `convolve`, of those pixels alone whose whole neighbourhood is in the picture: smaller by the kernel's size
    less one. Kernels are cut into pieces of DIRECT px, and empty pieces left out."""
    kernel = kernel.astype(np.float32)
    height, width = (size - side + 1 for size, side in zip(image.shape, kernel.shape, strict=False))
    total = np.zeros((height, width, *image.shape[2:]), np.float32)
    for y in range(0, kernel.shape[0], DIRECT):
        for x in range(0, kernel.shape[1], DIRECT):
            piece = kernel[y : y + DIRECT, x : x + DIRECT]
            if piece.any():
                seen = image[y : y + height + piece.shape[0] - 1, x : x + width + piece.shape[1] - 1]
                total += cv2.filter2D(seen, -1, piece, anchor=(0, 0))[:height, :width]
    return total


def power(image: NDArray[np.float32], exponent: float) -> Image:
    """image ** exponent to six digits, numbers below 1e-12 taken for that; cv2.pow takes ten times as long on black."""
    curve = np.asarray(cv2.log(np.maximum(image, np.float32(1e-12))), np.float32)
    curve *= np.float32(exponent)
    return np.asarray(cv2.exp(curve), np.float32)


def _blurred(image: Image, kernel: NDArray[np.floating]) -> Image:
    """In linear light, where blur happens: a lamp that moves leaves a bright line."""
    smooth = convolve(power(image, GAMMA), kernel, cv2.BORDER_REFLECT_101)
    return clip(power(smooth, 1 / GAMMA))


def blur(image: Image, rng: Generator) -> tuple[Image, str]:
    """Optical blur: an anisotropic Gaussian (σ 0.3-3 px, as in Real-ESRGAN's first round) or a defocus disc."""
    if rng.random() < 0.3:
        radius = rng.uniform(0.8, 4.0)
        half = int(np.ceil(radius))
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
        return _blurred(image, disc / disc.sum()), f"defocus(r={radius:.1f} px)"
    long, ratio, theta = log_uniform(rng, 0.3, 3.0), rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    half = int(np.ceil(3 * long))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    u, v = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    squared = (u / long) ** 2 + (v / (long * ratio)) ** 2
    kernel = np.where(squared <= 9, np.exp(-0.5 * squared), 0)  # cut at 3σ all around
    return _blurred(image, kernel / kernel.sum()), f"blur(σ={long:.1f}×{long * ratio:.1f} px)"


def line_kernel(length: float, theta: float, width: float = 1.0) -> NDArray[np.float64]:
    """Anti-aliased straight segment of `length` px at angle `theta` (rad, 0 = along x), normalised to sum 1."""
    half = int(np.ceil(length / 2 + width))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    inside = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(width / 2 + 0.5 - np.abs(across), 0, 1)
    kernel: NDArray[np.float64] = inside / inside.sum()
    return kernel


STEPS = 160
"""points of a shake's path"""


def shake_kernel(span: float, rng: Generator) -> NDArray[np.float64]:
    """What a lamp leaves while a hand-held camera shakes: a curve whose longer side is `span` px; sum 1.

    Velocity is a Gaussian process (as Schmidt et al., CVPR 2013, draw kernels; here white noise low-passed over 3-40 %
    of the exposure, and a drift), so the hand turns and slows down, and leaves knots where it rests. The pen is a
    Gaussian of σ 0.3-1 px. Kernels measured by Levin et al. (CVPR 2009) are such curves of 13-27 px.
    """
    lasting, pen = STEPS * log_uniform(rng, 0.03, 0.4), rng.uniform(0.3, 1.0)
    velocity = np.asarray(cv2.GaussianBlur(rng.standard_normal((STEPS, 2)), (1, 0), 1.0, sigmaY=lasting))
    velocity += velocity.std() * rng.normal(0, 0.7, 2)
    path = np.cumsum(velocity, axis=0)
    path *= span / np.ptp(path, axis=0).max()
    path -= path.mean(0)  # the picture stays where it is
    half = int(np.ceil(np.abs(path).max() + 2 * pen)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    corner = np.floor(path).astype(int)
    right, down = (path - corner).T
    for dx, dy, weight in (
        (0, 0, (1 - right) * (1 - down)),
        (1, 0, right * (1 - down)),
        (0, 1, (1 - right) * down),
        (1, 1, right * down),
    ):
        np.add.at(kernel, (corner[:, 1] + dy + half, corner[:, 0] + dx + half), weight)
    kernel = np.asarray(cv2.GaussianBlur(kernel, (0, 0), pen, borderType=cv2.BORDER_CONSTANT), np.float64)
    kernel[kernel < 0.01 * kernel.max()] = 0  # the Gaussian's tails cost time and show nothing
    kernel /= kernel.sum()
    return kernel


def motion(image: Image, rng: Generator) -> tuple[Image, str]:
    """Motion blur: half of the draws along a straight line of 3-25 px, 1-2 px wide, the others `shake_kernel` of
    3-27 px."""
    if rng.random() < 0.5:
        length, theta = rng.uniform(3, 25), rng.uniform(0, np.pi)
        told = f"motion(θ={np.degrees(theta):.0f}°, {length:.0f} px)"
        return _blurred(image, line_kernel(length, theta, rng.uniform(1, 2))), told
    span = rng.uniform(3, 27)
    return _blurred(image, shake_kernel(span, rng)), f"shake({span:.0f} px)"


DOWN = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
UP = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


def resample(image: Image, rng: Generator) -> tuple[Image, str]:
    """A smaller copy enlarged again: factor 1.2-4 (log-uniform), each way by an interpolation of its own.

    Real-ESRGAN shrinks to 0.15 at most and takes area, linear or cubic either way; here Lanczos takes the place of area
    in enlarging, where area would give blocks. Linear and cubic shrink without a low-pass, as many scalers do: fine
    texture turns into aliases.
    """
    height, width = image.shape[:2]
    factor, down, up = log_uniform(rng, 1.2, 4.0), rng.choice([*DOWN]), rng.choice([*UP])
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    shrunk = cv2.resize(image, small, interpolation=DOWN[down])
    enlarged = np.asarray(cv2.resize(shrunk, (width, height), interpolation=UP[up]), np.float32)
    return clip(enlarged), f"resample(÷{factor:.1f} {down}, {up})"


def jpeg(image: Image, rng: Generator) -> tuple[Image, str]:
    """JPEG at quality 10-95 (Real-ESRGAN, DegAE: 30-95; lower here, as old cameras send it), 4:2:0 or 4:4:4.

    Pictures that come from the web were often cropped and saved again: 15 % had an earlier JPEG of quality 40-95, whose
    blocks lie elsewhere (our choice).
    """
    quality, sampling = int(rng.integers(10, 96)), SAMPLINGS[int(rng.random() < 0.3)]
    if rng.random() >= 0.15:
        return compress(image, quality, sampling), f"jpeg(q={quality})"
    earlier, (top, left) = int(rng.integers(40, 96)), rng.integers(0, 8, 2)
    uncropped = np.asarray(
        cv2.copyMakeBorder(image, int(top), 0, int(left), 0, cv2.BORDER_REFLECT), np.float32
    )
    cropped = compress(uncropped, earlier)[top:, left:]
    return compress(cropped, quality, sampling), f"jpeg(q={earlier}, then {quality})"


SAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
"""colour halved each way, as seven files in ten have it (our choice), and not"""


def compress(image: Image, quality: int, sampling: int = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420) -> Image:
    """Through a JPEG file and back; quality 1-100, sampling: one of cv2.IMWRITE_JPEG_SAMPLING_FACTOR_*."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    pixels = cv2.convertScaleAbs(image, alpha=255)  # rounds
    _, code = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    decoded = cv2.cvtColor(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    compressed: Image = np.divide(decoded, np.float32(255), dtype=np.float32)
    return compressed


def save(image: Image, rng: Generator, jpeg_share: float) -> tuple[Image, str]:
    """Through a camera's own file: 8 bits; in `jpeg_share` of the draws JPEG of quality 80-97, which the text tells."""
    if rng.random() >= jpeg_share:
        return np.divide(cv2.convertScaleAbs(image, alpha=255), np.float32(255), dtype=np.float32), ""
    quality = int(rng.integers(80, 98))
    return compress(image, quality, SAMPLINGS[int(rng.random() < 0.3)]), f", q={quality}"
