"""Means, differences, intervals: against slow resampling, known cases, and simulated studies with known values."""

from __future__ import annotations

import math
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from robustness_study.results.intervals import (
    contrast_over_seeds,
    difference_over_seeds,
    summarise,
    summarise_values,
    with_few_images,
)
from robustness_study.results.metric import Metric
from robustness_study.statistics import (
    Error,
    contrast,
    estimate,
    holm,
    mcnemar,
    satterthwaite,
    variances_of,
    wilson_interval,
)


def simulated(rng: np.random.Generator, seeds: int, images: int, of_seed: float, of_image: float) -> np.ndarray:
    """Scores with mean 0.3: an effect of the seed, one of the image, and noise of standard deviation 1."""
    noise = rng.standard_normal((seeds, images))
    return 0.3 + of_seed * rng.standard_normal((seeds, 1)) + of_image * rng.standard_normal((1, images)) + noise


# --- one mean ----------------------------------------------------------------------------------------------


def test_one_seed_gives_the_standard_error_of_a_mean() -> None:
    scores = np.random.default_rng(0).standard_normal((1, 400))
    found = estimate([scores], [True])
    assert found.standard_error == pytest.approx(stats.sem(scores[0]))
    low, high = stats.norm.interval(0.95, scores.mean(), stats.sem(scores[0]))
    assert found.interval_95 == pytest.approx((low, high))
    assert (found.std, found.n) == (None, 1)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(scores.mean()) / stats.sem(scores[0])))


def test_error_over_images_equals_the_limit_of_resampling() -> None:
    scores = (np.random.default_rng(1).random((1, 200)) < 0.7).astype(float)
    rng = np.random.default_rng(2)
    resampled = [scores[0, rng.integers(0, 200, 200)].mean() for _ in range(20_000)]
    # Resampling divides by N where an unbiased variance divides by N − 1.
    assert estimate([scores], [True]).standard_error * np.sqrt(199 / 200) == pytest.approx(np.std(resampled), rel=0.02)


def test_different_images_for_each_seed_give_students_test_over_seeds() -> None:
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((4, 50)) + rng.standard_normal((4, 1))
    found = estimate([scores], [False])
    theirs = stats.ttest_1samp(scores.mean(1), 0)
    interval = theirs.confidence_interval()
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.interval_95 == pytest.approx((interval.low, interval.high))


def test_variance_of_images_equals_a_two_way_analysis() -> None:
    scores = simulated(np.random.default_rng(4), 3, 40, 0.5, 0.8)
    seeds, images = scores.shape
    grand, row, column = scores.mean(), scores.mean(1), scores.mean(0)
    of_images = sum(seeds * (column[i] - grand) ** 2 for i in range(images)) / (images - 1)
    noise = sum((scores[s, i] - row[s] - column[i] + grand) ** 2 for s, i in product(range(seeds), range(images))) / (
        (seeds - 1) * (images - 1)
    )
    assert variances_of(scores, shared=True) == pytest.approx(((of_images - noise) / seeds, noise))
    within = sum(stats.tvar(row) for row in scores) / seeds
    assert variances_of(scores, shared=False) == pytest.approx((0, within))
    assert variances_of(scores[:1], shared=False) == pytest.approx((stats.tvar(scores[0]), 0))


def test_seeds_that_agree_by_chance_do_not_hide_the_noise() -> None:
    opposite = np.array([[1.0, 0.0], [0.0, 1.0]])  # both seeds have half of the images, neither the same
    assert variances_of(opposite, shared=True) == (0, 1)
    found = estimate([opposite], [True])
    assert (found.mean, found.std) == (0.5, 0)
    assert found.standard_error == pytest.approx(np.sqrt(1 / 4))


def test_constant_scores_have_no_error() -> None:
    for value in (0.0, 0.5):
        found = estimate([np.full((2, 3), value)], [True])
        assert (found.mean, found.standard_error, found.p_value) == (value, 0, 1)
        assert found.interval_95 == (value, value)


