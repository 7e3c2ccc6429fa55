"""Transfer: images attacked through one model (the source) are given to another (the target).

Papernot et al. 2016 (arXiv 1605.07277). This is a black-box attack, because it needs no gradient of the target. So it
should not be clearly stronger than an attack with the target's own gradient. If it is, that gradient is masked, and an
alarm is raised.
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
    """What the stage `attack` stored for one model: `indices` of the test images, N, and `signs`, int8 N×3×H×W."""

    indices: np.ndarray
    signs: np.ndarray


def same_images(attacked: Mapping[str, Attacked], all_labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` of the attacked images, with classes in proportion; the same test images for every model.

    Raises StudyError, with the key of the model, if a model was attacked with other images than the first model.
    """
    first = next(iter(attacked.values())).indices
    for key, of_model in attacked.items():
        if not np.array_equal(of_model.indices, first):
            raise StudyError(
                f"{key} was attacked on other test images than the first model; run `dvc repro attack@{key}`"
            )
    return stratified(all_labels[first], count, seed, "transfer")


def stronger_than_own(correct: ByPair, epsilon_255: int) -> list[Alarm]:
    """One alarm for each pair where the source's gradient gives a clearly stronger attack than the target's own.

    `correct` says which images are correct, bool N, for each pair.
    """
    found = [
        alarms.stronger(
            "transfer_stronger",
            f"FGSM on {target} with the gradient of {source}",
            f"FGSM with the gradient of {target} itself",
            {epsilon_255: under},
            {epsilon_255: correct[target, target]},
        )
        for (source, target), under in correct.items()
        if source != target
    ]
    return [alarm for alarm in found if alarm is not None]


def as_json(
    predictions: ByPair, labels: np.ndarray, indices: np.ndarray, epsilon_255: int, accept: list[str]
) -> dict[str, Any]:
    """The content of transfer.json. Prints the accuracy of each pair.

    `predictions` are labels, N, for each pair; `labels`, N, are the true ones; `indices`, N, are those of the test
    images. Raises StudyError if an alarm is raised that `accept` does not name.
    """
    correct = {pair: predicted == labels for pair, predicted in predictions.items()}
    rows: list[dict[str, Any]] = [
        {"source": source, "target": target, "accuracy": float(found.mean())}
        for (source, target), found in correct.items()
    ]
    for row in rows:
        print(
            f"{row['source']:28s} → {row['target']:28s} accuracy {row['accuracy']:.4f} ({len(labels)} images)",
            flush=True,
        )
    taken = alarms.accepted(stronger_than_own(correct, epsilon_255), accept, "transfer")
    return {
        "epsilon_255": epsilon_255,
        "images": len(labels),
        "rows": rows,
        "test_indices": to_text(indices),
        "labels": to_text(labels),
        "predictions": {f"{source} → {target}": to_text(each) for (source, target), each in predictions.items()},
        "alarms": alarms.by_name(taken),
    }
