"""Measures, on validation images of one model, how two settings for the model's features were chosen.

`evaluate.probe_inverse_penalty` was chosen where the linear probe's accuracy hardly depends on it.
`attack.attacks.nearest_neighbours.temperature` was chosen for the strongest attack. This is the temperature at which
the neighbours classify the fewest images correctly, over all epsilons, when their soft stand-in is attacked.
`python -m bench.measuring --loss angular --train-set clean --seed 0` adds a model to `bench/results/measuring.json`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench import report
from robustness_study.attacks.nearest_neighbours import SoftNeighbours
from robustness_study.attacks.scoring import features_of, predict
from robustness_study.attacks.signs import gradient_signs, step
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import all_features, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, read_npz, write_json
from robustness_study.core.program import run
from robustness_study.core.subsets import stratified
from robustness_study.evaluation.neighbours import knn_predictions
from robustness_study.evaluation.probe import fit_probe

INVERSE_PENALTIES = (0.0001, 0.001, 0.01, 0.1)
TEMPERATURES = (0.005, 0.01, 0.02, 0.05, 0.1)
EPSILONS_255 = (1, 2, 4)
IMAGES, ATTACKED, NEIGHBOURS, BATCH_SIZE = 4000, 500, 3, 250

Known = tuple[np.ndarray, np.ndarray]  # features float32 M×D and labels M of the training images


def probes(known: Known, queries: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """For each inverse penalty: the probe's accuracy on features N×D with labels N; None if it did not converge."""
    found: dict[str, float | None] = {}
    for inverse_penalty in INVERSE_PENALTIES:
        try:
            predicted = fit_probe(*known, inverse_penalty)(queries)
        except StudyError:
            found[str(inverse_penalty)] = None
        else:
            found[str(inverse_penalty)] = float((predicted == labels).mean())
    return found


def stand_ins(model: Classifier, known: Known, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """For each temperature: how often stand-in and neighbours agree, and the neighbours' accuracy under the attack.

    `images` are float32 in [0, 1], N×3×H×W, with int64 labels N, on the model's device.
    """
    reference, known_labels = (torch.from_numpy(array).to(images.device) for array in known)
    clean = knn_predictions(*known, features_of(model, images, BATCH_SIZE), NEIGHBOURS)
    truth, found = labels.cpu().numpy(), {}
    for temperature in TEMPERATURES:
        stand_in = SoftNeighbours(model, reference, known_labels.long(), temperature)
        signs = torch.cat(
            [
                gradient_signs(stand_in, some, of_some)
                for some, of_some in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
            ]
        )
        correct = {}
        for epsilon in EPSILONS_255:
            features = features_of(model, step(images, signs, epsilon), BATCH_SIZE)
            correct[f"right_at_{epsilon}"] = float((knn_predictions(*known, features, NEIGHBOURS) == truth).mean())
        agrees = float((predict(stand_in, images, BATCH_SIZE) == clean).mean())
        found[str(temperature)] = {"agrees": agrees, **correct}
    return found


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    on = device.choose()
    model, _ = storage.load(cell.model, on)
    train, val = read_npz(f"data/split/{cell.seed}.npz", "train", "val")
    images, labels = read_npz("data/raw/train.npz", "images", "labels")
    (own,) = read_npz(f"data/training_sets/{cell.train_set}.npz", "images")
    chosen = val[stratified(labels[val], min(IMAGES, len(val)), 0, "measuring")]
    known = all_features(model, torch.from_numpy(own[train]), BATCH_SIZE).cpu().numpy(), labels[train]
    queries = all_features(model, torch.from_numpy(images[chosen]), BATCH_SIZE).cpu().numpy()
    attacked = chosen[stratified(labels[chosen], min(ATTACKED, len(chosen)), 0, "measuring, attacked")]
    row: dict[str, Any] = {
        "probe": probes(known, queries, labels[chosen]),
        "stand_in": stand_ins(
            model,
            known,
            to_float(torch.from_numpy(images[attacked]).to(on)),
            torch.from_numpy(labels[attacked].astype(np.int64)).to(on),
        ),
        "images": len(chosen),
        "attacked_images": len(attacked),
        "machine": report.machine(on),
    }
    path = report.RESULTS / "measuring.json"
    write_json(path, (read_json(path) if path.exists() else {}) | {cell.key: row})
    for name in ("probe", "stand_in"):
        for setting, found in row[name].items():
            print(f"{cell.key}  {name:8s} {setting:>7s}  {found}")


if __name__ == "__main__":
    run(main)
