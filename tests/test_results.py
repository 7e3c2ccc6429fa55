"""The comparison and the headline: their figures from hand-made cells, and when they refuse."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import compare, headline
from stages.lib import params
from stages.lib.cells import Cell, to_text
from stages.lib.errors import StudyError
from stages.lib.results import METRICS
from stages.lib.statistics import estimate, holm

INTERFACE = [
    "train_clean",
    "val_clean",
    "val_corrupted",
    "test_clean",
    "test_corrupted",
    "generalisation_gap",
    "corruption_drop",
    "knn_test_clean",
    "knn_test_corrupted",
    "fgsm_1",
    "fgsm_2",
    "fgsm_4",
    "fgsm_8",
    "suite_mean",
    "suite_unseen_mean",
]
LOSSES, TRAIN_SETS, SEEDS = ["cross_entropy", "angular"], ["clean", "corrupted"], [0, 5]
CELLS = [Cell(*names) for names in product(LOSSES, TRAIN_SETS, SEEDS)]
SETS = {"train_clean": 40, "val_clean": 20, "val_corrupted": 20, "test_clean": 50, "test_corrupted": 50}
EPSILONS_255 = [0, 1, 2, 4, 8, 16]
ATTACKED = 25
ATTACKED_INDICES = np.arange(0, 50, 2)  # every other test image, the wrong ones at the end among them
Tree = dict[str, Any]
# The mix and the augmentation, which say which corruptions are akin to training.
COMMITTED = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
SECTIONS = {name: COMMITTED[name] for name in ("corrupt", "recipe", "recipes")}


def rank(cell: Cell) -> int:
    """A number of its own for every cell, 0 to 7; seeds are not next to each other."""
    return 4 * SEEDS.index(cell.seed) + 2 * LOSSES.index(cell.loss) + TRAIN_SETS.index(cell.train_set)


def right(cell: Cell, name: str) -> int:
    """How many images of a set the cell has right; no two sets and no two cells are alike."""
    most = {"train_clean": 39, "val_clean": 18, "val_corrupted": 16, "test_clean": 44, "test_corrupted": 33}
    return most[name] - rank(cell)


def right_of_neighbours(cell: Cell, name: str) -> int:
    return right(cell, name) - 2


def right_under_attack(cell: Cell, epsilon_255: int) -> int:
    if epsilon_255 == 0:
        return int((right(cell, "test_clean") > ATTACKED_INDICES).sum())
    return 20 - rank(cell) - EPSILONS_255.index(epsilon_255)


def expected_metrics(cell: Cell) -> dict[str, float]:
    """The headline figures by their definitions, from the counts above."""
    share = {name: right(cell, name) / images for name, images in SETS.items()}
    return {
        **share,
        "generalisation_gap": share["train_clean"] - share["test_clean"],
        "corruption_drop": share["test_clean"] - share["test_corrupted"],
        "knn_test_clean": right_of_neighbours(cell, "test_clean") / 50,
        "knn_test_corrupted": right_of_neighbours(cell, "test_corrupted") / 50,
        **{f"fgsm_{epsilon}": right_under_attack(cell, epsilon) / ATTACKED for epsilon in (1, 2, 4, 8)},
        "suite_mean": mean_under_stress(cell, "fog", "gaussian_noise"),
        "suite_unseen_mean": mean_under_stress(cell, "fog"),
    }


STRESSED = 40
# Main and not akin to the mix, main and akin to it, held out, none of the benchmark's.
SUITE = ["fog", "gaussian_noise", "saturate", "mix_without_flip"]


def right_under_stress(cell: Cell, corruption: str, severity: int) -> int:
    return 36 - rank(cell) - (SUITE.index(corruption) + 1) * severity if severity else 38 - rank(cell)


def guessed(images: int, right: int) -> np.ndarray:
    """Labels 0, 1, 0, …, but for as many images at the end as are wrong."""
    labels = np.arange(images) % 2
    return np.where(np.arange(images) < right, labels, 1 - labels)


def mean_under_stress(cell: Cell, *corruptions: str) -> float:
    return float(np.mean([[right_under_stress(cell, c, s) for s in range(1, 6)] for c in corruptions])) / STRESSED


def stress(cell: Cell) -> Tree:
    cases = [("clean", 0), *product(SUITE, range(1, 6))]
    rows = [{"corruption": c, "severity": s, "accuracy": right_under_stress(cell, c, s) / STRESSED} for c, s in cases]
    found = {
        name: [
            to_text(guessed(STRESSED, right_under_stress(cell, name, severity)))
            for severity in ([0] if name == "clean" else range(1, 6))
        ]
        for name in ("clean", *SUITE)
    }
    stressed = {"test_indices": to_text(np.arange(STRESSED)), "labels": to_text(np.arange(STRESSED) % 2)}
    return {"model": cell.key, "images": STRESSED, "rows": rows, "predictions": found, **stressed}


def labels_of(name: str) -> np.ndarray:
    return np.arange(SETS[name]) % 2


def predictions_of(cell: Cell, name: str) -> np.ndarray:
    return guessed(SETS[name], right(cell, name))


def confusion_of(cell: Cell, name: str) -> list[list[int]]:
    pairs = list(zip(labels_of(name), predictions_of(cell, name), strict=True))
    return [[pairs.count((actual, predicted)) for predicted in (0, 1)] for actual in (0, 1)]


def evaluation(cell: Cell) -> Tree:
    rows, details = [], {}
    for name, images in SETS.items():
        neighbours = None if name == "train_clean" else right_of_neighbours(cell, name) / images
        row = {"set": name, "accuracy": right(cell, name) / images, "loss": 0.5, "images": images}
        rows.append({**row, "knn_accuracy": neighbours, "flip_accuracy": None})
        confusion = confusion_of(cell, name)
        scores = {"precision": 0.5, "f1": 0.5, "images": images // 2}
        recalls = [confusion[label][label] / sum(confusion[label]) for label in (0, 1)]
        details[name] = {
            "per_class": {animal: {**scores, "recall": recalls[label]} for label, animal in enumerate(("cat", "dog"))},
            "confusion": confusion,
            "predictions": to_text(predictions_of(cell, name)),
        }
        if neighbours is not None:
            details[name]["knn_predictions"] = to_text(guessed(images, right_of_neighbours(cell, name)))
    dataset = {"name": "pets", "origin": "a test", "checksum": "md5:0", "official": True, "classes": ["cat", "dog"]}
    return {
        "model": cell.key,
        "knn_neighbours": 3,
        "recipe": "tiny",
        "trained_on": {"device": "cpu", "torch": "0", "precision": "float32"},
        "dataset": dataset,
        "sets": rows,
        "details": details,
        "labels": {name.split("_")[0]: to_text(labels_of(name)) for name in SETS},
    }


def attacked_guess(cell: Cell, epsilon_255: int) -> np.ndarray:
    labels = labels_of("test_clean")[ATTACKED_INDICES]
    return np.where(np.arange(ATTACKED) < right_under_attack(cell, epsilon_255), labels, 1 - labels)


def attack(cell: Cell) -> Tree:
    ladder = [
        {
            "epsilon_255": epsilon,
            "accuracy": right_under_attack(cell, epsilon) / ATTACKED,
            "accuracy_of_clean_correct": None,
            "accuracy_8_bit": 0.5,
        }
        for epsilon in EPSILONS_255
    ]
    return {
        "model": cell.key,
        "attack": "fast gradient sign",
        "images": ATTACKED,
        "ladder": ladder,
        "test_indices": to_text(ATTACKED_INDICES),
        "predictions": {
            "0": to_text(predictions_of(cell, "test_clean")[ATTACKED_INDICES]),
            **{str(epsilon): to_text(attacked_guess(cell, epsilon)) for epsilon in EPSILONS_255[1:]},
        },
    }


def embedding(cell: Cell) -> Tree:
    return {
        "model": cell.key,
        "images": 20,
        "measures": [{"measure": "trustworthiness", "value": 0.9 - rank(cell) / 50}],
    }


def curves(cell: Cell) -> str:
    rows = [f"{epoch},{2.5 / epoch},{0.25 * epoch},{0.125 * epoch + rank(cell) / 64},1.5" for epoch in (1, 2)]
    return "\n".join(["epoch,training_loss,train_accuracy,val_accuracy,val_loss", *rows]) + "\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what git holds of a whole study, and nothing else; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["headline", "--loss", "angular"])
    sections = SECTIONS | {"losses": LOSSES, "train_sets": TRAIN_SETS, "seeds": SEEDS}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    for cell in CELLS:
        cell.result("curves.csv").parent.mkdir(parents=True)
        cell.result("curves.csv").write_text(curves(cell), encoding="utf-8")
        cell.result("evaluate.json").write_text(json.dumps(evaluation(cell)), encoding="utf-8")
        cell.result("attack.json").write_text(json.dumps(attack(cell)), encoding="utf-8")
        cell.result("stress.json").write_text(json.dumps(stress(cell)), encoding="utf-8")
        if cell.seed == SEEDS[0]:
            cell.result("embed.png").write_bytes(b"a picture")
            cell.result("embed.json").write_text(json.dumps(embedding(cell)), encoding="utf-8")
    return tmp_path


def change_result(cell: Cell, name: str, **changes: object) -> None:
    path = cell.result(name)
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def change_dataset(cell: Cell, **changes: object) -> None:
    evaluate = json.loads(cell.result("evaluate.json").read_text(encoding="utf-8"))
    change_result(cell, "evaluate.json", dataset=evaluate["dataset"] | changes)


def read_strictly(path: str) -> Tree:
    """The JSON file; NaN and infinity, which Python reads although JSON has none, fail."""
    tree: Tree = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
    return tree


def outputs(top: Path) -> dict[str, bytes]:
    """Every file under reports/ that is no cell's."""
    found = (path for path in (top / "reports").rglob("*") if path.is_file())
    named = {path.relative_to(top / "reports").as_posix(): path.read_bytes() for path in found}
    return {name: content for name, content in named.items() if not name.startswith("cells/")}


