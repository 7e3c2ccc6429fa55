"""Every figure with its spread: mean, standard deviation over seeds, n, 95 % interval; and how a table shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from robustness_study.results.cell_results import METRICS, CellResults, Cells
from robustness_study.results.per_image import estimate_of, scores_of
from robustness_study.statistics import Error, estimate, wilson_interval

Figures = dict[str, dict[str, dict[str, dict[str, Any]]]]  # loss → training set → metric → mean, std, …
Show = Callable[[dict[str, Any]], Any]  # what of a figure is shown: one of the four functions at the end


def figures(cells: Cells) -> Figures:
    """Per loss, training set and metric: mean, standard deviation over seeds (ddof = 1), n, 95 % interval."""
    table: Figures = {}
    for (loss, train_set), results in cells.items():
        of_cell = {metric: figure(results, metric) for metric in METRICS}
        table.setdefault(loss, {})[f"{train_set}_trained"] = of_cell
    return table


def figure(results: list[CellResults], metric: str) -> dict[str, Any]:
    """A headline figure; all but n and the number of images is None where a seed has none."""
    if any(result.metrics()[metric] is None for result in results):
        return {"mean": None, "std": None, "interval_95": None, **described(results, metric)}
    return figure_of(results, metric)


def described(results: list[CellResults], metric: str) -> dict[str, Any]:
    """How many seeds and images a figure is of, and what its interval covers."""
    n = len(results)
    return {"n": n, "images": results[0].images(metric), "interval_covers": covers(n, metric)}


def covers(seeds: int, metric: str = "test_clean") -> str:
    """What an interval covers. Each seed has training and validation images of its own, which overlap: not those."""
    if seeds == 1:
        return "images"
    if metric == "generalisation_gap":
        return "seeds and test images"
    return "seeds" if metric.startswith(("train_", "val_")) else "seeds and images"


def figure_of(results: list[CellResults], metric: str) -> dict[str, Any]:
    """A figure with its spread; of the attack's, any epsilon's."""
    images, n = results[0].images(metric), len(results)
    found = estimate_of(results, metric)
    low, high = found.interval_95
    told = described(results, metric)
    if images and (found.standard_error == 0 or (n == 1 and is_share(results[0], metric))):
        # Wilson's is right for few images and near 0 and 1 as well, where the other has no width.
        low, high = wilson_interval(found.mean, images)
        told["interval_covers"] = "images"
    lowest = -1.0 if images is None else 0.0  # a difference, or an accuracy
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": [max(lowest, low), min(1.0, high)],
        **told,
    }


def is_share(result: CellResults, metric: str) -> bool:
    """Whether a figure is a share of images, each right or wrong, and no mean over several conditions."""
    return all(np.isin(scores, (0, 1)).all() for scores in scores_of(result, metric).values())


def figure_of_scalars(values: list[float], images: int | None = None) -> dict[str, Any]:
    """A figure of each seed that is not taken image by image, and not negative; a share of `images`, if given.

    Of several seeds, its interval is over seeds, and of a share over its images as well: what these leave open is
    added, although seeds show some of it. Of one seed, only a share has an interval. All but n is None where a seed
    has none.
    """
    if np.isnan(values).any():
        return {"mean": None, "std": None, "interval_95": None, "interval_covers": None, "n": len(values)}
    found = estimate([np.array(values, dtype=float)[:, None]], [False])
    low, high = found.interval_95
    interval: tuple[float, float] | None = (max(0.0, low), high) if found.standard_error else None
    if images:
        of_images = math.sqrt(found.mean * (1 - found.mean) / images)
        half = Error(of_images, found.standard_error, found.n - 1).half_width_95()
        interval = (max(0.0, found.mean - half), min(1.0, found.mean + half))
        if not found.standard_error:
            interval = wilson_interval(found.mean, images)
    over = covers(found.n if found.standard_error else 1) if images else "seeds"
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": interval,
        "interval_covers": over if interval else None,
        "n": found.n,
    }


def mean_of(figure: dict[str, Any]) -> float | None:
    """A figure where a machine reads it: its mean alone."""
    return figure["mean"]


def mean_and_interval(figure: dict[str, Any]) -> tuple[float, float, float]:
    """A figure where it is drawn: mean, lower and upper end."""
    return (figure["mean"], *figure["interval_95"])


def whole(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure where a machine reads all of it."""
    return figure


def said(figure: dict[str, Any]) -> str:
    """A figure where a person reads it: mean, standard deviation over seeds where there are several, 95 % interval."""
    if figure["mean"] is None:
        return ""
    spread = "" if figure["std"] is None else f" ± {figure['std']:.4f}"
    if figure["interval_95"] is None:
        return f"{figure['mean']:.4f}{spread}"
    low, high = figure["interval_95"]
    return f"{figure['mean']:.4f}{spread} ({low:.3f} to {high:.3f})"
