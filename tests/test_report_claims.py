"""The report's answers to the claims, from hand-made cells."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    CELLS,
    INTERFACE,
    LOSSES,
    SEEDS,
    TRAIN_SETS,
    cells_of,
    change_result,
    choose_study,
    correct,
    expected_means,
    read_strictly,
    report_on,
    report_rows,
    results_of,
)

from robustness_study.core import params
from robustness_study.core.files import read_record
from robustness_study.report import conclusion_sections
from robustness_study.report.statistics_json import as_json
from robustness_study.report.study import read
from robustness_study.results import conclusions
from robustness_study.results.cell_results import Cells
from robustness_study.results.claims import CLAIMS
from robustness_study.results.differences import p_in_table, points
from robustness_study.results.families import adjust
from robustness_study.results.other_tests import OTHER_TESTS
from robustness_study.results.seen_corruptions import seen
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe
from robustness_study.statistics import Error, holm, variances_of
from robustness_study.webpage import sections as page_sections
from stages import compare


def test_report_answers_the_claims(compared: Path) -> None:
    statistics = read_strictly("reports/statistics.json")
    conclusions, rows = statistics["conclusions"], report_rows("Conclusions")
    measured = [claim for claim in CLAIMS if claim.metric in INTERFACE]
    assert [conclusion["claim"] for conclusion in conclusions] == [claim.text for claim in measured]
    means = {(loss, name): expected_means(loss, name) for loss, name in product(LOSSES, TRAIN_SETS)}
    for claim, found in zip(measured, conclusions, strict=True):
        by_hand = sum(weight * means[name][claim.metric] for name, weight in claim.weights().items())
        assert found["mean"] == pytest.approx(by_hand, abs=1e-12) and found["n"] == 2
        assert (found["metric"], found["contrast"]) == (claim.metric, claim.contrast())
        low, high = found["simultaneous_95"]
        assert (found["verdict"] == "not distinguishable") == (low < 0 < high)
        assert rows[claim.text] == [
            found["verdict"],
            points(found["mean"]),
            f"{points(low)} to {points(high)}",
            p_in_table(found["p_holm"]),
            f"{100 * found['smallest_detectable']:.1f}",
        ]
    adjusted = holm([found["p_value"] for found in conclusions])
    assert [found["p_holm"] for found in conclusions] == pytest.approx(adjusted)
    assert rows["claim"] == [
        "verdict", "points", "simultaneous 95 % interval", "p (Holm)",
        "smallest detectable difference",
    ]  # fmt: skip
    assert rows["difference"][4] == f"p (Holm, {len(statistics['differences'])} differences)"
    assert "confirmatory" in report_on("Conclusions") and "describe the study" in report_on("Conclusions")


def test_report_says_what_other_tests_would_conclude(compared: Path) -> None:
    similar = seen(params.section("corrupt", Corrupt), params.section("recipes.cpu", Recipe), TRAIN_SETS)
    study = read(LOSSES, TRAIN_SETS, SEEDS, similar)
    found = read_strictly("reports/statistics.json")["conclusions"]
    for name, test in OTHER_TESTS.items():
        by_test = conclusions.conclusions(study.cells, CLAIMS, test)
        assert [each["other_tests"][name] for each in found] == [
            {"verdict": each.verdict(), "p_holm": each.adjusted.p_holm} for each in by_test
        ]
        assert [each.verdict() for each in by_test] == [each["verdict"] for each in found]
    assert "With each of them, every verdict would be the same." in report_on("Conclusions")
    assert page_sections.verdicts(study)["by_other_tests"] == []


def test_claims_have_the_variance_of_both_sides(compared: Path) -> None:
    """Every cell loses four of 50 images from one seed to the other; the order of models is the same for both seeds."""
    found = read_strictly("reports/statistics.json")["conclusions"][1]
    assert found["metric"] == "test_clean" and found["std"] == pytest.approx(0)
    scores = {
        (cell.loss, cell.train_set, cell.seed): (np.arange(50) < correct(cell, "test_clean")).astype(float)
        for cell in CELLS
    }
    contrast = np.stack(
        [
            sum((1 if name == "corrupted" else -1) / 2 * scores[loss, name, seed] for loss, name, seed in scores_of)
            for seed in SEEDS
            for scores_of in [[key for key in scores if key[2] == seed]]
        ]
    )
    of_images, _ = variances_of(contrast, shared=True)
    of_sides = 2 * np.var([0, 4 / 50], ddof=1) / 2  # the mean of a side's two models moves like each of them
    error = Error(np.sqrt(of_images / 50), np.sqrt(of_sides), 2.0)
    half_width = error.half_width(0.05 / len(read_strictly("reports/statistics.json")["conclusions"]))
    assert found["p_value"] == pytest.approx(error.p_value(found["mean"]))
    assert found["simultaneous_95"] == pytest.approx([found["mean"] - half_width, found["mean"] + half_width])


def test_claims_about_missing_models_or_metrics_are_named_as_not_tested(study: Path) -> None:
    choose_study(losses=["angular"], train_sets=["corrupted", "clean"])
    compare.main()
    statistics = read_strictly("reports/statistics.json")
    assert statistics["conclusions"] == []
    reason = "this study has no models `cross_entropy, clean` and `cross_entropy, corrupted`"
    assert statistics["claims_left_out"] == {claim.text: reason for claim in CLAIMS}
    conclusions = report_on("Conclusions")
    assert (
        f"Not tested, because {reason}: {CLAIMS[0].text}; " in conclusions
        and "**Claims of the two studies.**" not in conclusions
    )
    # The corruptions unlike training are not in this suite.
    choose_study()
    for cell in CELLS:
        found = read_record(cell.published("stress.json"))
        kept = {name: of for name, of in found["predictions"].items() if name != "fog"}
        rows = [row for row in found["rows"] if row["corruption"] != "fog"]
        change_result(cell, "stress.json", predictions=kept, rows=rows)
    compare.main()
    statistics = read_strictly("reports/statistics.json")
    assert statistics["claims_left_out"][CLAIMS[2].text] == "this study has not measured `suite_unseen_mean`"
    assert CLAIMS[2].text not in {found["claim"] for found in statistics["conclusions"]}


def test_other_losses_and_training_sets_change_no_verdict(study: Path) -> None:
    cells = {(loss, name): results_of(*cells_of(loss, name)) for loss, name in product(LOSSES, TRAIN_SETS)}
    alone = conclusions.conclusions(cells)
    others: Cells = {("arcface", "clean"): cells["angular", "clean"], ("angular", "augmix"): cells["angular", "clean"]}
    assert conclusions.conclusions({**others, **dict(reversed(cells.items()))}) == alone and len(alone) >= 5


def test_an_idea_is_compared_with_cross_entropy_in_a_family_of_its_own(study: Path) -> None:
    """The loss arcface, in place of angular, gets the differences of the claims about angular, adjusted for three."""
    studies = read(LOSSES, TRAIN_SETS, SEEDS, [])
    (of_studies,) = studies.families
    cells = {("arcface" if loss == "angular" else loss, name): row for (loss, name), row in studies.cells.items()}
    idea = replace(studies, cells=cells)
    missing, family = idea.families
    assert missing.conclusions == [] and set(missing.left_out.values()) == {
        "this study has no models `angular, clean` and `angular, corrupted`"
    }
    assert (family.title, family.left_out) == ("the loss arcface", {})
    of_angular = [each for each in of_studies.conclusions if each.claim.better == "angular"]
    assert [each.estimate.mean for each in family.conclusions] == [each.estimate.mean for each in of_angular]
    assert [each.adjusted for each in family.conclusions] == adjust([each.estimate for each in family.conclusions])
    text = "\n\n".join(conclusion_sections.sections(idea))
    assert "**Claims about the loss arcface.**" in text and "**Claims of the two studies.**" not in text
    assert "arcface − cross_entropy, mean over training on clean and on corrupted. It is given" in text
    assert "say how many were tried" in text
    alone = conclusion_sections.introduction(family, tested=False)
    assert "**Claims about the loss arcface.**" in alone and "adjusted" not in alone
    rows = [[cell.strip() for cell in line.strip("|").split("|")][:3] for line in text.splitlines()]
    for each in family.conclusions:
        assert [each.claim.text, each.verdict(), points(each.estimate.mean)] in rows
    titles = [each["family"] for each in as_json(idea)["conclusions"]]
    assert titles == ["the loss arcface"] * len(family.conclusions)


def test_a_training_set_is_an_idea_too_and_a_control_is_none(study: Path) -> None:
    studies = read(LOSSES, TRAIN_SETS, SEEDS, [])
    of_loss = {name: [studies.cells[loss, name] for loss in LOSSES] for name in TRAIN_SETS}
    added = {
        (loss, name): of_loss["corrupted"][at] for name in ("augmix", "adversarial") for at, loss in enumerate(LOSSES)
    }
    both = replace(studies, cells=studies.cells | added)
    first, family = both.families
    assert (first, family.title) == (studies.families[0], "training on augmix")
    of_corrupted = [each for each in first.conclusions if each.claim.better == "corrupted"]
    assert [each.estimate.mean for each in family.conclusions] == [each.estimate.mean for each in of_corrupted]
    text = "\n\n".join(conclusion_sections.sections(both))
    assert "trained on augmix − trained on clean, mean over cross_entropy and angular. It is given" in text
    assert text.index("**Claims of the two studies.**") < text.index("**Claims about training on augmix.**")
    shown = page_sections.verdicts(both)["families"]
    assert [len(each["rows"]) for each in shown] == [len(first.conclusions), len(family.conclusions)]
    assert shown[1]["introduction"].startswith("Claims about training on augmix. They are")
    (verdicts,) = (each for each in page_sections.every_table(both, []) if each["name"] == "verdicts")
    rows = list(csv.DictReader(io.StringIO(verdicts["csv"])))
    assert [row["family"] for row in rows] == [each.title for each in both.families for _ in each.conclusions]
    assert all(row["verdict"] and row["p (Holm)"] for row in rows)
