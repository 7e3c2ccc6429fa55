"""The figures of a study beside those of another git revision."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from robustness_study.core.cell import model_name
from robustness_study.core.errors import StudyError
from robustness_study.results.differences import points
from robustness_study.results.intervals import Summaries, Summary, as_text
from robustness_study.results.metrics import BY_NAME

COLUMNS = ["metric; model", "here", "there", "difference in points"]


def section(here: Summaries, there: Any, revision: str) -> dict[str, Any]:
    """A table of the metrics that both have: the values here, those at `revision`, and the difference of the means.

    `there` may be of any form. Raises StudyError if the two have no metric of the same model in common.
    """
    rows = []
    for loss, of_loss in here.items():
        for train_set, of_cell in of_loss.items():
            for name, summary in of_cell.items():
                other = _summary(there, loss, train_set, name)
                if other is not None and summary["mean"] is not None:
                    model = model_name(loss, train_set.removesuffix("_trained"))
                    rows.append([f"{_title(name)}; {model}", *_compared(summary, other)])
    if not rows:
        raise StudyError(
            f"reports/statistics.json of {revision} has no metric of a model of this study: it is of other models, or "
            "of another version of the code; name another revision"
        )
    csv = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, lineterminator="\n")
    return {"revision": revision, "columns": COLUMNS, "rows": rows, "csv": csv}


def _summary(there: Any, *keys: str) -> Summary | None:
    """A summary with a mean, in a tree of dictionaries; None if there is none."""
    for key in keys:
        there = there.get(key) if isinstance(there, dict) else None
    if not isinstance(there, dict) or not _is_number(there.get("mean")):
        return None
    interval = there.get("interval_95")
    both = isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))
    std = there.get("std")
    return {"mean": there["mean"], "std": std if _is_number(std) else None, "interval_95": interval if both else None}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _title(name: str) -> str:
    return f"{BY_NAME[name].title} ({name})" if name in BY_NAME else name


def _compared(here: Summary, there: Summary) -> list[str]:
    return [as_text(here), as_text(there), points(here["mean"] - there["mean"])]