def test_variances_of_different_image_sets_add_up() -> None:
    rng = np.random.default_rng(5)
    one, other = rng.standard_normal((1, 30)), rng.standard_normal((1, 70))
    found = estimate([one, -other], [True, True])
    assert found.mean == pytest.approx(one.mean() - other.mean())
    assert found.standard_error == pytest.approx(np.hypot(stats.sem(one[0]), stats.sem(other[0])))


# Effects of the seed and of the image on a score whose noise is 1.
EFFECTS = [(0.0, 0.0), (0.0, 1.0), (0.1, 1.0), (0.5, 1.0), (0.5, 0.0), (0.5, 1.6)]


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize(("of_seed", "of_image"), EFFECTS, ids=str)
def test_intervals_contain_the_true_value(seeds: int, of_seed: float, of_image: float) -> None:
    """In at least 95 of 100 studies; with one seed only if seeds do not differ. Small p-values are conservative."""
    rng = np.random.default_rng([seeds, int(of_seed * 10), int(of_image * 10)])
    studies = [estimate([simulated(rng, seeds, 100, of_seed, of_image) - 0.3], [True]) for _ in range(1000)]
    held = np.mean([study.interval_95[0] <= 0 <= study.interval_95[1] for study in studies])
    if seeds == 1 and of_seed:
        assert held < 0.9
        return
    assert held >= 0.93  # 0.95, minus the chance variation of 1,000 studies
    # And no wider than Student's interval over these seeds if seeds caused all of the error.
    half_width = np.median([(study.interval_95[1] - study.interval_95[0]) / 2 for study in studies])
    widest = stats.t.ppf(0.975, seeds - 1) if seeds > 1 else 1.96
    assert half_width < 1.1 * widest * np.std([study.mean for study in studies])
    # A family of 20 tests needs this level: at most 2.5 of 1,000 are expected, and 9 are very unlikely.
    assert sum(study.p_value < 0.05 / 20 for study in studies) < 9


