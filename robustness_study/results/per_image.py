"""The headline figures image by image: what each is the mean of, so that its spread over images can be known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.results.cell_results import ACCURACIES, CellResults, is_attack
from robustness_study.statistics import Estimate, estimate

# A figure as a sum of means over sets of images, each with a sign; sets of the same images are taken together.
Scores = dict[str, np.ndarray]  # split or subset → N scores


def scores_of(result: CellResults, metric: str) -> Scores:
    """What a cell's figure is the sum of the means of: scores, in [−1, 1], by the images that they are of."""
    if metric in ACCURACIES:
        return {metric.split("_")[0]: right(result, metric)}
    if metric == "generalisation_gap":
        return {"train": right(result, "train_clean"), "test": -right(result, "test_clean")}
    if metric == "corruption_drop":
        return {"test": right(result, "test_clean") - right(result, "test_corrupted")}
    if is_attack(metric):
        labels, attacked = result.attacked(metric)
        return {"attacked": (attacked == labels).astype(float)}
    if metric.startswith(("knn_", "probe_")):
        classifier, _, name = metric.partition("_")
        return {"test": right(result, name, f"{classifier}_predictions")}
    if metric.startswith("recall_"):
        _, label, name = metric.split("_", 2)
        return {"test": right(result, name)[result.predictions(name)[0] == int(label)]}
    return {"suite": result.stress.right(metric)}


def right(result: CellResults, name: str, predictions: str = "predictions") -> np.ndarray:
    """1 where the predictions of a set are right, 0 where not, N."""
    labels = from_text(result.evaluate["labels"][name.split("_")[0]])
    return (from_text(result.evaluate["details"][name][predictions]) == labels).astype(float)


def estimate_of(results: Sequence[CellResults], metric: str) -> Estimate:
    """A figure over seeds."""
    return over_seeds([scores_of(result, metric) for result in results])


def difference_of(results: Sequence[CellResults], others: Sequence[CellResults], metric: str) -> Estimate:
    """How much a figure is above that of `others`, paired by seed and image."""
    both = [
        (scores_of(result, metric), scores_of(other, metric)) for result, other in zip(results, others, strict=True)
    ]
    return over_seeds([{name: one[name] - other[name] for name in one} for one, other in both])


def over_seeds(of_each: list[Scores]) -> Estimate:
    """The estimate of seeds' scores; seeds share the images of every set but those that a split chooses."""
    names = list(of_each[0])
    return estimate(
        [np.stack([scores[name] for scores in of_each]) for name in names], [shared(name) for name in names]
    )


def shared(name: str) -> bool:
    """Whether all seeds have the same images of that name."""
    return name not in ("train", "val")
