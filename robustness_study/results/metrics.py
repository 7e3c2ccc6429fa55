"""The list of metrics: every number that is reported for a model, with its name, its title and its definition.

There are two kinds of metric. One is a sum of means of per-image scores (accuracies and their differences); its
variation over images is known as well. The other is one number per model (calibration error, angles, …). `METRICS` are
the entries of `reports/metrics.json` and `reports/comparison.json`. Other programs rely on their names: add names, but
never rename one. `BESIDE` holds the further metrics, which the report shows under "Beyond accuracy". To add a metric,
add an entry to one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.results.cell_results import CellResults, decoded
from robustness_study.schema.attack import HEADLINE_EPSILONS_255

# Set of images → its per-image scores, N, in [−1, 1]. The metric is the sum of the means of the sets.
Scores = dict[str, np.ndarray]
OF_EACH_SEED = ("train", "val")  # these sets of images differ between seeds; all others are the same


@dataclass(frozen=True)
class Metric:
    """One number that is reported for every model.

    Exactly one of `scores` and `value` must be given, or StudyError is raised. For a metric with scores, `exact` may
    return the stored number, so that no digit depends on the order of a sum. Each function returns None for a model
    without such a number.
    """

    name: str
    title: str
    scores: Callable[[CellResults], Scores | None] | None = None
    value: Callable[[CellResults], float | None] | None = None
    exact: Callable[[CellResults], float | None] | None = None
    is_difference: bool = False  # between two accuracies: in [−1, 1], not a share of images
    share_of: Callable[[CellResults], int | None] | None = None  # if `value` is a share of images: of how many

    def __post_init__(self) -> None:
        if (self.scores is None) == (self.value is None):
            both = "neither scores nor value" if self.scores is None else "both scores and value"
            raise StudyError(f"the metric {self.name} has {both}; give it one of the two")

    def of(self, result: CellResults) -> float | None:
        """The value of the metric for one model. Raises StudyError if it is NaN or infinite."""
        number = self._of(result)
        if number is not None and not math.isfinite(number):
            raise StudyError(
                f"the metric {self.name} of {result.cell.key} is {number}; where there is no number, it must be None"
            )
        return number

    def _of(self, result: CellResults) -> float | None:
        if self.value is not None:
            return self.value(result)
        if self.exact is not None:
            return self.exact(result)
        found = self.scores_of(result)
        return None if found is None else float(sum(scores.mean() for scores in found.values()))

    def scores_of(self, result: CellResults) -> Scores | None:
        """The per-image scores of one model; None if the model has none, or if the metric has no scores."""
        return None if self.scores is None else self.scores(result)

    def images(self, result: CellResults) -> int | None:
        """The number of images that the metric is a share of; None for a difference and for other numbers."""
        if self.share_of is not None:
            return self.share_of(result)
        found = None if self.is_difference else self.scores_of(result)
        return None if found is None else sum(map(len, found.values()))

    def interval_covers(self, result: CellResults, seeds: int) -> str:
        """What the 95 % interval covers, in words.

        Each seed draws its own training and validation images, and these overlap between seeds. So the interval does
        not cover the choice of these images.
        """
        found = self.scores_of(result)
        if seeds == 1:
            return "images"
        if found is None:
            return "seeds and images" if self.share_of else "seeds"
        own = [name in OF_EACH_SEED for name in found]
        if all(own):
            return "seeds"
        return "seeds and test images" if any(own) else "seeds and images"


def right(result: CellResults, of: str, predictions: str = "predictions") -> np.ndarray:
    """1.0 for each correctly predicted image, 0.0 for each other, N. `of` names a set of images, as `test_clean`."""
    labels = decoded(result.evaluate["labels"][of.split("_")[0]])
    return (decoded(result.evaluate["details"][of][predictions]) == labels).astype(float)


def accuracy(of: str, title: str) -> Metric:
    """The accuracy on a set of images; `of` is its name, such as `test_clean`."""
    return Metric(of, title, lambda result: {of.split("_")[0]: right(result, of)})


def on_features(classifier: str, of: str, title: str) -> Metric:
    """The accuracy of another classifier on the features, `knn` (nearest neighbours) or `probe` (linear probe)."""
    return Metric(f"{classifier}_{of}", title, lambda result: {"test": right(result, of, f"{classifier}_predictions")})


def under_attack(attack: str, epsilon_255: int | str) -> Metric:
    """The accuracy under an attack at ε = epsilon_255/255. `attack` is its name in attack.json."""

    def scores(result: CellResults) -> Scores:
        labels, predicted = result.attacked(attack, epsilon_255)
        return {"attacked": (predicted == labels).astype(float)}

    return Metric(f"{attack}_{epsilon_255}", f"{attack.upper()} images (ε = {epsilon_255}/255)", scores)


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
    """The share of the images of class `label` that are predicted correctly."""

    def scores(result: CellResults) -> Scores:
        return {"test": right(result, of)[result.predictions(of)[0] == label]}

    return Metric(f"recall_{label}_{of}", f"recall of class {label}, {of}", scores)


METRICS: tuple[Metric, ...] = (
    accuracy("train_clean", "its own training images, clean"),
    accuracy("val_clean", "clean validation images"),
    accuracy("val_corrupted", "corrupted validation images"),
    accuracy("test_clean", "clean images"),
    accuracy("test_corrupted", "corrupted images"),
    Metric(
        "generalisation_gap",
        "training minus test accuracy, clean",
        lambda result: {"train": right(result, "train_clean"), "test": -right(result, "test_clean")},
        is_difference=True,
    ),
    Metric(
        "corruption_drop",
        "test accuracy, clean minus corrupted",
        lambda result: {"test": right(result, "test_clean") - right(result, "test_corrupted")},
        exact=lambda result: float(right(result, "test_clean").mean()) - float(right(result, "test_corrupted").mean()),
        is_difference=True,
    ),
    on_features("knn", "test_clean", "clean, by nearest neighbours"),
    on_features("knn", "test_corrupted", "corrupted, by nearest neighbours"),
    on_features("probe", "test_clean", "clean, by a linear probe"),
    on_features("probe", "test_corrupted", "corrupted, by a linear probe"),
    *(under_attack("fgsm", epsilon_255) for epsilon_255 in HEADLINE_EPSILONS_255),
    under_corruptions("main", name="suite_mean", title="CIFAR-10-C's corruptions"),
    under_corruptions("unseen", name="suite_unseen_mean", title="CIFAR-10-C's corruptions unlike training"),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def _worst_class(result: CellResults, of: str) -> dict[str, Any]:
    """The results of the class with the lowest recall; it may differ between seeds."""
    classes: list[dict[str, Any]] = list(result.evaluate["details"][of]["per_class"].values())
    return min(classes, key=lambda row: row["recall"])


def _still_correct(result: CellResults) -> np.ndarray:
    """For each test image that is correct when clean: 1.0 if its corrupted copy is correct too, else 0.0."""
    clean, corrupted = right(result, "test_clean"), right(result, "test_corrupted")
    return corrupted[clean > 0]


def _mean_angle(of: str, test: str, where: str) -> Callable[[CellResults], float | None]:
    def value(result: CellResults) -> float | None:
        angles = result.evaluate["angles"][f"test_{test}"][of] or {}
        return angles.get(f"{where}_class_degrees")

    return value


def _worst_recall(test: str) -> Metric:
    of = f"test_{test}"
    return Metric(
        f"worst_recall_{test}",
        f"recall of the worst class, {test}",
        value=lambda result: _worst_class(result, of)["recall"],
        share_of=lambda result: _worst_class(result, of)["images"],
    )


def _of_row(key: str, test: str, title: str) -> Metric:
    """A number that `evaluate` computes for a whole set of images."""
    return Metric(f"{key}_{test}", f"{title}, {test}", value=lambda result: result.row(f"test_{test}")[key])


BESIDE: tuple[Metric, ...] = (
    _worst_recall("clean"),
    _worst_recall("corrupted"),
    Metric(
        "right_corrupted_of_right_clean",
        "correct when corrupted, among images correct when clean",
        value=lambda result: float(_still_correct(result).mean()) if len(_still_correct(result)) else None,
        share_of=lambda result: len(_still_correct(result)) or None,
    ),
    *(
        _of_row(key, test, title)
        for key, title in (
            ("calibration_error", "expected calibration error"),
            ("loss", "negative log-likelihood"),
        )
        for test in ("clean", "corrupted")
    ),
    *(
        Metric(
            f"{where}_class_degrees_{of}_{test}",
            f"angle {where} classes in degrees, {of}, {test}",
            value=_mean_angle(of, test, where),
        )
        for of in ("features", "embeddings")
        for test in ("clean", "corrupted")
        for where in ("within", "between")
    ),
)


def refuse_repeated(metrics: Iterable[Metric]) -> None:
    """Raises StudyError if two metrics have the same name or title: one would replace the other in the report."""
    names, titles = set[str](), set[str]()
    for metric in metrics:
        if metric.name in names or metric.title in titles:
            raise StudyError(
                f"robustness_study/results/metrics.py has two metrics with the name {metric.name!r} or the title "
                f"{metric.title!r}; rename one"
            )
        names.add(metric.name)
        titles.add(metric.title)


refuse_repeated((*METRICS, *BESIDE))
