"""Where a training set helps and where it hurts, and intervals for corruptions as a random sample."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_cells import OF_NO_STRESS
from scipy import stats

from robustness_study.core.array_text import to_text
from robustness_study.report import suite_section, suite_tables
from robustness_study.report.conclusion_sections import random_corruptions_texts
from robustness_study.results import claims, training_set_effects
from robustness_study.results.cell_results import Cells
from robustness_study.results.claims import LOSSES
from robustness_study.results.conclusions import Conclusion, interval_for_random_corruptions
from robustness_study.results.families import adjust
from robustness_study.results.intervals import difference_over_seeds
from robustness_study.results.random_corruptions import (
    error_of_corruptions,
    right_by_corruption,
    widened,
    with_random_corruptions,
)
from robustness_study.results.suite import Stress
from robustness_study.results.training_set_effects import TrainingSetEffect
from robustness_study.statistics import Error, Estimate, estimate

IMAGES = 200
NAMES_UNSEEN = ["fog", "snow"]
NAMES = ["fog", "gaussian_noise", "saturate"]  # two of `main`, the second like training; one that is held out
Shares = dict[str, list[float]]  # corruption → share of images that are right at each severity


def stress_of(shares: Shares, order: np.ndarray) -> Stress:
    """A model that is right on the first images of `order`, as many as `shares` say; half of them when clean."""
    shares = {"clean": [0.5], **shares}
    right = {
        name: [np.isin(np.arange(IMAGES), order[: round(share * IMAGES)]) for share in shares[name]] for name in shares
    }
    rows = [
        {"corruption": name, "severity": severity, "accuracy": float(of_one.mean())}
        for name, by_severity in right.items()
        for severity, of_one in enumerate(by_severity, start=name != "clean")
    ]
    predictions = {name: [to_text(1 - of_one) for of_one in by_severity] for name, by_severity in right.items()}
    texts = {**OF_NO_STRESS, "predictions": predictions}
    return Stress(
        {**texts, "temperature": 1.0, "labels": to_text(np.zeros(IMAGES, int)), "images": IMAGES, "rows": rows},
        ["gaussian_noise"],
    )


def study_of(models: dict[tuple[str, str], list[Shares]]) -> Cells:
    """Cells with the results of a model for each seed; all models of a seed find the same images hard."""
    cells: dict[tuple[str, str], Any] = {}
    for model, of_seeds in models.items():
        orders = [np.random.default_rng(seed).permutation(IMAGES) for seed in range(len(of_seeds))]
        pairs = zip(of_seeds, orders, strict=True)
        cells[model] = [SimpleNamespace(stress=stress_of(shares, order)) for shares, order in pairs]
    return cells


FLAT = [0.5] * 5
TURNING = [0.4, 0.45, 0.5, 0.6, 0.9]  # loses at low severities and gains at high ones


def two_losses() -> Cells:
    before: Shares = dict.fromkeys(NAMES, FLAT)
    after: Shares = {"fog": [0.4] * 5, "gaussian_noise": TURNING, "saturate": FLAT}
    stronger: Shares = {"fog": [0.3] * 5, "gaussian_noise": TURNING, "saturate": FLAT}
    return study_of(
        {
            ("cross_entropy", "clean"): [before] * 3,
            ("cross_entropy", "corrupted"): [after] * 3,
            ("angular", "clean"): [before] * 3,
            ("angular", "corrupted"): [stronger] * 3,
            ("cross_entropy", "robust"): [after] * 3,
        }
    )


# --- by severity and by family -----------------------------------------------------------------------------


def test_training_sets_are_compared_with_clean_for_the_losses_that_have_both() -> None:
    assert training_set_effects.compared(two_losses()) == {
        "corrupted": ["cross_entropy", "angular"],
        "robust": ["cross_entropy"],
    }
    without = {model: row for model, row in two_losses().items() if model[1] != "clean"}
    assert training_set_effects.compared(without) == {} and suite_section.effects_text(without) == []


def test_effects_are_differences_of_means_over_losses() -> None:
    found = TrainingSetEffect(two_losses(), "corrupted", ["cross_entropy", "angular"]).effects()
    means = {key: effect.mean for key, effect in found.items()}
    assert means["unseen", None] == means["weather", 3] == pytest.approx(-0.15)  # fog: −0.1 and −0.2
    for severity, share in enumerate(TURNING, start=1):
        assert means["noise", severity] == pytest.approx(share - 0.5)
        assert means["main", severity] == pytest.approx((share - 0.5 - 0.15) / 2)
    assert means["noise", None] == pytest.approx(0.07) and means["digital", None] == pytest.approx(0)
    assert {group for group, _ in found} == {"main", "unseen", "noise", "weather", "digital"}  # there is no blur


def test_interval_is_that_of_a_claim() -> None:
    cells = two_losses()
    found = TrainingSetEffect(cells, "corrupted", ["cross_entropy", "angular"]).effects()["weather", 1]
    of_claim = difference_over_seeds(
        *(
            [[{"fog": result.stress.right(["fog"], 1)} for result in cells[loss, of]] for loss in LOSSES]
            for of in ("corrupted", "clean")
        )
    )
    assert found == of_claim and found.standard_error > 0


def test_report_says_where_it_helps_and_where_it_hurts() -> None:
    note, lines, _ = suite_section.effects_text(two_losses())
    assert "over seeds and images" in note
    first, by_severity, by_family, over_main, *others = lines.splitlines()
    assert first == (
        "- Trained on **corrupted**: helps at severity 5 and under noise; hurts at severity 1, 2 and 3 and under "
        "weather; no clear difference at severity 4 and under digital. (Mean over cross_entropy and angular.)"
    )
    assert by_severity.startswith("  - By severity: 1: −12.5 (−") and ", 5: +12.5 (+" in by_severity
    assert by_family.endswith(" From severity 1 to 5 the sign changes under noise (−10.0 to +40.0).")
    assert ", digital: +0.0. " in by_family  # nothing varies, so there is no interval
    assert over_main.startswith("  - Over the 2 of `main`: −4.0; interval for fixed corruptions −")
    assert others[0].startswith("- Trained on **robust**:")  # a single corruption is unlike training, so no line on it


def test_a_sign_that_chance_may_have_changed_is_not_reported() -> None:
    nearly = [0.505, 0.5, 0.5, 0.5, 0.9]  # one image more than without training on such images
    hurt = [0.4, 0.5, 0.5, 0.5, 0.505]
    for of_noise in (nearly, hurt):
        after: Shares = {"fog": FLAT, "gaussian_noise": of_noise, "saturate": FLAT}
        cells = study_of({("a", "clean"): [dict.fromkeys(NAMES, FLAT)] * 3, ("a", "corrupted"): [after] * 3})
        effects = TrainingSetEffect(cells, "corrupted", ["a"]).effects()
        assert suite_section.turning(effects) == ""
    opposite: Shares = {"fog": FLAT, "gaussian_noise": [0.495, 0.5, 0.5, 0.5, 0.9], "saturate": FLAT}
    cells = study_of({("a", "clean"): [dict.fromkeys(NAMES, FLAT)] * 3, ("a", "corrupted"): [opposite] * 3})
    effects = TrainingSetEffect(cells, "corrupted", ["a"]).effects()
    assert effects["noise", 1].mean < 0 < effects["noise", 5].mean and suite_section.turning(effects) == ""


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_claim_over_corruptions_has_an_interval_for_random_ones(seeds: int) -> None:
    before: Shares = dict.fromkeys(["fog", "snow"], FLAT)
    after: Shares = {"fog": [0.4] * 5, "snow": [0.6] * 5}
    cells = study_of({("a", "clean"): [before] * seeds, ("a", "corrupted"): [after] * seeds})
    (claim,) = (each for each in claims.of_training_set("corrupted", ["a"]) if each.metric == "suite_unseen_mean")
    sides = (
        [[{"test": result.stress.right(NAMES_UNSEEN)} for result in cells["a", of]]] for of in ("corrupted", "clean")
    )
    estimate_of_claim = difference_over_seeds(*sides)
    conclusion = Conclusion(claim, estimate_of_claim, adjust([estimate_of_claim] * 4)[0])
    wide = interval_for_random_corruptions(conclusion, cells, 4)
    scores = right_by_corruption(cells["a", "corrupted"], NAMES_UNSEEN) - right_by_corruption(
        cells["a", "clean"], NAMES_UNSEEN
    )
    level = 0.05 if seeds == 1 else 0.05 / 4
    half_width = widened(estimate_of_claim.error, scores, level).half_width(level)
    assert wide == pytest.approx((-half_width, half_width))
    (sentence,) = random_corruptions_texts([(claim.text, wide)], seeds)
    assert sentence.startswith("*Training on corrupted images") and ("together" in sentence) == (seeds > 1)


def test_report_of_one_seed_says_nothing_about_others() -> None:
    cells = {model: row[:1] for model, row in two_losses().items()}
    note, _, end = suite_section.effects_text(cells)
    assert "over images, not adjusted" in note and "With one seed they say nothing about other seeds." in note
    assert "about other images under the same corruptions" in end


def test_table_has_every_loss_and_their_mean() -> None:
    table = suite_tables.effects_table(two_losses())
    assert list(table) == [
        "corrupted − clean, cross_entropy",
        "corrupted − clean, angular",
        "corrupted − clean, mean over losses",
        "robust − clean, cross_entropy",
    ]
    weather = [table[column]["weather, severity 2"]["mean"] for column in table]
    assert weather == pytest.approx([-0.1, -0.2, -0.15, -0.1])
    entry = table["robust − clean, cross_entropy"]["digital"]
    assert entry["mean"] == 0 and entry["interval_95"] is entry["interval_covers"] is None
    assert table["robust − clean, cross_entropy"]["unlike training"]["images"] == IMAGES


# --- corruptions as a random sample ------------------------------------------------------------------------


def random_corruptions_of(scores: np.ndarray) -> Estimate:
    return with_random_corruptions(estimate([scores.mean(2)], [True]), scores)


def test_without_other_variation_the_interval_is_students_over_corruptions() -> None:
    values = np.array([0.1, 0.3, 0.2, 0.5])
    found = random_corruptions_of(np.broadcast_to(values, (1, 7, 4)))
    assert found.interval_95 == pytest.approx(stats.t.interval(0.95, 3, values.mean(), stats.sem(values)))


def test_what_seeds_and_corruptions_have_together_is_counted_once() -> None:
    table = np.array([[1.0, 2.0, 9.0], [3.0, 1.0, 6.0]])  # seeds × corruptions
    # By hand: the columns' means have the variance 133/12; the rest of a two-way table has the mean square 19/6.
    variance = 133 / 12 / 3 - 19 / 6 / 6
    error = error_of_corruptions(table[:, None, :].repeat(4, axis=1))
    assert error == pytest.approx(math.sqrt(variance) * stats.t.ppf(0.975, 2) / stats.norm.ppf(0.975))


def test_equal_corruptions_leave_the_interval_for_fixed_ones() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 50, 1)).repeat(6, axis=2)
    assert error_of_corruptions(scores) == pytest.approx(0, abs=1e-8)
    found = random_corruptions_of(scores)
    assert found.interval_95 == pytest.approx(estimate([scores.mean(2)], [True]).interval_95)


def test_scores_by_corruption_are_shares_of_severities() -> None:
    results = two_losses()["angular", "corrupted"]
    scores = right_by_corruption(results, NAMES)
    assert scores.shape == (3, IMAGES, 3)
    assert scores.mean(1) == pytest.approx(np.array([[0.3, np.mean(TURNING), 0.5]] * 3))
    assert (scores[1, :, 1] == results[1].stress.right(["gaussian_noise"])).all()
    paired = scores - right_by_corruption(two_losses()["angular", "clean"], NAMES)
    effect = TrainingSetEffect(two_losses(), "corrupted", ["angular"])
    fixed = effect.effects()["main", None]
    of_main = effect.with_corruptions_as_random("main", fixed)
    assert of_main is not None and of_main.mean == pytest.approx(paired[:, :, :2].mean())
    assert of_main.error == widened(fixed.error, paired[:, :, :2])
    assert effect.with_corruptions_as_random("weather", effect.effects()["weather", None]) is None
    of_corruptions = error_of_corruptions(paired)
    assert of_corruptions > 0.05
    assert widened(Error(0.3, 0.2, 4), paired) == Error(math.hypot(0.3, of_corruptions), 0.2, 4)


@pytest.mark.parametrize(("seeds", "corruptions"), [(1, 10), (3, 10), (5, 4)])
def test_interval_covers_other_corruptions_and_is_never_narrower(seeds: int, corruptions: int) -> None:
    rng = np.random.default_rng(1)
    inside = of_fixed = 0
    for _ in range(150):
        scores = rng.normal(0, 0.3, (1, 100, 1)) + rng.normal(0, 0.004, (seeds, 1, 1)) * (seeds > 1)
        scores = scores + rng.normal(0, 0.08, (1, 1, corruptions)) + rng.normal(0, 0.1, (seeds, 100, corruptions))
        found, fixed = random_corruptions_of(scores), estimate([scores.mean(2)], [True])
        assert found.mean == pytest.approx(fixed.mean)
        assert found.interval_95[0] <= fixed.interval_95[0] and found.interval_95[1] >= fixed.interval_95[1]
        inside += found.interval_95[0] <= 0 <= found.interval_95[1]
        of_fixed += fixed.interval_95[0] <= 0 <= fixed.interval_95[1]
    assert of_fixed < 138 <= inside  # 92 %
