"""Backbone files: there and back, official .pth files, and everything that must be refused by name and reason."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from colora.devices.errors import CheckpointError, UnknownName
from colora.runtime.manifest import Tile
from colora.runtime.weights import write_tensors
from colora.train.backbones import BACKBONES, Backbone
from colora.train.checkpoint import arrays, load_backbone, save_backbone, zoo
from colora.train.nafnet import NAFNetConfig
from colora.train.zoo import SHA256
from torch import nn


def network(name: str = "nafnet-tiny") -> nn.Module:
    torch.manual_seed(0)
    module = BACKBONES[name].build()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.0, 0.1)
    return module


def saved(folder: Path) -> Path:
    path = folder / "backbone.safetensors"
    save_backbone(path, network(), BACKBONES["nafnet-tiny"], {"seed": 0})
    return path


def test_round_trip_is_exact_and_the_hash_is_of_the_weights(tmp_path: Path) -> None:
    module = network()
    sha256 = save_backbone(tmp_path / "b.safetensors", module, BACKBONES["nafnet-tiny"], {})
    found = load_backbone(str(tmp_path / "b.safetensors"))
    assert found.sha256 == sha256 and found.backbone is BACKBONES["nafnet-tiny"] and not found.module.training
    for a, b in zip(module.parameters(), found.module.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["nafnet-tiny", "restormer-tiny"])
def test_official_pth_finds_its_layout_by_its_shapes(tmp_path: Path, name: str) -> None:
    module = network(name)
    state = {f"module.{key}": tensor for key, tensor in module.state_dict().items()}
    torch.save({"params": state}, tmp_path / "published.pth")
    found = load_backbone(str(tmp_path / "published.pth"))
    assert found.backbone.name == name
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), found.module.parameters(), strict=True))


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


def test_pickle_with_anything_but_weights_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params": Malicious()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(CheckpointError, match=rf"{name}: refused: not a file of plain weights"):
            load_backbone(str(tmp_path / name))
    assert not (tmp_path / "executed").exists()


def test_pth_of_another_layout_is_refused(tmp_path: Path) -> None:
    torch.save({"params": {"a": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="1 tensors, first 'a': looks like none of nafnet, restormer"):
        load_backbone(str(tmp_path / "other.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="expected a dictionary of tensors"):
        load_backbone(str(tmp_path / "list.pth"))


def test_truncated_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors"):
        load_backbone(str(path))
    write_tensors(path, arrays(network()), {"colora": json.dumps({"format": 99, "kind": "backbone"})})
    with pytest.raises(CheckpointError, match="a backbone of format 99; expected a backbone of format 1"):
        load_backbone(str(path))
    write_tensors(path, arrays(network()), {})
    with pytest.raises(CheckpointError, match="not a colora backbone"):
        load_backbone(str(path))
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        load_backbone(str(tmp_path / "absent.safetensors"))


def test_missing_misshaped_and_infinite_parameters_are_named(tmp_path: Path) -> None:
    about = {"colora": json.dumps({"format": 1, "kind": "backbone", "backbone": "nafnet-tiny"})}
    path = tmp_path / "b.safetensors"
    tensors = arrays(network())
    write_tensors(path, {n: t for n, t in tensors.items() if n != "intro.bias"}, about)
    with pytest.raises(CheckpointError, match=r"'intro\.bias': got nothing, expected \(8,\)"):
        load_backbone(str(path))
    tensors["intro.bias"][3] = float("nan")
    write_tensors(path, tensors, about)
    with pytest.raises(CheckpointError, match=r"'intro\.bias' holds numbers that are not finite"):
        load_backbone(str(path))


def test_layout_comes_from_the_file_or_where_it_has_none_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    own = Backbone("my-own", NAFNetConfig(4, (1, 2), 1, (1, 1)), Tile(512, 32, 1024))
    save_backbone(path, own.build(), own, {})
    assert load_backbone(str(path)).backbone == own
    named = {"format": 1, "kind": "backbone", "backbone": "nafnet-tiny"}
    write_tensors(path, arrays(network()), {"colora": json.dumps(named)})
    assert load_backbone(str(path)).backbone is BACKBONES["nafnet-tiny"]
    write_tensors(path, arrays(network()), {"colora": json.dumps(named | {"backbone": "nafnet-huge"})})
    with pytest.raises(CheckpointError, match="made for the unknown backbone 'nafnet-huge'; known: nafnet-s"):
        load_backbone(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"widths": 8}}, "no layout can be read from its metadata: .*'widths'"),
        ({"config": 5}, "no layout can be read from its metadata"),
        ({"config": {"width": -8}}, "no network can be built of"),
        ({"config": {"middle_blocks": 10**9}}, "1000000000 blocks or channels, more than the file's tensors"),
        ({"config": {"middle_blocks": 2}}, r"'middle_blks\.1\.beta': got nothing, expected \(1, 32, 1, 1\)"),
        ({"architecture": "unet"}, "no layout can be read from its metadata: 'unet'"),
    ],
)
def test_layout_that_the_weights_do_not_have_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config = {"width": 8, "enc_blocks": [1, 1], "middle_blocks": 1, "dec_blocks": [1, 1]}
    if isinstance(change.get("config"), dict):
        change = change | {"config": config | change["config"]}
    facts = {"format": 1, "kind": "backbone", "backbone": "b", "architecture": "nafnet", "config": config}
    path = tmp_path / "b.safetensors"
    write_tensors(path, arrays(network()), {"colora": json.dumps(facts | change)})
    with pytest.raises(CheckpointError, match=message):
        load_backbone(str(path))


def test_unknown_name_lists_what_is_shipped() -> None:
    with pytest.raises(UnknownName, match="unknown trained backbone 'nafnet-smal'"):
        load_backbone("nafnet-smal")


def test_zoo_gives_the_shipped_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"nafnet-small", "rain", "noise"} <= zoo().keys()
    assert sum(file.stat().st_size for file in zoo().values()) < 32_000_000
    folder = next(iter(zoo().values())).parent
    assert {file.stem for file in folder.glob("*.safetensors")} == set(zoo())
    monkeypatch.setitem(SHA256, "rain", "0" * 64)
    with pytest.raises(
        CheckpointError, match=r"rain\.safetensors is not the file that was shipped: .* install colora"
    ):
        zoo.__wrapped__()