def cells_of(loss: str, train_set: str) -> list[Cell]:
    return [cell for cell in CELLS if (cell.loss, cell.train_set) == (loss, train_set)]


def expected_means(loss: str, train_set: str) -> dict[str, float]:
    each = [expected_metrics(cell) for cell in cells_of(loss, train_set)]
    return {name: sum(metrics[name] for metrics in each) / len(each) for name in INTERFACE}


# --- compare -----------------------------------------------------------------------------------------------


def test_names_of_the_figures_are_the_interface() -> None:
    assert list(METRICS) == INTERFACE


def test_comparison_holds_every_figure_as_it_is_defined(study: Path) -> None:
    compare.main()
    comparison = read_strictly("reports/comparison.json")
    assert list(comparison) == LOSSES
    for loss in LOSSES:
        assert list(comparison[loss]) == ["clean_trained", "corrupted_trained"]
        for train_set in TRAIN_SETS:
            found = comparison[loss][f"{train_set}_trained"]
            assert list(found) == INTERFACE
            assert found == pytest.approx(expected_means(loss, train_set), abs=1e-12)


def wilson(share: float, images: int) -> list[float]:
    """The two roots p of (share − p)² = z² p (1 − p) / images."""
    z_squared = 1.959963984540054**2
    roots = np.roots([1 + z_squared / images, -2 * share - z_squared / images, share**2])
    return sorted(float(root) for root in roots)


