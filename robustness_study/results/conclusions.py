"""Tests the claims of `claims.py`, family by family, on the models of a study.

In the family of the two studies, only their own losses and training sets take part. So another loss in params changes
no verdict of theirs. Another training set changes one only if it makes training images similar to a corruption that was
unlike training. A claim about models or a metric that the study does not have is left out, with the reason. With one
seed, nothing is tested.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from robustness_study.core.cell import model_name
from robustness_study.results import claims
from robustness_study.results.cell_results import Cells
from robustness_study.results.claims import CLAIMS, Claim
from robustness_study.results.families import LEVEL, Adjusted, adjust
from robustness_study.results.intervals import ClaimTest, difference_over_seeds
from robustness_study.results.metrics import BY_NAME
from robustness_study.results.other_tests import OTHER_TESTS
from robustness_study.results.random_corruptions import right_by_corruption, widened
from robustness_study.statistics import Estimate

OVER_CORRUPTIONS = "suite_unseen_mean"  # the metric of the claims about corruptions in general


@dataclass(frozen=True)
class Conclusion:
    """A claim, its contrast as a share, and what the family of all claims says about it."""

    claim: Claim
    estimate: Estimate
    adjusted: Adjusted

    def verdict(self) -> str:
        """The verdict in words."""
        if self.adjusted.p_holm is None:
            return "not tested: one seed" if self.estimate.n == 1 else "not tested: nothing varies"
        return {1: "supported", -1: "contradicted", 0: "not distinguishable"}[self.adjusted.sign_of(self.estimate.mean)]


@dataclass(frozen=True)
class Family:
    """Claims that are adjusted together: the conclusions, and what is left out (text of the claim → why, in words).

    `by_other_tests` has the conclusions that each of `OTHER_TESTS` would draw, in the same order.
    """

    title: str
    conclusions: list[Conclusion]
    left_out: dict[str, str]
    by_other_tests: dict[str, list[Conclusion]]

    def that_depend_on_the_test(self) -> list[tuple[str, Conclusion]]:
        """Name of another test and its conclusion, wherever its verdict is not that of this family."""
        return [
            (name, other)
            for name, others in self.by_other_tests.items()
            for found, other in zip(self.conclusions, others, strict=True)
            if other.verdict() != found.verdict()
        ]


def families(cells: Cells, compared: Collection[str]) -> list[Family]:
    """The family of the two studies, then one for each idea. `compared` names the training sets without controls."""
    losses, train_sets = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    found = claims.families(losses, [name for name in train_sets if name in compared])
    return [
        Family(
            title,
            conclusions(cells, of_one),
            left_out(cells, of_one),
            {name: conclusions(cells, of_one, test) for name, test in OTHER_TESTS.items()},
        )
        for title, of_one in found.items()
    ]


def conclusions(
    cells: Cells, family: Sequence[Claim] = CLAIMS, test: ClaimTest = difference_over_seeds
) -> list[Conclusion]:
    """One conclusion for each claim of the family that this study can answer."""
    answered = [claim for claim in family if what_is_missing(claim, cells) is None]
    estimates = [_estimate(claim, cells, test) for claim in answered]
    return [Conclusion(*each) for each in zip(answered, estimates, adjust(estimates), strict=True)]


def left_out(cells: Cells, family: Sequence[Claim] = CLAIMS) -> dict[str, str]:
    """The claims that this study cannot answer: text of the claim → what is missing, in words."""
    return {claim.text: missing for claim in family if (missing := what_is_missing(claim, cells))}


def what_is_missing(claim: Claim, cells: Cells) -> str | None:
    """What this study lacks to answer a claim, in words; None if it lacks nothing."""
    absent = [model_name(*name) for name in sorted(claim.weights()) if name not in cells]
    if absent:
        return f"this study has no models `{'` and `'.join(absent)}`"
    metric = BY_NAME[claim.metric]
    if any(metric.scores_of(result) is None for name in claim.weights() for result in cells[name]):
        return f"this study has not measured `{claim.metric}`"
    return None


def interval_for_random_corruptions(conclusion: Conclusion, cells: Cells, count: int) -> tuple[float, float] | None:
    """The interval of a claim over corruptions if these are a random sample of possible ones, at the same level.

    None for a claim about something else, or if there is one such corruption only. `count` is the number of claims in
    the family; with one seed the interval is that of this claim alone.
    """
    if conclusion.claim.metric != OVER_CORRUPTIONS:
        return None
    weights = conclusion.claim.weights()
    names = next(iter(cells.values()))[0].stress.groups()["unseen"]
    if len(names) < 2:
        return None
    scores = np.sum([weight * right_by_corruption(cells[name], names) for name, weight in weights.items()], axis=0)
    level = LEVEL / count if conclusion.estimate.n > 1 else LEVEL
    half_width = widened(conclusion.estimate.error, scores, level).half_width(level)
    return conclusion.estimate.mean - half_width, conclusion.estimate.mean + half_width


def _estimate(claim: Claim, cells: Cells, test: ClaimTest) -> Estimate:
    metric = BY_NAME[claim.metric]
    better, worse = (
        [[metric.scores_of(result) or {} for result in cells[name]] for name in side] for side in claim.sides()
    )
    return test(better, worse)
