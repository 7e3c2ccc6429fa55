"""What a metric is: a number that is reported for a model, with its name, its title and its definition.

There are two kinds of metric. One is a sum of means of per-image scores (accuracies and their differences); its
variation over images is known as well. The other is one number per model (calibration error, angles, …).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.results.cell_results import CellResults

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
