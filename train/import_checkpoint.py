"""A published checkpoint as a backbone file: `colora import`, and the same as a function."""

import hashlib
from pathlib import Path
from shlex import quote

import click
from colora.devices.errors import CheckpointError
from colora.train.backbones import require_rgb
from colora.train.checkpoint import Checkpoint, load_published, save_backbone


def import_checkpoint(architecture: str, source: Path, output: Path) -> Checkpoint:
    """Writes the weights of the official `.pth` file `source` to the `.safetensors` file `output`; returns them.

    `architecture`: "nafnet" or "restormer". The layout is read from the weights and stored beside them; the backbone
    gets the name of the entry of BACKBONES that has it, else that of the file.
    Raises UnknownName for another architecture, CheckpointError for a file that is refused (see `load_published`) and
    for an `output` of another suffix.
    """
    if output.suffix != ".safetensors":
        raise CheckpointError(f"{output}: expected a name that ends in .safetensors")
    found = load_published(source, architecture)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    told = {"method": "published checkpoint", "file": source.name, "file_sha256": sha256}
    output.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(output, found.module, found.backbone, told)
    return found


@click.command("import")
@click.argument("architecture", metavar="{nafnet|restormer}")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: runs/<checkpoint>.safetensors]"
)
def command(architecture: str, checkpoint: Path, output: Path | None) -> None:
    """Import a published checkpoint (.pth) as a backbone; its layout is read from its weights.

    For example: colora import nafnet NAFNet-SIDD-width32.pth
    """
    output = output or Path("runs") / f"{checkpoint.stem}.safetensors"
    found = import_checkpoint(architecture, checkpoint, output)
    numbers = sum(p.numel() for p in found.module.parameters())
    click.echo(f"{found.backbone.config}")
    click.echo(f"{output}  {numbers:,} parameters, sha256 {found.sha256[:16]}")
    try:
        require_rgb(found.backbone, "what comes next, colora adapt,")
    except CheckpointError as error:
        click.echo(f"note: {error}")
    else:
        click.echo(f"next: colora adapt --task fog --pairs DIR --backbone {quote(str(output))}")
