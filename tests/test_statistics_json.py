"""`reports/statistics.json`, from hand-made cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    IMAGES_OF,
    INTERFACE,
    LOSSES,
    SEEDS,
    SETS,
    TRAIN_SETS,
    cells_of,
    choose_study,
    correct,
    correct_by_probe,
    expected_means,
    expected_metrics,
    read_strictly,
    report_on,
    report_rows,
    table,
    wilson,
)

from robustness_study.core.cell import Cell
from robustness_study.results.differences import COMPARED, points
from robustness_study.statistics import contrast, estimate, holm
from stages import compare


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