IMAGES_OF = {
    "suite_mean": STRESSED,
    "suite_unseen_mean": STRESSED,
    **SETS,
    "knn_test_clean": 50,
    "knn_test_corrupted": 50,
    **{f"fgsm_{n}": ATTACKED for n in (1, 2, 4, 8)},
}


def test_statistics_hold_spread_and_interval(study: Path) -> None:
    compare.main()
    figures = read_strictly("reports/statistics.json")["figures"]
    for loss, train_set in product(LOSSES, TRAIN_SETS):
        found = figures[loss][f"{train_set}_trained"]
        assert list(found) == INTERFACE
        for name, mean in expected_means(loss, train_set).items():
            values = [expected_metrics(cell)[name] for cell in cells_of(loss, train_set)]
            # The mean is of single images' scores, so each figure is what those scores add up to.
            assert found[name]["mean"] == pytest.approx(mean, abs=1e-12), name
            assert found[name]["std"] == pytest.approx(np.std(values, ddof=1))
            assert (found[name]["n"], found[name]["images"]) == (2, IMAGES_OF.get(name))
            low, high = found[name]["interval_95"]
            own = "seeds" if name.startswith(("train", "val")) else "seeds and images"
            covers = "seeds and test images" if name == "generalisation_gap" else own
            assert found[name]["interval_covers"] == covers
            assert (-1 if name.endswith(("gap", "drop")) else 0) <= low <= mean <= high <= 1


