"""What benchmarks/large.py measures, each in a fresh process. Nothing here loads torch."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from colora.benchmarks.resident import memory_now
from colora.runtime.bands import restore_bands
from colora.runtime.session import load
from colora.runtime.tiles import Run, apply
from colora.runtime.weights import Array

CLEAR_REFS = Path("/proc/self/clear_refs")


def noise(side: int, seed: int = 0) -> Array:
    """side×side×3 uint8, in memory for nothing but itself."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def array(bundle: str, task: str, side: str, threads: str) -> dict[str, float]:
    """An array restored: peak beyond it and the result in bytes, of which `beside` is above what the session holds."""
    with load(bundle, backend="ort", policy="refit", threads=int(threads)) as session:
        session.restore(noise(64), task)  # what a first use imports and caches
        session.trim()
        image = noise(int(side))
        idle = memory_now().rss_bytes
        CLEAR_REFS.write_text("5")  # the peak starts anew
        begin = time.perf_counter()
        result = session.restore(image, task)
        seconds = time.perf_counter() - begin
        peak = memory_now().peak_rss_bytes
    return {
        "peak_bytes": peak - image.nbytes - result.nbytes,
        "beside_bytes": peak - idle - result.nbytes,
        "seconds": seconds,
    }


def bands(bundle: str, task: str, side: str, threads: str, source: str) -> dict[str, float]:
    """A TIFF file restored to another in row bands: peak of the whole process in bytes."""
    with load(bundle, backend="ort", policy="refit", threads=int(threads)) as session:
        begin = time.perf_counter()
        restore_bands(session, Path(source), Path(source).with_suffix(".out.tif"), task)
        seconds = time.perf_counter() - begin
        return {"peak_bytes": memory_now().peak_rss_bytes, "seconds": seconds}


def write_noise(path: str, side: str, tile: int = 256) -> str:
    """A tiled TIFF of `noise`, Deflate, written row of tiles by row of tiles."""
    import tifffile

    n = int(side)
    across = -(-n // tile)

    def tiles() -> Iterator[Array]:
        for row in range(across):
            strip = np.zeros((tile, across * tile, 3), np.uint8)
            strip[:, :n] = np.random.default_rng(row).integers(0, 256, (tile, n, 3), np.uint8)
            for column in range(across):
                yield strip[:, column * tile : (column + 1) * tile]

    with tifffile.TiffWriter(path) as out:
        out.write(
            tiles(), shape=(n, n, 3), dtype=np.uint8, tile=(tile, tile), photometric="rgb", compression="zlib"
        )
    return path


def seams(bundle: str, task: str, side: str, threads: str) -> dict[str, float]:
    """PSNR in dB of tiles against the whole picture: the network as it is, and with its pools made constant."""
    from colora.benchmarks.scenarios import picture
    from colora.runtime.manifest import Tile

    with load(bundle, backend="ort", policy="refit", threads=int(threads)) as session:
        manifest = session.bundle.manifest
        image = picture(int(side)).astype(np.float32) / np.float32(255)
        tile = manifest.tile
        cut = Tile(tile.size, tile.overlap, tile.size)
        whole = Tile(tile.size, tile.overlap, max(tile.size, int(side)))

        def psnr(run: Run) -> float:
            one, many = (apply(image, run, manifest.shapes, manifest.pad, t) for t in (whole, cut))
            return float(-10 * np.log10(max(1e-12, np.mean((one - many) ** 2, dtype=np.float64))))

        found = {"as_it_is_db": psnr(session.network(task))}
        graph = session._switcher._graph
        assert graph is not None
        pooled = {n: b for n, b in graph.lend().items() if ".sca." in n and n.endswith("weight")}
        for buffer in pooled.values():  # what follows a mean over the picture no longer depends on it
            buffer[...] = 0
        found["pools"] = float(len(pooled))
        found["without_pools_db"] = psnr(graph.run)
        return found
