"""Stage `train@LOSS-TRAINSET-SEED`: training images → a trained ResNet-18 and its curves.

In: the training set's aligned images, the raw labels, the split. No test image is among the inputs.
Out: `models/KEY/` and `reports/cells/LOSS/TRAINSET-SEED/curves.csv`. The curves watch fixed, stratified
images of the model's own training set: some that train and some that only validate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stages.lib import device, losses, model_files, params
from stages.lib.cells import Cell
from stages.lib.errors import run
from stages.lib.files import read_json, read_npz, write_text
from stages.lib.losses import Loss
from stages.lib.model import Classifier
from stages.lib.schema.recipe import Recipe
from stages.lib.seeds import derive_seed
from stages.lib.subsets import stratified
from stages.lib.training import Epoch, Images, precision_of, train


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of uint8 images N×H×W×3, in [0, 1] units."""
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255
    mean = (counts * levels).sum(1) / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    return mean.tolist(), np.maximum(np.sqrt(variance), 1 / 255).tolist()


def train_cell(
    images: np.ndarray,
    labels: np.ndarray,
    indices: dict[str, np.ndarray],
    classes: int,
    loss: Loss,
    recipe: Recipe,
    seed: int,
    on: torch.device,
) -> tuple[Classifier, list[Epoch]]:
    """Train a model on `images[indices["train"]]`; `indices["val"]` are only watched.

    `images` uint8 N×H×W×3 and `labels` N are whole; everything random follows from `seed` by name.
    """

    def cut(chosen: np.ndarray) -> Images:
        return Images(torch.from_numpy(images[chosen]).to(on), torch.from_numpy(labels[chosen].astype(np.int64)).to(on))

    watched = {}
    for name in ("train", "val"):
        positions = stratified(labels[indices[name]], recipe.watched_images, seed, "watched", name)
        watched[name] = cut(indices[name][positions])
    torch.manual_seed(derive_seed(seed, "initialisation"))
    mean, std = channel_statistics(images[indices["train"]])
    model = model_files.build(recipe.stem, loss, classes, mean, std).to(on)
    print(f"training on {len(indices['train'])} images for {recipe.epochs} epochs, {on.type}", flush=True)
    epochs = train(model, cut(indices["train"]), watched, recipe, loss.batches, seed, Progress(recipe.epochs))
    return model, epochs


class Progress:
    """One line per epoch: figures, and the time that is left."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, epoch: Epoch) -> None:
        """Print an epoch's line."""
        left = round((self.epochs - epoch.epoch) * epoch.seconds)
        print(
            f"epoch {epoch.epoch:3d}/{self.epochs}  loss {epoch.training_loss:7.4f}  train {epoch.train_accuracy:.3f}  "
            f"val {epoch.val_accuracy:.3f}  {epoch.seconds:5.1f} s  {left // 60}:{left % 60:02d} left",
            flush=True,
        )


def curves_csv(epochs: list[Epoch]) -> str:
    """The curves as CSV, without times: a file that DVC hashes holds no clock."""
    names = ("epoch", "training_loss", "train_accuracy", "val_accuracy", "val_loss")
    rows = [",".join(names)]
    for epoch in epochs:
        rows.append(",".join(str(getattr(epoch, name)) for name in names))
    return "\n".join(rows) + "\n"


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    recipe_name = params.lookup(params.read(), "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    config = params.section(f"loss_config.{cell.loss}", losses.config_class(cell.loss))
    loss = losses.make(cell.loss, config.model_dump())
    on = device.choose()
    (images,) = read_npz(f"data/{cell.train_set}/train.npz", "images")
    (labels,) = read_npz("data/raw/train.npz", "labels")
    train_indices, val_indices = read_npz(f"data/split/{cell.seed}.npz", "train", "val")
    classes = read_json("data/raw/source.json")["classes"]
    indices = {"train": train_indices, "val": val_indices}
    model, epochs = train_cell(images, labels, indices, len(classes), loss, recipe, cell.seed, on)
    precision = str(precision_of(recipe.precision, on)).removeprefix("torch.")
    notes: dict[str, Any] = {"recipe": recipe_name, "environment": device.describe(on) | {"precision": precision}}
    model_files.save(cell.model, model, recipe.stem, loss, classes, notes)
    write_text(cell.result("curves.csv"), curves_csv(epochs))


if __name__ == "__main__":
    run(main)