def test_intervals_know_which_images_seeds_share(study: Path) -> None:
    compare.main()
    figures = read_strictly("reports/statistics.json")["figures"]["angular"]["clean_trained"]

    def scores(name: str) -> np.ndarray:
        counts = [right(Cell("angular", "clean", seed), name) for seed in SEEDS]
        return np.stack([np.arange(SETS[name]) < count for count in counts]).astype(float)

    for metric, parts, shared in (
        ("val_clean", [scores("val_clean")], [False]),
        ("test_clean", [scores("test_clean")], [True]),
        ("corruption_drop", [scores("test_clean") - scores("test_corrupted")], [True]),
        ("generalisation_gap", [scores("train_clean"), -scores("test_clean")], [False, True]),
    ):
        low, high = estimate(parts, shared).interval_95
        lowest = -1 if metric.endswith(("gap", "drop")) else 0
        assert figures[metric]["interval_95"] == pytest.approx([max(lowest, low), min(1, high)]), metric


def test_one_seed_has_no_spread_and_no_test(study: Path) -> None:
    sections = SECTIONS | {"losses": LOSSES, "train_sets": TRAIN_SETS, "seeds": [0]}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    compare.main()
    statistics = read_strictly("reports/statistics.json")
    figures = statistics["figures"]["angular"]["clean_trained"]
    assert {(figure["std"], figure["n"]) for figure in figures.values()} == {(None, 1)}
    assert {figure["interval_covers"] for figure in figures.values()} == {"images"}
    expected = expected_metrics(Cell("angular", "clean", 0))
    assert read_strictly("reports/comparison.json")["angular"]["clean_trained"] == pytest.approx(expected, abs=1e-12)
    for name in (*SETS, "knn_test_clean", "fgsm_2"):
        assert figures[name]["interval_95"] == pytest.approx(wilson(expected[name], IMAGES_OF[name]), abs=1e-9)
    assert {difference["p_holm"] for difference in statistics["differences"]} == {None}
    assert {conclusion["verdict"] for conclusion in statistics["conclusions"]} == {"not tested: one seed"}
    report = Path("reports/report.md").read_text(encoding="utf-8")
    said = report.split("## What can be said")[1].split("##")[0]
    assert "nothing is tested and nothing concluded" in said
    # 44 of 50 images against 42, on the same images: two differ.
    error = 1.959963984540054 * np.sqrt(np.var([1] * 2 + [0] * 48, ddof=1) / 50) * 100
    interval = f"−4.0 points (−{4 + error:.1f} to {error - 4:+.1f}), n = 1, over images alone"
    assert f"  - angular − cross_entropy, clean → clean: {interval}" in said


def test_differences_are_of_one_loss_or_one_training_set_and_are_paired(study: Path) -> None:
    compare.main()
    statistics = read_strictly("reports/statistics.json")
    found = {(row["model"], row["minus"], row["metric"]): row for row in statistics["differences"]}
    pairs = {
        ("cross_entropy-corrupted", "cross_entropy-clean"), ("angular-clean", "cross_entropy-clean"),
        ("angular-corrupted", "cross_entropy-corrupted"), ("angular-corrupted", "angular-clean"),
    }  # fmt: skip
    compared = ["test_clean", "test_corrupted", "suite_mean", "suite_unseen_mean", "fgsm_2"]
    assert set(found) == {(*pair, metric) for pair in pairs for metric in compared}
    means = {(loss, name): expected_means(loss, name) for loss, name in product(LOSSES, TRAIN_SETS)}
    for (model, minus, metric), row in found.items():
        one, other = (means[tuple(name.split("-"))] for name in (model, minus))
        assert row["mean"] == pytest.approx(one[metric] - other[metric], abs=1e-12)
        assert row["n"] == 2 and row["p_holm"] is not None
        assert (row["p_mcnemar_by_seed"] is None) == metric.startswith("suite_")
    # At both seeds 42 and 38 images against 44 and 40: paired by seed, the difference does not vary.
    row = found["angular-clean", "cross_entropy-clean", "test_clean"]
    assert row["std"] == pytest.approx(0)
    counts = [(right(Cell("angular", "clean", seed), "test_clean"), seed) for seed in SEEDS]
    scores = np.stack(
        [
            (np.arange(50) < one).astype(float)
            - (np.arange(50) < right(Cell("cross_entropy", "clean", seed), "test_clean"))
            for one, seed in counts
        ]
    )
    by_hand = estimate([scores], [True])
    assert row["interval_95"] == pytest.approx(by_hand.interval_95) and row["p_value"] == pytest.approx(by_hand.p_value)
    adjusted = holm([row["p_value"] for row in statistics["differences"]])
    assert [row["p_holm"] for row in statistics["differences"]] == pytest.approx(adjusted)
    # Two of fifty images, right with one model alone: exactly 2 · (1/2)², at each seed.
    assert found["angular-clean", "cross_entropy-clean", "test_clean"]["p_mcnemar_by_seed"] == [0.5, 0.5]


