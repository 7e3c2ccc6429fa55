"""Differences between models: which can be distinguished from chance, and their text in the report.

Two losses are compared on the same training set, and two training sets with the same loss. Differences are paired by
seed and image. All differences form one family of tests (Holm). Those that answer the studies' conclusions form
another family (`conclusions.py`). The intervals are not adjusted. With one seed nothing is tested, and the interval is
over images alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import over_seeds
from robustness_study.results.metrics import BY_NAME, Metric
from robustness_study.statistics import Estimate, holm, mcnemar

LEVEL = 0.05
# The metrics that are compared.
COMPARED = ("test_clean", "test_corrupted", "suite_mean", "suite_unseen_mean", "fgsm_2")
Name = tuple[str, str]  # loss, training set


@dataclass(frozen=True)
class Difference:
    """How much higher a metric of `model` is than that of `other`, as a share; texts give percentage points."""

    model: Name
    other: Name
    metric: str
    estimate: Estimate
    p_holm: float | None  # adjusted for its family of tests; None for one seed
    p_mcnemar: dict[int, float] | None  # by seed; None for one seed, and for scores other than 0 and 1

    def towards(self, name: str) -> Difference:
        """The same difference with its sign chosen so that the loss or training set `name` comes first."""
        if name in self.model:
            return self
        low, high = self.estimate.interval_95
        turned = replace(self.estimate, mean=-self.estimate.mean, interval_95=(-high, -low))
        return replace(self, model=self.other, other=self.model, estimate=turned)

    def pair(self) -> tuple[frozenset[Name], str]:
        """The two models and the metric, whichever model comes first."""
        return frozenset({self.model, self.other}), self.metric

    def sign(self) -> int:
        """1 or −1 if the difference can be distinguished from chance (adjusted p below `LEVEL`), else 0."""
        if self.p_holm is None or self.p_holm >= LEVEL:
            return 0
        return 1 if self.estimate.mean > 0 else -1

    def subject(self) -> str:
        """What is compared, in words."""
        (loss, train_set), (other_loss, other_set) = self.model, self.other
        if loss != other_loss:
            compared = f"{loss} − {other_loss}, trained on {train_set}"
        else:
            compared = f"trained on {train_set} − trained on {other_set}, {loss}"
        return f"{compared}, tested on {BY_NAME[self.metric].title}"

    def interval(self) -> str:
        """The 95 % interval, in percentage points."""
        return "{} to {}".format(*map(points, self.estimate.interval_95))

    def sentence(self) -> str:
        """The difference in words."""
        text = f"{self.subject()}: {points(self.estimate.mean)} points ({self.interval()}), n = {self.estimate.n}"
        if self.p_holm is None:
            return f"{text}, interval over images alone"
        return f"{text}, {p_as_text(self.p_holm)}{'' if self.sign() else ' (not distinguishable)'}"


def points(share: float) -> str:
    """A share in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def p_as_text(p_value: float) -> str:
    """A p-value as text. Below 0.0001 it would depend on tails of the distribution that nobody knows."""
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def differences(cells: Cells) -> list[Difference]:
    """Every difference that is reported, with p-values adjusted for the number of all of them."""
    found = [
        Difference(model, other, name, difference_of(*of_both, metric), None, mcnemar_of(*of_both, metric))
        for name, metric in ((name, BY_NAME[name]) for name in COMPARED)
        for model, other in pairs(list(cells))
        for of_both in [(cells[model], cells[other])]
        if all(metric.scores_of(result) is not None for results in of_both for result in results)
    ]
    return as_family(found)


def as_family(found: list[Difference]) -> list[Difference]:
    """The same differences, with p-values adjusted for the number of these alone; without p-values for one seed."""
    if any(difference.estimate.n == 1 for difference in found):
        return found
    adjusted = holm([difference.estimate.p_value for difference in found])
    return [replace(difference, p_holm=p_holm) for difference, p_holm in zip(found, adjusted, strict=True)]


def pairs(names: list[Name]) -> list[tuple[Name, Name]]:
    """Pairs of models that differ only in their loss or only in their training set; the later one in params first."""
    return [
        (model, other)
        for position, other in enumerate(names)
        for model in names[position + 1 :]
        if (model[0] == other[0]) != (model[1] == other[1])
    ]


def difference_of(results: list[CellResults], others: list[CellResults], metric: Metric) -> Estimate:
    """How much higher a metric of `results` is than that of `others`, paired by seed and image."""
    both = [
        (metric.scores_of(result) or {}, metric.scores_of(other) or {})
        for result, other in zip(results, others, strict=True)
    ]
    return over_seeds([{name: one[name] - other[name] for name in one} for one, other in both])


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


def table(found: list[Difference], answering: list[Difference]) -> pd.DataFrame:
    """A table of differences in percentage points, one per row; empty where there is no p-value.

    `answering` are those of them that answer the studies' conclusions, with p-values adjusted for these alone.
    """
    of_answers = {difference.pair(): difference.p_holm for difference in answering}
    rows = {
        difference.subject(): {
            "points": points(difference.estimate.mean),
            "std": "" if difference.estimate.std is None else f"{100 * difference.estimate.std:.1f}",
            "95 % interval": difference.interval(),
            "n": difference.estimate.n,
            f"p (Holm, {len(found)} tests)": p_in_table(difference.p_holm),
            **(
                {f"p (Holm, {len(answering)} tests)": p_in_table(of_answers.get(difference.pair()))}
                if answering
                else {}
            ),
            "McNemar's p for each seed": ", ".join(
                f"{seed}: {p_in_table(p_value)}" for seed, p_value in (difference.p_mcnemar or {}).items()
            ),
        }
        for difference in found
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("difference")


def p_in_table(p_value: float | None) -> str:
    """A p-value in a table: without "p ="; empty for None."""
    return "" if p_value is None else p_as_text(p_value).removeprefix("p ").removeprefix("= ")
