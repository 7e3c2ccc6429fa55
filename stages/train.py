"""Stage `train@LOSS-TRAINSET-SEED`: training images → a trained ResNet-18 and its curves.

In: the training set's aligned images, the raw labels, the split. No test image is among the inputs.
Out: `models/KEY/` and `reports/cells/LOSS/TRAINSET-SEED/curves.csv`. The curves watch fixed, stratified
images of the model's own training set: some that train and some that only validate. A run that was
interrupted goes on from `.checkpoints/KEY/` and ends with the bits it would have ended with; while it runs,
`reports/live/KEY/` holds its curves.
"""

from __future__ import annotations

from robustness_study.core.die_with_parent import die_with_parent

if __name__ == "__main__":
    die_with_parent()  # before torch is imported: that takes seconds, in which the parent may die

from importlib.metadata import version

import numpy as np
import torch

from robustness_study import losses
from robustness_study.classifier import device, storage
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_json, read_npz, write_text
from robustness_study.core.seeds import derive_seed
from robustness_study.core.subsets import stratified
from robustness_study.losses import Loss
from robustness_study.networks.resnet18 import start_as_identity
from robustness_study.schema.recipe import Recipe
from robustness_study.training import live_curves
from robustness_study.training.checkpoints import TOP, Checkpoints, fingerprint, held
from robustness_study.training.engine import Training
from robustness_study.training.live_curves import LiveCurves
from robustness_study.training.precision import is_out_of_memory, precision_of
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch, Images, Watcher

LIBRARIES = ("numpy", "pytorch-metric-learning", "torch", "torchvision")


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
    watcher: Watcher,
) -> tuple[Classifier, list[Epoch]]:
    """Train a model on `images[indices["train"]]`; `indices["val"]` are only watched.

    `images` uint8 N×H×W×3 and `labels` N are whole; everything random follows from `seed` by name. Goes
    on from the watcher's checkpoint if it has one. Raises StudyError if memory does not suffice.
    """

    def cut(chosen: np.ndarray) -> Images:
        return Images(torch.from_numpy(images[chosen]).to(on), torch.from_numpy(labels[chosen].astype(np.int64)).to(on))

    watched = {}
    for name in ("train", "val"):
        positions = stratified(labels[indices[name]], recipe.watched_images, seed, "watched", name)
        watched[name] = cut(indices[name][positions])
    torch.manual_seed(derive_seed(seed, "initialisation"))
    mean, std = channel_statistics(images[indices["train"]])
    model = storage.build(recipe.stem, loss, classes, mean, std).to(on)
    if recipe.zero_init_residual:
        start_as_identity(model.backbone)
    training = Training(model, cut(indices["train"]), recipe, loss.batches, seed)
    print(f"training on {len(indices['train'])} images for {recipe.epochs} epochs, {on.type}", flush=True)
    if (checkpoint := watcher.load()) is not None:
        training.restore(*checkpoint)
        watcher.went_before(training.epochs)
        print(f"going on after step {training.done} of {recipe.epochs * training.steps}", flush=True)
    try:
        return model, training.run(watched, watcher)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Out here, where the exception is gone and with it the tensors of the step that failed.
    fits = training.largest_batch_that_fits()
    raise StudyError(
        f"train: out of memory on {on.type} with batch_size {recipe.batch_size}; {fits} would fit "
        "(another batch size is another result: nothing was changed)"
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
    precision = str(precision_of(recipe.precision, on)).removeprefix("torch.")
    environment = device.describe(on) | {"precision": precision}
    processor = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    decides = {
        "cell": cell.key,
        "loss": config.model_dump(),
        "recipe": recipe.model_dump(),
        "environment": environment | processor,
        "versions": {name: version(name) for name in LIBRARIES},
    }
    folder = TOP / cell.key
    with held(folder):
        kept = Checkpoints(folder, fingerprint(decides, {"images": images, "labels": labels, **indices}))
        curves = LiveCurves(live_curves.TOP / cell.key)
        progress = Progress(recipe.epochs, kept, curves)
        model, epochs = train_cell(images, labels, indices, len(classes), loss, recipe, cell.seed, on, progress)
        storage.save(cell.model, model, recipe.stem, loss, classes, {"recipe": recipe_name, "environment": environment})
        write_text(cell.result("curves.csv"), curves_csv(epochs))
        kept.remove()
        curves.remove()
    took, speed = sum(epoch.seconds for epoch in epochs), np.median([epoch.images_per_second for epoch in epochs])
    print(f"{cell.key}: val {epochs[-1].val_accuracy:.3f}, {len(epochs)} epochs in {took:.0f} s, {speed:.0f} images/s")


if __name__ == "__main__":
    run(main)
