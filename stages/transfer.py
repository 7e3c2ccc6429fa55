"""Stage `transfer`: images attacked through one model, given to every other, for the models of one seed, the first.

A black-box attack (Papernot et al. 2016, arXiv 1605.07277): it needs no gradient of the model it is given to, so it
must not serve better than that model's own gradient does. Out: `reports/transfer.json`, a row per pair of models.
A stage of its own that only `compare` reads, so that no model's own results depend on another model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustness_study.attacks import alarms
from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.scoring import predict
from robustness_study.attacks.signs import step
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_npz, write_json
from robustness_study.core.subsets import stratified
from robustness_study.schema.attack import Attack
from robustness_study.schema.transfer import Transfer


def stronger_than_own(right: dict[tuple[str, str], np.ndarray], epsilon_255: int) -> list[Alarm]:
    """An alarm for each (source, target) whose source serves better against the target than the target's own."""
    found = [
        alarms.stronger(
            "transfer_stronger",
            f"the gradient of {source}, against {target},",
            "its own gradient",
            {epsilon_255: under},
            {epsilon_255: right[target, target]},
        )
        for (source, target), under in right.items()
        if source != target
    ]
    return [alarm for alarm in found if alarm is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    values = params.read()
    section, attack = params.section("transfer", Transfer), params.section("attack", Attack)
    losses, train_sets = (params.lookup(values, name) for name in ("losses", "train_sets"))
    cells = [Cell(loss, train_set, seed) for loss in losses for train_set in train_sets]
    # This stage depends on the folder: what is no longer in the study would change its hash for good.
    for path in Path(f"reports/attacked/{seed}").glob("*.json"):
        if path.stem not in {cell.key for cell in cells}:
            path.unlink()
    on = device.choose()
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    attacked, chosen = {}, None
    for cell in cells:
        indices, signs = read_npz(f"data/attacked/{cell.key}.npz", "test_indices", "signs")
        if chosen is None:
            chosen, positions = indices, stratified(all_labels[indices], section.images, section.seed, "transfer")
            images = to_float(torch.from_numpy(all_images[chosen[positions]]).to(on))
        if not np.array_equal(indices, chosen):
            raise StudyError(
                f"data/attacked/{cell.key}.npz is of other test images than the rest; run `dvc repro attack@{cell.key}`"
            )
        attacked[cell.key] = step(images, torch.from_numpy(signs[positions]).to(on), section.epsilon_255)
    assert chosen is not None  # there is a first cell
    labels = all_labels[chosen[positions]]
    right, predictions = {}, {}
    for target in cells:
        model, _ = storage.load(target.model, on)
        for source in cells:
            predicted = predict(model, attacked[source.key], attack.batch_size)
            right[source.key, target.key] = predicted == labels
            predictions[f"{source.key} → {target.key}"] = to_text(predicted)
    rows: list[dict[str, Any]] = [
        {"source": source, "target": target, "accuracy": float(found.mean())}
        for (source, target), found in right.items()
    ]
    for row in rows:
        print(f"{row['source']:28s} → {row['target']:28s} {row['accuracy']:.4f} of {len(labels)} images", flush=True)
    taken = alarms.accepted(stronger_than_own(right, section.epsilon_255), section.accept, "transfer")
    write_json(
        "reports/transfer.json",
        {
            "epsilon_255": section.epsilon_255,
            "images": len(labels),
            "rows": rows,
            "test_indices": to_text(chosen[positions]),
            "labels": to_text(labels),
            "predictions": predictions,
            "alarms": alarms.by_name(taken),
        },
    )


if __name__ == "__main__":
    run(main)
