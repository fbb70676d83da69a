"""A process that runs cases of one kind and tells of each: what kills or hangs it is found by its parent."""

import json
import resource
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

MEMORY = 4 * 2**30
"""Bytes of address space: whoever allocates what a damaged file declares fails here and not the machine."""


def main(kind: str, whole: str, folder: str, seed: str, first: str, last: str) -> None:
    """Runs cases `first` to `last` - 1; prints a JSON line before each and one after it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    if kind == "bundles":
        from colora.benchmarks.fuzz_bundles import BundleCases as Cases
    else:
        from colora.benchmarks.fuzz_images import ImageCases as Cases  # type: ignore[assignment]
    cases = Cases(Path(whole), Path(folder), int(seed))
    for number in range(int(first), int(last)):
        print(json.dumps({"case": number}), flush=True)
        print(json.dumps(asdict(cases.run(number))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
