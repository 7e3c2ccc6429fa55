"""Summaries of metrics (mean, standard deviation over seeds, n, 95 % interval) and their text in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.metric import OF_EACH_SEED, Metric, Scores
from robustness_study.results.metrics import METRICS
from robustness_study.statistics import Error, Estimate, contrast, estimate, wilson_interval

FEW_IMAGES = 20  # with fewer images that are correct (or wrong), an interval around the mean is too narrow
# Keys: mean, std (ddof = 1; None for one seed), interval_95, n (seeds), images, interval_covers. None if missing.
Summary = dict[str, Any]
Summaries = dict[str, dict[str, dict[str, Summary]]]  # loss → training set → metric
ClaimTest = Callable[
    [Sequence[Sequence[Scores]], Sequence[Sequence[Scores]]], Estimate
]  # better side, worse side → estimate


def all_metrics(cells: Cells) -> Summaries:
    """The summary of every metric in `METRICS`, by loss, training set and name."""
    table: Summaries = {}
    for (loss, train_set), results in cells.items():
        of_cell = {metric.name: summarise(results, metric) for metric in METRICS}
        table.setdefault(loss, {})[f"{train_set}_trained"] = of_cell
    return table


def summarise(results: Sequence[CellResults], metric: Metric) -> Summary:
    """The summary of a metric over the seeds of one loss and training set.

    If one seed lacks the metric, the mean, standard deviation and interval are None.
    """
    if metric.scores is None:
        values = [metric.of(result) for result in results]
        return summarise_values(values, metric.images(results[0]))
    scores = [of_seed for result in results if (of_seed := metric.scores(result)) is not None]
    n, images = len(results), metric.images(results[0])
    over = metric.interval_covers(results[0], n)
    if len(scores) < n:
        return {"mean": None, "std": None, "interval_95": None, "n": n, "images": images, "interval_covers": over}
    found = over_seeds(scores)
    low, high = found.interval_95
    if images and (not varies(found) or (n == 1 and _is_share(scores[0]))):
        # Wilson's interval also holds for few images and near 0 and 1, where the other interval has no width.
        low, high = wilson_interval(found.mean, images)
        over = "images"
    elif images and over == "seeds and images" and all(map(_is_share, scores)):
        low, high = with_few_images(found.mean, images, (low, high))
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": [max(-1.0 if metric.is_difference else 0.0, low), min(1.0, high)],
        "n": n,
        "images": images,
        "interval_covers": over,
    }


def summarise_values(values: Sequence[float | None], images: int | None = None) -> Summary:
    """The summary of one number per seed, for a metric without per-image scores.

    If the number is a share of images, `images` is how many. With several seeds the interval is over seeds. For a share
    of images, the uncertainty over images is added. This counts a part of it twice, so the interval is a little too
    wide. With one seed, only a share has an interval. If a value is None, everything but n is None.
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": None, "std": None, "interval_95": None, "interval_covers": None, "n": len(values)}
    found = estimate([np.array(known, dtype=float)[:, None]], [False])
    low, high = found.interval_95
    lowest = 0.0 if min(known) >= 0 else -math.inf  # if no value is negative, the interval stops at zero
    interval: tuple[float, float] | None = (max(lowest, low), high) if varies(found) else None
    if images:
        of_images = math.sqrt(found.mean * (1 - found.mean) / images)
        half = Error(of_images, found.standard_error, found.n - 1).half_width_95()
        low, high = with_few_images(found.mean, images, (found.mean - half, found.mean + half))
        interval = (max(0.0, low), min(1.0, high))
        if not varies(found):
            interval = wilson_interval(found.mean, images)
    over = covers(found.n if varies(found) else 1) if images else "seeds"
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": interval,
        "interval_covers": over if interval else None,
        "n": found.n,
    }


def over_seeds(scores: Sequence[Scores]) -> Estimate:
    """The estimate from the scores of every seed. The seeds share their images, except those that the split chooses."""
    return contrast_over_seeds([scores], [1.0])


def difference_over_seeds(one: Sequence[Sequence[Scores]], other: Sequence[Sequence[Scores]]) -> Estimate:
    """How much higher the mean of the cells on one side is than that of the other side.

    The cells of a side are averaged for each seed first and count as one cell, because they may move together.
    """
    sides = [
        [
            {name: np.mean([scores[name] for scores in of_seed], axis=0) for name in of_seed[0]}
            for of_seed in zip(*side, strict=True)
        ]
        for side in (one, other)
    ]
    return contrast_over_seeds(sides, [1.0, -1.0])


def contrast_over_seeds(cells: Sequence[Sequence[Scores]], weights: Sequence[float]) -> Estimate:
    """The estimate of a weighted sum of cells. Each cell has the scores of every seed, in the same order of seeds.

    Cells count as independent. So the interval is too narrow if cells with weights of one sign move together.
    """
    names = list(cells[0][0])
    parts = [[np.stack([of_seed[name] for of_seed in cell]) for name in names] for cell in cells]
    return contrast(parts, weights, [name not in OF_EACH_SEED for name in names])


def with_few_images(accuracy: float, images: int, interval: tuple[float, float]) -> tuple[float, float]:
    """The interval of a mean over seeds, and Wilson's too if few images are correct, or few are wrong.

    Near 0 and 1 the error is not symmetric, and the seeds often agree. There Wilson's interval holds for any seed.
    """
    if min(accuracy, 1 - accuracy) * images >= FEW_IMAGES:
        return interval
    low, high = wilson_interval(accuracy, images)
    return min(interval[0], low), max(interval[1], high)


def varies(found: Estimate) -> bool:
    """Whether the scores of an estimate vary. If not, chance cannot be estimated, and what is left is rounding."""
    return found.standard_error > 1e-12


def covers(seeds: int) -> str:
    """What the interval of an accuracy on test images covers: "images" or "seeds and images"."""
    return "images" if seeds == 1 else "seeds and images"


def _is_share(scores: Scores) -> bool:
    """Whether every score is 0 or 1 (wrong or correct), not a mean over several conditions."""
    return all(np.isin(of_set, (0, 1)).all() for of_set in scores.values())


def mean_and_interval(summary: Summary) -> tuple[float, float, float]:
    """The mean and the lower and upper end of the interval, for a chart."""
    return (summary["mean"], *summary["interval_95"])


def as_text(summary: Summary) -> str:
    """A summary as text, "mean ± standard deviation (low to high)"; parts that do not exist are left out."""
    if summary["mean"] is None:
        return ""
    deviation = "" if summary["std"] is None else f" ± {summary['std']:.4f}"
    if summary["interval_95"] is None:
        return f"{summary['mean']:.4f}{deviation}"
    low, high = summary["interval_95"]
    return f"{summary['mean']:.4f}{deviation} ({low:.3f} to {high:.3f})"
