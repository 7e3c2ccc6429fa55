"""The comparison's statistics, tables and report, from hand-made cells."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    ATTACKED,
    ATTACKED_INDICES,
    CELLS,
    CONTROL,
    EPSILONS_255,
    FIRST_SEED,
    IMAGES_OF,
    INTERFACE,
    LOSSES,
    MODELS,
    OF_ATTACK,
    POSITIONS,
    SEEDS,
    SETS,
    SPREAD,
    STABILITY,
    STRESSED,
    SUITE,
    TRAIN_SETS,
    angles,
    attack,
    attacked_labels,
    calibration_error,
    cells_of,
    change_attack,
    change_dataset,
    change_file,
    change_predictions,
    change_result,
    choose_study,
    confusion_of,
    correct,
    correct_by_probe,
    correct_under,
    correct_under_fgsm,
    correct_under_stress,
    evaluation,
    expected_means,
    expected_metrics,
    gained,
    kept_under_attack,
    labels_of,
    loss_of,
    mean_calibration_under,
    mean_under_stress,
    moved_degrees,
    one_attack,
    predictions_of,
    rank,
    read_strictly,
    report_on,
    report_rows,
    results_of,
    table,
    temperature,
    transferred,
    whole_table,
    wilson,
    with_worst_case,
    write_study,
)
from matplotlib.figure import Figure
from scipy import stats

from robustness_study import training_sets
from robustness_study.attacks import catalogue
from robustness_study.attacks.entry import Entry
from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record, write_record
from robustness_study.report import charts, conclusion_sections, pictures, suite_charts, tables
from robustness_study.report.pictures import PICTURES
from robustness_study.report.statistics_json import as_json
from robustness_study.report.study import read
from robustness_study.results import conclusions
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.claims import CLAIMS
from robustness_study.results.differences import COMPARED, p_in_table, points
from robustness_study.results.families import adjust
from robustness_study.results.intervals import summarise, summarise_values
from robustness_study.results.metric import Metric, refuse_repeated
from robustness_study.results.metric_kinds import recall, under_attack
from robustness_study.results.metrics import BESIDE, METRICS
from robustness_study.statistics import Error, contrast, estimate, holm, variances_of
from robustness_study.webpage import sections as page_sections
from stages import compare


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what git holds of a whole study, and nothing else; it is the working folder.

    Pictures are drawn as far as their contents; only `compared` writes their pixels, which take most of the time.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(b""))
    write_study()
    return tmp_path


@pytest.fixture(scope="module")
def compared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    with contextlib.chdir(folder):
        write_study()
        compare.main()
    return folder


@pytest.fixture
def compared(compared_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the same study after `compare`, for tests that change nothing in it."""
    monkeypatch.chdir(compared_once)
    return compared_once


# --- statistics -------------------------------------------------------------------------------------------


def test_statistics_hold_standard_deviation_and_interval(compared: Path) -> None:
    figures = read_strictly("reports/statistics.json")["metrics"]
    for loss, train_set in product(LOSSES, TRAIN_SETS):
        found = figures[loss][f"{train_set}_trained"]
        assert list(found) == INTERFACE
        for name, mean in expected_means(loss, train_set).items():
            values = [expected_metrics(cell)[name] for cell in cells_of(loss, train_set)]
            # The mean is over per-image scores, so each metric is the sum of their means.
            assert found[name]["mean"] == pytest.approx(mean, abs=1e-12), name
            assert found[name]["std"] == pytest.approx(np.std(values, ddof=1))
            assert (found[name]["n"], found[name]["images"]) == (2, IMAGES_OF.get(name))
            low, high = found[name]["interval_95"]
            own = "seeds" if name.startswith(("train", "val")) else "seeds and images"
            covers = "seeds and test images" if name == "generalisation_gap" else own
            assert found[name]["interval_covers"] == covers
            assert (-1 if name.endswith(("gap", "drop")) else 0) <= low <= mean <= high <= 1


def test_intervals_respect_which_images_the_seeds_share(compared: Path) -> None:
    figures = read_strictly("reports/statistics.json")["metrics"]["angular"]["clean_trained"]

    def scores(name: str, of: Callable[[Cell, str], int] = correct) -> np.ndarray:
        counts = [of(Cell("angular", "clean", seed), name) for seed in SEEDS]
        return np.stack([np.arange(SETS[name]) < count for count in counts]).astype(float)

    for metric, parts, shared in (
        ("val_clean", [scores("val_clean")], [False]),
        ("test_clean", [scores("test_clean")], [True]),
        ("probe_test_clean", [scores("test_clean", correct_by_probe)], [True]),
        ("corruption_drop", [scores("test_clean") - scores("test_corrupted")], [True]),
        ("generalisation_gap", [scores("train_clean"), -scores("test_clean")], [False, True]),
    ):
        low, high = estimate(parts, shared).interval_95
        lowest = -1 if metric.endswith(("gap", "drop")) else 0
        assert figures[metric]["interval_95"] == pytest.approx([max(lowest, low), min(1, high)]), metric


def test_one_seed_has_no_standard_deviation_and_no_test(study: Path) -> None:
    choose_study(seeds=[0])
    compare.main()
    statistics = read_strictly("reports/statistics.json")
    figures = statistics["metrics"]["angular"]["clean_trained"]
    assert {(figure["std"], figure["n"]) for figure in figures.values()} == {(None, 1)}
    assert {figure["interval_covers"] for figure in figures.values()} == {"images"}
    expected = expected_metrics(Cell("angular", "clean", 0))
    assert read_strictly("reports/comparison.json")["angular"]["clean_trained"] == pytest.approx(expected, abs=1e-12)
    for name in (*SETS, "knn_test_clean", "probe_test_corrupted", "fgsm_2"):
        assert figures[name]["interval_95"] == pytest.approx(wilson(expected[name], IMAGES_OF[name]), abs=1e-9)
    assert {difference["p_holm"] for difference in statistics["differences"]} == {None}
    assert {conclusion["verdict"] for conclusion in statistics["conclusions"]} == {"not tested: one seed"}
    assert "nothing is tested and nothing is concluded" in report_on("Conclusions")
    # 44 of 50 images against 42, on the same images: two differ.
    error = 1.959963984540054 * np.sqrt(np.var([1] * 2 + [0] * 48, ddof=1) / 50) * 100
    interval = ["−4.0", "", f"−{4 + error:.1f} to {points((error - 4) / 100)}", "1"]
    assert report_rows("Conclusions")["angular − cross_entropy, trained on clean, tested on clean images"] == interval


