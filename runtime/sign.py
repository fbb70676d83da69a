"""Signatures, so that a device takes only its owner's bundles and adapters. Ed25519 (RFC 8032), by cryptography.

The owner signs with a private key; devices have the public one (`load(..., trusted_key=…)`). Signed are the
bytes of `manifest.json`, which holds the hash of every file but those in `tasks/` (signature:
`manifest.sig`), and the content hash of each adapter, which covers task, backbone and all numbers (signature:
inside the adapter's file, so a task is still one file). Keys are PEM files without password:
`openssl genpkey -algorithm ed25519 -out private.pem`, `openssl pkey -in private.pem -pubout -out public.pem`.
A signature says who, not when: an older adapter of the same owner still passes.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colora.devices.errors import BundleError, CheckpointError, ColoraError, missing_extra

if TYPE_CHECKING:
    from colora.runtime.adapter import Adapter

SIGNATURE = "manifest.sig"
SIGNATURE_BYTES = 64
KEY_BYTES = 32


def read_trusted_key(path: str | os.PathLike[str]) -> bytes:
    """The 32 bytes of an Ed25519 public key. path: PEM. Raises: BundleError; MissingExtra."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as e:
        raise missing_extra("cryptography", "sign", "verifying signatures") from e
    try:
        key = serialization.load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError) as e:
        raise BundleError(f"{path} is no public key in PEM: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{path} holds another kind of key; expected an Ed25519 public key")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def sign_bundle(bundle: str | os.PathLike[str], private_key: str | os.PathLike[str]) -> None:
    """Sign a bundle and each of its tasks in place. private_key: path of a PEM file.

    Adapters that do not verify are not signed: the first one raises.
    Raises: BundleError, CheckpointError, MissingExtra.
    """
    from colora.runtime.adapter import write_adapter
    from colora.runtime.atomic import write_bytes
    from colora.runtime.bundle import MANIFEST, open_bundle

    key, opened = _private_key(private_key), open_bundle(bundle)
    for task in opened.tasks if opened.manifest.kind == "shared" else ():
        write_adapter(opened.task_file(task), sign_adapter(opened.read_task(task), private_key))
    manifest = (opened.path / MANIFEST).read_bytes()
    try:
        write_bytes(opened.path / SIGNATURE, key.sign(_manifest_message(manifest)))
    except OSError as e:
        raise BundleError(f"{opened.path / SIGNATURE} was not written: {e}") from e


def sign_adapter(adapter: "Adapter", private_key: str | os.PathLike[str]) -> "Adapter":
    """The adapter with its signature. Raises: BundleError, MissingExtra."""
    signature = _private_key(private_key).sign(_adapter_message(adapter)).hex()
    return replace(adapter, signature=signature)


def verify_manifest(bundle: Path, manifest: bytes, signature: bytes | None, key: bytes) -> None:
    """Raises: BundleError if the owner of `key` has not signed these bytes; None: there is no signature."""
    _verify(str(bundle), _manifest_message(manifest), signature, key, BundleError)


def verify_adapter(file: Path, adapter: "Adapter", key: bytes) -> None:
    """Raises: CheckpointError if the owner of `key` has not signed this content."""
    signature = bytes.fromhex(adapter.signature) if adapter.signature else None
    _verify(str(file), _adapter_message(adapter), signature, key, CheckpointError)


def _manifest_message(manifest: bytes) -> bytes:
    return b"colora manifest 1\n" + manifest


def _adapter_message(adapter: "Adapter") -> bytes:
    return b"colora adapter 1\n" + adapter.content_sha256.encode()


def _verify(what: str, message: bytes, signature: bytes | None, key: bytes, error: type[ColoraError]) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature is None:
        raise error(f"{what} is not signed, and only signed files are trusted here: have its owner sign it")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature as e:
        raise error(f"{what} is not signed by the trusted key: refused; have its owner sign it") from e


def _private_key(path: str | os.PathLike[str]) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as e:
        raise missing_extra("cryptography", "sign", "signing") from e
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as e:  # TypeError: it has a password
        raise BundleError(f"{path} is no private key in PEM without password: {e}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path} holds another kind of key; expected an Ed25519 private key")
    return key
