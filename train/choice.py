"""Trains what `task="auto"` asks: a small network from the features of a picture to what is wrong with it.

    python -m colora.train.choice --photos DIR --photos DIR …

writes runtime/choice.safetensors. Pictures are clean photographs, varied as cameras and programs vary them, each
degraded by one task of TASKS or by none. Each is a function of (seed, index); the photographs that are held out are
never trained on and set the temperature that makes the probabilities honest (Guo et al., ICML 2017).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from colora.runtime.choice import CLEAN, CLIP, WEIGHTS
from colora.runtime.features import measure
from colora.runtime.weights import Array, write_tensors
from colora.train.camera import compress, log_uniform
from colora.train.degradations import Image, degrade
from colora.train.photos import Pixels, clean_crop, picture_files, read_rgb, split_files
from colora.train.progress import counting
from colora.train.tasks import TASKS
from numpy.random import Generator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ALIKE = {"rain-raindrop": "rain", "motion": "blur"}
"""task → the one it is taken for: drops behind rain can't be told by these features, and rain is what disturbs more;
what undoes blur undoes motion"""
LABELS = (CLEAN, *(name for name in TASKS if name not in ALIKE))
CLEAN_SHARE = 0.3
"""of the pictures; the tasks share the rest alike"""
SIDES = (64, 320)
"""pixels of a picture's side, log-uniform"""
VISIBLE_DB = 38.0
"""a degradation that changes the picture less (PSNR above) is drawn again: nobody could see it"""
MILD = ("rain", "noise", "haze")
"""tasks whose traces are also drawn fainter, down to a tenth: training draws few faint ones, cameras many"""
HIDDEN, BATCH = 64, 128
HELD_OUT = 24
"""photographs, besides those that all training holds out"""


def camera_look(image: Image, rng: Generator) -> Image:
    """A clean picture as another camera would have given it: tone, colour, softness, sharpening."""
    if rng.random() < 0.5:
        image = rng.uniform(0.75, 1.1) * image ** log_uniform(rng, 0.7, 1.5)
    if rng.random() < 0.1:
        image = np.repeat(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    if rng.random() < 0.3:
        height, width = image.shape[:2]
        factor = rng.uniform(1, 1.6)
        small = image[: max(32, int(height / factor)), : max(32, int(width / factor))].astype(np.float32)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.2:
        soft = np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), rng.uniform(0.6, 1.2)))
        image = image + rng.uniform(0.2, 0.8) * (image - soft)
    return np.clip(image, 0, 1).astype(np.float32)


def sensor_and_file(image: Image, rng: Generator) -> Image:
    """What comes last, on whatever the lens saw: the grain of any sensor, σ below 2.5 of 255, and a good JPEG file."""
    if rng.random() < 0.4:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image = np.clip(image + np.float32(rng.uniform(0, 2.5) / 255) * grain, 0, 1)
    return compress(image, int(rng.integers(75, 99))) if rng.random() < 0.6 else image


def strong_jpeg(image: Image, rng: Generator) -> Image:
    """JPEG at quality 6-55: that of the task goes up to 95, which is how clean pictures are kept."""
    quality = round(log_uniform(rng, 6, 55))
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if rng.random() < 0.3 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    )
    return compress(image, quality, sampling)


def example(photos: Sequence[Pixels], rng: Generator) -> tuple[Pixels, int]:
    """A picture, H×W×3 uint8, and the index of its label in LABELS."""
    task = CLEAN if rng.random() < CLEAN_SHARE else str(rng.choice([*TASKS]))
    side = min(round(log_uniform(rng, *SIDES)), *(min(photo.shape[:2]) for photo in photos))
    degraded = image = np.zeros((1, 1, 3), np.float32)
    for _ in range(8):
        degraded = image = camera_look(clean_crop(photos, side, rng), rng)
        if task == CLEAN:
            break
        for step in TASKS[task].degradations:
            degraded = strong_jpeg(degraded, rng) if step == "jpeg" else degrade(degraded, rng, [step])
        if task in MILD and rng.random() < 0.4:
            degraded = image + np.float32(log_uniform(rng, 0.1, 1)) * (degraded - image)
        if -10 * np.log10(np.mean((degraded - image) ** 2) + 1e-9) < VISIBLE_DB:
            break
    return np.rint(sensor_and_file(degraded, rng) * 255).astype(np.uint8), LABELS.index(ALIKE.get(task, task))


