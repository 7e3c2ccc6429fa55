"""Stage `train@LOSS-TRAINSET-SEED`: trains one classifier.

Reads `data/training_sets/TRAINSET.npz`, the raw training labels and `data/split/SEED.npz`; no test image. Writes
`models/KEY/` and `curves.csv`; while it runs, also `.checkpoints/KEY/` and, for live curves, `reports/live/KEY/`.
"""

from __future__ import annotations

import numpy as np

from robustness_study import losses, training_sets
from robustness_study.classifier import device, storage
from robustness_study.core import params
from robustness_study.core.cell import CURVES_DIGEST, Cell
from robustness_study.core.files import bytes_digest, read_npz, read_record, write_text
from robustness_study.core.fits import refuse_labels, refuse_no_partition, refuse_shape
from robustness_study.core.program import run
from robustness_study.schema.recipe import Recipe
from robustness_study.training import live_curves
from robustness_study.training.checkpoints import TOP, Checkpoints
from robustness_study.training.live_curves import LiveCurves
from robustness_study.training.one_model import curves_csv, environment_of, fingerprint_of, network_of, train_cell
from robustness_study.training.progress import Progress


def main() -> None:
    """Train, or resume from a checkpoint: an interrupted run ends with the same bits as an uninterrupted one.

    The curves show accuracies on fixed, stratified images of the model's own training set: some train, some validate.
    """
    cell = Cell.from_arguments(__doc__)
    recipe_name = params.lookup(params.read(), "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    config = params.section(f"loss_config.{cell.loss}", losses.config_class(cell.loss))
    loss = losses.make(cell.loss, config.model_dump())
    settings = params.section(f"train_set_config.{cell.train_set}", training_sets.config_class(cell.train_set))
    attack = training_sets.batch_attack(cell.train_set, settings)
    on = device.choose()
    (images,) = read_npz(f"data/training_sets/{cell.train_set}.npz", "images")
    (labels,) = read_npz("data/raw/train.npz", "labels")
    train_indices, val_indices = read_npz(f"data/split/{cell.seed}.npz", "train", "val")
    classes = read_record("data/raw/source.json", "classes")["classes"]
    refuse_labels("data/raw/train.npz", labels, len(classes))
    refuse_shape(f"data/training_sets/{cell.train_set}.npz", images=(images, (len(labels), None, None, 3)))
    refuse_no_partition(f"data/split/{cell.seed}.npz", len(labels), train_indices, val_indices)
    arrays = {"images": images, "labels": labels, "train": train_indices, "val": val_indices}
    indices = {name: arrays[name] for name in ("train", "val")}
    notes = {"model": cell.key, "recipe": recipe_name, "environment": environment_of(recipe, on)}
    folder = TOP / cell.key
    kept = Checkpoints(folder, fingerprint_of(cell, loss, settings, recipe, on, arrays))
    curves = LiveCurves(live_curves.TOP / cell.key)
    progress = Progress(recipe.epochs, kept, curves)
    model, epochs = train_cell(images, labels, indices, len(classes), loss, recipe, cell.seed, on, progress, attack)
    text = curves_csv(epochs)
    write_text(cell.result("curves.csv"), text)
    notes |= {CURVES_DIGEST: bytes_digest(text.encode())}
    if attack is not None:  # the stage `attack` checks these for a collapse
        notes |= {"val_pgd_accuracy": [epoch.val_pgd_accuracy for epoch in epochs]}
    storage.save(cell.model, model, network_of(recipe, images), loss, classes, notes)
    kept.remove()
    curves.remove()
    took, speed = sum(epoch.seconds for epoch in epochs), np.median([epoch.images_per_second for epoch in epochs])
    print(f"{cell.key}: val {epochs[-1].val_accuracy:.3f}, {len(epochs)} epochs in {took:.0f} s, {speed:.0f} images/s")


if __name__ == "__main__":
    run(main)