def test_differences_are_of_one_loss_or_one_training_set_and_are_paired(compared: Path) -> None:
    statistics = read_strictly("reports/statistics.json")
    found = {(row["model"], row["minus"], row["metric"]): row for row in statistics["differences"]}
    pairs = {
        ("cross_entropy-corrupted", "cross_entropy-clean"), ("angular-clean", "cross_entropy-clean"),
        ("angular-corrupted", "cross_entropy-corrupted"), ("angular-corrupted", "angular-clean"),
    }  # fmt: skip
    metrics = [name for name in COMPARED if name in INTERFACE]
    assert len(metrics) >= 5
    assert set(found) == {(*pair, metric) for pair in pairs for metric in metrics}
    means = {(loss, name): expected_means(loss, name) for loss, name in product(LOSSES, TRAIN_SETS)}
    for (model, minus, metric), row in found.items():
        one, other = (means[tuple(name.split("-"))] for name in (model, minus))
        assert row["mean"] == pytest.approx(one[metric] - other[metric], abs=1e-12)
        assert row["n"] == 2 and row["p_holm"] is not None
        assert (row["p_mcnemar_by_seed"] is None) == metric.startswith("suite_")
    # At both seeds 42 and 38 images against 44 and 40: the differences of the seeds are equal, the models are not.
    row = found["angular-clean", "cross_entropy-clean", "test_clean"]
    assert row["std"] == pytest.approx(0)
    scores = [
        np.stack([(np.arange(50) < correct(Cell(loss, "clean", seed), "test_clean")).astype(float) for seed in SEEDS])
        for loss in ("angular", "cross_entropy")
    ]
    by_hand = contrast([[one] for one in scores], [1, -1], [True])
    assert row["interval_95"] == pytest.approx(by_hand.interval_95) and row["p_value"] == pytest.approx(by_hand.p_value)
    rows = statistics["differences"]
    assert [row["p_holm"] for row in rows] == pytest.approx(holm([row["p_value"] for row in rows]))
    half_width = by_hand.error.half_width(0.05 / len(rows))
    expected = [max(-1, row["mean"] - half_width), min(1, row["mean"] + half_width)]
    assert row["simultaneous_95"] == pytest.approx(expected)
    # Two of fifty images are correct with one model only: exactly 2 · (1/2)², for each seed.
    assert found["angular-clean", "cross_entropy-clean", "test_clean"]["p_mcnemar_by_seed"] == {"0": 0.5, "5": 0.5}


WHOLE = ["beside_accuracy", "robust_accuracy", "fast_gradient_sign", "fast_gradient_sign_in_full", "other_attacks",
         "suite", "recall_per_class"]  # fmt: skip


@pytest.mark.parametrize("losses", [LOSSES, ["angular"]], ids=["all", "no reference for errors"])
def test_statistics_hold_the_tables_with_unrounded_values(study: Path, losses: list[str]) -> None:
    choose_study(losses=losses)
    compare.main()
    tables = read_strictly("reports/statistics.json")["tables"]
    assert list(tables) == WHOLE
    for name, found in tables.items():
        columns, rows = table(name)
        assert list(found) == columns
        for position, column in enumerate(columns):
            assert list(found[column]) == list(rows)
            for row, means in rows.items():
                figure = found[column][row]
                if math.isnan(means[position]):
                    assert figure["mean"] is None
                    continue
                assert figure["mean"] == pytest.approx(means[position], abs=1e-6)
                assert figure["std"] >= 0 and figure["n"] == 2
                if (
                    figure["interval_95"] is None
                ):  # not a share, and with one seed the variation between seeds is unknown
                    assert figure["std"] == 0 and row.startswith(("mCE", "relative mCE"))
                    continue
                low, high = figure["interval_95"]
                assert low <= figure["mean"] <= high
    figures = read_strictly("reports/statistics.json")["metrics"]
    for loss, train_set in product(losses, TRAIN_SETS):
        for epsilon in (1, 2, 4, 8):
            of_ladder = tables["fast_gradient_sign"][f"{loss}, {train_set}"][str(epsilon)]
            assert of_ladder == figures[loss][f"{train_set}_trained"][f"fgsm_{epsilon}"]


# --- tables -----------------------------------------------------------------------------------------------


def test_tables_hold_the_same_values(compared: Path) -> None:
    means = {(loss, name): expected_means(loss, name) for loss, name in product(LOSSES, TRAIN_SETS)}
    columns, studies = table("studies")
    assert columns == LOSSES
    assert studies == {
        f"{name} → {test}": pytest.approx([means[loss, name][f"test_{test}"] for loss in LOSSES], abs=1e-6)
        for name, test in product(TRAIN_SETS, TRAIN_SETS)
    }
    columns, every = table("all_metrics")
    assert columns == [f"{loss}, {name}" for loss, name in means]
    assert every == {row: pytest.approx([mean[row] for mean in means.values()], abs=1e-6) for row in INTERFACE}
    _, ladder = table("fast_gradient_sign")
    assert list(ladder) == [str(epsilon) for epsilon in EPSILONS_255]
    for epsilon in EPSILONS_255:
        expected = [
            np.mean([correct_under_fgsm(cell, epsilon) / ATTACKED for cell in cells_of(*names)]) for names in means
        ]
        assert ladder[str(epsilon)] == pytest.approx(expected, abs=1e-6)
    columns, recalls = table("recall_per_class")
    assert columns[:3] == ["cross_entropy, clean → clean", "cross_entropy, clean → corrupted",
                           "cross_entropy, corrupted → clean"]  # fmt: skip
    confusions = [confusion_of(cell, "test_corrupted") for cell in cells_of("cross_entropy", "clean")]
    assert recalls["dog"][1] == pytest.approx(
        np.mean([counts[1][1] / sum(counts[1]) for counts in confusions]), abs=1e-6
    )


