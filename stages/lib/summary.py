"""Every figure with its spread: what `reports/statistics.json` holds, and the report's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from stages.lib import tables
from stages.lib.claims import Conclusion
from stages.lib.comparisons import Difference
from stages.lib.per_image import estimate_of
from stages.lib.results import METRICS, CellResults
from stages.lib.scores import wilson_interval
from stages.lib.statistics import estimate
from stages.lib.tables import Cells

Figures = dict[str, dict[str, dict[str, dict[str, Any]]]]  # loss → training set → metric → mean, std, …
Show = Callable[[dict[str, Any]], Any]  # what of a figure a table shows: `mean_of` or `said`


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
    if images and (found.standard_error == 0 or (n == 1 and not metric.startswith("suite_"))):
        # A share: Wilson's is right for few images and near 0 and 1 as well, where the other has no width.
        low, high = wilson_interval(found.mean, images)
    lowest = -1.0 if images is None else 0.0  # a difference, or an accuracy
    return {
        "mean": found.mean,
        "std": found.std,
        "interval_95": [max(lowest, low), min(1.0, high)],
        **described(results, metric),
    }


def figure_of_scalars(values: list[float], images: int | None = None) -> dict[str, Any]:
    """A figure that is no mean over images and not negative, of each seed; a share of `images`, if they are given.

    Of several seeds, its interval is over seeds; of one, or of some that agree, it has one if it is a share.
    All but n is None where a seed has none.
    """
    if np.isnan(values).any():
        return {"mean": None, "std": None, "interval_95": None, "n": len(values)}
    found = estimate([np.array(values, dtype=float)[:, None]], [False])
    low, high = found.interval_95
    interval: tuple[float, float] | None = (max(0.0, low), min(1.0, high) if images else high)
    if found.standard_error == 0:
        interval = wilson_interval(found.mean, images) if images else None
    return {"mean": found.mean, "std": found.std, "interval_95": interval, "n": found.n}


def mean_of(figure: dict[str, Any]) -> float | None:
    """A figure where a machine reads it: its mean alone."""
    return figure["mean"]


def said(figure: dict[str, Any]) -> str:
    """A figure where a person reads it: mean, standard deviation over seeds where there are several, 95 % interval."""
    if figure["mean"] is None:
        return ""
    spread = "" if figure["std"] is None else f" ± {figure['std']:.4f}"
    if figure["interval_95"] is None:
        return f"{figure['mean']:.4f}{spread}"
    low, high = figure["interval_95"]
    return f"{figure['mean']:.4f}{spread} ({low:.3f} to {high:.3f})"


def studies_table(table: Figures, show: Show) -> pd.DataFrame:
    """Test accuracy as the two studies printed it: a row per training → test images, a column per loss."""
    train_sets = list(next(iter(table.values())))
    rows = {
        f"{train_set.removesuffix('_trained')} → {test}": {
            loss: show(of_loss[train_set][f"test_{test}"]) for loss, of_loss in table.items()
        }
        for train_set in train_sets
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on → tested on")


def all_metrics(table: Figures, show: Show) -> pd.DataFrame:
    """Every headline figure: a row per metric, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set.removesuffix('_trained')}": {metric: show(found) for metric, found in of_cell.items()}
        for loss, of_loss in table.items()
        for train_set, of_cell in of_loss.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


def ladder_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Accuracy under the attack: a row per epsilon in grey levels, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set}": {
            row["epsilon_255"]: show(figure_of(results, f"fgsm_{row['epsilon_255']}"))
            for row in results[0].attack["ladder"]
        }
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("epsilon_255")


ATTACKS_BESIDE = {  # name in attack.json → what a table calls it
    "noise": "random signs",
    "pgd": "PGD",
    "square": "Square",
    "knn_fgsm": "FGSM on the nearest neighbours",
}


def beside_attack_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Accuracy under the attacks beside the first: a row per attack and epsilon, a column per loss and training set."""
    columns = {}
    for (loss, train_set), results in cells.items():
        beside = results[0].attack["beside"]
        columns[f"{loss}, {train_set}"] = {
            f"{title}, ε = {epsilon_255}/255, {beside[name]['images']} images": show(
                figure_of(results, f"{name}_{epsilon_255}")
            )
            for name, title in ATTACKS_BESIDE.items()
            for epsilon_255 in beside[name]["predictions"]
        }
    return pd.DataFrame(columns).rename_axis("attack")


def beside_accuracy(cells: Cells, show: Show) -> pd.DataFrame:
    """What an accuracy alone does not tell: a row per figure, a column per loss and training set."""
    columns = {}
    for (loss, train_set), results in cells.items():
        of_each = [tables.beside_accuracy(result) for result in results]
        columns[f"{loss}, {train_set}"] = {
            name: show(figure_of_scalars([figures[name][0] for figures in of_each], of_each[0][name][1]))
            for name in of_each[0]
        }
    return pd.DataFrame(columns).rename_axis("figure")


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
        "interval_covers": covers(found.n),
        "p_value": found.p_value if found.n > 1 else None,
        "p_holm": difference.p_holm,
        "p_mcnemar_by_seed": difference.p_mcnemar,
    }


def as_json(table: Figures, found: list[Difference], concluded: list[Conclusion]) -> dict[str, Any]:
    """The whole file."""
    return {
        "figures": table,
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
