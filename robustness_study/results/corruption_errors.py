"""Corruption errors (mCE and relative mCE) of models, with intervals over seeds and images.

They follow Hendrycks & Dietterich 2019 (arXiv 1903.12261, section 4). The corruption error is the sum of a model's
error rates over severities, divided by the same sum of a reference model. For the relative corruption error, each
model's error on clean images is subtracted first. mCE and relative mCE are the means over corruptions.

A model and its reference have the same seed and are scored on the same images. The intervals come from drawing the
images again (image_draws.py). A divisor near zero makes a few ratios very large. Then the interval is only rough, and
probably too narrow above; `near_zero` says for which corruptions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.core.cell import model_name
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.image_draws import draws_of_images, error_of_mean, variance_over
from robustness_study.results.intervals import covers
from robustness_study.results.suite import Stress
from robustness_study.statistics import NORMAL_95

REFERENCE = ("cross_entropy", "clean")  # the model that corruption errors are relative to
GROUPS = ("main", "seen", "unseen")  # of corruptions, see `Stress.groups`
TITLES = {"mCE": False, "relative mCE": True}  # title → whether the error on clean images is subtracted
Errors = dict[str, dict[str, dict[str, dict[str, Any]]]]  # "LOSS, TRAINING SET" → title → group → see `of`
NEAR_ZERO = 0.5  # half-width of a divisor's 95 % interval as a share of the divisor: from here on it is near zero
NO_REFERENCE = "no cross-entropy model trained on clean images is in the study, and mCE is relative to that model"
NO_CORRUPTION = "the suite has no such corruption"
NOT_WORSE = (
    "under one of the corruptions the reference model is no worse than on clean images, so the divisor is not positive"
)
UNBOUNDED = "in more than 15 % of the draws of images a divisor is not positive, so there is no interval"


def error_sums(stress: Stress) -> dict[str, float]:
    """The sum of a model's error rates over severities, by corruption.

    `clean` has the error rate on clean images times the number of severities.
    """
    severities = len(next(iter(stress.by_corruption.values())))
    accuracies = {"clean": [stress.clean] * severities, **stress.by_corruption}
    # From whole numbers of images, so that two equal sums differ by exactly zero.
    wrong = {name: sum(round((1 - value) * stress.images) for value in values) for name, values in accuracies.items()}
    return {name: count / stress.images for name, count in wrong.items()}


def drawn_error_sums(stress: Stress, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The same sums for each draw of the images, D. `counts`, float32 D×N, is how often an image is in a draw."""
    labels = from_text(stress.labels)
    wrong = {
        name: np.sum([from_text(text) != labels for text in texts], axis=0)
        for name, texts in stress.predictions.items()
    }
    severities = len(next(iter(stress.by_corruption.values())))
    wrong["clean"] = wrong["clean"] * severities
    # Sums of whole numbers, so that no digit depends on their order.
    sums = counts @ np.stack(list(wrong.values()), axis=1).astype(np.float32)
    return dict(zip(wrong, sums.T.astype(np.float64) / len(labels), strict=True))


def divisors(reference: dict[str, Any], names: Iterable[str], relative: bool) -> dict[str, Any]:
    """What a model's sum is divided by, for each of the corruptions; numbers or arrays, as in `reference`."""
    return {name: reference[name] - (reference["clean"] if relative else 0) for name in names}


def mean_ratio(own: dict[str, Any], reference: dict[str, Any], names: Sequence[str], relative: bool) -> np.ndarray:
    """(Relative) mCE over the corruptions `names`, from sums of errors; infinite where a divisor is not positive."""
    ratios = []
    for name, divisor in divisors(reference, names, relative).items():
        above = own[name] - (own["clean"] if relative else 0)
        positive = np.asarray(divisor) > 0
        ratios.append(np.where(positive, above / np.where(positive, divisor, 1), np.inf))
    return np.mean(ratios, axis=0)


def corruption_error(model: Stress, reference: Stress, names: Iterable[str], relative: bool = False) -> float | None:
    """The mCE over these corruptions; the reference itself has 1.

    None if the suite has none of the corruptions, or if a divisor is not positive.
    """
    found = model.of(names)
    ratio = float(mean_ratio(error_sums(model), error_sums(reference), found, relative)) if found else math.inf
    return ratio if math.isfinite(ratio) else None


class CorruptionErrors:
    """The corruption errors of every model of a study."""

    def __init__(self, cells: Cells) -> None:
        self.cells, self.references = cells, cells.get(REFERENCE)
        if self.references:
            counts = draws_of_images(self.references[0].stress.images)
            self.drawn = {of: [drawn_error_sums(each.stress, counts) for each in cells[of]] for of in cells}

    def near_zero(self, names: Iterable[str], relative: bool) -> dict[str, list[int]]:
        """Corruptions whose divisor is near zero → the seeds of the reference models for which it is.

        Near zero: its 95 % interval over images reaches half of its value or less.
        """
        found: dict[str, list[int]] = {}
        for result, drawn in zip(self.references or [], self.drawn[REFERENCE] if self.references else [], strict=True):
            values = divisors(error_sums(result.stress), names, relative)
            for name, of_draws in divisors(drawn, names, relative).items():
                half_width = NORMAL_95 * math.sqrt(variance_over(of_draws))
                if half_width >= NEAR_ZERO * values[name]:
                    found.setdefault(name, []).append(result.cell.seed)
        return found

    def of(self, model: tuple[str, str], names: list[str], relative: bool) -> dict[str, Any]:
        """(Relative) mCE over the corruptions `names`; each seed is divided by the reference model of the same seed.

        The mean over seeds is called `value`. If it or its interval cannot be computed, it is None and `reason` says
        why. `near_zero` is as in the method of this name.
        """
        results = self.cells[model]
        empty = {"value": None, "std": None, "interval_95": None, "interval_covers": None, "n": len(results)}
        if self.references is None:
            return {**empty, "reason": NO_REFERENCE, "near_zero": {}}
        if not names:
            return {**empty, "reason": NO_CORRUPTION, "near_zero": {}}
        near_zero = self.near_zero(names, relative)
        values = [
            corruption_error(result.stress, reference.stress, names, relative)
            for result, reference in zip(results, self.references, strict=True)
        ]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return {**empty, "reason": NOT_WORSE, "near_zero": near_zero}
        pairs = zip(self.drawn[model], self.drawn[REFERENCE], strict=True)
        drawn = np.stack([mean_ratio(own, reference, names, relative) for own, reference in pairs])
        mean, std = float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None
        found = {**empty, "value": mean, "std": std, "images": results[0].stress.images, "near_zero": near_zero}
        if not math.isfinite(variance_over(drawn.max(0))):
            return {**found, "reason": UNBOUNDED}
        half = error_of_mean(known, drawn).half_width_95()
        if not half:  # the reference itself: always 1
            return {**found, "reason": None}
        lowest = -math.inf if relative else 0.0  # an mCE is never negative
        interval = [max(lowest, mean - half), mean + half]
        return {**found, "reason": None, "interval_95": interval, "interval_covers": covers(len(known))}


def corruption_errors(cells: Cells) -> Errors:
    """(Relative) mCE by "LOSS, TRAINING SET", title and group of corruptions (CIFAR-10-C's 15, seen, unseen)."""
    errors = CorruptionErrors(cells)
    return {
        model_name(loss, train_set): {
            title: {group: errors.of((loss, train_set), _names(results, group), relative) for group in GROUPS}
            for title, relative in TITLES.items()
        }
        for (loss, train_set), results in cells.items()
    }


def _names(results: Sequence[CellResults], group: str) -> list[str]:
    return results[0].stress.groups()[group]