def test_controls_have_a_table_of_their_own(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controls = {"corrupted": "These show what robust looks like."}
    monkeypatch.setattr(training_sets, "control", controls.get)
    compare.main()
    columns, studies = table("studies")
    assert columns == LOSSES and list(studies) == ["clean → clean", "clean → corrupted"]
    columns, found = table("controls")
    means = [expected_means(loss, "corrupted") for loss in LOSSES]
    assert columns == LOSSES and found == {
        f"corrupted → {tested_on}": pytest.approx([mean[metric] for mean in means], abs=1e-6)
        for metric, tested_on in tables.TESTED_ON.items()
    }
    # The family of single differences is that of the study's own models.
    differences = read_strictly("reports/statistics.json")["differences"]
    assert {(each["model"], each["minus"]) for each in differences} == {("angular-clean", "cross_entropy-clean")}
    text = report_on("Test accuracy")
    assert text.index("| clean → corrupted") < text.index("`corrupted`: These show") < text.index("| corrupted → clean")


def test_a_study_of_controls_alone_has_the_usual_table(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_study(train_sets=["corrupted"])
    monkeypatch.setattr(training_sets, "control", lambda name: "These show what robust looks like.")
    compare.main()
    assert list(table("studies")[1]) == ["corrupted → clean", "corrupted → corrupted"]
    assert not Path("reports/tables/controls.csv").exists()


def expected_beyond_accuracy(cell: Cell) -> dict[str, float | None]:
    """The metrics beyond accuracy, by definition from the counts. None where a loss makes no embeddings."""
    tests = ("clean", "corrupted")
    recalls = {test: [confusion_of(cell, f"test_{test}")[label][label] / 25 for label in (0, 1)] for test in tests}
    return {
        **{f"recall of the worst class, {test}": min(recalls[test]) for test in tests},
        # The last images are wrong, so every image correct when corrupted is correct when clean.
        "correct when corrupted, among images correct when clean": correct(cell, "test_corrupted")
        / correct(cell, "test_clean"),
        **{f"expected calibration error, {test}": calibration_error(cell, f"test_{test}") for test in tests},
        **{
            f"expected calibration error after temperature scaling, {test}": calibration_error(cell, f"test_{test}") / 2
            for test in tests
        },
        **{f"negative log-likelihood, {test}": loss_of(cell, f"test_{test}") for test in tests},
        **{
            f"expected calibration error{scaled}, {family}": mean_calibration_under(cell, name) / divisor
            if name
            else None
            for scaled, divisor in (("", 1), (" after temperature scaling", 2))
            for family, name in (("noise", "gaussian_noise"), ("blur", ""), ("weather", "fog"), ("digital", "saturate"))
        },
        "temperature of the logits": temperature(cell),
        **{
            f"angle {where} classes in degrees, {of}, {test}": found[f"{where}_class_degrees"] if found else None
            for of in ("features", "embeddings")
            for test in tests
            for found in [angles(cell, f"test_{test}", of)]
            for where in ("within", "between")
        },
    }


def test_metrics_beyond_accuracy_have_students_interval_over_seeds(compared: Path) -> None:
    columns, found = table("beside_accuracy")
    assert columns == MODELS
    in_report = report_rows("Beyond accuracy")
    for position, names in enumerate(product(LOSSES, TRAIN_SETS)):
        each = [expected_beyond_accuracy(cell) for cell in cells_of(*names)]
        assert list(found)[: len(each[0])] == list(each[0])  # followed by those that users add
        for name in each[0]:
            values = [value for figures in each if (value := figures[name]) is not None]
            if not values:
                assert name.endswith("blur") or ("embeddings" in name and names[0] == "cross_entropy")
                assert math.isnan(found[name][position]) and in_report[name][position] == ""
                continue
            assert found[name][position] == pytest.approx(np.mean(values), abs=1e-6), name
            mean = float(np.mean(values))
            low, high = stats.t.interval(0.95, len(SEEDS) - 1, mean, stats.sem(values))
            if name.startswith(("recall", "correct")):
                images = 25 if name.startswith("recall") else correct(cells_of(*names)[0], "test_clean")
                of_images = math.sqrt(mean * (1 - mean) / images)
                half = Error(of_images, stats.sem(values), len(SEEDS) - 1).half_width_95()
                low, high = mean - half, min(mean + half, 1)
            spread = f"± {np.std(values, ddof=1):.4f} ({max(low, 0):.3f} to {high:.3f})"
            assert in_report[name][position] == f"{np.mean(values):.4f} {spread}", name


def test_with_one_seed_only_shares_have_an_interval(study: Path) -> None:
    choose_study(seeds=[0])
    compare.main()
    in_report = report_rows("Beyond accuracy")
    for position, cell in enumerate(FIRST_SEED):
        images = dict.fromkeys((f"recall of the worst class, {test}" for test in ("clean", "corrupted")), 25)
        images["correct when corrupted, among images correct when clean"] = correct(cell, "test_clean")
        for name, value in expected_beyond_accuracy(cell).items():
            expected = "" if value is None else f"{value:.4f}"
            if value is not None and name in images:
                expected += " ({:.3f} to {:.3f})".format(*wilson(value, images[name]))
            assert in_report[name][position] == expected


def test_metrics_beyond_accuracy_have_their_standard_deviation() -> None:
    over_seeds = summarise_values([0.2, 0.3, 0.7])
    interval = stats.ttest_1samp([0.2, 0.3, 0.7], 0).confidence_interval()
    assert over_seeds["interval_95"] == (0, pytest.approx(interval.high)) and interval.low < 0
    assert over_seeds["interval_covers"] == "seeds"
    assert (over_seeds["mean"], over_seeds["std"]) == pytest.approx((0.4, np.std([0.2, 0.3, 0.7], ddof=1)))
    assert summarise_values([80.0, 90.0])["interval_95"][1] > 90  # degrees
    assert summarise_values([0.8, 0.9], 30)["interval_95"][1] == 1
    for values, std in (([0.8], None), ([0.8, 0.8], 0)):  # the variation between seeds is unknown
        share = summarise_values(values, 30)
        assert share["interval_95"] == pytest.approx(wilson(0.8, 30)) and share["std"] == std
        assert share["interval_covers"] == "images"
        assert summarise_values(values)["interval_95"] is summarise_values(values)["interval_covers"] is None
    # Two seeds that agree by chance give the interval over images.
    near = summarise_values([0.8, 0.80001], 30)
    half = 1.959964 * math.sqrt(0.8 * 0.2 / 30)
    assert near["interval_95"] == pytest.approx((0.8 - half, 0.8 + half), abs=1e-3)
    # Two that differ give a wider interval than seeds only or images only.
    far = summarise_values([0.48, 0.52], 30)
    of_seeds = stats.ttest_1samp([0.48, 0.52], 0).confidence_interval()
    assert (
        far["interval_95"][0] < min(of_seeds.low, wilson(0.5, 30)[0]) and far["interval_covers"] == "seeds and images"
    )
    absent: list[list[float | None]] = [[None], [None, 0.5]]
    for some in absent:
        none = {"mean": None, "std": None, "interval_95": None, "interval_covers": None, "n": len(some)}
        assert summarise_values(some) == summarise_values(some, 30) == none


@pytest.mark.parametrize("seeds", [[0], SEEDS])
def test_a_model_without_correct_images_has_no_share_of_correct_ones(study: Path, seeds: list[int]) -> None:
    wrong = 1 - labels_of("test_clean")
    change_predictions(CELLS[0], "test_clean", wrong)
    predictions = one_attack(CELLS[0], "fgsm")["predictions"] | {"0": to_text(wrong[ATTACKED_INDICES])}
    change_attack(CELLS[0], "fgsm", predictions=predictions)
    ladder = attack(CELLS[0])["ladder"]
    ladder = [row | {"accuracy": row["accuracy"] * bool(row["epsilon_255"])} for row in ladder]
    none_kept = [row | {"accuracy_of_clean_correct": None} for row in ladder]
    change_result(CELLS[0], "attack.json", ladder=none_kept)
    choose_study(seeds=seeds)
    compare.main()
    _, found = table("beside_accuracy")
    shares = found["correct when corrupted, among images correct when clean"]
    assert [math.isnan(share) for share in shares] == [True, False, False, False]  # no mean over fewer seeds
    assert report_rows("Beyond accuracy")["correct when corrupted, among images correct when clean"][0] == ""
    _, found = table("fast_gradient_sign_in_full")
    kept = found["ε = 2/255, among images correct when clean"]
    assert [math.isnan(share) for share in kept] == [True, False, False, False]
    assert not np.isnan(found["ε = 2/255, rounded to 8 bits"]).any()


def test_angles_between_no_pairs_are_left_out(study: Path) -> None:
    without = {"within_class_degrees": None, "between_class_degrees": 60.0}
    cell = Cell("angular", "clean", SEEDS[1])
    of_both = evaluation(cell)["angles"]
    of_both["test_clean"]["embeddings"] = without
    change_result(cell, "evaluate.json", angles=of_both)
    compare.main()
    _, found = table("beside_accuracy")
    in_report = report_rows("Beyond accuracy")
    for name, values in found.items():
        no_pairs, no_embeddings = name == "angle within classes in degrees, embeddings, clean", "embeddings" in name
        absent = [no_embeddings, no_embeddings, no_pairs, False]
        if name.endswith(", blur"):  # the suite has no such corruption
            absent = [True] * 4
        assert [math.isnan(value) for value in values] == absent
        assert [text == "" for text in in_report[name]] == absent


FGSM_8_BIT = "FGSM, rounded to 8 bits"
TITLES = {
    "noise": "random signs",
    "pgd": "PGD",
    "pgd_8_bit": "PGD, rounded to 8 bits",
    "apgd_ce": "APGD, cross-entropy",
    "apgd": "APGD, cross-entropy and targeted",
    "apgd_ce_second_start": "APGD, cross-entropy, another random start",
    "apgd_longer": "APGD, then again with five times the steps",
    "apgd_ce_of_logits_x0.1": "APGD, cross-entropy of 0.1 × the logits",
    "apgd_ce_of_logits_x10": "APGD, cross-entropy of 10 × the logits",
    "fgsm_of_logits_x0.1": "FGSM, by the gradient of 0.1 × the logits",
    "fgsm_of_logits_x10": "FGSM, by the gradient of 10 × the logits",
    "square": "Square, after APGD",
    "knn_fgsm": "FGSM on the nearest neighbours",
}


def test_other_attacks_are_in_a_table(compared: Path) -> None:
    columns, found = table("other_attacks")
    in_report = report_rows("Other attacks")
    assert columns == MODELS
    rows = {
        f"{title}, ε = {epsilon}/255, {len(POSITIONS[name])} images": (name, epsilon)
        for name, title in TITLES.items()
        for epsilon in OF_ATTACK[name]
    }
    assert list(found) == list(rows)
    for position, names in enumerate(product(LOSSES, TRAIN_SETS)):
        for row, (attack_name, epsilon) in rows.items():
            counts = [correct_under(cell, attack_name, epsilon) for cell in cells_of(*names)]
            mean = np.mean(counts) / len(POSITIONS[attack_name])
            assert found[row][position] == pytest.approx(mean, abs=1e-6)
            assert in_report[row][position].startswith(f"{mean:.4f} ± ")


def test_every_result_in_attack_json_is_in_the_report_under_its_title(compared: Path) -> None:
    """FGSM's results are in its section. These studies have every result of the attacks in the project."""
    written = {catalogue.entry_of(name).name for name in POSITIONS}
    ran = [entry for entry in catalogue.ATTACKS if entry.name in written]
    known = {title for entry in ran for title in entry.titles.values()}
    assert len(ran) >= 5
    shown = {row.split(", ε")[0] for row in report_rows("Other attacks") if ", ε" in row}
    assert shown == {*TITLES.values()} == {catalogue.title(name) for name in POSITIONS} - {"FGSM", FGSM_8_BIT}
    assert {re.sub("0.1|10 ", "* ", title).replace("*  ", "* ") for title in shown} == known
    assert all(entry.about in report_on("Other attacks") for entry in ran)


def test_result_that_no_attack_in_the_catalogue_writes_is_refused(study: Path) -> None:
    for cell in CELLS:
        found = {name: one_attack(cell, name) for name in POSITIONS}
        change_result(cell, "attack.json", attacks=found | {"fab": one_attack(cell, "pgd")})
    with pytest.raises(StudyError, match=r"^attack\.json has 'fab', which no attack in .*catalogue\.py writes"):
        compare.main()


@pytest.mark.parametrize("left_out", [[entry] for entry in catalogue.ATTACKS] + [[*catalogue.ATTACKS]])
def test_report_works_without_an_attack_that_did_not_run(study: Path, left_out: list[Entry]) -> None:
    """Its rows, checks and sentences are absent; the rest stays."""
    for cell in CELLS:
        ran = {name: one_attack(cell, name) for name in POSITIONS if catalogue.entry_of(name) not in left_out}
        change_result(cell, "attack.json", attacks=with_worst_case(ran, predictions_of(cell, "test_clean")))
    compare.main()
    in_report = report_rows("Other attacks")
    shown = {row.split(", ε")[0] for row in in_report if ", ε" in row}
    assert shown == {title for name, title in TITLES.items() if catalogue.entry_of(name) not in left_out}
    assert not [entry.name for entry in left_out if entry.about in report_on("Other attacks")]
    off = {entry.name for entry in left_out}
    assert ("share of images where stand-in and nearest neighbours agree" in in_report) == (
        "nearest_neighbours" not in off
    )
    assert ("ε, in 1/255, at which this gain is clear" in in_report) == ("rescaled_logits" not in off)
    all_three = "also counts as wrong under PGD, APGD and Square" in report_on("Other attacks")
    assert all_three == (not off & {"pgd", "apgd", "square"})
    without = "Robust accuracy is not given: APGD did not run" in report_on("Robust accuracy")
    assert without == ("apgd" in off) != ("ε = 2/255, under every attack" in report_rows("Robust accuracy"))
    assert "images with a zero gradient" in in_report and "accepted alarms" in in_report
    assert "No other attack was run" not in report_on("Other attacks") or len(left_out) > 1


def test_report_states_how_far_features_turn(study: Path) -> None:
    compare.main()
    medians = [np.mean([moved_degrees(cell) for cell in cells_of(*names)]) for names in product(LOSSES, TRAIN_SETS)]
    each = "; ".join(f"{model} {median:.1f}°" for model, median in zip(MODELS, medians, strict=True))
    sentence = f"FGSM turns the features of an image by these angles (median over images, mean over seeds): {each}."
    assert sentence in report_on("Fast gradient sign attack")
    without = {name: value for name, value in attack(CELLS[2]).items() if not name.startswith("moved")}
    write_record(CELLS[2].published("attack.json"), without)  # as in older results
    compare.main()
    assert "turns the features of an image" not in report_on("Fast gradient sign attack")


def test_table_of_the_first_attack_is_complete(compared: Path) -> None:
    columns, found = table("fast_gradient_sign_in_full")
    in_report = report_rows("Fast gradient sign attack")
    assert columns == MODELS
    names = ("among images correct when clean", "rounded to 8 bits")
    assert list(found) == [f"ε = {epsilon}/255, {name}" for epsilon in EPSILONS_255 for name in names]
    for (position, (loss, train_set)), epsilon in product(enumerate(product(LOSSES, TRAIN_SETS)), EPSILONS_255):
        kept = [kept_under_attack(cell, epsilon) for cell in cells_of(loss, train_set)]
        rounded = [correct_under(cell, "fgsm_8_bit", epsilon) / ATTACKED for cell in cells_of(loss, train_set)]
        for name, values in zip(names, (kept, rounded), strict=True):
            row = f"ε = {epsilon}/255, {name}"
            assert found[row][position] == pytest.approx(np.mean(values), abs=1e-6)
            spread = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f} ("
            assert in_report[row][position].startswith(spread), row


def test_with_one_seed_the_interval_uses_images_correct_when_clean(study: Path) -> None:
    choose_study(seeds=[0])
    compare.main()
    found = report_rows("Fast gradient sign attack")
    for (position, cell), epsilon in product(enumerate(FIRST_SEED), EPSILONS_255):
        for name, share, images in (
            ("among images correct when clean", kept_under_attack(cell, epsilon), correct_under_fgsm(cell, 0)),
            ("rounded to 8 bits", correct_under(cell, "fgsm_8_bit", epsilon) / ATTACKED, ATTACKED),
        ):
            low, high = wilson(share, images)
            expected = f"{share:.4f} ({low:.3f} to {high:.3f})"
            assert found[f"ε = {epsilon}/255, {name}"][position] == expected


def test_accuracy_under_an_attack_has_an_interval_over_its_images(study: Path) -> None:
    for name, epsilons in OF_ATTACK.items():  # of each, at its largest epsilon
        count, metric = len(POSITIONS[name]), under_attack(name, epsilons[-1])
        correct_counts = [correct_under(cell, name, epsilons[-1]) for cell in cells_of("angular", "corrupted")]
        of_one = summarise(results_of(CELLS[-2]), metric)
        assert (of_one["mean"], of_one["images"]) == (pytest.approx(correct_counts[0] / count), count)
        assert of_one["interval_95"] == pytest.approx(wilson(correct_counts[0] / count, count))
        of_both = summarise(results_of(*CELLS[-2:]), metric)
        scores = np.stack([np.arange(count) < correct for correct in correct_counts]).astype(float)
        low, high = estimate([scores], [True]).interval_95
        assert of_both["interval_95"] == pytest.approx([max(0, low), min(1, high)])
        assert (of_both["n"], of_both["images"], of_both["interval_covers"]) == (2, count, "seeds and images")


def test_report_checks_the_attacks(compared: Path) -> None:
    found = report_rows("Other attacks")
    assert found["check"] == [cell.key for cell in CELLS]
    gains = found["largest gain of the gradient of rescaled logits over FGSM, in points"]
    assert gains == [f"{100 * gained(cell) / len(CONTROL):+.1f}" for cell in CELLS]
    assert found["images with a zero gradient"] == [f"0 of {ATTACKED}" for cell in CELLS]
    assert set(found["ε, in 1/255, at which this gain is clear"]) == {"none"}
    assert found["share of images where stand-in and nearest neighbours agree"] == [
        "{:.3f} ({:.3f} to {:.3f})".format(share, *wilson(share, len(CONTROL)))
        for share in (0.9 + rank(cell) / 100 for cell in CELLS)
    ]
    assert set(found["accepted alarms"]) == {"none"}
    assert "Accepted alarm" not in Path("reports/report.md").read_text(encoding="utf-8")
    assert read_strictly("reports/statistics.json")["alarms"] == {}


def test_table_of_transferred_attacks_has_the_order_of_the_study(compared: Path) -> None:
    columns, found = table("transfer")
    keys = [cell.key for cell in FIRST_SEED]
    assert keys != sorted(keys) and columns == list(found) == keys
    for source in FIRST_SEED:
        expected = [transferred(source, target) for target in FIRST_SEED]
        assert found[source.key] == pytest.approx(expected, abs=1e-6)
        shares = ["{:.3f} ({:.3f} to {:.3f})".format(accuracy, *wilson(accuracy, 40)) for accuracy in expected]
        assert report_rows("Other attacks")[source.key] == shares
    assert "40 test images at ε = 8/255" in report_on("Other attacks")
    assert f"are classified by the model of the column, seed {SEEDS[0]}" in report_on("Other attacks")
    assert "](figures/transfer.png)" in report_on("Other attacks")
    assert (compared / "reports/figures/transfer.png").read_bytes().startswith(b"\x89PNG")


def test_suite_table_holds_means_and_corruption_errors(compared: Path) -> None:
    columns, means = table("suite")
    assert columns == [f"{loss}, {name}" for loss, name in product(LOSSES, TRAIN_SETS)]
    groups = {
        "main": ("fog", "gaussian_noise"),
        "held out": ("saturate",),
        "noise": ("gaussian_noise",),
        "seen": ("gaussian_noise",),
        "unseen": ("fog",),
        "mix without flip": ("mix_without_flip",),
    }
    for position, names in enumerate(product(LOSSES, TRAIN_SETS)):
        pairs = list(zip(cells_of(*names), cells_of("cross_entropy", "clean"), strict=True))
        for group, members in groups.items():
            expected = np.mean([mean_under_stress(cell, *members) for cell, _ in pairs])
            assert means[group][position] == pytest.approx(expected, abs=1e-6), group
        found_errors: dict[str, list[float]] = {"mCE": [], "relative mCE": []}
        for cell, reference in pairs:
            for title, relative in (("mCE", False), ("relative mCE", True)):
                ratios = []
                for name in groups["main"]:
                    wrong = [
                        sum(
                            correct_under_stress(c, name, 0) * relative - correct_under_stress(c, name, s)
                            for s in range(1, 6)
                        )
                        + (0 if relative else 5 * STRESSED)
                        for c in (cell, reference)
                    ]
                    ratios.append(wrong[0] / wrong[1])
                found_errors[title].append(float(np.mean(ratios)))
        for title, values in found_errors.items():
            assert means[title][position] == pytest.approx(np.mean(values), abs=1e-6), title
    assert means["mCE"][0] == means["relative mCE"][0] == means["mCE, unseen"][0] == 1
    errors = read_strictly("reports/corruption_errors.json")
    for position, model in enumerate(columns):
        assert errors[model]["mCE"]["main"]["value"] == pytest.approx(means["mCE"][position], abs=1e-6)
        found = errors[model]["relative mCE"]["seen"]
        assert found["value"] == pytest.approx(means["relative mCE, seen"][position], abs=1e-6)
        for error in (found, errors[model]["mCE"]["main"]) if position else ():  # the first is the reference itself
            low, high = error["interval_95"]
            assert low < error["value"] < high and error["interval_covers"] == "seeds and images"
            assert high - low >= 2 * stats.t.ppf(0.975, 1) * error["std"] / math.sqrt(2)  # of the seeds alone
            assert error["images"] == STRESSED
    assert any(found["mCE"]["seen"]["std"] > 0 for found in errors.values())
    rows = suite_in_full()
    assert len(rows) == 4 * (1 + 5 * len(SUITE))
    chosen = [row for row in rows if (row["loss"], row["corruption"], row["severity"]) == ("angular", "fog", "3")]
    expected = np.mean([correct_under_stress(cell, "fog", 3) / STRESSED for cell in cells_of("angular", "clean")])
    assert float(chosen[0]["accuracy"]) == pytest.approx(expected, abs=1e-6)
    assert all(float(row["lower_95"]) < float(row["accuracy"]) < float(row["upper_95"]) for row in rows)
    shares = [correct_under_stress(cell, "fog", 3) / STRESSED for cell in cells_of("angular", "clean")]
    assert float(chosen[0]["std"]) == pytest.approx(np.std(shares, ddof=1), abs=1e-6)
    assert {(row["n"], row["images"]) for row in rows} == {(str(len(SEEDS)), str(STRESSED))}


def test_tables_hold_the_standard_deviation_of_each_value(compared: Path) -> None:
    figures = read_strictly("reports/statistics.json")["metrics"]
    columns, rows = whole_table("studies")
    assert columns == [column for loss in LOSSES for column in (loss, *(f"{loss}{end}" for end in SPREAD))]
    for position, loss in enumerate(LOSSES):
        figure = figures[loss]["corrupted_trained"]["test_clean"]
        *numbers, covers = rows["corrupted → clean"][6 * position : 6 * position + 6]
        expected = [figure["mean"], figure["std"], 2, *figure["interval_95"]]
        assert [float(number) for number in numbers] == pytest.approx(expected, abs=1e-6)
        assert numbers[2] == "2" and covers == "seeds and images"
    _, rows = whole_table("beside_accuracy")
    assert rows["angle within classes in degrees, embeddings, clean"][:6] == ["", "", "2", "", "", ""]


def test_plot_of_severities_has_intervals(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(suite_charts, "save", lambda figure, path: drawn.update({path.name: figure}))
    compare.main()
    panels = {axis.get_title(): axis for axis in drawn["severity.png"].axes if axis.get_title()}
    # Each has one corruption of the made-up suite.
    for group, name in (("unlike training", "fog"), ("similar to training", "gaussian_noise")):
        for names, band in zip(product(LOSSES, TRAIN_SETS), panels[group].collections, strict=True):
            corners = np.asarray(band.get_paths()[0].vertices)
            for severity in range(6):
                counts = [correct_under_stress(cell, name, severity) for cell in cells_of(*names)]
                scores = np.stack([np.arange(STRESSED) < count for count in counts]).astype(float)
                at_place = corners[corners[:, 0] == severity, 1]
                expected = np.clip(estimate([scores], [True]).interval_95, 0, 1)
                assert [at_place.min(), at_place.max()] == pytest.approx(expected, abs=1e-6)
    widths = [float(row["upper_95"]) - float(row["lower_95"]) for row in suite_in_full()]
    assert f"± {max(widths) / 2:.3f} at most" in drawn["suite.png"].get_suptitle()


def test_with_one_seed_the_interval_of_a_severity_is_that_of_a_share(study: Path) -> None:
    choose_study(seeds=[0])
    compare.main()
    for row in suite_in_full():
        interval = [float(row["lower_95"]), float(row["upper_95"])]
        assert interval == pytest.approx(wilson(float(row["accuracy"]), STRESSED), abs=1e-5)


def suite_in_full() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path("reports/tables/suite_in_full.csv").read_text(encoding="utf-8"))))


