"""Single differences between two models, and their text in the report: a description, beside the claims' tests.

Two losses are compared on the same training set, and two training sets with the same loss. All differences form one
family: p-values and intervals are adjusted for their number (`families.py`). No conclusion rests on them; the claims
have a family of their own (`conclusions.py`). With one seed nothing is tested, and the interval is over images alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.claims import Name
from robustness_study.results.families import LEVEL, Adjusted, adjust
from robustness_study.results.intervals import difference_over_seeds
from robustness_study.results.metric import Metric
from robustness_study.results.metrics import BY_NAME
from robustness_study.statistics import Estimate, mcnemar

# The metrics that are compared.
COMPARED = ("test_clean", "test_corrupted", "suite_mean", "suite_unseen_mean", "fgsm_2", "robust_2")


@dataclass(frozen=True)
class Difference:
    """How much higher a metric of `model` is than that of `other`, as a share; texts give percentage points."""

    model: Name
    other: Name
    metric: str
    estimate: Estimate
    adjusted: Adjusted  # for the number of differences in the report
    p_mcnemar: dict[int, float] | None  # by seed; None for one seed, and for scores other than 0 and 1

    def subject(self) -> str:
        """What is compared, in words."""
        (loss, train_set), (other_loss, other_set) = self.model, self.other
        if loss != other_loss:
            compared = f"{loss} − {other_loss}" + (f", trained on {train_set}" if train_set else "")
        else:
            compared = f"trained on {train_set} − trained on {other_set}, {loss}"
        return f"{compared}, tested on {BY_NAME[self.metric].title}"


def interval_in_points(interval: Sequence[float] | None) -> str:
    """An interval of shares in percentage points; empty for None. One that was cut at zero ends at 0, no decimals."""
    return " to ".join(points(end) if end else "0" for end in interval or ())


def points(share: float) -> str:
    """A share in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def differences(cells: Cells, over_images: bool = False) -> list[Difference]:
    """Every difference that is reported, adjusted for the number of all of them.

    With `over_images`, models of one seed are compared as they are: chance is the choice of the images alone.
    """
    measured = [
        (model, other, name, (cells[model], cells[other], BY_NAME[name]))
        for name in COMPARED
        for model, other in pairs(list(cells))
        if all(BY_NAME[name].scores_of(result) is not None for one in (model, other) for result in cells[one])
    ]
    estimates = [difference_of(*both) for *_, both in measured]
    adjusted = adjust(estimates, over_images)
    return [
        Difference(model, other, name, found, of_family, mcnemar_of(*both))
        for (model, other, name, both), found, of_family in zip(measured, estimates, adjusted, strict=True)
    ]


def pairs(names: list[Name]) -> list[tuple[Name, Name]]:
    """Pairs of models that differ only in their loss or only in their training set; the later one in params first."""
    return [
        (model, other)
        for position, other in enumerate(names)
        for model in names[position + 1 :]
        if (model[0] == other[0]) != (model[1] == other[1])
    ]


def difference_of(results: list[CellResults], others: list[CellResults], metric: Metric) -> Estimate:
    """How much higher a metric of `results` is than that of `others`. Both have the same seeds and images."""
    one, other = ([metric.scores_of(result) or {} for result in cell] for cell in (results, others))
    return difference_over_seeds([one], [other])


def mcnemar_of(results: list[CellResults], others: list[CellResults], metric: Metric) -> dict[int, float] | None:
    """McNemar's p-value by seed; None for one seed, and for scores other than 0 and 1."""
    if len(results) == 1:
        return None
    found = {}
    for result, other in zip(results, others, strict=True):
        (one,), (two,) = ((metric.scores_of(each) or {}).values() for each in (result, other))
        if not np.isin(np.concatenate([one, two]), (0, 1)).all():
            return None
        found[result.cell.seed] = mcnemar(one > 0, two > 0)
    return dict(sorted(found.items()))


def table(found: list[Difference]) -> pd.DataFrame:
    """A table of differences in percentage points, one per row; empty where there is no p-value."""
    adjusted = any(difference.estimate.n > 1 or difference.adjusted.p_holm is not None for difference in found)
    rows = {
        difference.subject(): {
            "points": points(difference.estimate.mean),
            "std": "" if difference.estimate.std is None else f"{100 * difference.estimate.std:.1f}",
            f"{'simultaneous ' if adjusted else ''}95 % interval": interval_in_points(
                difference.adjusted.simultaneous_95
            ),
            "n": difference.estimate.n,
            **({f"p (Holm, {len(found)} differences)": p_in_table(difference.adjusted.p_holm)} if adjusted else {}),
            **({"McNemar's p for each seed": _mcnemar_in_table(difference)} if adjusted else {}),
        }
        for difference in found
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("difference")


def _mcnemar_in_table(difference: Difference) -> str:
    return ", ".join(f"{seed}: {p_in_table(p_value)}" for seed, p_value in (difference.p_mcnemar or {}).items())


def p_in_table(p_value: float | None) -> str:
    """A p-value in a table; empty for None. Below 0.0001 it would depend on tails that nobody knows."""
    if p_value is None:
        return ""
    if p_value < 1e-4:
        return "< 0.0001"
    digits = 2
    while (float(f"{p_value:.{digits}g}") < LEVEL) != (p_value < LEVEL):  # rounded, it must be on the same side
        digits += 1
    return f"{p_value:#.{digits}g}"


def p_in_text(p_value: float) -> str:
    """A p-value in a sentence, such as `p = 0.02` or `p < 0.0001`."""
    found = p_in_table(p_value)
    return f"p {found}" if found.startswith("<") else f"p = {found}"
