"""Stage `transfer`: tests each model of the first seed on the images attacked through every other model.

Reads the models, the raw test images and `data/attacked/`. Writes `data/shared/transfer.json`, one row per pair of
models.
"""

from __future__ import annotations

import argparse

import torch

from robustness_study.attacks import transfer
from robustness_study.attacks.scoring import predict
from robustness_study.attacks.signs import step
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.cell import WEIGHTS_DIGEST, Cell
from robustness_study.core.files import read_npz, write_record
from robustness_study.core.fits import refuse_beyond, refuse_shape
from robustness_study.core.program import run
from robustness_study.schema.attack import Attack
from robustness_study.schema.transfer import Transfer


def main() -> None:
    """Score every pair; end with an error if an alarm is raised that `transfer.accept` does not name.

    robustness_study/attacks/transfer.py describes the alarm. Only `compare` reads the result, so no model's own results
    depend on another model.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    values = params.read()
    section, attack = params.section("transfer", Transfer), params.section("attack", Attack)
    losses, train_sets = (params.lookup(values, name) for name in ("losses", "train_sets"))
    cells = [Cell(loss, train_set, seed) for loss in losses for train_set in train_sets]
    on = device.choose()
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    attacked, weights = {}, {}
    for cell in cells:
        indices, signs, of_model = read_npz(cell.attacked, "test_indices", "signs", WEIGHTS_DIGEST)
        refuse_shape(cell.attacked, signs=(signs, (len(indices), 3, *all_images.shape[1:3])))
        refuse_beyond(cell.attacked, len(all_images), indices)
        attacked[cell.key], weights[cell.key] = transfer.Attacked(indices, signs), str(of_model)
    positions = transfer.same_images(attacked, all_labels, section.images, section.seed)
    chosen = attacked[cells[0].key].indices[positions]
    images = to_float(torch.from_numpy(all_images[chosen]).to(on))
    moved = {
        key: step(images, torch.from_numpy(of_model.signs[positions]).to(on), section.epsilon_255)
        for key, of_model in attacked.items()
    }
    predictions = {}
    for target in cells:
        model, notes = storage.load(target.model, on)
        target.refuse_other_model(target.attacked, weights[target.key], notes[WEIGHTS_DIGEST])
        for source in cells:
            predictions[source.key, target.key] = predict(model, moved[source.key], attack.batch_size)
    found = transfer.as_json(predictions, all_labels[chosen], chosen, section.epsilon_255, list(section.accept))
    write_record("data/shared/transfer.json", {WEIGHTS_DIGEST: weights, **found})


if __name__ == "__main__":
    run(main)
