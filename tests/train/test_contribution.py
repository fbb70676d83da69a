"""Pooling: names of layers, blocks, stages and kinds, and sums that stay what they were."""

import json
import math
from pathlib import Path

import pytest
from colora.devices.errors import CheckpointError, UnknownName
from colora.train.contribution import (
    POOLINGS,
    Attribution,
    block_of,
    kind_of,
    layer_of,
    pool,
    stage_of,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = (
    "intro.weight",
    "encoders.0.0.beta",
    "encoders.0.0.norm1.weight",
    "encoders.0.1.conv1.weight",
    "encoders.0.1.conv1.bias",
    "downs.0.weight",
    "middle_blks.0.sca.1.bias",
    "ups.0.0.weight",
    "decoders.0.0.conv5.weight",
    "ending.bias",
)


def attribution(values: list[float], numbers: list[int]) -> Attribution:
    return Attribution(
        dict(zip(NAMES, values, strict=True)), dict(zip(NAMES, numbers, strict=True)), -1.5, -1.4, 100, 8
    )


attributions = st.builds(
    attribution,
    *(
        st.lists(element, min_size=len(NAMES), max_size=len(NAMES))
        for element in (st.floats(0, 1e3), st.integers(1, 10**6))
    ),
)


@pytest.mark.parametrize(
    ("parameter", "layer", "block", "stage", "kind"),
    [
        ("intro.bias", "intro", "intro", "intro", "bias"),
        ("encoders.1.3.beta", "encoders.1.3.beta", "encoders.1.3", "encoders.1", "scale"),
        ("encoders.1.3.sca.1.weight", "encoders.1.3.sca.1", "encoders.1.3", "encoders.1", "convolution"),
        ("encoders.1.3.norm2.bias", "encoders.1.3.norm2", "encoders.1.3", "encoders.1", "norm"),
        ("downs.2.weight", "downs.2", "downs.2", "encoders.2", "convolution"),
        ("middle_blks.4.conv3.weight", "middle_blks.4.conv3", "middle_blks.4", "middle_blks", "convolution"),
        ("ups.1.0.weight", "ups.1.0", "ups.1.0", "decoders.1", "convolution"),
        ("patch_embed.proj.weight", "patch_embed.proj", "patch_embed", "patch_embed", "convolution"),
        ("latent.7.attn.temperature", "latent.7.attn.temperature", "latent.7", "latent", "scale"),
        (
            "encoder_level2.0.norm1.body.weight",
            "encoder_level2.0.norm1.body",
            "encoder_level2.0",
            "encoder_level2",
            "norm",
        ),
        ("down1_2.body.0.weight", "down1_2.body.0", "down1_2", "encoder_level1", "convolution"),
        ("up4_3.body.0.weight", "up4_3.body.0", "up4_3", "decoder_level3", "convolution"),
        ("reduce_chan_level2.weight", "reduce_chan_level2", "reduce_chan_level2", "decoder_level2", "convolution"),
        ("refinement.3.ffn.dwconv.weight", "refinement.3.ffn.dwconv", "refinement.3", "refinement", "convolution"),
    ],
)  # fmt: skip
def test_groups_of_both_architectures(parameter: str, layer: str, block: str, stage: str, kind: str) -> None:
    found = layer_of(parameter), block_of(parameter), stage_of(parameter), kind_of(parameter)
    assert found == (layer, block, stage, kind)


@given(found=attributions, by=st.sampled_from(sorted(POOLINGS)))
def test_groups_add_up_to_the_whole(found: Attribution, by: str) -> None:
    groups = pool(found, by)
    assert sum(group.numbers for group in groups) == sum(found.numbers.values())
    # sums in another order: each of the at most 10 terms is rounded to 2^-53 of itself
    assert math.fsum(group.total for group in groups) == pytest.approx(found.total, rel=1e-14, abs=1e-300)
    for group in groups:
        scores = [s for name, s in found.contribution.items() if POOLINGS[by](name) == group.name]
        assert min(scores) * (1 - 1e-14) <= group.mean <= max(scores) * (1 + 1e-14)  # rounded as above


def test_groups_come_in_the_order_of_the_network() -> None:
    blocks = [group.name for group in pool(attribution([1.0] * len(NAMES), [1] * len(NAMES)), "block")]
    assert blocks == [
        *("intro", "encoders.0.0", "encoders.0.1", "downs.0", "middle_blks.0"),
        *("ups.0.0", "decoders.0.0", "ending"),
    ]


def test_an_unknown_pooling_gets_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="unknown pooling 'blocks': did you mean block"):
        pool(attribution([1.0] * len(NAMES), [1] * len(NAMES)), "blocks")


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    found = attribution([i / 7 for i in range(len(NAMES))], list(range(1, 1 + len(NAMES))))
    found.write(tmp_path / "faig.json")
    assert Attribution.read(tmp_path / "faig.json") == found


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": {}},
        {"contribution": {name: "a" for name in NAMES}},
        {"contribution": [1]},
        {"steps": None},
    ],
)
def test_a_foreign_file_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "faig.json"
    attribution([1.0] * len(NAMES), [1] * len(NAMES)).write(file)
    facts = json.loads(file.read_text()) | change
    file.write_text(json.dumps({k: v for k, v in facts.items() if v is not None}))
    with pytest.raises(CheckpointError, match=r"faig\.json: not an attribution \(.*\); expected the faig"):
        Attribution.read(file)
