"""`colora sign`: what it signs is what a device with the key takes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colora.runtime.adapter import read_adapter, write_adapter
from colora.runtime.bundle import add_task
from colora.runtime.cli import main
from colora.runtime.session import load

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """PEM files of a private and a public key."""
    from cryptography.hazmat.primitives import serialization as s

    key = ed25519.Ed25519PrivateKey.generate()
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def colora(*arguments: Any) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_bundle_and_an_adapter(
    mini: Any, null_bundle: Path, keys: tuple[Path, Path], picture: Any, tmp_path: Path
) -> None:
    private, public = keys
    code, said = colora("sign", null_bundle, "--key", private)
    assert (code, said.count("signed ")) == (0, 3)
    assert "manifest.sig" in said
    fog = tmp_path / "fog.safetensors"
    write_adapter(fog, dataclasses.replace(mini.adapters["rain"], task="fog"))
    unsigned = read_adapter(fog)
    assert colora("sign", fog, "--key", private) == (0, f"signed {fog}\n")
    assert read_adapter(fog).content_sha256 == unsigned.content_sha256
    add_task(null_bundle, fog, public)
    with load(null_bundle, "null", trusted_key=public) as session:
        for task in ("rain", "noise", "fog"):
            session.restore(picture(8, 8), task)


def test_what_can_t_be_signed_is_told(null_bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = colora("sign", null_bundle, "--key", keys[1])
    assert code == 2
    assert "is no private key in PEM without password" in said
    assert not (null_bundle / "manifest.sig").exists()
    code, said = colora("sign", tmp_path / "nothing.safetensors", "--key", keys[0])
    assert code == 2
    assert "nothing.safetensors" in said
    assert colora("sign", null_bundle)[0] == 2  # no key named
