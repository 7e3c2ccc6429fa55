"""Two other tests of the claims, which show whether a verdict depends on the choice of the test.

They decide nothing. The report's test (`intervals.difference_over_seeds`) averages the models of a side for each seed,
and adds the variances of both sides. `docs/statistics.md` compares the three on simulated studies, and says why that
one is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness_study.results.intervals import ClaimTest, contrast_over_seeds
from robustness_study.results.metric import Scores
from robustness_study.statistics import Estimate

Side = Sequence[Sequence[Scores]]  # the models of one side, each with the scores of every seed


def each_model_on_its_own(one: Side, other: Side) -> Estimate:
    """Adds the variances of all models, as if they moved independently: too small if those of a side move together."""
    weights = [1 / len(one)] * len(one) + [-1 / len(other)] * len(other)
    return contrast_over_seeds([*one, *other], weights)


def differences_of_each_seed(one: Side, other: Side) -> Estimate:
    """Takes the variance of the difference of each seed: small if both sides move together, but with S − 1 degrees."""

    def mean(side: Side, seed: int, part: str) -> np.ndarray:
        return np.asarray(np.mean([model[seed][part] for model in side], axis=0))

    parts = list(one[0][0])
    of_seeds = [
        {part: mean(one, seed, part) - mean(other, seed, part) for part in parts} for seed in range(len(one[0]))
    ]
    return contrast_over_seeds([of_seeds], [1.0])


OTHER_TESTS: dict[str, ClaimTest] = {
    "each model on its own": each_model_on_its_own,
    "differences of each seed": differences_of_each_seed,
}