def test_intervals_contain_the_true_share_on_two_sets_of_images() -> None:
    """Scores are 0 or 1. Each seed has its own training images; test images are shared."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        hard, ability = rng.normal(size=(1, 150)), rng.normal(0, 0.1, (3, 1))
        test = (rng.normal(size=(3, 150)) + hard < 0.5 + ability).astype(float)
        train = (rng.normal(size=(3, 150)) < 1 + ability).astype(float)
        low, high = estimate([train, -test], [False, True]).interval_95
        # Over seeds and images: Φ(1 / √(1 + 0.1²)) − Φ(0.5 / √(1 + 1 + 0.1²)).
        held += low <= stats.norm.cdf(1 / np.sqrt(1.01)) - stats.norm.cdf(0.5 / np.sqrt(2.01)) <= high
    assert held / 600 >= 0.93


@pytest.mark.parametrize(
    ("images", "seeds", "freedom"), [(1, 1, 1), (1, 0.1, 2), (0.1, 1, 2), (1, 0.01, 1), (0.0, 1, 4)]
)
def test_error_is_a_normal_and_a_students_variable_added(images: float, seeds: float, freedom: int) -> None:
    rng = np.random.default_rng(8)
    drawn = np.abs(images * rng.standard_normal(400_000) + seeds * rng.standard_t(freedom, 400_000))
    error = Error(images, seeds, freedom)
    for distance in (0.5, 2.0, 5.0):
        assert error.p_value(distance) == pytest.approx((drawn >= distance).mean(), abs=0.003)
    assert error.p_value(error.half_width_95()) == pytest.approx(0.05)
    assert error.p_value(error.half_width(0.002)) == pytest.approx(0.002)
    assert error.p_value(-2.0) == error.p_value(2.0)


# --- contrasts ---------------------------------------------------------------------------------------------


def test_a_contrast_of_two_cells_without_shared_images_is_welchs_test() -> None:
    rng = np.random.default_rng(9)
    one, other = 0.5 + rng.standard_normal((5, 40)), 2 * rng.standard_normal((5, 1)) + rng.standard_normal((5, 40))
    found = contrast([[one], [other]], [1, -1], [False])
    theirs = stats.ttest_ind(one.mean(1), other.mean(1), equal_var=False)
    interval = theirs.confidence_interval()
    assert found.p_value == pytest.approx(theirs.pvalue) and found.error.freedom == pytest.approx(theirs.df)
    assert found.interval_95 == pytest.approx((interval.low, interval.high))
    assert found.std == pytest.approx((one - other).mean(1).std(ddof=1))


def test_a_contrast_equals_a_mixed_model() -> None:
    """Almost: the model estimates the noise in each cell, the contrast in the difference of the two."""
    import pandas as pd
    import statsmodels.formula.api as models

    rng = np.random.default_rng(10)
    cells, seeds, images = 2, 5, 12
    scores = (
        rng.standard_normal((1, 1, images))
        + 0.7 * rng.standard_normal((cells, 1, images))
        + rng.standard_normal((cells, seeds, 1))
        + rng.standard_normal((cells, seeds, images))
    )
    index = pd.MultiIndex.from_product([range(cells), range(seeds), range(images)], names=["cell", "seed", "image"])
    frame = pd.DataFrame({"score": scores.ravel()}, index=index).reset_index().assign(all=1)
    of_chance = {"image": "0 + C(image)", "both": "0 + C(cell):C(image)", "seed": "0 + C(cell):C(seed)"}
    fitted = models.mixedlm("score ~ cell", frame, groups="all", vc_formula=of_chance, re_formula="0").fit()
    found = contrast([[scores[1]], [scores[0]]], [1, -1], [True])
    assert min(fitted.vcomp) > 0.1  # where one is zero, the two methods differ
    assert found.mean == pytest.approx(fitted.params["cell"])
    assert found.standard_error == pytest.approx(fitted.bse["cell"], rel=0.02)


def test_degrees_of_freedom_lie_between_those_of_one_cell_and_of_all() -> None:
    assert satterthwaite([2, 2, 2, 2], 4) == pytest.approx(16)
    assert satterthwaite([1, 0, 0, 0], 4) == pytest.approx(4)
    assert satterthwaite([0, 0], 4) == 4
    rng = np.random.default_rng(11)
    cells = [[rng.standard_normal((3, 30))] for _ in range(4)]
    weights = [0.5, 0.5, -0.5, -0.5]
    found = contrast(cells, weights, [True])
    assert 2 <= found.error.freedom <= 8
    assert found.mean == pytest.approx(sum(w * cell[0].mean() for w, cell in zip(weights, cells, strict=True)))
    # The images' part is that of the contrast of each image's scores: what cells have in common cancels.
    common = rng.standard_normal((1, 30))
    moved = contrast([[cell[0] + common] for cell in cells], weights, [True])
    assert moved.error.images == pytest.approx(found.error.images) and moved.mean == pytest.approx(found.mean)


def test_what_all_cells_of_a_seed_share_only_widens_the_interval() -> None:
    rng = np.random.default_rng(12)
    held, width = [], []
    for _ in range(300):
        of_seed = rng.standard_normal((4, 1))
        cells = [[of_seed + 0.5 * rng.standard_normal((4, 1)) + rng.standard_normal((4, 20))] for _ in range(2)]
        low, high = contrast(cells, [1, -1], [True]).interval_95
        held.append(low <= 0 <= high)
        width.append(high - low)
    assert np.mean(held) >= 0.97
    assert np.median(width) > 2 * 1.96 * np.hypot(0.5 * np.sqrt(2 / 4), np.sqrt(2 / 80))


def test_a_difference_holds_its_level_where_the_models_of_a_side_move_together() -> None:
    rng = np.random.default_rng(14)
    wrong, of_cells = 0, 0
    for _ in range(400):
        common = rng.standard_normal((2, 5, 1))
        cells = [0.95 * common[cell // 2] + 0.3 * rng.standard_normal((5, 1)) + np.zeros(3) for cell in range(4)]
        scores = [[{"test": of_seed} for of_seed in cell] for cell in cells]
        wrong += difference_over_seeds(scores[:2], scores[2:]).p_value < 0.05
        of_cells += contrast_over_seeds(scores, [0.5, 0.5, -0.5, -0.5]).p_value < 0.05
    assert wrong <= 34 < of_cells  # 20 expected; more than 34 of 400 has a probability of about 0.001


def test_a_difference_is_that_of_the_means_of_both_sides() -> None:
    rng = np.random.default_rng(15)
    cells = [[{"test": rng.standard_normal(6), "train": rng.standard_normal(4)} for _ in range(3)] for _ in range(3)]
    found = difference_over_seeds(cells[:2], cells[2:])
    by_seed = [[of_seed["test"].mean() + of_seed["train"].mean() for of_seed in cell] for cell in cells]
    assert found.mean == pytest.approx(np.mean(by_seed[:2]) - np.mean(by_seed[2]))
    of_sides = [np.var(np.mean(side, axis=0), ddof=1) / 3 for side in (by_seed[:2], by_seed[2:])]
    assert found.error.seeds == pytest.approx(math.sqrt(sum(of_sides)))
    assert found.error.freedom == pytest.approx(satterthwaite([float(of_side) for of_side in of_sides], 2))


def test_the_smallest_detectable_difference_is_found_with_its_probability() -> None:
    """Less than 0.8: a study knows its error only by an estimate. In 2,500 simulated tests it was 0.74."""
    rng = np.random.default_rng(13)

    def study(true: float) -> tuple[float, float, float]:
        seeds = [true * (side < 1) + rng.standard_normal((5, 1)) for side in range(2)]
        found = contrast([[of_side + np.zeros((1, 3))] for of_side in seeds], [1.0, -1.0], [True])
        half_width = found.error.half_width(0.01)
        return found.mean, half_width, found.error.smallest_detectable(half_width)

    detectable = float(np.mean([study(0)[2] for _ in range(300)]))
    again = [study(detectable) for _ in range(400)]
    assert np.mean([mean > half_width for mean, half_width, _ in again]) == pytest.approx(0.74, abs=0.07)


# --- few images ---------------------------------------------------------------------------------------------


def test_with_few_correct_images_the_interval_is_no_narrower_than_wilsons() -> None:
    one = wilson_interval(0.001, 1000)
    assert with_few_images(0.001, 1000, (-0.001, 0.003)) == (-0.001, one[1])
    assert list(with_few_images(0.999, 1000, (0.997, 1.001))) == [pytest.approx(1 - one[1]), 1.001]
    assert with_few_images(0.02, 1000, (0.015, 0.025)) == (0.015, 0.025)


def test_one_correct_image_gives_no_narrower_interval_than_none() -> None:
    scores: Any = lambda result: {"test": np.arange(1000) < result.correct}  # noqa: E731
    metric = Metric("some", "some", scores=scores)

    def interval(*correct: int) -> list[float]:
        results: Any = [SimpleNamespace(correct=count) for count in correct]
        found = summarise(results, metric)
        assert found["mean"] == pytest.approx(np.mean(correct) / 1000)
        return list(found["interval_95"])

    assert interval(0, 0, 0, 0, 0) == pytest.approx([0, 0.00383], abs=1e-5)
    assert interval(0, 0, 0, 0, 1) == [0.0, pytest.approx(wilson_interval(0.0002, 1000)[1])]
    assert interval(0, 0, 0, 0, 0)[1] < interval(0, 0, 0, 0, 1)[1]
    assert interval(1, 1, 1, 1, 1)[1] > interval(0, 0, 0, 0, 1)[1] > 0.00383
    assert summarise_values([0.0, 0.0, 0.001], 1000)["interval_95"][1] > 0.00383


# --- tests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_one", "only_other", "p"), [(0, 0, 1), (5, 0, 2 / 32), (3, 3, 1), (1, 9, 22 / 1024)])
def test_mcnemar_is_the_exact_test_on_images_that_differ(only_one: int, only_other: int, p: float) -> None:
    one = np.array([True] * only_one + [False] * only_other + [True] * 4 + [False] * 2)
    other = np.array([False] * only_one + [True] * only_other + [True] * 4 + [False] * 2)
    assert mcnemar(one, other) == pytest.approx(p)


def test_holm_equals_its_steps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_error_rate_of_a_family() -> None:
    rng = np.random.default_rng(6)
    wrong = sum(min(holm(rng.random(10).tolist())) < 0.05 for _ in range(4000)) / 4000
    assert wrong == pytest.approx(0.05, abs=0.012)