def test_report_answers_the_studies_conclusions(study: Path) -> None:
    compare.main()
    conclusions = read_strictly("reports/statistics.json")["conclusions"]
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert [len(conclusion["because"]) for conclusion in conclusions] == [2, 4, 4]
    for conclusion in conclusions:
        assert f"- {conclusion['claim']}: **{conclusion['verdict']}**." in report
        assert all(f"  - {sentence}\n" in report for sentence in conclusion["because"])


def test_claims_about_models_that_are_not_there_are_not_answered(study: Path) -> None:
    sections = SECTIONS | {"losses": ["angular"], "train_sets": ["corrupted", "clean"], "seeds": SEEDS}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    compare.main()
    conclusions = read_strictly("reports/statistics.json")["conclusions"]
    assert len(conclusions) == 2
    # Whatever the order in params: how much corrupted-trained models are above clean-trained ones.
    assert conclusions[0]["because"][0].startswith("trained on corrupted − on clean, angular → corrupted: −2.0 points")


def table(name: str) -> tuple[list[str], dict[str, list[float]]]:
    """Column names, and the numbers of each row; NaN where there is none."""
    header, *rows = csv.reader(io.StringIO(Path(f"reports/tables/{name}.csv").read_text(encoding="utf-8")))
    return header[1:], {row[0]: [float(value or math.nan) for value in row[1:]] for row in rows}


def test_tables_hold_the_same_figures(study: Path) -> None:
    compare.main()
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
            np.mean([right_under_attack(cell, epsilon) / ATTACKED for cell in cells_of(*names)]) for names in means
        ]
        assert ladder[str(epsilon)] == pytest.approx(expected, abs=1e-6)
    columns, recalls = table("recall_per_class")
    assert columns[:3] == ["cross_entropy, clean → clean", "cross_entropy, clean → corrupted",
                           "cross_entropy, corrupted → clean"]  # fmt: skip
    confusions = [confusion_of(cell, "test_corrupted") for cell in cells_of("cross_entropy", "clean")]
    assert recalls["dog"][1] == pytest.approx(
        np.mean([counts[1][1] / sum(counts[1]) for counts in confusions]), abs=1e-6
    )


def test_what_stands_beside_accuracy(study: Path) -> None:
    compare.main()
    columns, found = table("beside_accuracy")
    for position, names in enumerate(product(LOSSES, TRAIN_SETS)):
        assert columns[position] == ", ".join(names)
        cells = cells_of(*names)
        worst = [min(confusion_of(cell, "test_corrupted")[label][label] / 25 for label in (0, 1)) for cell in cells]
        assert found["recall of the worst class, corrupted"][position] == pytest.approx(np.mean(worst), abs=1e-6)
        # The wrong ones are the last: whatever is right corrupted is right clean.
        pairs = [right(cell, "test_corrupted") / right(cell, "test_clean") for cell in cells]
        assert found["right corrupted, of those right clean"][position] == pytest.approx(np.mean(pairs), abs=1e-6)
        assert found["negative log-likelihood, clean"][position] == 0.5
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert "| right corrupted, of those right clean " in report.split("## Beside accuracy")[1].split("##")[0]


def test_a_model_that_is_never_right_has_no_share_of_the_right(study: Path) -> None:
    wrong = 1 - labels_of("test_clean")
    details = evaluation(CELLS[0])["details"]
    details["test_clean"]["predictions"] = to_text(wrong)
    change_result(CELLS[0], "evaluate.json", details=details)
    change_result(CELLS[0], "attack.json", predictions=attack(CELLS[0])["predictions"] | {"0": to_text(wrong[::2])})
    compare.main()
    _, found = table("beside_accuracy")
    assert math.isnan(found["right corrupted, of those right clean"][0])  # no mean over fewer seeds than there are
    assert not math.isnan(found["right corrupted, of those right clean"][1])


