"""Stage `evaluate@LOSS-TRAINSET-SEED`: scores one model on clean and corrupted images.

Reads the model, the split, the raw and the corrupted images, and the model's training set. Writes `evaluate.json`
(accuracy, loss, calibration, per-class report and per-image predictions of the model's own
classifier, of k nearest neighbours and of a linear probe on its features; the features' angles) and
`data/evaluated/KEY.npz` (logits of every set; features of the test images, for `embed`; features of the training
images among which neighbours are searched, for `attack`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness_study.classifier import device, storage
from robustness_study.core import params
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import CURVES_DIGEST, IMAGES_DIGEST, WEIGHTS_DIGEST, Cell
from robustness_study.core.files import array_digest, read_npz, read_record, write_npz, write_record
from robustness_study.core.fits import refuse_images, refuse_no_partition, refuse_shape
from robustness_study.core.program import run
from robustness_study.evaluation.score import Sets, evaluate, sets_of
from robustness_study.schema.evaluate import Evaluate

SPLITS = ("train", "val", "test")
SOURCE = ("name", "origin", "checksum", "official", "classes")  # what evaluate.json says about the dataset


def read_sets(cell: Cell, notes: dict[str, Any]) -> tuple[Sets, dict[str, np.ndarray]]:
    """Images and labels of every set, and the labels of each split; `notes` are those of the model."""
    indices = dict(zip(SPLITS, read_npz(f"data/split/{cell.seed}.npz", *SPLITS), strict=True))
    clean, corrupted, labels = {}, {}, {}
    for raw, splits in (("train", ("train", "val")), ("test", ("test",))):
        images, raw_labels = read_npz(f"data/raw/{raw}.npz", "images", "labels")
        (changed,) = read_npz(f"data/corrupted/{raw}.npz", "images")
        refuse_images(f"data/raw/{raw}.npz", images, raw_labels, notes)
        refuse_shape(f"data/corrupted/{raw}.npz", images=(changed, images.shape))
        refuse_no_partition(f"data/split/{cell.seed}.npz", len(images), *(indices[split] for split in splits))
        for split in splits:
            chosen = indices[split]
            clean[split], corrupted[split], labels[split] = images[chosen], changed[chosen], raw_labels[chosen]
    (own,) = read_npz(f"data/training_sets/{cell.train_set}.npz", "images")
    count = len(indices["train"]) + len(indices["val"])
    refuse_shape(f"data/training_sets/{cell.train_set}.npz", images=(own, (count, *clean["train"].shape[1:])))
    return sets_of(cell.train_set, own[indices["train"]], clean, corrupted, labels), labels


def main() -> None:
    """Score the model in float32, as `attack` does: the accuracies are those of the attack at epsilon 0."""
    cell = Cell.from_arguments(__doc__)
    section = params.section("evaluate", Evaluate)
    on = device.choose()
    model, notes = storage.load(cell.model, on)
    sets, labels = read_sets(cell, notes)
    results, arrays = evaluate(model, sets, f"train_{cell.train_set}", notes["classes"], section)
    source = read_record("data/raw/source.json", *SOURCE)
    head = {
        "model": cell.key,
        WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST],
        CURVES_DIGEST: notes[CURVES_DIGEST],
        IMAGES_DIGEST: array_digest(*sets["test_clean"]),
        "knn_neighbours": section.knn_neighbours,
        "recipe": notes["recipe"],
        "trained_on": notes["environment"],
        "computed_with": device.describe(on),
        "dataset": {name: source[name] for name in SOURCE},
    }
    texts = {name: to_text(values) for name, values in labels.items()}
    write_npz(cell.evaluated, **arrays, **{WEIGHTS_DIGEST: np.array(notes[WEIGHTS_DIGEST])})
    write_record(cell.result("evaluate.json"), {**head, **results, "labels": texts})


if __name__ == "__main__":
    run(main)