class Examples(Dataset[tuple[Tensor, int]]):
    """`Examples[i]` → (features, label), a function of (seed, i) alone."""

    def __init__(self, photos: Sequence[Pixels], count: int, seed: int) -> None:
        self.photos, self.count, self.seed = photos, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        cv2.setNumThreads(0)
        picture, label = example(self.photos, np.random.default_rng([self.seed, index]))
        return torch.tensor(list(measure(picture).values()), dtype=torch.float32), label


def measured(photos: Sequence[Path], count: int, seed: int, workers: int) -> tuple[Tensor, Tensor]:
    """Features (count × features) and labels of `count` pictures made of these photographs."""
    examples = Examples([read_rgb(file) for file in photos], count, seed)
    batches = []
    with counting(f"measuring {count} pictures") as report:
        for batch in DataLoader(examples, batch_size=50, num_workers=workers):
            batches.append(batch)
            report(min(50 * len(batches), count), count)
    x, labels = zip(*batches, strict=True)
    return torch.cat(x), torch.cat(labels)


def fit(x: Tensor, labels: Tensor, names: Sequence[str], seed: int, epochs: int = 60) -> nn.Sequential:
    """Network from standardised features (n × features) to logits of LABELS, by AdamW with dropout."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(len(names), HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, len(LABELS))
    )
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def standardised(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """As runtime/choice.py does it."""
    return ((x - mean) / scale).clamp(-CLIP, CLIP)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits that makes the labels likeliest, by search over 0.5-5."""
    tried = torch.linspace(0.5, 5, 451)
    losses = [float(nn.functional.cross_entropy(logits / t, labels)) for t in tried]
    return float(tried[int(np.argmin(losses))])


def folded(network: nn.Sequential, mean: Tensor, scale: Tensor, divisor: float) -> dict[str, Array]:
    """Tensors as runtime/choice.py takes them, the temperature in the last layer."""
    state = network.state_dict()
    tensors = {
        "mean": mean,
        "scale": scale,
        "w1": state["0.weight"],
        "b1": state["0.bias"],
        "w2": state["3.weight"] / divisor,
        "b2": state["3.bias"] / divisor,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@click.command()
@click.option("--photos", multiple=True, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=12_000, show_default=True, help="Pictures to train on.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Processes that make pictures.")
@click.option("-o", "--output", default=WEIGHTS, type=click.Path(path_type=Path))
def command(photos: tuple[Path, ...], count: int, seed: int, workers: int, output: Path) -> None:
    """Train on clean photographs, calibrate on those held out, write OUTPUT."""
    torch.set_num_threads(1)  # of so small a network, more would wait for one another
    usual, never = split_files([file for folder in photos for file in picture_files(folder)], None)
    train, held_out = split_files(usual, HELD_OUT)
    held_out += never
    names = list(measure(np.zeros((64, 64, 3), np.uint8)))
    x, labels = measured(train, count, seed, workers)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    network = fit(standardised(x, mean, scale), labels, names, seed)
    x, labels = measured(held_out, count // 8, seed + 1, workers)
    with torch.no_grad():
        logits = network(standardised(x, mean, scale))
    divisor = temperature(logits, labels)
    right = float((logits.argmax(1) == labels).float().mean())
    sure = float((logits / divisor).softmax(1).amax(1).mean())
    facts = {
        "features": names,
        "labels": LABELS,
        "photographs": f"{len(train)} tiles, {len(held_out)} photographs held out",
        "pictures": count,
        "seed": seed,
        "temperature": divisor,
        "held_out_right": right,
        "held_out_confidence": sure,
    }
    write_tensors(output, folded(network, mean, scale, divisor), {"colora": json.dumps(facts)})
    click.echo(
        f"held out: {right:.1%} right, mean confidence {sure:.1%}, temperature {divisor:.2f}; {output}"
    )


if __name__ == "__main__":
    command()
