"""What `reports/statistics.json` holds: every figure with its spread, every difference, every conclusion."""

from __future__ import annotations

from typing import Any

from stages.lib.comparisons import Conclusion, Difference, finite
from stages.lib.per_image import estimate_of
from stages.lib.results import METRICS, CellResults
from stages.lib.scores import wilson_interval
from stages.lib.tables import Cells

Figures = dict[str, dict[str, dict[str, dict[str, Any]]]]  # loss → training set → metric → mean, std, …
COVERS = {True: "seeds and images", False: "images"}  # what an interval covers, of several seeds and of one


def figures(cells: Cells) -> Figures:
    """Per loss, training set and metric: mean, standard deviation over seeds (ddof = 1), n, 95 % interval."""
    table: Figures = {}
    for (loss, train_set), results in cells.items():
        of_cell = {metric: figure(results, metric) for metric in METRICS}
        table.setdefault(loss, {})[f"{train_set}_trained"] = of_cell
    return table


def figure(results: list[CellResults], metric: str) -> dict[str, Any]:
    """One figure; all but n and the number of images is None where a seed has none."""
    images, n = results[0].images(metric), len(results)
    described = {"n": n, "images": images, "interval_covers": COVERS[n > 1]}
    if any(result.metrics()[metric] is None for result in results):
        return {"mean": None, "std": None, "interval_95": None, **described}
    found = estimate_of(results, metric)
    low, high = found.interval_95
    if n == 1 and images and not metric.startswith("suite_"):
        # A share: Wilson's is right for few images and near 0 and 1 as well, where the other has no width.
        low, high = wilson_interval(found.mean, images)
    lowest = -1.0 if images is None else 0.0  # a difference, or an accuracy
    return {"mean": found.mean, "std": found.std, "interval_95": [max(lowest, low), min(1.0, high)], **described}


def difference_as_json(difference: Difference) -> dict[str, Any]:
    """A difference, as shares and not points."""
    found = difference.estimate
    return {
        "model": "-".join(difference.model),
        "minus": "-".join(difference.other),
        "metric": difference.metric,
        "mean": found.mean,
        "std": found.std,
        "n": found.n,
        "interval_95": list(found.interval_95),
        "interval_covers": COVERS[found.n > 1],
        "degrees_of_freedom": finite(found.degrees_of_freedom),
        "p_holm": difference.p_holm,
        "p_mcnemar_by_seed": difference.p_mcnemar,
    }


def as_json(cells: Cells, found: list[Difference], concluded: list[Conclusion]) -> dict[str, Any]:
    """The whole file."""
    return {
        "figures": figures(cells),
        "differences": [difference_as_json(difference) for difference in found],
        "conclusions": [
            {
                "claim": conclusion.claim,
                "verdict": conclusion.verdict(),
                "because": [difference.sentence() for difference in conclusion.differences],
            }
            for conclusion in concluded
        ],
    }
