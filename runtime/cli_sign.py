"""`colora sign`: put the owner's signature on a bundle and its tasks, or on one adapter."""

from pathlib import Path

import click
from colora.runtime.adapter import read_adapter, write_adapter
from colora.runtime.bundle import MANIFEST, open_bundle
from colora.runtime.sign import SIGNATURE, sign_adapter, sign_bundle


@click.command("sign")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    help="Ed25519 private key, PEM without password: `openssl genpkey -algorithm ed25519 -out private.pem`.",
)
def command(path: Path, key: Path) -> None:
    """Sign PATH in place: a bundle folder with all its tasks, or an adapter file before it is copied into one.

    Devices that have the public key (`colora restore --trusted-key`) then take what this key signed alone.
    """
    if path.is_dir():
        sign_bundle(path, key)
        bundle = open_bundle(path)
        click.echo(f"signed {path / MANIFEST} in {path / SIGNATURE}")
        for task in bundle.tasks if bundle.manifest.kind == "shared" else ():
            click.echo(f"signed {bundle.task_file(task)}")
    else:
        write_adapter(path, sign_adapter(read_adapter(path), key))
        click.echo(f"signed {path}")
