"""Signatures: a device that has a key takes what its owner signed, and nothing else."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from colora.devices.errors import BundleError, CheckpointError, MissingExtra
from colora.runtime.adapter import read_adapter, write_adapter
from colora.runtime.bundle import add_task, open_bundle, write_bundle
from colora.runtime.session import load
from colora.runtime.sign import read_trusted_key, sign_adapter, sign_bundle

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """PEM files of a private and a public key."""
    from cryptography.hazmat.primitives import serialization as s

    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}_public.pem"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def owner(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "owner")


@pytest.fixture
def thief(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "thief")


def test_what_the_owner_signed_is_taken(null_bundle: Path, owner: Any, picture: Any) -> None:
    before = open_bundle(null_bundle).read_task("rain").content_sha256
    sign_bundle(null_bundle, owner[0])
    with load(null_bundle, "null", trusted_key=owner[1]) as session:
        session.restore(picture(8, 8), "rain")
    with load(null_bundle, "null") as session:  # who has no key takes it as before
        session.restore(picture(8, 8), "rain")
    assert open_bundle(null_bundle).read_task("rain").content_sha256 == before


def test_what_another_signed_or_nobody_is_refused(null_bundle: Path, owner: Any, thief: Any) -> None:
    with pytest.raises(BundleError, match="bundle is not signed, and only signed files are trusted here"):
        load(null_bundle, "null", trusted_key=owner[1])
    sign_bundle(null_bundle, thief[0])
    with pytest.raises(BundleError, match="bundle is not signed by the trusted key: refused"):
        load(null_bundle, "null", trusted_key=owner[1])
    (null_bundle / "manifest.sig").write_bytes(b"short")
    with pytest.raises(BundleError, match="is not signed by the trusted key"):
        load(null_bundle, "null", trusted_key=thief[1])


def test_a_signature_covers_every_byte_of_the_manifest(mini: Any, null_bundle: Path, owner: Any) -> None:
    sign_bundle(null_bundle, owner[0])
    signature, manifest = (null_bundle / "manifest.sig").read_bytes(), null_bundle / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(BundleError, match="is not signed by the trusted key"):
        open_bundle(null_bundle, owner[1])
    write_bundle(null_bundle, lambda folder: dataclasses.replace(mini.fill(folder), target="elsewhere"))
    (null_bundle / "manifest.sig").write_bytes(signature)
    with pytest.raises(BundleError, match="is not signed by the trusted key"):
        open_bundle(null_bundle, owner[1])


def test_adapters_are_held_to_the_key_one_by_one(
    mini: Any, null_bundle: Path, owner: Any, thief: Any, tmp_path: Path, picture: Any
) -> None:
    sign_bundle(null_bundle, owner[0])
    rain, file = read_adapter(null_bundle / "tasks" / "rain.safetensors"), tmp_path / "new.safetensors"
    changed = dataclasses.replace(rain, seeds={"fit": 9})  # under the signature of what it was
    with load(null_bundle, "null", trusted_key=owner[1]) as session:
        session.restore(picture(8, 8), "rain")
        for bad in (
            dataclasses.replace(rain, signature=""),
            changed,
            sign_adapter(changed, thief[0]),
            dataclasses.replace(mini.adapters["noise"], task="rain", signature=rain.signature),
        ):
            write_adapter(file, bad)
            with pytest.raises(CheckpointError, match=r"new\.safetensors is not signed"):
                add_task(null_bundle, file, owner[1])
            write_adapter(null_bundle / "tasks" / "rain.safetensors", bad)
            session.restore(picture(8, 8), "rain")  # by the one before
            assert "is not signed" in session.describe().refused["rain"]
        write_adapter(file, sign_adapter(changed, owner[0]))
        add_task(null_bundle, file, owner[1])
        session.restore(picture(8, 8), "rain")
        assert session.metrics().swapped_adapters == 1
        assert not session.describe().refused


def test_a_signature_that_is_none_is_refused(mini: Any) -> None:
    with pytest.raises(CheckpointError, match="signature 'xyz' is no signature"):
        dataclasses.replace(mini.adapters["rain"], signature="xyz")


def test_keys_that_are_none_are_refused(null_bundle: Path, owner: Any, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    for path in (owner[0], tmp_path / "none.pem", null_bundle / "manifest.json"):
        with pytest.raises(BundleError, match="is no public key in PEM"):
            open_bundle(null_bundle, path)
    with pytest.raises(BundleError, match="is no private key in PEM without password"):
        sign_bundle(null_bundle, owner[1])
    other = X25519PrivateKey.generate()
    (tmp_path / "other.pem").write_bytes(
        other.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(BundleError, match="holds another kind of key; expected an Ed25519 public key"):
        open_bundle(null_bundle, tmp_path / "other.pem")


def test_without_cryptography_the_extra_is_named(null_bundle: Path, owner: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingExtra, match=r"verifying signatures needs .*pip install 'colora\[sign\]'"):
        read_trusted_key(owner[1])
    with pytest.raises(MissingExtra, match=r"signing needs .*pip install 'colora\[sign\]'"):
        sign_bundle(null_bundle, owner[0])
    open_bundle(null_bundle)


def test_importing_the_runtime_leaves_cryptography_out() -> None:
    code = "import sys, colora.runtime.sign, colora.runtime; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
