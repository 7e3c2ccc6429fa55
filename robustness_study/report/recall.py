"""The report's table of recalls: it stays readable with many classes, and says the numbers that pictures use."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robustness_study.plotting import MANY, class_labels
from robustness_study.report import explanations
from robustness_study.report.markdown import table
from robustness_study.report.tables import shown


def section(recalls: pd.DataFrame) -> list[str]:
    """The explanation and the table. `recalls` is `recall_table`: a row per class, in the order of their numbers."""
    names = [str(name) for name in recalls.index]
    parts, rows = [explanations.RECALL], np.arange(len(names))
    numbered = class_labels(names) != names
    if len(names) > MANY:
        means = recalls.map(lambda summary: summary["mean"]).mean(axis=1)
        rows = np.argsort(means.to_numpy(), kind="stable")[:MANY]
        parts.append(explanations.LOWEST.format(shown=MANY, of=len(names)))
    if numbered or len(names) > MANY:
        parts.append(explanations.NUMBERS)
    chosen = shown(recalls.iloc[rows])
    if numbered or len(names) > MANY:
        chosen.insert(0, "class", chosen.index)
        chosen.index = pd.Index(rows, name="number")
    return [*parts, table(chosen)]
