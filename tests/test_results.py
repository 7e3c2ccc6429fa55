"""The comparison and the headline: their metrics from hand-made cells, and when they stop with an error."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    ATTACKED_INDICES,
    CELLS,
    CONTROL,
    FIRST_SEED,
    INTERFACE,
    LOSSES,
    OF_ATTACK,
    POSITIONS,
    SEEDS,
    SETTINGS,
    STRESSED,
    TRAIN_SETS,
    Tree,
    attacked_labels,
    cells_of,
    change_attack,
    change_dataset,
    change_file,
    change_result,
    confusion_of,
    correct_by_probe,
    correct_under,
    expected_means,
    expected_metrics,
    labels_of,
    one_attack,
    outputs,
    predictions_of,
    read_strictly,
    report_on,
    results_of,
    stress,
    transfer,
    write_study,
)

from robustness_study.core.array_text import to_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record
from robustness_study.results.cell_results import read
from robustness_study.results.cells import refuse_another_model, refuse_incomparable
from robustness_study.results.metric import Metric
from robustness_study.results.metric_kinds import under_attack
from robustness_study.results.metrics import BESIDE, BY_NAME, METRICS
from stages import compare, headline


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the files of a whole study that git holds and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["headline", "--loss", "angular"])
    write_study()
    return tmp_path


# --- compare ----------------------------------------------------------------------------------------------


def test_names_of_the_metrics_never_change() -> None:
    assert [metric.name for metric in METRICS] == INTERFACE


@pytest.mark.parametrize("metric", (*METRICS, *BESIDE), ids=lambda metric: metric.name)
def test_contract_of_a_metric(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*", metric.name) and metric.title.strip()
    assert (metric.scores is None) != (metric.value is None)
    names = [other.name for other in (*METRICS, *BESIDE)]
    titles = [other.title for other in (*METRICS, *BESIDE)]
    assert names.count(metric.name) == 1 and titles.count(metric.title) == 1


def test_comparison_holds_every_metric_as_defined(study: Path) -> None:
    compare.main()
    comparison = read_strictly("reports/comparison.json")
    assert list(comparison) == LOSSES
    for loss in LOSSES:
        assert list(comparison[loss]) == ["clean_trained", "corrupted_trained"]
        for train_set in TRAIN_SETS:
            found = comparison[loss][f"{train_set}_trained"]
            assert list(found) == INTERFACE
            assert found == pytest.approx(expected_means(loss, train_set), abs=1e-12)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.key)
def test_metrics_are_sums_of_means_of_per_image_scores(study: Path, cell: Cell) -> None:
    (result,) = results_of(cell)
    found = {metric.name: metric.of(result) for metric in METRICS}
    assert found | {"suite_unseen_mean": 0} == pytest.approx(expected_metrics(cell) | {"suite_unseen_mean": 0})
    for metric in METRICS:
        by_set = metric.scores_of(result)
        assert by_set is not None, metric.name
        assert sum(of_set.mean() for of_set in by_set.values()) == pytest.approx(found[metric.name]), metric.name
    for test in ("clean", "corrupted"):
        metric = BY_NAME[f"probe_test_{test}"]
        (scores,) = (metric.scores_of(result) or {}).values()
        assert scores.tolist() == [1] * correct_by_probe(cell, f"test_{test}") + [0] * (
            50 - correct_by_probe(cell, f"test_{test}")
        )
        assert metric.images(result) == 50


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("cell", [CELLS[0], CELLS[-1]], ids=lambda cell: cell.key)
def test_attacks_are_scored_on_their_own_images(study: Path, cell: Cell, name: str) -> None:
    (result,) = results_of(cell)
    count = len(POSITIONS[name])
    for epsilon_255 in OF_ATTACK[name]:
        labels, predicted = result.attacked(name, epsilon_255)
        assert labels.tolist() == attacked_labels()[POSITIONS[name]].tolist()
        expected = correct_under(cell, name, epsilon_255)
        assert (predicted == labels).tolist() == [True] * expected + [False] * (count - expected)
        metric = under_attack(name, epsilon_255)
        assert metric.images(result) == count
        (scores,) = (metric.scores_of(result) or {}).values()
        assert (len(scores), scores.sum()) == (count, expected)


@pytest.mark.parametrize(("share", "similar"), [(0.0, False), (0.5, True), (None, True)])
def test_dataset_of_jpeg_files_has_jpeg_compression_among_the_seen(
    study: Path, share: float | None, similar: bool
) -> None:
    change_dataset(CELLS[0], jpeg_share=share)
    assert ("jpeg_compression" in read(CELLS[0], ["fog"]).stress.seen) == similar
    assert "fog" in read(CELLS[0], ["fog"]).stress.seen


def test_a_mean_of_nothing_is_null(study: Path) -> None:
    for cell in CELLS:
        rows = [row for row in stress(cell)["rows"] if row["corruption"] in ("clean", "gaussian_noise")]
        found = {name: stress(cell)["predictions"][name] for name in ("clean", "gaussian_noise")}
        change_result(cell, "stress.json", rows=rows, predictions=found)
    compare.main()
    headline.main()
    found = read_strictly("reports/metrics.json")["clean_trained"]
    assert found["suite_unseen_mean"] is None and found["suite_mean"] is not None
    statistics = read_strictly("reports/statistics.json")
    assert statistics["metrics"]["angular"]["clean_trained"]["suite_unseen_mean"]["mean"] is None
    assert {row["metric"] for row in statistics["differences"]} >= {"suite_mean"}
    assert "suite_unseen_mean" not in {row["metric"] for row in statistics["differences"]}


def test_curves_of_every_model_are_joined(study: Path) -> None:
    compare.main()
    rows = list(csv.DictReader(io.StringIO(Path("reports/curves.csv").read_text(encoding="utf-8"))))
    assert [(row["model"], row["epoch"]) for row in rows] == [(cell.key, epoch) for cell in CELLS for epoch in "12"]
    assert [float(row["val_accuracy"]) for row in rows[:2]] == [0.125, 0.25]


def test_comparing_twice_gives_the_same_bytes(study: Path) -> None:
    compare.main()
    headline.main()
    once = outputs(study)
    assert len(once) == 6 + 13 + 7 + 3  # files at the top, tables, figures, the headline's
    compare.main()
    headline.main()
    assert outputs(study) == once


# --- what does not compare --------------------------------------------------------------------------------


def attacks_with(name: str, **changes: object) -> Tree:
    """All attacks on the cell that the tests below change, with one attack changed."""
    found = {each: one_attack(CELLS[3], each) for each in POSITIONS}
    return found | {name: found[name] | changes}


OTHER_ATTACKS = {
    "more steps": attacks_with("pgd", steps=SETTINGS["pgd"]["steps"] + 1),
    "more restarts": attacks_with("pgd", restarts=SETTINGS["pgd"]["restarts"] + 1),
    "fewer looks": attacks_with("pgd", looked_at_every=2 * SETTINGS["pgd"]["looked_at_every"]),
    "more steps before rounding": attacks_with("pgd_8_bit", steps=SETTINGS["pgd"]["steps"] + 1),
    "more queries": attacks_with("square", queries=SETTINGS["square"]["queries"] + 1),
    "other images": attacks_with("knn_fgsm", positions=to_text(CONTROL[::-1])),
    "other epsilons": attacks_with("pgd", predictions={"2": one_attack(CELLS[3], "pgd")["predictions"]["2"]}),
    "an attack less": {name: one_attack(CELLS[3], name) for name in POSITIONS if name != "square"},
}


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train", "curves.csv"),
        ("evaluate", "evaluate.json"),
        ("attack", "attack.json"),
        ("stress", "stress.json"),
        ("render", "plane.png"),
        ("render", "plane.json"),
    ],
)
@pytest.mark.parametrize("cell", [CELLS[0], CELLS[-2]], ids=lambda cell: cell.key)
def test_missing_cell_is_named_and_nothing_is_written(study: Path, stage: str, name: str, cell: Cell) -> None:
    path = cell.plane(name) if stage == "render" else cell.published(name)
    path.unlink()
    with pytest.raises(StudyError, match=f"the cell {cell.key} is missing .*dvc repro {stage}@{cell.key}") as caught:
        compare.main()
    assert "\n" not in str(caught.value) and path.as_posix() in str(caught.value)
    assert outputs(study) == {}


@pytest.mark.parametrize("change", [{"checksum": "md5:1"}, {"official": False}, {"classes": ["dog", "cat"]}])
def test_cells_of_different_data_are_refused(study: Path, change: dict[str, object]) -> None:
    change_dataset(CELLS[6], **change)
    with pytest.raises(StudyError, match=f"{CELLS[6].key} and {CELLS[0].key} differ in dataset, so they cannot"):
        compare.main()
    assert outputs(study) == {}


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("evaluate.json", {"recipe": "gpu"}, "recipe"),
        ("evaluate.json", {"labels": {"test": to_text(1 - labels_of("test_clean"))}}, "test images"),
        ("evaluate.json", {"knn_neighbours": 5}, "k of the nearest neighbours"),
        ("attack.json", {"test_indices": to_text(ATTACKED_INDICES + 1)}, "attacked images"),
        ("stress.json", {"test_indices": to_text(np.arange(1, STRESSED + 1))}, "the suite's images"),
        ("stress.json", {"rows": stress(CELLS[3])["rows"][:-5]}, "the suite's corruptions"),
        ("attack.json", {"ladder": [{"epsilon_255": 0, "accuracy": 0.5}]}, "attack's epsilons"),
        *[("attack.json", {"attacks": found}, "attacks") for found in OTHER_ATTACKS.values()],
    ],
)
def test_cells_made_in_different_ways_are_refused(study: Path, name: str, change: Tree, what: str) -> None:
    change_result(CELLS[3], name, **change)
    changed, first = results_of(CELLS[3], CELLS[0])
    with pytest.raises(StudyError, match=f"{CELLS[3].key} and {CELLS[0].key} differ in {what}, so they cannot be"):
        refuse_incomparable(changed, first)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("evaluate.json", {"labels": {"test": "|u1:no base64"}}),
        ("evaluate.json", {"labels": {"test": "u9:eNpjAAAAAQAB"}}),
        ("evaluate.json", {"labels": {"test": "|u1:AAAA"}}),
        ("evaluate.json", {"sets": ["val_clean"]}),
        ("evaluate.json", {"details": None}),
        ("attack.json", {"attacks": {}}),
        ("stress.json", {"rows": [{"corruption": "fog"}]}),
        ("stress.json", {"rows": "fog"}),
    ],
)
def test_damaged_result_that_is_still_json_is_refused_in_one_line(study: Path, name: str, change: Tree) -> None:
    change_result(CELLS[0], name, **change)
    folder = CELLS[0].published(name).parent
    with pytest.raises(
        StudyError, match=rf"^a file in {folder} was changed or is .*; restore it with git, or run `dvc"
    ):
        compare.main()
    assert outputs(study) == {}


@pytest.mark.parametrize("name", ["transfer", "stability"])
@pytest.mark.parametrize("content", ["[]", "{}", '"text"'])
def test_shared_result_without_its_values_is_refused(study: Path, name: str, content: str) -> None:
    Path(f"reports/{name}.json").write_text(content, encoding="utf-8")
    with pytest.raises(StudyError, match=rf"^reports/{name}\.json has no value named '\w+'; delete it and run `dvc"):
        compare.main()
    assert outputs(study) == {}


def test_cells_with_different_numbers_of_images_are_refused(study: Path) -> None:
    sets = json.loads(CELLS[3].published("evaluate.json").read_text(encoding="utf-8"))["sets"]
    fewer = [{**row, "images": row["images"] - row["set"].startswith("val")} for row in sets]
    change_result(CELLS[3], "evaluate.json", sets=fewer)
    changed, first = results_of(CELLS[3], CELLS[0])
    with pytest.raises(
        StudyError, match=f"{CELLS[3].key} and {CELLS[0].key} differ in numbers of images, so they cannot"
    ):
        refuse_incomparable(changed, first)


def test_cell_with_one_more_set_compares(study: Path) -> None:
    """A model trained on corrupted images has one set more than the others, and it comes first."""
    evaluated = read_record(CELLS[3].published("evaluate.json"))
    sets, details = evaluated["sets"], evaluated["details"]
    own = next(row for row in sets if row["set"] == "train_clean")
    change_result(
        CELLS[3],
        "evaluate.json",
        sets=[{**own, "set": "train_corrupted"}, *sets],
        details=details | {"train_corrupted": details["train_clean"]},
    )
    compare.main()
    assert "comparison.json" in outputs(study)


def test_without_a_natural_set_its_metrics_are_null(study: Path) -> None:
    for cell in CELLS:
        evaluated = read_record(cell.published("evaluate.json"))
        for part in ("details", "labels", "natural"):
            del evaluated[part]["natural_cifar10_1"]
        sets = [row for row in evaluated["sets"] if row["set"] != "natural_cifar10_1"]
        change_result(cell, "evaluate.json", **evaluated | {"sets": sets})
    compare.main()
    for of_loss in read_strictly("reports/comparison.json").values():
        for metrics in of_loss.values():
            assert metrics["natural_cifar10_1"] is None and metrics["natural_cifar10_1_drop"] is None
            assert metrics["test_clean"] is not None
    assert "is empty: `natural` in `params.yaml` does not name" in report_on("All metrics")


def test_interval_of_a_natural_set_is_over_seeds_and_images(study: Path) -> None:
    compare.main()
    found = read_strictly("reports/statistics.json")["metrics"]["angular"]["clean_trained"]
    accuracy, drop = found["natural_cifar10_1"], found["natural_cifar10_1_drop"]
    assert accuracy["interval_covers"] == drop["interval_covers"] == "seeds and images"
    assert (accuracy["images"], drop["images"]) == (30, None)
    for summary in (accuracy, drop):
        assert summary["interval_95"][0] < summary["mean"] < summary["interval_95"][1]
    assert "CIFAR-10.1" in report_on("All metrics") and "is empty" not in report_on("All metrics")


def test_attack_on_another_model_is_refused(study: Path) -> None:
    others = 1 - predictions_of(CELLS[2], "test_clean")[ATTACKED_INDICES]
    predictions = one_attack(CELLS[2], "fgsm")["predictions"] | {"0": to_text(others)}
    change_attack(CELLS[2], "fgsm", predictions=predictions)
    with pytest.raises(StudyError, match=f"the attack on {CELLS[2].key} at epsilon 0 and evaluate give different"):
        refuse_another_model(*results_of(CELLS[2]))


def test_attack_on_other_neighbours_is_refused(study: Path) -> None:
    labels = attacked_labels()[POSITIONS["knn_fgsm"]]
    predictions = one_attack(CELLS[2], "knn_fgsm")["predictions"] | {"0": to_text(1 - labels)}
    change_attack(CELLS[2], "knn_fgsm", predictions=predictions)
    with pytest.raises(StudyError, match=f"the attack on {CELLS[2].key} at epsilon 0 and evaluate give different"):
        compare.main()
    assert outputs(study) == {}


OTHER_MODELS = {
    "one less": transfer(FIRST_SEED[:-1]),
    "one more": transfer([*FIRST_SEED, CELLS[1]]),
    "of another seed": transfer([cell for cell in CELLS if cell.seed != SEEDS[0]]),
    "none": {**transfer([]), "alarms": {}},
}


@pytest.mark.parametrize("others", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_attacks_transferred_between_other_models_are_refused(study: Path, others: Tree) -> None:
    change_file(Path("reports/transfer.json"), **others)
    with pytest.raises(
        StudyError, match=r"transfer\.json was made from other models than this study's; run `dvc repro publish_shared`"
    ):
        compare.main()
    assert outputs(study) == {}


@pytest.mark.parametrize("name", ["transfer.json", "stability.json"])
def test_files_of_all_models_are_required_by_compare_and_not_by_headline(study: Path, name: str) -> None:
    Path(f"reports/{name}").unlink()
    with pytest.raises(StudyError, match=f"reports/{name} does not exist; run `dvc repro` to make it"):
        compare.main()
    assert outputs(study) == {}
    headline.main()
    assert "metrics.json" in outputs(study)


@pytest.mark.parametrize("text", ["", "epoch,val_accuracy\n1,much\n", "epoch,val_accuracy\n1\n"])
def test_error_for_broken_curves_is_one_line(study: Path, text: str) -> None:
    CELLS[1].published("curves.csv").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=r"curves\.csv is broken; restore it with git, or run"):
        compare.main()


# --- headline ---------------------------------------------------------------------------------------------


def test_headline_holds_the_metrics_of_its_loss(study: Path) -> None:
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
            for path in cell.published("curves.csv").parent.iterdir():
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


def test_models_of_different_numbers_of_epochs_are_refused(study: Path) -> None:
    changed, first = results_of(CELLS[3], CELLS[0])
    longer = {name: [*values, values[-1]] for name, values in changed.curves.items()}
    with pytest.raises(StudyError, match=f"{CELLS[3].key} and {CELLS[0].key} differ in the number of epochs, so they"):
        refuse_incomparable(replace(changed, curves=longer), first)


def test_headline_refuses_seeds_made_in_different_ways(study: Path) -> None:
    change_result(Cell("angular", "clean", SEEDS[1]), "evaluate.json", recipe="gpu")
    with pytest.raises(StudyError, match="angular-clean-5 and angular-clean-0 differ in recipe"):
        headline.main()
    assert outputs(study) == {}


@pytest.mark.parametrize("name", ["curves.csv", "evaluate.json", "attack.json"])
def test_headline_refuses_a_missing_cell(study: Path, name: str) -> None:
    cell = Cell("angular", "corrupted", 5)
    cell.published(name).unlink()
    with pytest.raises(StudyError, match=f"the cell {cell.key} is missing"):
        headline.main()
    assert outputs(study) == {}


def test_a_nan_metric_is_never_written(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC would record NaN as a metric without an error."""
    broken = Metric("broken", "broken", value=lambda result: float("nan"))
    monkeypatch.setattr("robustness_study.results.headline.METRICS", (*METRICS, broken))
    with pytest.raises(
        StudyError, match="the metric broken of angular-clean-0 is nan; where there is no number, it must be None"
    ):
        headline.main()
