"""Sizes as people write them: `2.4GB`, `600 MB`, `512MiB`, `2400000000`."""

import re

import click

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def byte_size(text: str) -> int:
    """Bytes; the type of a click option. Raises: click.BadParameter."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].upper() not in UNITS:
        raise click.BadParameter(
            f"{text!r} is no size; expected a number and B, KB, MB, GB, KiB, MiB or GiB, such as 2.4GB"
        )
    return round(float(found[1]) * UNITS[found[2].upper()])
