"""Where a training set helps and where it hurts: accuracy against models trained on clean images.

A mean over all corruptions and severities hides that a training set may help under some and hurt under others. So the
difference is given for each severity and each family of corruptions. It is between the means over the losses that have
models of both training sets. Its interval is computed as that of a claim.
"""

from __future__ import annotations

import numpy as np

from robustness_study.corruptions import CIFAR_10_C_FAMILIES, SEVERITIES
from robustness_study.results.cell_results import Cells
from robustness_study.results.intervals import Summary, covers, varies
from robustness_study.results.random_corruptions import with_random_corruptions
from robustness_study.statistics import Estimate, contrast

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


def scores_of(cells: Cells, train_set: str, losses: list[str]) -> dict[str, np.ndarray]:
    """Corruption → scores S×N×5 of models trained on `train_set`, for seeds, images, severities; mean over losses."""

    def right(loss: str, name: str) -> np.ndarray:
        return np.stack(
            [
                np.stack([result.stress.right([name], severity) for severity in SEVERITIES], axis=1)
                for result in cells[loss, train_set]
            ]
        )

    names = cells[losses[0], train_set][0].stress.by_corruption
    return {name: np.mean([right(loss, name) for loss in losses], axis=0) for name in names}


class TrainingSetEffect:
    """The differences between models of a training set and of `clean`, over groups of corruptions."""

    def __init__(self, cells: Cells, train_set: str, losses: list[str]) -> None:
        self.groups = cells[losses[0], train_set][0].stress.groups()
        self.sides = [scores_of(cells, of, losses) for of in (train_set, BASELINE)]
        self.images = next(iter(self.sides[0].values())).shape[1]

    def over(self, group: str) -> list[np.ndarray]:
        """The scores of a group, C×S×N×5: those of the training set, then those of `clean`."""
        return [np.stack([side[name] for name in self.groups[group]]) for side in self.sides]

    def effects(self) -> Effects:
        """The difference for each group in the suite, over all severities and at each."""
        found: Effects = {}
        for group in (each for each in GROUPS if self.groups[each]):
            by_severity = [side.mean(0) for side in self.over(group)]  # S×N×5
            found[group, None] = _difference([side.mean(2) for side in by_severity])
            for place, severity in enumerate(SEVERITIES):
                found[group, severity] = _difference([side[:, :, place] for side in by_severity])
        return found

    def with_corruptions_as_random(self, group: str, fixed: Estimate) -> Estimate | None:
        """The difference over a group of corruptions, if these are a random sample; None for fewer than two.

        `fixed` is the difference over the group and all severities, for fixed corruptions.
        """
        if len(self.groups[group]) < 2:
            return None
        trained, baseline = (side.mean(3) for side in self.over(group))  # C×S×N
        return with_random_corruptions(fixed, (trained - baseline).transpose(1, 2, 0))


def _difference(sides: list[np.ndarray]) -> Estimate:
    """The mean of the scores S×N of one side minus that of the other."""
    return contrast([[side] for side in sides], [1.0, -1.0], [True])


def as_summary(found: Estimate, images: int) -> Summary:
    """A difference as a `Summary`; without an interval if nothing varies, because then chance cannot be estimated."""
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": list(found.interval_95) if varies(found) else None,
        "n": found.n,
        "images": images,
        "interval_covers": covers(found.n) if varies(found) else None,
    }
