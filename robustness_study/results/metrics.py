"""The table of metrics: every number that is reported of a model, with its name, its title and what it is made of.

A metric is either the sum of means of per-image scores, so that its spread over images is known as well (accuracies and
their differences), or one number a model (calibration error, angles, …). `METRICS` are the columns of
`reports/metrics.json` and `reports/comparison.json`; their names are an interface: add, never rename. `BESIDE` are
reported beside them. To add a metric, add an entry to one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.core.errors import StudyError
from robustness_study.results.cell_results import CellResults
from robustness_study.schema.attack import HEADLINE_EPSILONS_255

# Per-image scores in [−1, 1], by the set of images that they are of. The metric is the sum of their means.
Scores = dict[str, np.ndarray]
OF_EACH_SEED = ("train", "val")  # sets of images that differ from seed to seed; all others are the same images


@dataclass(frozen=True)
class Metric:
    """One number that is reported of every model.

    Exactly one of `scores` and `value` says what it is, or StudyError is raised; `exact` may give the number of a
    metric with scores where it is stored, so that no digit depends on the order of a sum. Each returns None for a model
    that has no such number.
    """

    name: str
    title: str
    scores: Callable[[CellResults], Scores | None] | None = None
    value: Callable[[CellResults], float | None] | None = None
    exact: Callable[[CellResults], float | None] | None = None
    is_difference: bool = False  # of two accuracies: it lies in [−1, 1], and is of no one number of images
    share_of: Callable[[CellResults], int | None] | None = None  # of a value: the number of images it is a share of

    def __post_init__(self) -> None:
        if (self.scores is None) == (self.value is None):
            both = "neither scores nor value" if self.scores is None else "both scores and value"
            raise StudyError(f"the metric {self.name} has {both}; give it one of the two")

    def of(self, result: CellResults) -> float | None:
        """The number itself, of one model. Raises StudyError if it is NaN or infinite."""
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
        """The per-image scores of one model; None where the model has none, or the metric is not made of scores."""
        return None if self.scores is None else self.scores(result)

    def images(self, result: CellResults) -> int | None:
        """How many images it is a share of; None for a difference, and for a number that is no share of images."""
        if self.share_of is not None:
            return self.share_of(result)
        found = None if self.is_difference else self.scores_of(result)
        return None if found is None else sum(map(len, found.values()))

    def interval_covers(self, result: CellResults, seeds: int) -> str:
        """What its 95 % interval covers, in words.

        Each seed draws its own training and validation images, and these overlap between seeds. The interval does not
        cover them.
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
    """1 where a set's images are predicted right, 0 where not, N. `of` is a set of images such as `test_clean`."""
    labels = from_text(result.evaluate["labels"][of.split("_")[0]])
    return (from_text(result.evaluate["details"][of][predictions]) == labels).astype(float)


def accuracy(of: str, title: str) -> Metric:
    """The accuracy on a set of images such as `test_clean`."""
    return Metric(of, title, lambda result: {of.split("_")[0]: right(result, of)})


def on_features(classifier: str, of: str, title: str) -> Metric:
    """The accuracy of another classifier on the features: `knn` (nearest neighbours) or `probe` (linear probe)."""
    return Metric(f"{classifier}_{of}", title, lambda result: {"test": right(result, of, f"{classifier}_predictions")})


def under_attack(attack: str, epsilon_255: int | str) -> Metric:
    """The accuracy under an attack, by its name in attack.json, at an epsilon in grey levels."""

    def scores(result: CellResults) -> Scores:
        labels, predicted = result.attacked(attack, epsilon_255)
        return {"attacked": (predicted == labels).astype(float)}

    return Metric(f"{attack}_{epsilon_255}", f"{attack.upper()} ε = {epsilon_255}/255", scores)


def under_corruptions(group: str, severity: int | None = None, name: str = "", title: str = "") -> Metric:
    """The mean accuracy over a group of the suite's corruptions (or a single one), at one severity or all five.

    None for a suite that has none of the group.
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
    """The share of a class's images that are predicted right."""

    def scores(result: CellResults) -> Scores:
        return {"test": right(result, of)[result.predictions(of)[0] == label]}

    return Metric(f"recall_{label}_{of}", f"recall of class {label}, {of}", scores)


METRICS: tuple[Metric, ...] = (
    accuracy("train_clean", "its training images, clean"),
    accuracy("val_clean", "clean validation images"),
    accuracy("val_corrupted", "corrupted validation images"),
    accuracy("test_clean", "clean"),
    accuracy("test_corrupted", "corrupted"),
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
    under_corruptions("unseen", name="suite_unseen_mean", title="those akin to nothing in training"),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def _worst_class(result: CellResults, of: str) -> dict[str, Any]:
    """The class with the least recall; each seed has its own."""
    classes: list[dict[str, Any]] = list(result.evaluate["details"][of]["per_class"].values())
    return min(classes, key=lambda row: row["recall"])


def _still_right(result: CellResults) -> np.ndarray:
    """Of the test images that are right when clean: whether their corrupted copies are."""
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
    """A number that `evaluate` gives of a set as a whole."""
    return Metric(f"{key}_{test}", f"{title}, {test}", value=lambda result: result.row(f"test_{test}")[key])


BESIDE: tuple[Metric, ...] = (
    _worst_recall("clean"),
    _worst_recall("corrupted"),
    Metric(
        "right_corrupted_of_right_clean",
        "right corrupted, of those right clean",
        value=lambda result: float(_still_right(result).mean()) if len(_still_right(result)) else None,
        share_of=lambda result: len(_still_right(result)) or None,
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
    """Raise StudyError if two metrics have one name, or one title: one would take the other's place in the report."""
    names, titles = set[str](), set[str]()
    for metric in metrics:
        if metric.name in names or metric.title in titles:
            raise StudyError(
                f"robustness_study/results/metrics.py has two metrics of the name {metric.name!r} or of the title "
                f"{metric.title!r}; rename one"
            )
        names.add(metric.name)
        titles.add(metric.title)


refuse_repeated((*METRICS, *BESIDE))