def test_suite_table_holds_means_and_corruption_errors(study: Path) -> None:
    compare.main()
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
                            right_under_stress(c, name, 0) * relative - right_under_stress(c, name, s)
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
        found = errors[model]["relative mCE"]["seen"]["value"]
        assert found == pytest.approx(means["relative mCE, seen"][position], abs=1e-6)
    rows = list(csv.DictReader(io.StringIO(Path("reports/tables/suite_in_full.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 4 * (1 + 5 * len(SUITE))
    chosen = [row for row in rows if (row["loss"], row["corruption"], row["severity"]) == ("angular", "fog", "3")]
    expected = np.mean([right_under_stress(cell, "fog", 3) / STRESSED for cell in cells_of("angular", "clean")])
    assert float(chosen[0]["accuracy"]) == pytest.approx(expected, abs=1e-6)


def test_corruption_errors_need_their_reference(study: Path) -> None:
    sections = SECTIONS | {"losses": ["angular"], "train_sets": TRAIN_SETS, "seeds": SEEDS}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert "mCE is not given: no cross-entropy model trained on clean images is in the study" in report
    lines = Path("reports/tables/suite.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("mCE,")] == ["mCE,,"]
    errors = read_strictly("reports/corruption_errors.json")["angular, clean"]
    assert errors["mCE"]["unseen"]["value"] is None and "no cross-entropy model" in errors["mCE"]["unseen"]["reason"]


def test_a_mean_of_nothing_is_null(study: Path) -> None:
    for cell in CELLS:
        rows = [row for row in stress(cell)["rows"] if row["corruption"] in ("clean", "gaussian_noise")]
        change_result(cell, "stress.json", rows=rows)
    compare.main()
    headline.main()
    found = read_strictly("reports/metrics.json")["clean_trained"]
    assert found["suite_unseen_mean"] is None and found["suite_mean"] is not None
    statistics = read_strictly("reports/statistics.json")
    assert statistics["figures"]["angular"]["clean_trained"]["suite_unseen_mean"]["mean"] is None
    assert {row["metric"] for row in statistics["differences"]} >= {"suite_mean"}
    assert "suite_unseen_mean" not in {row["metric"] for row in statistics["differences"]}


def test_curves_of_every_model_are_joined(study: Path) -> None:
    compare.main()
    rows = list(csv.DictReader(io.StringIO(Path("reports/curves.csv").read_text(encoding="utf-8"))))
    assert [(row["model"], row["epoch"]) for row in rows] == [(cell.key, epoch) for cell in CELLS for epoch in "12"]
    assert [float(row["val_accuracy"]) for row in rows[:2]] == [0.125, 0.25]


@pytest.mark.parametrize("official", [True, False])
def test_report_says_at_its_head_whether_data_are_unofficial(study: Path, official: bool) -> None:
    for cell in CELLS:
        change_dataset(cell, official=official)
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    title, second, *_ = [line for line in report.splitlines() if line]
    assert title == "# Comparison"
    assert ("Unofficial" in second) == (not official)
    assert ("nofficial" in report) == (not official)
    assert "pets" in report and "a test" in report and "md5:0" in report


def test_report_shows_its_figures_and_its_seeds(study: Path) -> None:
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[[^]]*\]\(([^)]*)\)", report)
    assert len(linked) == 6 + 4 and all((study / "reports" / name).is_file() for name in linked)
    assert "seeds [0, 5]" in report and "n = 2 seed(s)" in report and "interval over seeds and images" in report
    figures = read_strictly("reports/statistics.json")["figures"]["angular"]["clean_trained"]
    for metric in ("test_clean", "corruption_drop", "suite_mean", "fgsm_8"):
        low, high = figures[metric]["interval_95"]
        spread = f"± {figures[metric]['std']:.4f} ({low:.3f} to {high:.3f})"
        assert f"{figures[metric]['mean']:.4f} {spread}" in report
    for (loss, train_set), test in product(product(LOSSES, TRAIN_SETS), TRAIN_SETS):
        assert f"{expected_means(loss, train_set)[f'test_{test}']:.4f}" in report
    assert str(study) not in report


def test_report_has_flip_test_time_augmentation_beside_where_it_was_on(study: Path) -> None:
    compare.main()
    assert "test-time" not in Path("reports/report.md").read_text(encoding="utf-8")
    for cell in CELLS:
        sets = json.loads(cell.result("evaluate.json").read_text(encoding="utf-8"))["sets"]
        change_result(cell, "evaluate.json", sets=[{**row, "flip_accuracy": 0.4321} for row in sets])
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert "0.4321" in report.split("With flip test-time augmentation:")[1].split("![")[0]
    one = json.loads(CELLS[1].result("evaluate.json").read_text(encoding="utf-8"))["sets"]
    change_result(CELLS[1], "evaluate.json", sets=[{**row, "flip_accuracy": None} for row in one])
    with pytest.raises(StudyError, match="differ in flip test-time augmentation"):
        compare.main()


def test_comparing_twice_gives_the_same_bytes(study: Path) -> None:
    compare.main()
    headline.main()
    once = outputs(study)
    assert len(once) == 5 + 9 + 6 + 3  # files at the top, tables, figures, the headline's
    compare.main()
    headline.main()
    assert outputs(study) == once


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train", "curves.csv"),
        ("evaluate", "evaluate.json"),
        ("attack", "attack.json"),
        ("stress", "stress.json"),
        ("embed", "embed.png"),
        ("embed", "embed.json"),
    ],
)
@pytest.mark.parametrize("cell", [CELLS[0], CELLS[-2]], ids=lambda cell: cell.key)
def test_missing_cell_is_named_and_nothing_is_written(study: Path, stage: str, name: str, cell: Cell) -> None:
    cell.result(name).unlink()
    with pytest.raises(StudyError, match=f"the cell {cell.key} is missing .*dvc repro {stage}@{cell.key}") as caught:
        compare.main()
    assert "\n" not in str(caught.value) and cell.result(name).as_posix() in str(caught.value)
    assert outputs(study) == {}


@pytest.mark.parametrize("change", [{"checksum": "md5:1"}, {"official": False}, {"classes": ["dog", "cat"]}])
def test_cells_of_different_data_are_refused(study: Path, change: dict[str, object]) -> None:
    change_dataset(CELLS[6], **change)
    with pytest.raises(StudyError, match=f"{CELLS[6].key} and {CELLS[0].key} differ in dataset, so they do not"):
        compare.main()
    assert outputs(study) == {}


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("evaluate.json", {"recipe": "gpu"}, "recipe"),
        ("evaluate.json", {"labels": {"test": to_text(1 - labels_of("test_clean"))}}, "test images"),
        ("evaluate.json", {"knn_neighbours": 5}, "k of the nearest neighbours"),
        ("attack.json", {"test_indices": to_text(ATTACKED_INDICES + 1)}, "attacked images"),
        ("stress.json", {"test_indices": to_text(np.arange(1, STRESSED + 1))}, "stressed images"),
        ("stress.json", {"rows": stress(CELLS[3])["rows"][:-5]}, "the suite's corruptions"),
        ("attack.json", {"ladder": [{"epsilon_255": 0, "accuracy": 0.5}]}, "attack's epsilons"),
    ],
)
def test_cells_made_in_different_ways_are_refused(study: Path, name: str, change: Tree, what: str) -> None:
    change_result(CELLS[3], name, **change)
    with pytest.raises(StudyError, match=f"{CELLS[3].key} and {CELLS[0].key} differ in {what}, so they do not compare"):
        compare.main()
    assert outputs(study) == {}


