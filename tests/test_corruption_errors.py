"""Corruption errors with their intervals, and the warning about divisors near zero."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_cells import OF_NO_STRESS

from robustness_study.core.array_text import from_text, to_text
from robustness_study.report import suite_section
from robustness_study.results.cell_results import Cells
from robustness_study.results.corruption_errors import (
    NOT_WORSE,
    REFERENCE,
    UNBOUNDED,
    CorruptionErrors,
    corruption_error,
    corruption_errors,
    drawn_error_sums,
    error_sums,
    mean_ratio,
)
from robustness_study.results.image_draws import draws_of_images, error_of_mean, variance_over
from robustness_study.results.suite import Stress
from robustness_study.statistics import estimate

IMAGES = 400
NAMES = ["fog", "snow"]
OTHER = ("angular", "clean")


def stress_of(wrong: dict[str, np.ndarray]) -> Stress:
    """The results of a model. `wrong`, bool severities×N by corruption, says which images it gets wrong."""
    images = next(iter(wrong.values())).shape[1]
    rows = [
        {"corruption": name, "severity": severity, "accuracy": float(1 - of_one.mean())}
        for name, by_severity in wrong.items()
        for severity, of_one in enumerate(by_severity, start=name != "clean")
    ]
    predictions = {name: [to_text(of_one) for of_one in by_severity] for name, by_severity in wrong.items()}
    texts = {**OF_NO_STRESS, "predictions": predictions}
    return Stress(
        {**texts, "temperature": 1.0, "labels": to_text(np.zeros(images, int)), "images": images, "rows": rows}, ["fog"]
    )


def random_stress(rng: np.random.Generator, clean: float, corrupted: float, images: int = IMAGES) -> Stress:
    """A model that is wrong with these probabilities; hard images are wrong more often."""
    hardness = rng.beta(0.5, 0.5, images) * 2

    def wrong(severities: int, probability: float) -> np.ndarray:
        return rng.random((severities, images)) < probability * hardness

    return stress_of({"clean": wrong(1, clean), **{name: wrong(5, corrupted) for name in NAMES}})


def decoded(text: str) -> np.ndarray:
    """Which images a model gets wrong, from its predictions; every label is 0."""
    return from_text(text).astype(bool)


def study_of(**models: list[Stress]) -> Cells:
    """Cells of the reference model and of another, one entry per seed."""
    keys = {"reference": REFERENCE, "other": OTHER}
    cells: dict[tuple[str, str], Any] = {
        keys[name]: [SimpleNamespace(stress=each, cell=SimpleNamespace(seed=seed)) for seed, each in enumerate(row)]
        for name, row in models.items()
    }
    return cells


def random_study(seeds: int, clean: float = 0.2, corrupted: float = 0.4) -> Cells:
    rng = np.random.default_rng(0)
    reference = [random_stress(rng, clean, corrupted) for _ in range(seeds)]
    return study_of(reference=reference, other=[random_stress(rng, 0.25, 0.35) for _ in range(seeds)])


# --- draws of images ---------------------------------------------------------------------------------------


def test_draws_are_as_large_as_the_set_of_images_and_always_the_same() -> None:
    counts = draws_of_images(50)
    assert (counts.sum(1) == 50).all() and np.array_equal(counts, draws_of_images(50))
    assert counts.mean() == 1 and counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)  # of a Poisson-like count


def test_drawn_sums_are_those_of_the_drawn_images() -> None:
    rng = np.random.default_rng(1)
    wrong = {"clean": rng.random((1, 30)) < 0.2, "fog": rng.random((5, 30)) < 0.5}
    counts = draws_of_images(30)[:4]
    found = drawn_error_sums(stress_of(wrong), counts)
    for draw, count in enumerate(counts):
        drawn = stress_of({name: np.repeat(of_one, count.astype(int), axis=1) for name, of_one in wrong.items()})
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(error_sums(drawn))


def test_drawing_every_image_once_gives_the_error_itself() -> None:
    rng = np.random.default_rng(2)
    model, reference = random_stress(rng, 0.2, 0.4), random_stress(rng, 0.2, 0.5)
    once = np.ones((1, IMAGES), np.float32)
    for relative in (False, True):
        drawn = mean_ratio(drawn_error_sums(model, once), drawn_error_sums(reference, once), NAMES, relative)
        assert drawn == pytest.approx([corruption_error(model, reference, NAMES, relative)])


# --- intervals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 4])
def test_interval_is_that_of_a_mean_where_the_ratio_is_one(seeds: int) -> None:
    """The reference is wrong on every image, so the mCE is a plain mean over images, and `estimate` applies."""
    rng = np.random.default_rng(3)
    hardness = rng.random(IMAGES)
    wrong = [{"clean": rng.random((1, IMAGES)) < 0.1, "fog": rng.random((5, IMAGES)) < hardness} for _ in range(seeds)]
    always = stress_of({"clean": np.ones((1, IMAGES), bool), "fog": np.ones((5, IMAGES), bool)})
    cells = study_of(reference=[always] * seeds, other=[stress_of(each) for each in wrong])
    found = CorruptionErrors(cells).of(OTHER, ["fog"], False)
    expected = estimate([np.stack([each["fog"].mean(0) for each in wrong])], [True])
    assert found["value"] == pytest.approx(expected.mean) and found["n"] == seeds
    assert found["interval_95"] == pytest.approx(expected.interval_95, abs=0.1 * expected.standard_error)
    assert found["interval_covers"] == ("images" if seeds == 1 else "seeds and images")
    assert (found["std"] is None) == (seeds == 1)


def test_noise_of_a_seed_counts_once() -> None:
    """Each seed has its own noise and nothing is shared: the error is then that of the seeds."""
    rng = np.random.default_rng(4)
    drawn = rng.normal(1, 0.1, (5, 4000))
    by_seed = [1.0, 1.1, 0.9, 1.05, 0.95]
    error = error_of_mean(by_seed, drawn)
    assert error.freedom == 4 and error.images < 0.01
    assert error.seeds == pytest.approx(0.1 / math.sqrt(5), rel=0.05)  # the seeds differ less than their noise
    shared = error_of_mean(by_seed, np.repeat(drawn[:1], 5, axis=0))
    assert shared.images == pytest.approx(0.1, rel=0.05)
    assert shared.seeds == pytest.approx(np.std(by_seed, ddof=1) / math.sqrt(5))
    alone = error_of_mean([1.0], drawn[:1])
    assert alone.images == pytest.approx(0.1, rel=0.05) and (alone.seeds, alone.freedom) == (0, 0)


def test_equal_seeds_still_have_the_interval_of_their_noise() -> None:
    drawn = np.random.default_rng(5).normal(1, 0.1, (3, 4000))
    assert error_of_mean([1.0, 1.0, 1.0], drawn).seeds == pytest.approx(0.1 / math.sqrt(3), rel=0.05)


def test_a_few_wild_draws_do_not_widen_the_interval_and_many_make_it_infinite() -> None:
    drawn = np.random.default_rng(6).normal(0, 2, 4000)
    assert variance_over(drawn) == pytest.approx(4, rel=0.08)
    assert variance_over(np.where(np.arange(4000) < 40, np.inf, drawn)) == pytest.approx(4, rel=0.12)
    assert variance_over(np.where(np.arange(4000) < 800, np.inf, drawn)) == math.inf


@pytest.mark.parametrize("relative", [False, True])
def test_interval_covers_the_value_of_all_images(relative: bool) -> None:
    """Studies of 150 images, drawn from 20,000: about 95 % of the intervals hold the value of all of them."""
    rng = np.random.default_rng(7)
    whole = {name: random_stress(rng, 0.1, 0.45, 20_000) for name in ("reference", "other")}
    truth = corruption_error(whole["other"], whole["reference"], NAMES, relative)
    assert truth is not None
    wrong = {
        name: {of: np.stack([decoded(text) for text in texts]) for of, texts in stress.predictions.items()}
        for name, stress in whole.items()
    }
    inside = 0
    for _ in range(60):
        chosen = rng.integers(20_000, size=150)
        part = {
            name: [stress_of({of: rows[:, chosen] for of, rows in by_name.items()})] for name, by_name in wrong.items()
        }
        low, high = CorruptionErrors(study_of(**part)).of(OTHER, NAMES, relative)["interval_95"]
        inside += low <= truth <= high
    assert 52 <= inside <= 60


def test_reference_has_one_without_an_interval() -> None:
    for of_groups in corruption_errors(random_study(3))["cross_entropy, clean"].values():
        for error in of_groups.values():
            assert error["value"] == pytest.approx(1) and error["interval_95"] is error["reason"] is None


def test_relative_error_may_be_negative_and_its_interval_too() -> None:
    rng = np.random.default_rng(8)
    reference, other = random_stress(rng, 0.1, 0.4), random_stress(rng, 0.40, 0.39)
    found = corruption_errors(study_of(reference=[reference], other=[other]))["angular, clean"]
    assert found["relative mCE"]["main"]["interval_95"][0] < 0 < found["mCE"]["main"]["interval_95"][0]


# --- divisors near zero ------------------------------------------------------------------------------------


def test_divisor_near_zero_is_named_with_its_seeds_and_warned_of() -> None:
    rng = np.random.default_rng(9)
    easy, hard = random_stress(rng, 0.3, 0.318), random_stress(rng, 0.1, 0.5)
    mixed = stress_of(
        {name: np.stack([decoded(t) for t in easy.predictions[name]]) for name in ("clean", "fog")}
        | {"snow": np.ones((5, IMAGES), bool)}
    )
    cells = study_of(reference=[hard, mixed, mixed], other=[random_stress(rng, 0.2, 0.4) for _ in range(3)])
    errors = corruption_errors(cells)
    assert errors["angular, clean"]["relative mCE"]["main"]["near_zero"] == {"fog": [1, 2]}
    assert errors["angular, clean"]["relative mCE"]["unseen"]["near_zero"] == {}  # `unseen` is snow
    assert errors["angular, clean"]["mCE"]["main"]["near_zero"] == {}
    (warning,) = suite_section.near_zero_warning(errors)
    assert warning.startswith(
        "> **Warning: the relative mCE divides by numbers near zero.** This is so for `fog` (seeds 1, 2)."
    )
    assert suite_section.near_zero_warning(corruption_errors(random_study(3, 0.1, 0.5))) == []


def test_divisor_at_zero_leaves_no_interval_and_below_no_value() -> None:
    rng = np.random.default_rng(10)
    clean = rng.random((1, IMAGES)) < 0.3
    other = random_stress(rng, 0.2, 0.4)

    def relative_error(corrupted: np.ndarray) -> dict[str, Any]:
        reference = stress_of(
            {"clean": clean, "fog": np.repeat(corrupted, 5, axis=0), "snow": np.ones((5, IMAGES), bool)}
        )
        return CorruptionErrors(study_of(reference=[reference], other=[other])).of(OTHER, NAMES, True)

    one_more = clean.copy()  # wrong on 20 other images, right on 19 that were wrong
    one_more[0, np.flatnonzero(~clean[0])[:20]] = True
    one_more[0, np.flatnonzero(clean[0])[:19]] = False
    found = relative_error(one_more)
    assert found["value"] is not None and found["interval_95"] is None and found["reason"] == UNBOUNDED
    assert found["near_zero"] == {"fog": [0]}
    found = relative_error(clean)
    assert found["value"] is None and found["reason"] == NOT_WORSE and found["near_zero"] == {"fog": [0]}
