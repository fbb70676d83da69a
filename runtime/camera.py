"""Live pictures: frames of a camera that may vanish for a while, and their restoration to a video file."""

import re
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

from colora.devices.errors import ColoraError, MissingExtra, VideoError, missing_extra
from colora.runtime.atomic import atomic_file
from colora.runtime.prefetch import prefetch
from colora.runtime.video import Restore, container_of
from colora.runtime.video_io import Frame, VideoFacts, av_error, encode
from colora.runtime.weights import Array

RETRIES = 5
WAIT_S = 1.0
"""Before the first retry; twice as long before each further one, up to LONGEST_WAIT_S."""
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 10.0
"""A network camera that sends nothing for so long has vanished."""
LIVE = VideoFacts(0, 0, Fraction(1, 90_000), Fraction(25), "yuv420p", Fraction(1), (1, 1, 1, 1))
"""How live pictures are encoded: BT.709, limited range, as screens take it."""

Open = Callable[[], Iterable[Array]]
"""Opens a camera anew; its frames are H×W×3 RGB uint8."""


@dataclass(frozen=True)
class Recording:
    """What became of a camera's frames."""

    written: int
    dropped: int
    """Lost because newer ones came before they could be restored."""


def camera_frames(
    source: str | Open,
    *,
    retries: int = RETRIES,
    wait_s: float = WAIT_S,
    wait: Callable[[float], Any] = time.sleep,
) -> Generator[Array, None, None]:
    """Frames of a camera, H×W×3 RGB uint8, for as long as it is there.

    source: a number (by OpenCV), an address such as rtsp://… (by PyAV), or a function that opens one.
    A camera that ends or fails is opened again, up to `retries` times in a row without a frame.
    wait: called with the seconds to wait before each retry.
    Raises: VideoError with the number of frames and of retries; MissingExtra.
    """
    name = _masked(source) if isinstance(source, str) else getattr(source, "__name__", "the source")
    open_camera: Open = source if callable(source) else lambda: _open(str(source))
    given, failures = 0, 0
    reason = ""
    while failures <= retries:
        if failures:
            wait(min(wait_s * 2 ** (failures - 1), LONGEST_WAIT_S))
        try:
            for image in open_camera():
                yield image
                given, failures = given + 1, 0
            reason = "it ended"
        except (OSError, VideoError, _lost()) as e:
            reason = _masked(str(e))
        failures += 1
    raise VideoError(
        f"camera {name} vanished after {given} frames, and {retries} retries failed, the last because: {reason}"
    )


def record(
    restore: Restore,
    frames: Iterable[Array],
    target: str | Path,
    limit: int | None = None,
    *,
    stop: Event | None = None,
    clock: Callable[[], float] = time.monotonic,
    keep_all: bool = False,
    advance: Callable[[int], None] = lambda frames: None,
) -> Recording:
    """Restore live frames into a video file: capture, restoration and encoding overlap.

    A frame's time is that of its arrival. Where restoration is slower than the camera, the oldest frames
    give way to the newest, and are counted.
    limit: frames to write; None goes on until the camera ends or `stop` is set.
    keep_all: wait for restoration instead of dropping frames.
    Raises: VideoError that says how many frames are in the file, whatever ended it; nothing is there where the file
    itself can't be written. Before the first frame what `frames` and `restore` raise.
    """
    target = Path(target)
    kind = container_of(target)
    written, dropped = 0, 0
    lost: Exception | None = None

    def arriving() -> Iterator[Frame]:
        begin, last, size = clock(), -1, None
        for image in frames:
            height, width = image.shape[:2]
            if (size := size or (height, width)) != (height, width):
                raise VideoError(
                    f"the camera gives {width}×{height} now, and gave {size[1]}×{size[0]}: go on in another file"
                )
            ticks = round((clock() - begin) / LIVE.time_base)
            last = ticks if ticks > last else last + 1
            yield Frame(image, last)

    def drop() -> None:
        nonlocal dropped
        dropped += 1

    def until_the_end(restored: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal written, lost
        while (limit is None or written < limit) and not (stop is not None and stop.is_set()):
            try:
                frame = next(restored)
            except StopIteration:
                return
            except Exception as e:  # whatever it is, hours may have been recorded
                lost = e
                return
            yield frame
            written += 1
            advance(1)

    with closing(prefetch(arriving(), dropped=None if keep_all else drop)) as captured:
        results = prefetch(Frame(restore(frame.image), frame.time) for frame in captured)
        with closing(results) as restored:
            endless = until_the_end(restored)
            first = next(endless, None)
            if first is not None:
                try:
                    with atomic_file(target) as partial:
                        encode(chain([first], endless), partial, kind, LIVE)
                except (OSError, av_error()) as e:
                    raise VideoError(f"{target} was not written: {e}") from e
    if lost is not None:
        if not written:
            raise lost
        reason = str(lost) if isinstance(lost, ColoraError) else repr(lost)
        raise VideoError(f"{reason}; {target} holds {written} frames") from lost
    if first is None and not (stop is not None and stop.is_set()):
        raise VideoError(f"the camera gave no frames: {target} was not written")
    return Recording(written, dropped)


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set, each once: a second one does what it always does."""
    stop = Event()

    def handle(number: int, _: Any) -> None:
        signal.signal(number, previous[signal.Signals(number)])
        stop.set()

    previous = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _open(source: str) -> Iterator[Array]:
    if source.isdecimal():
        yield from _local(int(source))
        return
    try:
        import av
    except ImportError as e:
        raise missing_extra("av", "video", "reading a network camera") from e
    options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}
    with av.open(source, options=options, timeout=TIMEOUT_S) as container:
        if not container.streams.video:
            raise VideoError("it holds no video stream")
        for frame in container.decode(container.streams.video[0]):
            yield frame.to_ndarray(format="rgb24")


def _local(number: int) -> Iterator[Array]:
    try:
        import cv2
    except ImportError as e:
        raise VideoError("cameras by number need OpenCV: pip install opencv-python-headless") from e
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise VideoError(f"there is no camera {number}, or another program has it")
        while (read := capture.read())[0]:
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _lost() -> type[Exception]:
    """FFmpeg's errors, where PyAV is there."""
    try:
        return av_error()
    except MissingExtra:
        return VideoError


def _masked(text: str) -> str:
    """An address without its password."""
    return re.sub(r"(?<=://).+@", "***@", text)