def test_cells_of_other_numbers_of_images_are_refused(study: Path) -> None:
    sets = json.loads(CELLS[3].result("evaluate.json").read_text(encoding="utf-8"))["sets"]
    fewer = [{**row, "images": row["images"] - row["set"].startswith("val")} for row in sets]
    change_result(CELLS[3], "evaluate.json", sets=fewer)
    with pytest.raises(StudyError, match=f"{CELLS[3].key} and {CELLS[0].key} differ in numbers of images, so they do"):
        compare.main()
    assert outputs(study) == {}


def test_cell_with_one_more_set_compares(study: Path) -> None:
    """A model trained on corrupted images has a set that the others lack, and has it first."""
    sets = json.loads(CELLS[3].result("evaluate.json").read_text(encoding="utf-8"))["sets"]
    own = next(row for row in sets if row["set"] == "train_clean")
    change_result(CELLS[3], "evaluate.json", sets=[{**own, "set": "train_corrupted"}, *sets])
    compare.main()
    assert "comparison.json" in outputs(study)


def test_attack_on_another_model_is_refused(study: Path) -> None:
    others = 1 - predictions_of(CELLS[2], "test_clean")[ATTACKED_INDICES]
    change_result(CELLS[2], "attack.json", predictions={"0": to_text(others)})
    with pytest.raises(StudyError, match=f"the attack on {CELLS[2].key} at epsilon 0 is not what evaluate saw"):
        compare.main()
    assert outputs(study) == {}


