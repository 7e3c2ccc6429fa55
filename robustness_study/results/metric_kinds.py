"""Kinds of metric: functions that make one for a set of images, an attack, a corruption or a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robustness_study.core.cell import NATURAL, split_of
from robustness_study.corruptions import CIFAR_10_C_FAMILIES
from robustness_study.results.cell_results import CellResults, decoded
from robustness_study.results.metric import Metric, Scores


def right(result: CellResults, of: str, predictions: str = "predictions") -> np.ndarray:
    """1.0 for each correctly predicted image, 0.0 for each other, N. `of` names a set of images, as `test_clean`."""
    labels = decoded(result.evaluate["labels"][split_of(of)])
    return (decoded(result.evaluate["details"][of][predictions]) == labels).astype(float)


def accuracy(of: str, title: str) -> Metric:
    """The accuracy on a set of images; `of` is its name, such as `test_clean`. None if the model has no such images."""
    return Metric(of, title, lambda result: {split_of(of): right(result, of)} if result.has(of) else None)


def gap(name: str, title: str, of: str, other: str) -> Metric:
    """The accuracy on one set of images minus that on another; None if the model was not scored on both.

    Two sets of the same images are compared image by image.
    """
    same = split_of(of) == split_of(other)

    def scores(result: CellResults) -> Scores | None:
        if not (result.has(of) and result.has(other)):
            return None
        if same:
            return {split_of(of): right(result, of) - right(result, other)}
        return {split_of(of): right(result, of), split_of(other): -right(result, other)}

    def exact(result: CellResults) -> float | None:
        return None if scores(result) is None else _share(result, of) - _share(result, other)

    return Metric(name, title, scores, exact=exact if same else None, is_difference=True)


def _share(result: CellResults, of: str) -> float:
    return float(right(result, of).mean())


def natural(name: str, title: str) -> tuple[Metric, Metric]:
    """The accuracy on a natural set, and how much lower it is than on clean test images.

    Both are None for a study that does not use the set.
    """
    of = f"{NATURAL}{name}"
    return accuracy(of, title), gap(f"{of}_drop", f"test accuracy, clean minus {title}", "test_clean", of)


def on_features(classifier: str, of: str, title: str) -> Metric:
    """The accuracy of another classifier on the features, `knn` (nearest neighbours) or `probe` (linear probe).

    None for a model whose training images are not known, as these classifiers are fitted on them.
    """
    key = f"{classifier}_predictions"

    def scores(result: CellResults) -> Scores | None:
        return {"test": right(result, of, key)} if key in result.evaluate["details"].get(of, {}) else None

    return Metric(f"{classifier}_{of}", title, scores)


def under_attack(attack: str, epsilon_255: int | str) -> Metric:
    """The accuracy under an attack at ε = epsilon_255/255. `attack` is its name in attack.json."""

    def scores(result: CellResults) -> Scores:
        labels, predicted = result.attacked(attack, epsilon_255)
        return {"attacked": (predicted == labels).astype(float)}

    return Metric(f"{attack}_{epsilon_255}", f"{attack.upper()} images (ε = {epsilon_255}/255)", scores)


def robust(epsilon_255: int) -> Metric:
    """The robust accuracy: of images that stay correct under every attack at ε = epsilon_255/255. None without APGD."""

    def scores(result: CellResults) -> Scores | None:
        return under_attack("worst_case", epsilon_255).scores_of(result) if has_worst_case(result) else None

    return Metric(f"robust_{epsilon_255}", f"images under every attack (ε = {epsilon_255}/255)", scores)


def has_worst_case(result: CellResults) -> bool:
    """Whether the model was attacked by APGD, so that the worst case of all attacks exists."""
    return "worst_case" in result.attack["attacks"]


def under_corruptions(group: str, severity: int | None = None, name: str = "", title: str = "") -> Metric:
    """The mean accuracy over a group of the suite's corruptions (or one corruption), at one severity or all five.

    The value is None if the suite has no corruption of the group.
    """

    def names(result: CellResults) -> list[str]:
        return result.stress.groups().get(group, [group])

    def scores(result: CellResults) -> Scores | None:
        found = names(result)
        return {"suite": result.stress.right(found, severity)} if found else None

    return Metric(
        name or f"suite_of_{group}" + (f"@{severity}" if severity else ""),
        title or group,
        scores,
        exact=lambda result: result.stress.mean(names(result), severity),
        share_of=lambda result: result.stress.images,
    )


def recall(label: int, of: str) -> Metric:
    """The share of the images of class `label` that are predicted correctly; None for a class without images."""

    def scores(result: CellResults) -> Scores | None:
        members = result.predictions(of)[0] == label
        return {"test": right(result, of)[members]} if members.any() else None

    return Metric(f"recall_{label}_{of}", f"recall of class {label}, {of}", scores)


def _worst_class(result: CellResults, of: str) -> dict[str, Any]:
    """The results of the class with the lowest recall; it may differ between seeds."""
    classes = [row for row in result.evaluate["details"][of]["per_class"].values() if row["images"]]
    return min(classes, key=lambda row: row["recall"])


def still_correct(result: CellResults) -> np.ndarray:
    """For each test image that is correct when clean: 1.0 if its corrupted copy is correct too, else 0.0."""
    clean, corrupted = right(result, "test_clean"), right(result, "test_corrupted")
    return corrupted[clean > 0]


def mean_angle(of: str, test: str, where: str) -> Callable[[CellResults], float | None]:
    """The mean angle `within` or `between` classes in degrees, of `features` or `embeddings`, clean or corrupted."""

    def value(result: CellResults) -> float | None:
        angles = result.evaluate["angles"].get(f"test_{test}", {}).get(of) or {}
        return angles.get(f"{where}_class_degrees")

    return value


def worst_recall(test: str) -> Metric:
    """The recall of the class with the lowest one, on clean or corrupted test images."""
    of = f"test_{test}"
    return Metric(
        f"worst_recall_{test}",
        f"recall of the worst class, {test}",
        value=lambda result: _worst_class(result, of)["recall"],
        share_of=lambda result: _worst_class(result, of)["images"],
    )


def of_row(key: str, test: str, title: str) -> Metric:
    """A number that `evaluate` computes for a whole set of images."""
    return Metric(f"{key}_{test}", f"{title}, {test}", value=lambda result: result.row(f"test_{test}")[key])


def calibration_under(family: str, key: str, title: str) -> Metric:
    """A calibration error under the suite's corruptions of a family: the mean over corruptions and severities."""

    def value(result: CellResults) -> float | None:
        return result.stress.calibration_error(CIFAR_10_C_FAMILIES[family], key)

    return Metric(f"{key}_{family}", f"{title}, {family}", value=value)


def fgsm_on_images_of(attack: str, epsilon_255: int | str) -> Metric:
    """The accuracy under FGSM on the images that another attack had; with ε = 0, that without an attack."""

    def scores(result: CellResults) -> Scores:
        positions = decoded(result.attack["attacks"][attack]["positions"])
        labels, predicted = result.attacked("fgsm", epsilon_255)
        return {"attacked": (predicted == labels)[positions].astype(float)}

    return Metric(f"fgsm_{epsilon_255}_{attack}", f"FGSM, ε = {epsilon_255}/255, on the images of {attack}", scores)
