"""The report's tables, from hand-made cells."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    ATTACKED,
    ATTACKED_INDICES,
    CELLS,
    EPSILONS_255,
    FIRST_SEED,
    INTERFACE,
    LOSSES,
    MODELS,
    SEEDS,
    SPREAD,
    TRAIN_SETS,
    angles,
    attack,
    calibration_error,
    cells_of,
    change_attack,
    change_predictions,
    change_result,
    choose_study,
    confusion_of,
    correct,
    correct_under_fgsm,
    evaluation,
    expected_means,
    labels_of,
    loss_of,
    mean_calibration_under,
    one_attack,
    rank,
    read_strictly,
    report_on,
    report_rows,
    table,
    temperature,
    whole_table,
    wilson,
)
from scipy import stats

from robustness_study import training_sets
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import Cell
from robustness_study.report import tables
from robustness_study.results.intervals import summarise_values
from robustness_study.statistics import Error
from stages import compare


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
    near = summarise_values([0.8, 0.80001], 300)
    half = 1.959964 * math.sqrt(0.8 * 0.2 / 300)
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


def test_table_of_features_is_of_the_first_seed(compared: Path) -> None:
    columns, found = table("features")
    assert columns == [cell.key for cell in FIRST_SEED]
    assert found == {"trustworthiness": pytest.approx([0.9 - rank(cell) / 50 for cell in FIRST_SEED])}
