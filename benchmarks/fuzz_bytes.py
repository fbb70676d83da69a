"""Damage to bytes and to JSON, drawn from a random generator."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 7, 2**31, 2**63, 10**400, 0.5, -0.0, math.nan, math.inf, 1e308, "", "x", "\0", "\ud800",
    "../../x", "/etc/passwd", "é" * 300, "A" * 100_000, [], {}, [[]], [1] * 9, {"a": {}}, "float16", "Infinity",
)  # fmt: skip


def flip_bits(data: bytes, rng: Rng) -> bytes:
    """1 to 8 bits, at random or near the beginning, where headers are."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if damaged:
            end = len(damaged) if rng.random() < 0.5 else min(len(damaged), 512)
            damaged[rng.integers(end)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(data: bytes, rng: Rng) -> bytes:
    """To a random length, often a few bytes short."""
    short = int(rng.integers(1, 17)) if rng.random() < 0.3 else int(rng.integers(len(data) + 1))
    return data[: max(0, len(data) - short)]


def overwrite(data: bytes, rng: Rng) -> bytes:
    """A stretch with zeros, ones, or random bytes."""
    begin = int(rng.integers(len(data) + 1))
    length = int(rng.integers(1, 65))
    fill = (b"\0" * length, b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return data[:begin] + fill + data[begin + length :]


def insert(data: bytes, rng: Rng) -> bytes:
    """Random bytes, somewhere or at the end."""
    at = len(data) if rng.random() < 0.3 else int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 65))) + data[at:]


def remove(data: bytes, rng: Rng) -> bytes:
    """A stretch."""
    begin = int(rng.integers(len(data) + 1))
    return data[:begin] + data[begin + int(rng.integers(1, 65)) :]


def giant_numbers(data: bytes, rng: Rng) -> bytes:
    """Sizes in a header: 2, 4 or 8 bytes near the beginning as large as they can be, or nearly."""
    width = int(rng.choice([2, 4, 8]))
    at = int(rng.integers(max(1, min(len(data), 256) - width)))
    value: int = 2 ** (8 * width - int(rng.integers(1, 3))) - int(rng.integers(2))
    giant = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")
    return data[:at] + giant + data[at + width :]


BYTES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    *(flip_bits, flip_bits, truncate, overwrite, insert, remove, giant_numbers),
)


def damage(data: bytes, rng: Rng) -> tuple[bytes, str]:
    """Damaged bytes, and what was done."""
    mutator = BYTES[rng.integers(len(BYTES))]
    return mutator(data, rng), mutator.__name__


def damage_json(value: Any, rng: Rng) -> tuple[Any, str]:
    """One place anywhere in a JSON value replaced by something hostile, removed, repeated, nested deeply or nudged."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    depth_first = rng.random() < 0.5  # else the few large parts at the top are hardly ever met
    node, key = places[rng.integers(len(places))] if depth_first else (value, rng.choice(list(value)))
    done = int(rng.integers(5))
    if done == 0:
        del node[key]
    elif done == 1 and isinstance(node, dict):
        node[str(HOSTILE[rng.integers(len(HOSTILE))])] = node.pop(key)
    elif done == 2 and type(node[key]) in (int, float):
        node[key] = node[key] * int(rng.choice([-1, 2, 16, 1024])) + int(rng.integers(-1, 2))
    elif done == 3:
        node[key] = json.loads("[" * 900 + "]" * 900) if rng.random() < 0.2 else [node[key]]
    else:
        node[key] = HOSTILE[rng.integers(len(HOSTILE))]
    return value, f"{('remove', 'rename', 'nudge', 'nest', 'replace')[done]} {str(key)[:40]!r}"
