"""Where a training set helps and where it hurts: accuracy against models trained on clean images.

A mean over all corruptions and severities hides that a training set may help under some and hurt under others. So the
difference is given for each severity and each family of corruptions. It is the mean over the losses that have models of
both training sets, and it is paired by seed and by image.
"""

from __future__ import annotations

import numpy as np

from robustness_study.corruptions import CIFAR_10_C_FAMILIES, SEVERITIES
from robustness_study.results.cell_results import Cells
from robustness_study.results.intervals import Summary, covers
from robustness_study.results.random_corruptions import with_random_corruptions
from robustness_study.statistics import Estimate, estimate

BASELINE = "clean"
GROUPS = ("main", "unseen", *CIFAR_10_C_FAMILIES)  # see `Stress.groups`
Effects = dict[tuple[str, int | None], Estimate]  # (group of corruptions, severity or None for all) → difference


def compared(cells: Cells) -> dict[str, list[str]]:
    """Each training set other than `clean` → the losses that have models of it and of `clean`."""
    found: dict[str, list[str]] = {}
    for loss, train_set in cells:
        if train_set != BASELINE and (loss, BASELINE) in cells:
            found.setdefault(train_set, []).append(loss)
    return found


def differences(cells: Cells, train_set: str, losses: list[str]) -> dict[str, np.ndarray]:
    """Corruption → scores S×N×5, for seeds, images and severities.

    They are those of models trained on `train_set` minus those of models trained on clean images; the mean over losses.
    """

    def right(model: tuple[str, str], name: str) -> np.ndarray:
        return np.stack(
            [
                np.stack([result.stress.right([name], severity) for severity in SEVERITIES], axis=1)
                for result in cells[model]
            ]
        )

    names = cells[losses[0], train_set][0].stress.by_corruption
    return {
        name: np.mean([right((loss, train_set), name) - right((loss, BASELINE), name) for loss in losses], axis=0)
        for name in names
    }


class TrainingSetEffect:
    """The differences between models of a training set and of `clean`, over groups of corruptions."""

    def __init__(self, cells: Cells, train_set: str, losses: list[str]) -> None:
        self.groups = cells[losses[0], train_set][0].stress.groups()
        self.scores = differences(cells, train_set, losses)
        self.images = next(iter(self.scores.values())).shape[1]

    def over(self, group: str) -> np.ndarray:
        """The scores of a group, C×S×N×5."""
        return np.stack([self.scores[name] for name in self.groups[group]])

    def effects(self) -> Effects:
        """The difference for each group in the suite, over all severities and at each."""
        found: Effects = {}
        for group in (each for each in GROUPS if self.groups[each]):
            by_severity = self.over(group).mean(0)  # S×N×5
            found[group, None] = estimate([by_severity.mean(2)], [True])
            for place, severity in enumerate(SEVERITIES):
                found[group, severity] = estimate([by_severity[:, :, place]], [True])
        return found

    def with_corruptions_as_random(self, group: str) -> Estimate | None:
        """The difference over a group of corruptions, if these are a random sample; None for fewer than two."""
        if len(self.groups[group]) < 2:
            return None
        return with_random_corruptions(self.over(group).mean(3).transpose(1, 2, 0))


def as_summary(found: Estimate, images: int) -> Summary:
    """A difference as a `Summary`; without an interval if nothing varies, because then chance cannot be estimated."""
    varies = found.standard_error > 0
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": list(found.interval_95) if varies else None,
        "n": found.n,
        "images": images,
        "interval_covers": covers(found.n) if varies else None,
    }
