"""What the report says of the suite of corruptions, from hand-made cells."""

from __future__ import annotations

import csv
import io
import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    LOSSES,
    SEEDS,
    STRESSED,
    SUITE,
    TRAIN_SETS,
    cells_of,
    choose_study,
    correct_under_stress,
    labels_of,
    mean_under_stress,
    predictions_of,
    read_strictly,
    report_rows,
    results_of,
    table,
    wilson,
)
from matplotlib.figure import Figure
from scipy import stats

from robustness_study.report import suite_charts
from robustness_study.results.intervals import summarise
from robustness_study.results.metric_kinds import recall
from robustness_study.statistics import estimate
from stages import compare


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