@pytest.mark.parametrize("text", ["", "epoch,val_accuracy\n1,much\n", "epoch,val_accuracy\n1\n"])
def test_broken_curves_are_one_line(study: Path, text: str) -> None:
    CELLS[1].result("curves.csv").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=f"curves.csv is broken; run `dvc repro train@{CELLS[1].key}`"):
        compare.main()


def test_features_are_tabled_for_the_first_seed(study: Path) -> None:
    compare.main()
    table = pd.read_csv("reports/tables/features.csv", index_col="measure")
    assert list(table) == [cell.key for cell in CELLS if cell.seed == SEEDS[0]]
    assert list(table.loc["trustworthiness"]) == pytest.approx(
        [0.9 - rank(cell) / 50 for cell in CELLS if cell.seed == SEEDS[0]]
    )


# --- headline ----------------------------------------------------------------------------------------------


def test_headline_holds_the_figures_of_its_loss(study: Path) -> None:
    headline.main()
    metrics = read_strictly("reports/metrics.json")
    assert list(metrics) == ["clean_trained", "corrupted_trained"]
    for train_set in TRAIN_SETS:
        assert list(metrics[f"{train_set}_trained"]) == INTERFACE
        assert metrics[f"{train_set}_trained"] == pytest.approx(expected_means("angular", train_set), abs=1e-12)
    compare.main()
    assert metrics == read_strictly("reports/comparison.json")["angular"]


def test_headline_names_no_loss_and_needs_no_other(study: Path) -> None:
    for cell in CELLS:
        if cell.loss != "angular":
            for path in cell.result("curves.csv").parent.iterdir():
                path.unlink()
    headline.main()
    written = outputs(study)
    assert sorted(written) == ["headline/confusion.csv", "headline/curves.csv", "metrics.json"]
    assert not any(loss.encode() in content for loss in LOSSES for content in written.values())


def test_headline_curves_and_confusion(study: Path) -> None:
    headline.main()
    curves_rows = Path("reports/headline/curves.csv").read_text(encoding="utf-8").splitlines()
    assert curves_rows[:3] == [
        "model,epoch,training_loss,train_accuracy,val_accuracy,val_loss",
        "clean-0,1,2.5,0.25,0.15625,1.5",
        "clean-0,2,1.25,0.5,0.28125,1.5",
    ]
    assert [row.split(",")[0] for row in curves_rows[1::2]] == ["clean-0", "clean-5", "corrupted-0", "corrupted-5"]
    rows = list(csv.DictReader(io.StringIO(Path("reports/headline/confusion.csv").read_text(encoding="utf-8"))))
    found = {(row["train_set"], row["actual"], row["predicted"]): int(row["count"]) for row in rows}
    expected = {}
    for train_set in TRAIN_SETS:
        summed = sum(np.array(confusion_of(cell, "test_clean")) for cell in cells_of("angular", train_set))
        for (actual, first), (predicted, second) in product(enumerate(["cat", "dog"]), repeat=2):
            expected[train_set, first, second] = int(np.asarray(summed)[actual, predicted])
    assert found == expected and sum(found.values()) == 4 * 50


def test_headline_refuses_seeds_made_in_different_ways(study: Path) -> None:
    change_result(Cell("angular", "clean", SEEDS[1]), "evaluate.json", recipe="gpu")
    with pytest.raises(StudyError, match="angular-clean-5 and angular-clean-0 differ in recipe"):
        headline.main()
    assert outputs(study) == {}


@pytest.mark.parametrize("name", ["curves.csv", "evaluate.json", "attack.json"])
def test_headline_refuses_a_missing_cell(study: Path, name: str) -> None:
    cell = Cell("angular", "corrupted", 5)
    cell.result(name).unlink()
    with pytest.raises(StudyError, match=f"the cell {cell.key} is missing"):
        headline.main()
    assert outputs(study) == {}


def test_figure_that_is_no_number_is_never_written(study: Path) -> None:
    """DVC would record a metric that is NaN without a word."""
    path = CELLS[-1].result("evaluate.json")
    evaluate = json.loads(path.read_text(encoding="utf-8"))
    evaluate["sets"][3]["accuracy"] = float("nan")
    path.write_text(json.dumps(evaluate), encoding="utf-8")
    with pytest.raises(StudyError, match=r"metrics\.json would hold a figure that is NaN or infinite"):
        headline.main()
    assert "metrics.json" not in outputs(study)
