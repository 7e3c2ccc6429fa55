"""What `reports/metrics.json` and `reports/headline/` hold: one loss's results under names that any loss has.

So `dvc metrics diff` and `dvc plots diff` set one branch's headline beside another's, whatever their losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.metrics import METRICS


def means_over_seeds(cells: Cells) -> dict[str, dict[str, dict[str, float | None]]]:
    """Per loss and training set, the mean of every metric over the seeds; None if a seed has none."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (loss, train_set), results in cells.items():
        of_loss = found.setdefault(loss, {})
        of_loss[f"{train_set}_trained"] = {
            metric.name: mean([metric.of(result) for result in results]) for metric in METRICS
        }
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of numbers, None if one of them is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def curves(results: Sequence[CellResults]) -> pd.DataFrame:
    """Curves of all models, long: a row per training set, seed and epoch. The loss is not in the name."""
    frames = [
        pd.DataFrame({"model": f"{result.cell.train_set}-{result.cell.seed}", **result.curves}) for result in results
    ]
    return pd.concat(frames, ignore_index=True).astype({"epoch": int})


def confusion(by_train_set: Mapping[str, Sequence[CellResults]]) -> pd.DataFrame:
    """Counts on clean test images, summed over seeds: a row per training set, label and prediction."""
    rows = []
    for train_set, results in by_train_set.items():
        classes = results[0].evaluate["dataset"]["classes"]
        counts = np.sum([result.confusion("test_clean") for result in results], axis=0)
        for actual, predicted in np.ndindex(*counts.shape):
            row = {"train_set": train_set, "actual": classes[actual], "predicted": classes[predicted]}
            rows.append({**row, "count": int(counts[actual, predicted])})
    return pd.DataFrame(rows)
