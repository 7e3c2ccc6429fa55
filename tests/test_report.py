"""The report's page and pictures, from hand-made cells."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pytest
from made_cells import (
    ATTACKED,
    CELLS,
    LOSSES,
    SEEDS,
    STABILITY,
    TRAIN_SETS,
    change_attack,
    change_dataset,
    change_file,
    change_result,
    expected_means,
    read_strictly,
    report_on,
    report_rows,
)

from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.errors import StudyError
from robustness_study.report import pictures
from robustness_study.report.pictures import PICTURES
from robustness_study.results.cell_results import CellResults
from robustness_study.results.metric import Metric, refuse_repeated
from robustness_study.results.metrics import BESIDE, METRICS
from stages import compare


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
