"""What the report says of attacks, from hand-made cells."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_cells import (
    ATTACKED,
    CELLS,
    CONTROL,
    EPSILONS_255,
    FIRST_SEED,
    LOSSES,
    MODELS,
    OF_ATTACK,
    POSITIONS,
    SEEDS,
    TRAIN_SETS,
    attack,
    attacked_labels,
    cells_of,
    change_attack,
    change_result,
    choose_study,
    correct_under,
    correct_under_fgsm,
    gained,
    kept_under_attack,
    moved_degrees,
    one_attack,
    predictions_of,
    rank,
    read_strictly,
    report_on,
    report_rows,
    results_of,
    table,
    transferred,
    wilson,
    with_worst_case,
)
from matplotlib.figure import Figure

from robustness_study.attacks import catalogue
from robustness_study.attacks.entry import Entry
from robustness_study.core.array_text import to_text
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_record
from robustness_study.report import charts
from robustness_study.results.intervals import summarise
from robustness_study.results.metric_kinds import under_attack
from robustness_study.statistics import estimate
from stages import compare

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
