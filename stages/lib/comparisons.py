"""Which differences between models can be told from chance, said in sentences; and what becomes of the studies' claims.

Losses are compared on the same training set and training sets with the same loss, paired by seed and image. All
differences are one family of tests (Holm); those that answer the studies' claims are a family of their own, of the
studies' losses and training sets alone, so that another loss beside them changes no answer. Intervals are each for
itself. With one seed nothing is claimed: its interval is over images alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from stages.lib.per_image import difference_of, scores_of
from stages.lib.results import CellResults
from stages.lib.statistics import Estimate, holm, mcnemar
from stages.lib.tables import Cells

LEVEL = 0.05
# The figures that are compared, and how a sentence names them after "trained on".
COMPARED = {
    "test_clean": "clean",
    "test_corrupted": "corrupted",
    "suite_mean": "CIFAR-10-C's corruptions",
    "suite_unseen_mean": "those akin to nothing in training",
    "fgsm_2": "FGSM ε = 2/255",
}
CLAIMED_OF = {"cross_entropy", "angular", "clean", "corrupted"}  # the studies' losses and training sets
Name = tuple[str, str]  # loss, training set


@dataclass(frozen=True)
class Claim:
    """Something the two studies concluded: that the first of two is better than the second, on some figures."""

    text: str
    better: str
    worse: str
    metrics: tuple[str, ...]

    def is_answered_by(self, difference: Difference) -> bool:
        """Whether a difference is of these two and of one of these figures."""
        differ = set(difference.model) ^ set(difference.other)
        return difference.metric in self.metrics and differ == {self.better, self.worse}


CLAIMS = (
    Claim(
        "Training on corrupted images makes a model robust to those corruptions",
        better="corrupted",
        worse="clean",
        metrics=("test_corrupted",),
    ),
    Claim(
        "Training on corrupted images makes it generalise better, to clean images and to other corruptions",
        better="corrupted",
        worse="clean",
        metrics=("test_clean", "suite_unseen_mean"),
    ),
    Claim(
        "The angular loss beats cross-entropy",
        better="angular",
        worse="cross_entropy",
        metrics=("test_clean", "test_corrupted"),
    ),
)


@dataclass(frozen=True)
class Difference:
    """How much a model's figure is above another's, in points of accuracy where it is said."""

    model: Name
    other: Name
    metric: str
    estimate: Estimate
    p_holm: float | None  # adjusted over its family; None for one seed
    p_mcnemar: list[float] | None  # of each seed; None for one seed, and where scores are not right or wrong

    def towards(self, name: str) -> Difference:
        """The same, as how much the model of that loss or training set is above the other."""
        if name in self.model:
            return self
        low, high = self.estimate.interval_95
        turned = replace(self.estimate, mean=-self.estimate.mean, interval_95=(-high, -low))
        return replace(self, model=self.other, other=self.model, estimate=turned)

    def sign(self) -> int:
        """1 or −1 if the difference can be told from chance, else 0."""
        if self.p_holm is None or self.p_holm >= LEVEL:
            return 0
        return 1 if self.estimate.mean > 0 else -1

    def subject(self) -> str:
        """What is compared, in words."""
        (loss, train_set), (other_loss, other_set) = self.model, self.other
        if loss != other_loss:
            return f"{loss} − {other_loss}, {train_set} → {COMPARED[self.metric]}"
        return f"trained on {train_set} − on {other_set}, {loss} → {COMPARED[self.metric]}"

    def interval(self) -> str:
        """The interval, in points."""
        return "{} to {}".format(*map(points, self.estimate.interval_95))

    def sentence(self) -> str:
        """The difference in words."""
        said = f"{self.subject()}: {points(self.estimate.mean)} points ({self.interval()}), n = {self.estimate.n}"
        if self.p_holm is None:
            return f"{said}, over images alone"
        return f"{said}, {p_said(self.p_holm)}" if self.sign() else f"{said}: not distinguishable"


def points(share: float) -> str:
    """A share in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def p_said(p_value: float) -> str:
    """A p-value in words: what is below 0.0001 depends on tails that nobody knows."""
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def differences(cells: Cells) -> list[Difference]:
    """Every difference that is reported, with p-values adjusted over all of them."""
    found = [
        Difference(model, other, metric, difference_of(*of_both, metric), None, mcnemar_of(*of_both, metric))
        for metric in COMPARED
        for model, other in pairs(list(cells))
        for of_both in [(cells[model], cells[other])]
        if all(result.metrics()[metric] is not None for results in of_both for result in results)
    ]
    return as_family(found)


def as_family(found: list[Difference]) -> list[Difference]:
    """The same, with p-values adjusted over these alone; of one seed they have none."""
    if any(difference.estimate.n == 1 for difference in found):
        return found
    adjusted = holm([difference.estimate.p_value for difference in found])
    return [replace(difference, p_holm=p_holm) for difference, p_holm in zip(found, adjusted, strict=True)]


def pairs(names: list[Name]) -> list[tuple[Name, Name]]:
    """Models that differ in their loss or in their training set alone, the later one first, as params list them."""
    return [
        (model, other)
        for position, other in enumerate(names)
        for model in names[position + 1 :]
        if (model[0] == other[0]) != (model[1] == other[1])
    ]


def mcnemar_of(results: list[CellResults], others: list[CellResults], metric: str) -> list[float] | None:
    """McNemar's p-value of each seed; None for one seed, and for means over corruptions, whose scores are shares."""
    if len(results) == 1 or metric.startswith("suite_"):
        return None
    found = []
    for result, other in zip(results, others, strict=True):
        (one,), (two,) = (scores_of(each, metric).values() for each in (result, other))
        found.append(mcnemar(one > 0, two > 0))
    return found


@dataclass(frozen=True)
class Conclusion:
    """A claim of the two studies, and what the differences say of it."""

    claim: str
    differences: list[Difference]

    def verdict(self) -> str:
        """What the differences say; "not distinguishable" if none of them can be told from chance."""
        if any(difference.p_holm is None for difference in self.differences):
            return "not tested: one seed"
        signs = [difference.sign() for difference in self.differences]
        up, down, of = signs.count(1), signs.count(-1), len(signs)
        if up and down:
            return f"supported in {up} of {of}, contradicted in {down}"
        if up or down:
            word, count = ("supported", up) if up else ("contradicted", down)
            return word if count == of else f"{word} in {count} of {of}, not distinguishable in the rest"
        return "not distinguishable"


def conclusions(found: list[Difference]) -> list[Conclusion]:
    """The studies' conclusions, as far as the study has the models to answer them."""
    of_studies = [difference for difference in found if {*difference.model, *difference.other} <= CLAIMED_OF]
    family = as_family([each for each in of_studies if any(claim.is_answered_by(each) for claim in CLAIMS)])
    concluded = []
    for claim in CLAIMS:
        of_claim = [each.towards(claim.better) for each in family if claim.is_answered_by(each)]
        concluded += [Conclusion(claim.text, of_claim)] if of_claim else []
    return concluded


def table(found: list[Difference]) -> pd.DataFrame:
    """Every difference in a row, in points; p after Holm, empty for one seed."""
    rows = {
        difference.subject(): {
            "points": points(difference.estimate.mean),
            "95 %": difference.interval(),
            "n": difference.estimate.n,
            "p": "" if difference.p_holm is None else p_said(difference.p_holm).removeprefix("p ").removeprefix("= "),
        }
        for difference in found
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("difference")