def test_corruption_errors_need_their_reference(study: Path) -> None:
    choose_study(losses=["angular"])
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert "mCE is not given: no cross-entropy model trained on clean images is in the study" in report
    lines = Path("reports/tables/suite.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("mCE,")] == ["mCE" + "," * 12]
    errors = read_strictly("reports/corruption_errors.json")["angular, clean"]
    assert errors["mCE"]["unseen"]["value"] is None and "no cross-entropy model" in errors["mCE"]["unseen"]["reason"]


@pytest.mark.parametrize("odd", ["a seed", "a model"])
def test_the_report_names_models_trained_in_another_way(study: Path, odd: str) -> None:
    on = {"device": "cpu", "torch": "0", "precision": "bfloat16"}
    others = [cell for cell in CELLS if cell.seed == SEEDS[1]] if odd == "a seed" else [CELLS[0]]
    for cell in others:
        change_result(cell, "evaluate.json", trained_on=on)
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    if odd == "a seed":
        one, other = (
            f"precision {kind} (seeds [{seed}])" for kind, seed in zip(("float32", "bfloat16"), SEEDS, strict=True)
        )
        assert f"{one}; device cpu, torch 0, {other}: models of one seed were trained alike" in report
    else:
        alike = ", ".join(cell.key for cell in CELLS if cell != CELLS[0])
        assert f"bfloat16 ({CELLS[0].key}); device cpu, torch 0, precision float32 ({alike}): **differences" in report


def test_table_of_features_is_of_the_first_seed(compared: Path) -> None:
    columns, found = table("features")
    assert columns == [cell.key for cell in FIRST_SEED]
    assert found == {"trustworthiness": pytest.approx([0.9 - rank(cell) / 50 for cell in FIRST_SEED])}


# --- report -----------------------------------------------------------------------------------------------


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


def test_claims_have_the_variance_of_all_their_cells(compared: Path) -> None:
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
    of_cells = 4 * 0.25 * np.var([0, 4 / 50], ddof=1) / 2
    error = Error(np.sqrt(of_images / 50), np.sqrt(of_cells), 4.0)
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


def test_report_begins_with_accepted_alarms_and_their_reasons(study: Path) -> None:
    of_model = {"zero_gradients": "3 are zero", "pgd_leaves_some": "0.1 stay"}
    of_transfer = {"transfer_stronger": "one serves better"}
    change_attack(CELLS[5], "fgsm", zero_gradients=3)
    change_result(CELLS[5], "attack.json", alarms=of_model)
    path, pair = Path("reports/transfer.json"), f"{CELLS[2].key} → {CELLS[0].key}"
    written = read_strictly(str(path))
    rows = [row | {"accuracy": 0.0} if f"{row['source']} → {row['target']}" == pair else row for row in written["rows"]]
    wrong = {pair: to_text(1 - from_text(written["labels"]))}
    change_file(path, alarms=of_transfer, rows=rows, predictions=written["predictions"] | wrong)
    compare.main()
    top, *sections = Path("reports/report.md").read_text(encoding="utf-8").split("\n## ")
    assert sections[0].startswith("How to read this report\n") and "Accepted alarm" not in "".join(sections)
    lines = [line for line in top.splitlines() if line.startswith(">")]
    assert lines == [
        f"> **Accepted alarm**, {CELLS[5].key}: zero_gradients: 3 are zero.",
        ">",
        f"> **Accepted alarm**, {CELLS[5].key}: pgd_leaves_some: 0.1 stay.",
        ">",
        "> **Accepted alarm**, transfer: transfer_stronger: one serves better.",
    ]
    zero = report_rows("Other attacks")["images with a zero gradient"]
    assert zero.pop(5) == f"3 of {ATTACKED}" and set(zero) == {f"0 of {ATTACKED}"}
    accepted = report_rows("Other attacks")["accepted alarms"]
    assert accepted.pop(5) == "zero_gradients, pgd_leaves_some" and set(accepted) == {"none"}
    # Models without an accepted alarm are not listed.
    assert read_strictly("reports/statistics.json")["alarms"] == {CELLS[5].key: of_model, "transfer": of_transfer}


def test_results_that_overstate_robustness_are_marked(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one of the cell's two seeds, the gradient of ten times the logits is clearly stronger, at two epsilons."""
    cell = CELLS[1]
    labels = attacked_labels()[CONTROL]
    found = one_attack(cell, "fgsm_of_logits_x10")["predictions"]
    change_attack(cell, "fgsm_of_logits_x10", predictions=found | {"4": to_text(1 - labels), "8": to_text(1 - labels)})
    change_result(cell, "attack.json", alarms={"rescaled_logits": "it serves"})
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(charts, "save", lambda figure, path: drawn.update({path.name: figure}))
    compare.main()
    marked = report_on("Fast gradient sign attack")
    assert "> **Accepted alarm**, cross_entropy, clean: these values overstate robustness." in marked
    assert f"clearly the stronger attack at ε = 4, 8 with seed {cell.seed} (ε in 1/255)" in marked
    assert "(†): the stronger attack by the gradient of rescaled logits, on fewer images" in marked
    assert "For cross_entropy, clean, some `fgsm_n` overstate robustness" in report_on("All metrics")
    assert report_rows("Other attacks")["ε, in 1/255, at which this gain is clear"][1] == "4, 8"
    # Transferred images come from the models of the first seed.
    assert "weaker than it could be" not in report_on("Other attacks")
    (bars,) = drawn["ladder.png"].axes[0].containers
    assert bars.get_label() == f"† gradient of 10 × the logits, {len(CONTROL)} images"
    dashed = np.asarray(bars[0].get_xydata())
    assert dashed[:, 0].tolist() == [1, 2, 3, 4, 5]  # the places of 1, 2, 4, 8 and 16
    other = correct_under(CELLS[0], "fgsm_of_logits_x10", 8) / len(CONTROL)
    assert dashed[3, 1] == pytest.approx(other / 2)
    change_attack(CELLS[0], "fgsm_of_logits_x10", predictions=found | {"8": to_text(1 - labels)})
    change_result(CELLS[0], "attack.json", alarms={"rescaled_logits": "it serves"})
    compare.main()
    assert f"FGSM through {CELLS[0].key} is weaker than it could be" in report_on("Other attacks")


def test_report_states_how_stable_a_plane_is(compared: Path) -> None:
    found = report_on("Features")
    assert f"for {CELLS[0].key}: under 3 seeds" in found and "of a point's 7 nearest neighbours" in found
    mean, lowest, *spreads = STABILITY.values()
    for figure in (f"{mean:.3f}", f"lowest: {lowest:.3f}", *(f"{spread:.4f}" for spread in spreads)):
        assert figure in found


@pytest.mark.parametrize("official", [True, False])
def test_report_begins_with_a_note_on_unofficial_data(study: Path, official: bool) -> None:
    for cell in CELLS:
        change_dataset(cell, official=official)
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    title, second, *_ = [line for line in report.splitlines() if line]
    assert title == "# Comparison"
    assert ("Unofficial" in second) == (not official)
    assert ("nofficial" in report) == (not official)
    assert "pets" in report and "a test" in report and "md5:0" in report


def test_every_picture_that_is_drawn_is_in_the_report(compared: Path) -> None:
    report = Path("reports/report.md").read_text(encoding="utf-8")
    names = [picture.name for picture in PICTURES]
    assert {path.name for path in Path("reports/figures").iterdir()} == {f"{name}.png" for name in names}
    assert re.findall(r"\(figures/(\w+)\.png\)", report) == sorted(names, key=lambda name: report.index(f"/{name}.png"))
    for picture in PICTURES:
        assert f"(figures/{picture.name}.png)" in report_on(picture.heading)


def test_picture_under_a_heading_that_shows_none_is_refused(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mistyped = pictures.Picture("mine", "Test acuracy", lambda _: "Mine", lambda path, _: None)
    monkeypatch.setattr(pictures, "PICTURES", (*PICTURES, mistyped))
    with pytest.raises(StudyError) as caught:
        compare.main()
    assert str(caught.value) == (
        "robustness_study/report/pictures.py: the picture 'mine' has the heading 'Test acuracy', under which the "
        "report shows no pictures; use one of Test accuracy, Fast gradient sign attack, Other attacks, Corruptions, "
        "Recall of each class, Training"
    )


def test_every_heading_for_pictures_shows_them(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [
        pictures.Picture(f"mine_{number}", heading, lambda _: "Mine", lambda path, _: None)
        for number, heading in enumerate(pictures.HEADINGS)
    ]
    for module in (pictures, compare):
        monkeypatch.setattr(module, "PICTURES", every)
    compare.main()
    for picture in every:
        assert f"(figures/{picture.name}.png)" in report_on(picture.heading)


def test_metric_has_scores_or_a_value_and_replaces_no_other() -> None:
    def one(result: CellResults) -> float:
        return 1.0

    with pytest.raises(StudyError, match="the metric mine has neither scores nor value; give it one of the two"):
        Metric("mine", "mine")
    with pytest.raises(StudyError, match="the metric mine has both scores and value; give it one of the two"):
        Metric("mine", "mine", lambda _: None, one)
    for name, title in (("test_clean", "mine"), ("mine", "recall of the worst class, clean")):
        with pytest.raises(StudyError, match=r"metrics\.py has two metrics with the name .* or the title .*; rename"):
            refuse_repeated((*METRICS, *BESIDE, Metric(name, title, value=one)))
    refuse_repeated((*METRICS, *BESIDE, Metric("mine", "mine", value=one)))


def test_every_metric_is_in_the_report(compared: Path) -> None:
    assert {metric.name for metric in METRICS} <= set(report_rows("All metrics"))
    assert {metric.title for metric in BESIDE} <= set(report_rows("Beyond accuracy"))


def test_report_shows_its_figures_and_its_seeds(compared: Path) -> None:
    report = Path("reports/report.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[[^]]*\]\(([^)]*)\)", report)
    assert len(linked) == len(PICTURES) + 4 and all((compared / "reports" / name).is_file() for name in linked)
    assert "seeds [0, 5]" in report and "n = 2 seeds" in report and "interval over seeds and images" in report
    figures = read_strictly("reports/statistics.json")["metrics"]["angular"]["clean_trained"]
    for metric in ("test_clean", "corruption_drop", "suite_mean", "fgsm_8"):
        low, high = figures[metric]["interval_95"]
        spread = f"± {figures[metric]['std']:.4f} ({low:.3f} to {high:.3f})"
        assert f"{figures[metric]['mean']:.4f} {spread}" in report
    for (loss, train_set), test in product(product(LOSSES, TRAIN_SETS), TRAIN_SETS):
        assert f"{expected_means(loss, train_set)[f'test_{test}']:.4f}" in report
    assert str(compared) not in report and "test-time" not in report


def test_report_shows_flip_test_time_augmentation_where_it_was_on(study: Path) -> None:
    for cell in CELLS:
        sets = json.loads(cell.published("evaluate.json").read_text(encoding="utf-8"))["sets"]
        change_result(cell, "evaluate.json", sets=[{**row, "flip_accuracy": 0.4321} for row in sets])
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert "0.4321" in report.split("With flip test-time augmentation")[1].split("![")[0]
    one = json.loads(CELLS[1].published("evaluate.json").read_text(encoding="utf-8"))["sets"]
    change_result(CELLS[1], "evaluate.json", sets=[{**row, "flip_accuracy": None} for row in one])
    with pytest.raises(StudyError, match="differ in flip test-time augmentation"):
        compare.main()


def test_plot_of_the_ladder_has_intervals(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(charts, "save", lambda figure, path: drawn.update({path.name: figure}))
    compare.main()
    (axis,) = drawn["ladder.png"].axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axis.lines}
    assert list(lines) == [*MODELS, "guessing"] and lines["guessing"].tolist() == [0.5, 0.5]
    assert "95 % interval over seeds and images" in axis.get_title()
    for names, band in zip(product(LOSSES, TRAIN_SETS), axis.collections, strict=True):
        of_each = [summarise(results_of(*cells_of(*names)), under_attack("fgsm", epsilon)) for epsilon in EPSILONS_255]
        assert lines[", ".join(names)] == pytest.approx([figure["mean"] for figure in of_each])
        corners = np.asarray(band.get_paths()[0].vertices)
        for place, figure in enumerate(of_each):
            at_place = corners[corners[:, 0] == place, 1]
            assert [at_place.min(), at_place.max()] == pytest.approx(figure["interval_95"])


def test_suite_and_recall_are_reported_with_standard_deviation_and_interval(compared: Path) -> None:
    figures = read_strictly("reports/statistics.json")["metrics"]
    corruptions, recalls = report_rows("Corruptions"), report_rows("Recall of each class")
    for position, (loss, train_set) in enumerate(product(LOSSES, TRAIN_SETS)):
        of_cell = figures[loss][f"{train_set}_trained"]
        for row, metric in (("main", "suite_mean"), ("unlike training", "suite_unseen_mean")):
            low, high = of_cell[metric]["interval_95"]
            expected = f"{of_cell[metric]['mean']:.4f} ± {of_cell[metric]['std']:.4f} ({low:.3f} to {high:.3f})"
            assert corruptions[row][position] == expected
        if (loss, train_set) != ("cross_entropy", "clean"):  # the reference has 1 for every seed
            assert re.fullmatch(r"\d\.\d{4} ± \d\.\d{4} \(\d\.\d{3} to \d+\.\d{3}\)", corruptions["mCE"][position])
        results = results_of(*cells_of(loss, train_set))
        for label, name in enumerate(("cat", "dog")):
            labels = labels_of("test_clean")
            correct = [
                predictions_of(cell, "test_clean")[labels == label] == label for cell in cells_of(loss, train_set)
            ]
            expected_value = estimate([np.stack(correct).astype(float)], [True])
            found = summarise(results, recall(label, "test_clean"))
            assert found["mean"] == pytest.approx(expected_value.mean) and found["images"] == (labels == label).sum()
            assert found["interval_95"] == pytest.approx(np.clip(expected_value.interval_95, 0, 1))
            assert recalls[name][2 * position].startswith(f"{found['mean']:.4f} ± ")
