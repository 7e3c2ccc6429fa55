"""The contents of `reports/metrics.json` and `reports/headline/`: the results of one loss.

The names do not contain the loss. So `dvc metrics diff` and `dvc plots diff` can compare the headline of two branches
even if their losses differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.metrics import METRICS

IN_FULL = 20  # up to this number of classes, confusion counts have a row for every pair


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
    """Confusion counts on clean test images, summed over seeds: a row per training set, true and predicted label.

    With more than `IN_FULL` classes, the rows of each training set begin with the diagonal. This fixes the order of the
    classes in the chart of `dvc plots`. Of the other pairs, those that never occur are left out.
    """
    rows = []
    for train_set, results in by_train_set.items():
        classes = [inert(name) for name in results[0].evaluate["dataset"]["classes"]]
        counts = np.sum([result.confusion("test_clean") for result in results], axis=0)
        pairs = list(np.ndindex(*counts.shape))
        if len(classes) > IN_FULL:
            others = [(actual, predicted) for actual, predicted in np.argwhere(counts) if actual != predicted]
            pairs = [*((label, label) for label in range(len(classes))), *others]
        for actual, predicted in pairs:
            row = {"train_set": train_set, "actual": classes[actual], "predicted": classes[predicted]}
            rows.append({**row, "count": int(counts[actual, predicted])})
    return pd.DataFrame(rows)


def inert(name: str) -> str:
    """A name that the page of `dvc plots` shows and does not run.

    DVC writes names into a script in HTML as they are. There `<!--<script>` would hide the rest of the page, and
    `{refresh_tag}` would be replaced. An invisible character (U+2060) in such a name prevents this.
    """
    return re.sub(r"<(?=!--|/?script)|\{(?=\w+\})", "\\g<0>\u2060", name, flags=re.IGNORECASE)
