"""Sizes as people write them: `2.4GB`, `600 MB`, `512MiB`, `2400000000`."""

import re
from typing import Any

import click

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class ByteSize(click.ParamType):
    """A click option's type: text → bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", str(value))
        if not found or found[2].upper() not in UNITS:
            self.fail(
                f"{value!r} is no size; expected a number and B, KB, MB, GB, KiB, MiB or GiB, such as 2.4GB"
            )
        return round(float(found[1]) * UNITS[found[2].upper()])
