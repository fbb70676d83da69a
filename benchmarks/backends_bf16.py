"""What bf16 costs in quality: OpenVINO's results in bf16 against its results in fp32, on real pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colora.runtime.quality import psnr
from colora.runtime.session import load


def bf16_quality(bundle: str, task: str, folder: str, count: str, threads: str) -> dict[str, Any]:
    """PSNR in dB over the first `count` pictures of a folder with input/ and target/, float32 as they come.

    Returns {n, to_fp32_db: mean, lowest; to_target_db: fp32, bf16; worst_change_db}.
    """
    from colora.train.pairs import read_pairs
    from colora.train.photos import to_float

    near, plain, low = [], [], []
    with (
        load(bundle, "openvino", "merged", threads=int(threads)) as exact,
        load(bundle, "openvino-bf16", "merged", threads=int(threads)) as rough,
    ):
        for pair in read_pairs(Path(folder))[: int(count)]:
            picture, clean = to_float(pair.degraded), to_float(pair.clean)
            expected, found = exact.restore(picture, task), rough.restore(picture, task)
            near.append(psnr(found, expected))
            plain.append(psnr(expected, clean))
            low.append(psnr(found, clean))
    return {
        "n": len(near),
        "to_fp32_db": {"mean": sum(near) / len(near), "lowest": min(near)},
        "to_target_db": {"fp32": sum(plain) / len(plain), "bf16": sum(low) / len(low)},
        "worst_change_db": min(b - a for a, b in zip(plain, low, strict=True)),
    }
