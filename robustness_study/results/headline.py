"""The contents of `reports/metrics.json` and `reports/headline/`: the results of one loss.

The names do not contain the loss. So `dvc metrics diff` and `dvc plots diff` can compare the headline of two branches
even if their losses differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.metrics import METRICS


def means_over_seeds(cells: Cells) -> dict[str, dict[str, dict[str, float | None]]]:
    """The mean of every metric over the seeds, by loss and training set; None if one seed lacks the metric."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (loss, train_set), results in cells.items():
        of_loss = found.setdefault(loss, {})
        of_loss[f"{train_set}_trained"] = {
            metric.name: mean([metric.of(result) for result in results]) for metric in METRICS
        }
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values; None if one of them is None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def curves(results: Sequence[CellResults]) -> pd.DataFrame:
    """The curves of all models in long format: a row per training set, seed and epoch. Names omit the loss."""
    frames = [
        pd.DataFrame({"model": f"{result.cell.train_set}-{result.cell.seed}", **result.curves}) for result in results
    ]
    return pd.concat(frames, ignore_index=True).astype({"epoch": int})


def confusion(by_train_set: Mapping[str, Sequence[CellResults]]) -> pd.DataFrame:
    """Confusion counts on clean test images, summed over seeds: a row per training set, true and predicted label."""
    rows = []
    for train_set, results in by_train_set.items():
        classes = results[0].evaluate["dataset"]["classes"]
        counts = np.sum([result.confusion("test_clean") for result in results], axis=0)
        for actual, predicted in np.ndindex(*counts.shape):
            row = {"train_set": train_set, "actual": classes[actual], "predicted": classes[predicted]}
            rows.append({**row, "count": int(counts[actual, predicted])})
    return pd.DataFrame(rows)
