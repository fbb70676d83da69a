"""Damaged and hostile bundles and adapters: each is refused with our error, or gives the pixels of the whole one."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
from colora.benchmarks.fuzz_bytes import Rng
from colora.benchmarks.fuzz_verdict import Finding, Verdict, judged
from colora.benchmarks.fuzz_ways import EXACT, WAYS
from colora.devices.errors import ColoraError, UnknownName
from colora.runtime import tiles
from colora.runtime.session import Session, load
from colora.runtime.weights import Array

SIZE = 64
"""Of the picture, in px."""
CONSISTENT = 0.02
"""Largest difference, of the range [0, 1], where damage was given right hashes: the golden check lets pass 0.001 on its
own picture, and changes of pictures and of noise are of the same order."""


class BundleCases:
    """Cases over a whole bundle with the tasks rain and noise. folder: for the damaged ones."""

    def __init__(self, bundle: Path, folder: Path, seed: int) -> None:
        self.bundle, self.folder, self.seed = bundle, folder, seed
        self.picture = np.random.default_rng(seed).random((SIZE, SIZE, 3), dtype=np.float32)
        self.whole = load(bundle, "ort", threads=1)

    def run(self, number: int) -> Verdict:
        rng = np.random.default_rng((self.seed, number))
        damaged = self.folder / "bundle"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.bundle, damaged, copy_function=os.link)
        way = WAYS[rng.integers(len(WAYS))]
        return judged(way.__name__, lambda: way(damaged, rng), lambda: self.judge(damaged, rng, way in EXACT))

    def judge(self, damaged: Path, rng: Rng, exact: bool) -> str:
        """The class of the error that refused it, or nothing. Raises: Finding."""
        task = str(rng.choice(["rain", "noise", ""], p=[0.6, 0.3, 0.1]))
        policy = str(rng.choice(["auto", "merged"], p=[0.8, 0.2]))
        try:
            with load(damaged, "ort", policy, threads=1) as session:
                session.describe()
                session.verify()
                found = session.restore(self.picture, task)
                expected = self.expected(session, task)
        except ColoraError as e:
            gone = isinstance(e, UnknownName) and not (damaged / "tasks" / f"{task}.safetensors").is_file()
            if not gone and str(self.folder) not in str(e):
                raise Finding(f"the error names no file: {type(e).__name__}: {e}") from e
            return type(e).__name__
        tolerance = 0.0 if exact and policy == "auto" else CONSISTENT
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else math.inf
        if not difference <= tolerance:
            raise Finding(f"{task or 'backbone'} differs by {difference:.3g}, policy {policy}")
        return ""

    def expected(self, session: Session, task: str) -> Array:
        """By the whole bundle's network, padded and cut as the damaged one's manifest says."""
        m = session.bundle.manifest
        return tiles.apply(self.picture, self.whole.network(task), m.shapes, m.pad, m.tile)
