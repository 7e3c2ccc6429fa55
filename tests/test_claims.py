"""The claims, their family of tests, the single differences, and the words for all of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from bench import contrasts, power
from robustness_study.report.conclusion_sections import ABOUT_OTHER_TESTS, claims_table, other_tests
from robustness_study.report.statistics_json import conclusion_as_json, family_as_json
from robustness_study.results import claims
from robustness_study.results.claims import CLAIMS, Claim
from robustness_study.results.conclusions import Conclusion, Family
from robustness_study.results.differences import COMPARED, interval_in_points, p_in_table, p_in_text, pairs, points
from robustness_study.results.families import LEVEL, Adjusted, adjust
from robustness_study.results.intervals import difference_over_seeds
from robustness_study.results.metrics import BY_NAME
from robustness_study.results.other_tests import OTHER_TESTS
from robustness_study.statistics import Error, Estimate, holm

TOP = Path(__file__).parents[1]


def estimate_of(mean: float, standard_error: float = 0.01, n: int = 5) -> Estimate:
    """An estimate whose error is normal."""
    error = Error(standard_error, 0.0, 0.0)
    half_width = error.half_width_95()
    return Estimate(mean, 0.01, n, standard_error, (mean - half_width, mean + half_width), error.p_value(mean), error)


# --- the list ----------------------------------------------------------------------------------------------


def test_each_claim_is_a_difference_of_means_over_the_other_setting() -> None:
    assert len({(claim.better, claim.metric) for claim in CLAIMS}) == len(CLAIMS) == 7
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        weights = claim.weights()
        assert set(weights) == set(product(claims.LOSSES, claims.TRAIN_SETS))
        assert {name: weight > 0 for name, weight in weights.items()} == {
            name: claim.better in name for name in weights
        }
        assert set(map(abs, weights.values())) == {0.5}
    by_setting = {
        better: [claim.metric for claim in CLAIMS if claim.better == better] for better in ("corrupted", "angular")
    }
    assert by_setting == {
        "corrupted": ["test_corrupted", "test_clean", "suite_unseen_mean", "robust_2"],
        "angular": ["test_clean", "test_corrupted", "robust_2"],
    }
    assert CLAIMS[0].contrast() == "trained on corrupted − trained on clean, mean over cross_entropy and angular"
    assert CLAIMS[-1].contrast() == "angular − cross_entropy, mean over training on clean and on corrupted"


def test_an_idea_has_a_family_of_its_own_that_is_the_same_for_every_idea() -> None:
    found = claims.families(["cross_entropy", "arcface", "angular", "mine"], ["clean", "augmix", "corrupted"])
    assert list(found) == [claims.STUDIES, "the loss arcface", "the loss mine", "training on augmix"]
    assert found[claims.STUDIES] == CLAIMS
    for title, better in (("the loss arcface", "arcface"), ("the loss mine", "mine")):
        assert [claim.metric for claim in found[title]] == [
            claim.metric for claim in CLAIMS if claim.better == "angular"
        ]
        for claim in found[title]:
            assert claim.weights() == {
                (better, "clean"): 0.5, (better, "corrupted"): 0.5,
                ("cross_entropy", "clean"): -0.5, ("cross_entropy", "corrupted"): -0.5,
            }  # fmt: skip
            assert f"The {better} loss has a higher" in claim.text
    assert [claim.metric for claim in found["training on augmix"]] == [claim.metric for claim in CLAIMS[:4]]
    for claim in found["training on augmix"]:
        signs = {"augmix": 0.5, "clean": -0.5}
        assert claim.weights() == {(loss, name): signs[name] for loss, name in product(claims.LOSSES, signs)}
        assert "augmix images" in claim.text and "same corruption" not in claim.text
    texts = [claim.text for family in found.values() for claim in family]
    assert len(set(texts)) == len(texts)


def test_no_idea_changes_what_is_said_of_another() -> None:
    alone = claims.families(["cross_entropy", "arcface"], ["clean", "corrupted"])
    together = claims.families(["cosface", "cross_entropy", "arcface"], ["augmix", "clean", "corrupted"])
    assert alone["the loss arcface"] == together["the loss arcface"] and alone.items() <= together.items()
    without = claims.families(["cosface", "arcface"], ["augmix"])  # nothing of the studies is here
    assert without["the loss arcface"][0].over == ("augmix",)
    assert without["training on augmix"][0].over == ("cosface", "arcface")


def test_a_claim_about_one_training_set_is_no_mean() -> None:
    assert claims.of_loss("mine", ["clean"])[0].contrast() == "mine − cross_entropy, training on clean"
    assert claims.of_training_set("mine", ["angular"])[0].contrast() == "trained on mine − trained on clean, angular"


def test_claims_and_differences_name_metrics_that_exist() -> None:
    assert {*COMPARED, *(claim.metric for claim in CLAIMS)} <= set(BY_NAME)


# --- a family ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", [(0.05, 0.025, 0.021, 0.0), (-0.05, -0.025, 0.021, 0.0), (0.001,) * 3, (0.2,)])
def test_intervals_agree_with_p_values(means: tuple[float, ...]) -> None:
    family = [estimate_of(mean) for mean in means]
    found = adjust(family)
    assert [each.p_holm for each in found] == pytest.approx(holm([each.p_value for each in family]))
    for estimate, each in zip(family, found, strict=True):
        assert each.simultaneous_95 is not None
        low, high = each.simultaneous_95
        assert low <= estimate.mean <= high
        assert (low < 0 < high) == (each.sign_of(estimate.mean) == 0)
        half_width = estimate.error.half_width(LEVEL / len(means))
        # Bonferroni's interval, cut at zero where Holm's method alone finds the difference.
        assert min(abs(low - (estimate.mean - half_width)), abs(low)) < 1e-12
        assert min(abs(high - (estimate.mean + half_width)), abs(high)) < 1e-12


def test_an_interval_is_cut_at_zero_where_only_holms_method_finds_the_difference() -> None:
    family = [estimate_of(0.05), estimate_of(0.0235), estimate_of(-0.0235)]  # p: 6e-7, 0.0188, 0.0188
    intervals = [each.simultaneous_95 or (1.0, -1.0) for each in adjust(family)]
    assert intervals[1][0] == 0 and intervals[2][1] == 0
    assert [each.sign_of(one.mean) for one, each in zip(family, adjust(family), strict=True)] == [1, 1, -1]


def test_a_difference_that_does_not_vary_is_not_tested_and_still_counts() -> None:
    other, found = adjust([estimate_of(0.05), estimate_of(0.1, 0.0)])
    assert found == Adjusted(None, None, None) and found.sign_of(0.1) == 0
    assert Conclusion(CLAIMS[0], estimate_of(0.1, 0.0), found).verdict() == "not tested: nothing varies"
    assert other == adjust([estimate_of(0.05), estimate_of(0.0)])[0]
    assert adjust([estimate_of(0.1, 0.0, n=1)]) == [found]
    assert adjust([estimate_of(0.1, 4e-19)]) == [found]  # what rounding leaves of nothing
    rounded = adjust([estimate_of(0.05), estimate_of(0.1, 4e-19)])
    assert rounded == [adjust([estimate_of(0.05), estimate_of(0.0)])[0], found]  # it still counts in full
    conclusion = Conclusion(CLAIMS[0], estimate_of(0.1, 0.0), found)
    (row,) = claims_table(Family("some", [conclusion], {}, {})).to_dict("index").values()
    assert row == {
        "verdict": "not tested: nothing varies",
        "points": "+10.0",
        "simultaneous 95 % interval": "",
        "p (Holm)": "",
        "smallest detectable difference": "",
    }
    in_json = conclusion_as_json("some", conclusion, {})
    assert {name for name, value in in_json.items() if value is None} == {
        *("interval_95", "interval_covers", "simultaneous_95", "p_value", "p_holm", "smallest_detectable"),
    }


def test_no_interval_leaves_the_possible_differences() -> None:
    (found,) = adjust([estimate_of(0.1, 2.0)])
    assert found.simultaneous_95 == (-1.0, 1.0)


def test_with_one_seed_nothing_is_adjusted() -> None:
    family = [estimate_of(0.1, n=1), estimate_of(0.2, n=1)]
    found = adjust(family)
    assert [each.p_holm for each in found] == [None, None] == [each.smallest_detectable for each in found]
    assert [each.simultaneous_95 for each in found] == [each.interval_95 for each in family]
    assert {each.sign_of(0.1) for each in found} == {0}


def test_the_smallest_detectable_difference_is_at_the_level_of_the_family() -> None:
    found = adjust([estimate_of(0.05), estimate_of(0.02)])[1]
    assert found.smallest_detectable == pytest.approx(0.01 * (2.241403 + 0.841621), abs=1e-5)


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "p_holm", "verdict"),
    [
        (0.1, 0.04, "supported"),
        (-0.1, 0.04, "contradicted"),
        (0.1, 0.05, "not distinguishable"),
        (-0.1, 0.5, "not distinguishable"),
        (0.1, None, "not tested: one seed"),
    ],
)
def test_verdicts_follow_sign_and_p_value(mean: float, p_holm: float | None, verdict: str) -> None:
    estimate = estimate_of(mean, n=1 if p_holm is None else 2)
    adjusted = replace(adjust([estimate])[0], p_holm=p_holm)
    assert Conclusion(CLAIMS[0], estimate, adjusted).verdict() == verdict


def test_numbers_have_their_sign_and_no_digit_that_is_not_known() -> None:
    assert (points(0.0123), points(-0.0123), points(-0.0004)) == ("+1.2", "−1.2", "−0.0")
    assert interval_in_points((-0.0339, 0.0)) == "−3.4 to 0"
    assert (p_in_table(0.0312), p_in_table(1e-40), p_in_table(None)) == ("0.031", "< 0.0001", "")
    assert (p_in_table(0.0496), p_in_table(0.0504), p_in_table(0.049996)) == ("0.0496", "0.050", "0.049996")
    assert (p_in_table(0.1013), p_in_table(1.0), p_in_text(0.1013), p_in_text(1e-5)) == (
        "0.10",
        "1.0",
        "p = 0.10",
        "p < 0.0001",
    )
    assert interval_in_points(None) == "" and p_in_table(0.05) == "0.050"


def test_compared_models_differ_in_one_thing() -> None:
    names = list(product(["a", "b"], ["clean", "corrupted", "augmix"]))
    found = pairs(names)
    assert len(found) == 2 * 3 + 3 and len(set(found)) == len(found)
    assert (("b", "clean"), ("a", "corrupted")) not in found and (("b", "clean"), ("a", "clean")) in found


# --- other tests -------------------------------------------------------------------------------------------


def test_all_three_tests_are_those_that_the_simulation_compares() -> None:
    """Two sides of two models, five seeds, one image: so all error is from the seeds."""
    models = contrasts.accuracies(contrasts.TRUTHS["2 points"], np.random.default_rng(0))
    sides = [[[{"test": np.array([value])} for value in model] for model in side] for side in models]
    tests = [OTHER_TESTS["each model on its own"], difference_over_seeds, OTHER_TESTS["differences of each seed"]]
    found = [test(*sides) for test in tests]
    assert [each.p_value for each in found] == pytest.approx(contrasts.p_values(models, 0.0, 0.0))
    means = models.mean((1, 2))
    assert [each.mean for each in found] == pytest.approx([means[0] - means[1]] * 3)
    assert len({round(each.p_value, 9) for each in found}) == 3


def test_all_three_tests_have_the_same_error_from_images() -> None:
    """Every seed has the same scores, so the seeds have no part in it."""
    rng = np.random.default_rng(0)
    scores = [{"test": rng.integers(0, 2, 40).astype(float)} for _ in range(4)]
    sides = [[[scores[0]] * 3, [scores[1]] * 3], [[scores[2]] * 3, [scores[3]] * 3]]
    contrast = (scores[0]["test"] + scores[1]["test"] - scores[2]["test"] - scores[3]["test"]) / 2
    for test in (difference_over_seeds, *OTHER_TESTS.values()):
        error = test(*sides).error
        assert (error.images, error.seeds) == pytest.approx((contrast.std(ddof=1) / math.sqrt(40), 0.0))


def test_the_report_names_the_verdicts_that_another_test_would_change() -> None:
    def conclusion(claim: Claim, mean: float, p_holm: float | None) -> Conclusion:
        return Conclusion(claim, estimate_of(mean), Adjusted(p_holm, None, None))

    ours = [conclusion(CLAIMS[0], 0.05, 0.01), conclusion(CLAIMS[1], -0.02, 0.058)]
    same = {"each model on its own": ours, "differences of each seed": ours}
    assert other_tests([Family("some", ours, {}, same)]) == [
        ABOUT_OTHER_TESTS,
        "With each of them, every verdict would be the same.",
    ]
    differ = {
        "each model on its own": [ours[0], conclusion(CLAIMS[1], -0.02, 0.017)],
        "differences of each seed": [conclusion(CLAIMS[0], 0.05, None), conclusion(CLAIMS[1], -0.02, 0.00001)],
    }
    family = Family("some", ours, {}, differ)
    about, others = other_tests([family])
    assert about == ABOUT_OTHER_TESTS
    assert others.splitlines() == [
        "With another test, these verdicts would differ, so they are less certain than the others:",
        "",
        f"- {CLAIMS[1].text}: *contradicted* by *each model on its own*, p = 0.017",
        f"- {CLAIMS[0].text}: *not tested: nothing varies* by *differences of each seed*",
        f"- {CLAIMS[1].text}: *contradicted* by *differences of each seed*, p < 0.0001",
    ]
    assert [found["other_tests"] for found in family_as_json(family)] == [
        {
            "each model on its own": {"verdict": "supported", "p_holm": 0.01},
            "differences of each seed": {"verdict": "not tested: nothing varies", "p_holm": None},
        },
        {
            "each model on its own": {"verdict": "contradicted", "p_holm": 0.017},
            "differences of each seed": {"verdict": "contradicted", "p_holm": 0.00001},
        },
    ]


# --- simulated studies -------------------------------------------------------------------------------------


def test_simulated_models_have_the_true_differences() -> None:
    scenario = power.Scenario("0.3", seeds=40, true_points={0: 4.0, 5: -3.0}, images={"test_corrupted": 4000})
    found = power.scores(scenario, "test_corrupted", np.random.default_rng(0)).mean((1, 2))
    of_cell = dict(zip(power.CELLS, found, strict=True))

    def contrast(claim: Claim) -> float:
        return float(sum(weight * of_cell[name] for name, weight in claim.weights().items()))

    assert contrast(CLAIMS[0]) == pytest.approx(0.04, abs=0.018)  # three standard errors of so many images
    assert contrast(CLAIMS[5]) == pytest.approx(-0.03, abs=0.01)


def test_few_simulated_studies_agree_with_the_table() -> None:
    """`python -m bench.power` simulates more. With the required rates, 1 in 1,000 such tests fails by chance."""
    none = power.simulate(power.SCENARIOS["as in the earlier study, none"], 40, seed=1)
    assert none["wrong"] <= 7 / 40 and none["hold"] >= 33 / 40
    two = power.simulate(power.SCENARIOS["as in the earlier study, 2 points"], 25, seed=1)
    large = [share for claim, share in zip(CLAIMS, two["found"], strict=True) if power.IMAGES[claim.metric] == 10_000]
    assert len(large) == 4 and min(large) >= 0.52
    assert two["hold"] >= 0.76


def test_the_three_ways_to_test_a_difference_are_compared() -> None:
    """The committed table has 10,000 tests a row; 1 in 1,000 such tests here fails by chance."""
    committed = json.loads((TOP / "bench/results/contrasts.json").read_text(encoding="utf-8"))
    assert committed["level"] == contrasts.STRICTEST == 0.05 / 7
    rows = committed["rows"]
    assert {name: row["truth"] for name, row in rows.items()} == {
        name: asdict(truth) for name, truth in contrasts.TRUTHS.items()
    }
    assert contrasts.table(rows) in (TOP / "docs/statistics.md").read_text(encoding="utf-8")
    common = contrasts.found(contrasts.TRUTHS["the same, without an error from images"], 300, seed=1)
    assert common["each model"] > 4 / 300 and common["sides"] <= 9 / 300
    assert contrasts.found(contrasts.TRUTHS["2 points"], 100, seed=1)["sides"] == pytest.approx(0.76, abs=0.14)


def test_the_table_of_the_documentation_is_that_of_the_simulation() -> None:
    scenarios = json.loads((TOP / "bench/results/power.json").read_text(encoding="utf-8"))["scenarios"]
    assert list(scenarios) == list(power.SCENARIOS)
    page = (TOP / "docs/statistics.md").read_text(encoding="utf-8")
    assert power.table(scenarios) in page


def test_the_tests_are_as_right_as_required() -> None:
    """The required rates, less what chance moves in so many simulated studies (two standard errors)."""
    scenarios = json.loads((TOP / "bench/results/power.json").read_text(encoding="utf-8"))["scenarios"]
    for name, found in scenarios.items():
        slack = 2 * np.sqrt(0.05 * 0.95 / found["studies"])
        assert found["wrong"] <= 0.05 + slack, name
        assert found["hold"] >= 0.95 - slack, name
    found = scenarios["as in the earlier study, 2 points"]["found"]
    assert all(share >= 0.8 for claim, share in zip(CLAIMS, found, strict=True) if power.IMAGES[claim.metric] == 10_000)
