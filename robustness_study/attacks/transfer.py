"""Images attacked through one model, given to another (Papernot et al. 2016, arXiv 1605.07277).

This is a black-box attack: it needs no gradient of the model that is given the images, so it must not be clearly
stronger than that model's own gradient. If it is, that gradient is masked, and there is an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness_study.attacks import alarms
from robustness_study.attacks.alarms import Alarm
from robustness_study.core.array_text import to_text
from robustness_study.core.errors import StudyError
from robustness_study.core.subsets import stratified

ByPair = dict[tuple[str, str], np.ndarray]  # keys of source and target → an array of N


@dataclass(frozen=True)
class Attacked:
    """What `attack` left of one model: `indices` of the attacked test images, N, and `signs`, int8 N×3×H×W."""

    indices: np.ndarray
    signs: np.ndarray


def same_images(attacked: Mapping[str, Attacked], all_labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` of the attacked images, stratified, which are the same test images for every model.

    Raises StudyError, naming the model by its key, if a model was attacked with other images than the first.
    """
    first = next(iter(attacked.values())).indices
    for key, of_model in attacked.items():
        if not np.array_equal(of_model.indices, first):
            raise StudyError(
                f"{key} was attacked with other test images than the first model; run `dvc repro attack@{key}`"
            )
    return stratified(all_labels[first], count, seed, "transfer")


def stronger_than_own(right: ByPair, epsilon_255: int) -> list[Alarm]:
    """An alarm for each pair where the source's gradient is clearly stronger against the target than its own."""
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


def as_json(
    predictions: ByPair, labels: np.ndarray, indices: np.ndarray, epsilon_255: int, accept: list[str]
) -> dict[str, Any]:
    """What transfer.json holds, of labels predicted for the test images at `indices`, with a line printed per pair.

    Raises StudyError if there is an alarm that is not among those to `accept`.
    """
    right = {pair: predicted == labels for pair, predicted in predictions.items()}
    rows: list[dict[str, Any]] = [
        {"source": source, "target": target, "accuracy": float(found.mean())}
        for (source, target), found in right.items()
    ]
    for row in rows:
        print(f"{row['source']:28s} → {row['target']:28s} {row['accuracy']:.4f} of {len(labels)} images", flush=True)
    taken = alarms.accepted(stronger_than_own(right, epsilon_255), accept, "transfer")
    return {
        "epsilon_255": epsilon_255,
        "images": len(labels),
        "rows": rows,
        "test_indices": to_text(indices),
        "labels": to_text(labels),
        "predictions": {f"{source} → {target}": to_text(each) for (source, target), each in predictions.items()},
        "alarms": alarms.by_name(taken),
    }
