"""Stage `evaluate@LOSS-TRAINSET-SEED`: scores one model on clean and corrupted images, and on natural sets.

Reads the model, the split, the raw and the corrupted images, the natural sets, and the model's training set. Writes
`evaluate.json` (scores and predictions of the model's own classifier, of k nearest neighbours and of a linear probe on
its features; the features' angles), `temperature.json` (for `stress`) and `data/evaluated/KEY.npz` (logits of every
set; features of test images, for `embed`, and of training images, for `attack`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness_study.classifier import device, storage
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.core.cell import CURVES_DIGEST, IMAGES_DIGEST, NATURAL, TEMPERATURE, WEIGHTS_DIGEST, Cell
from robustness_study.core.files import array_digest, read_npz, read_record, write_npz, write_record
from robustness_study.core.fits import refuse_images, refuse_no_partition, refuse_shape
from robustness_study.core.program import run
from robustness_study.evaluation.score import SPLITS, Sets, evaluate, sets_of
from robustness_study.schema.evaluate import Evaluate

SOURCE = ("name", "origin", "checksum", "official", "classes", "jpeg_share")  # what evaluate.json says of the dataset


def read_sets(cell: Cell, notes: dict[str, Any], share: float) -> Sets:
    """Images and labels of every set; `notes` are the model's, `share` that of the validation images to score."""
    partition, names = f"data/split/{cell.seed}.npz", list(SPLITS)
    indices = dict(zip(names, read_npz(f"data/split/{cell.seed}.npz", *names), strict=True))
    clean, corrupted, labels = {}, {}, {}
    for raw in ("train", "test"):
        clean[raw], labels[raw] = read_npz(f"data/raw/{raw}.npz", "images", "labels")
        (corrupted[raw],) = read_npz(f"data/corrupted/{raw}.npz", "images")
        refuse_images(f"data/raw/{raw}.npz", clean[raw], labels[raw], notes)
        refuse_shape(f"data/corrupted/{raw}.npz", images=(corrupted[raw], clean[raw].shape))
        refuse_no_partition(partition, len(labels[raw]), *(indices[name] for name in names if SPLITS[name] == raw))
    (own,) = read_npz(f"data/training_sets/{cell.train_set}.npz", "images")
    refuse_shape(f"data/training_sets/{cell.train_set}.npz", images=(own, clean["train"].shape))
    sets = sets_of(cell, own, clean, corrupted, labels, indices, share)
    for name in read_record("data/natural/sets.json", "sets")["sets"]:
        images, of_images = read_npz(f"data/natural/{name}.npz", "images", "labels")
        refuse_images(f"data/natural/{name}.npz", images, of_images, notes)
        sets[f"{NATURAL}{name}"] = images, of_images
    return sets


def main() -> None:
    """Score test images in float32, as `attack` does at epsilon 0; others faster, in the precision of training."""
    cell = Cell.from_arguments(__doc__)
    section = params.section("evaluate", Evaluate)
    model, notes = storage.load(cell.model, device.choose())
    sets, reduced = read_sets(cell, notes, params.of_recipe("evidence_share")), Reduced.as_trained(model, notes)
    results, arrays = evaluate(model, sets, f"train_{cell.train_set}", notes["classes"], section, reduced)
    source = read_record("data/raw/source.json", *SOURCE)
    head = {
        "model": cell.key,
        **{digest: notes[digest] for digest in (WEIGHTS_DIGEST, CURVES_DIGEST)},
        IMAGES_DIGEST: array_digest(*sets["test_clean"]),
        "knn_neighbours": section.knn_neighbours,
        "recipe": notes["recipe"],
        "trained_on": notes["environment"],
        "computed_with": device.describe(model.mean.device) | {"precision_of_train_and_val": reduced.precision},
        "dataset": {name: source[name] for name in SOURCE},
        "natural": {name: array_digest(*found) for name, found in sets.items() if name.startswith(NATURAL)},
    }
    write_npz(cell.evaluated, **arrays, **{WEIGHTS_DIGEST: np.array(notes[WEIGHTS_DIGEST])})
    fitted = {"model": cell.key, WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST], "temperature": results["temperature"]}
    write_record(cell.result(TEMPERATURE), fitted)
    write_record(cell.result("evaluate.json"), head | results)


if __name__ == "__main__":
    run(main)
