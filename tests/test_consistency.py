"""Results that were changed by hand, or that belong to another model, are believed by nobody."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_cells import (
    CELLS,
    FIRST_SEED,
    LOSSES,
    POSITIONS,
    attacked_labels,
    change_file,
    change_result,
    predictions_of,
    with_worst_case,
    write_study,
)

from bench.faults.files import leaves
from robustness_study.attacks import outcome
from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.errors import StudyError
from robustness_study.core.files import bytes_digest, read_record, write_record
from robustness_study.results.cells import read_cells
from robustness_study.results.consistency import refuse_contradicting_shared
from stages import compare, headline

CELL, OTHER = CELLS[2], CELLS[3]
SHARED = [Path("reports/transfer.json"), Path("reports/stability.json")]
FILES = [CELL.published(name) for name in ("evaluate.json", "attack.json", "stress.json")]
FILES += [FIRST_SEED[0].plane("plane.json"), *SHARED]


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_study()
    return tmp_path


def check() -> None:
    """What compare checks, without its pictures."""
    cells = read_cells(LOSSES, ["clean", "corrupted"], [0, 5], [])
    refuse_contradicting_shared(cells, *(read_record(path) for path in SHARED))


def changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return 0.5
        case _:
            return f"{value}x"


def test_results_that_agree_are_accepted() -> None:
    check()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_any_value_that_is_changed_by_hand_is_noticed(path: Path) -> None:
    """The file keeps its digest, as an editor leaves it."""
    written = json.loads(path.read_text(encoding="utf-8"))
    places = list(leaves(written))
    for place in random.Random(0).sample(places, min(len(places), 25)):
        edited = copy.deepcopy(written)
        inner = edited
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = changed(inner[place[-1]])
        path.write_text(json.dumps(edited), encoding="utf-8")
        with pytest.raises(StudyError) as caught:
            check()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), place
    path.write_text(json.dumps(written), encoding="utf-8")
    check()


def of_first_set(key: str, value: object) -> Callable[[], None]:
    def change() -> None:
        sets = read_record(CELL.published("evaluate.json"))["sets"]
        change_result(CELL, "evaluate.json", sets=[sets[0] | {key: value}, *sets[1:]])

    return change


def of_a_class() -> None:
    details = read_record(CELL.published("evaluate.json"))["details"]
    details["test_clean"]["per_class"]["dog"]["recall"] = 0.999
    change_result(CELL, "evaluate.json", details=details)


def neighbours() -> None:
    sets = read_record(CELL.published("evaluate.json"))["sets"]
    change_result(CELL, "evaluate.json", sets=[row | {"knn_accuracy": 0.999} for row in sets])


def worse_after_scaling() -> None:
    sets = read_record(CELL.published("evaluate.json"))["sets"]
    change_result(CELL, "evaluate.json", sets=[row | {"loss_scaled": row["loss"] * 1.001} for row in sets])


def natural_set_without_digest() -> None:
    change_result(CELL, "evaluate.json", natural={})


def other_natural_images() -> None:
    change_result(CELL, "evaluate.json", natural={"natural_cifar10_1": "of others"})


def ladder() -> None:
    rows = read_record(CELL.published("attack.json"))["ladder"]
    change_result(CELL, "attack.json", ladder=[row | {"accuracy": 0.9} for row in rows])


def without_sets() -> None:
    change_result(CELL, "evaluate.json", sets=[])


def ladder_of_nothing() -> None:
    change_result(CELL, "attack.json", ladder=[{}])


def alarms_emptied() -> None:
    """An attack that leaves every image correct at a large epsilon, and no alarm."""
    attacks = read_record(CELL.published("attack.json"))["attacks"]
    attacks["fgsm"]["zero_gradients"] = 20
    change_result(CELL, "attack.json", attacks=attacks)


def predictions_changed(name: str, epsilon_255: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[], None]:
    """The predictions of one attack at one epsilon, changed; what follows from them at epsilon 0 is not made to fit."""

    def edit() -> None:
        attacks = read_record(CELL.published("attack.json"))["attacks"]
        predictions = attacks[name]["predictions"]
        predictions[str(epsilon_255)] = to_text(change(from_text(predictions[str(epsilon_255)])))
        change_result(CELL, "attack.json", attacks=attacks)

    return edit


def all_correct(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda predicted: attacked_labels()[POSITIONS[name]].astype(predicted.dtype)


def an_alarm_that_nothing_raises() -> None:
    change_result(CELL, "attack.json", alarms={"more_steps": "so it says"})


def other_labels_at_zero() -> None:
    """FGSM predicts other labels at epsilon 0 than `evaluate`; the ladder and the worst case are made to fit."""
    attack = read_record(CELL.published("attack.json"))
    for name in ("fgsm", "fgsm_8_bit"):
        predictions = attack["attacks"][name]["predictions"]
        predictions["0"] = to_text(1 - from_text(predictions["0"]))
    exact, rounded = (outcome.from_json(attack["attacks"][name]).predictions for name in ("fgsm", "fgsm_8_bit"))
    ladder = outcome.summarise(exact, rounded, attacked_labels())
    attacks = with_worst_case(attack["attacks"], predictions_of(CELL, "test_clean"))
    change_result(CELL, "attack.json", attacks=attacks, ladder=ladder)


def collapsed() -> None:
    """A training whose accuracy under PGD collapsed, and no alarm."""
    path = CELL.published("curves.csv")
    names, first, second = path.read_text(encoding="utf-8").splitlines()
    text = f"{names},val_pgd_accuracy\n{first},0.4\n{second},0.1\n"
    path.write_text(text, encoding="utf-8")
    change_result(CELL, "evaluate.json", curves_sha256=bytes_digest(text.encode()))


def stressed() -> None:
    rows = read_record(CELL.published("stress.json"))["rows"]
    change_result(CELL, "stress.json", rows=[*rows[:-1], rows[-1] | {"accuracy": 0.999}])


def transferred() -> None:
    rows = read_record(SHARED[0])["rows"]
    change_file(SHARED[0], rows=[rows[0] | {"accuracy": 0.999}, *rows[1:]])


def a_missing_epoch() -> None:
    path = CELL.published("curves.csv")
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")


def of_another_model(name: str) -> Callable[[], None]:
    def swap() -> None:
        CELL.published(name).write_bytes(OTHER.published(name).read_bytes())

    return swap


CONTRADICTIONS: dict[str, tuple[Callable[[], None], str]] = {
    "accuracy": (
        of_first_set("accuracy", 0.999),
        "evaluate.json: accuracy of train_clean is 0.999, but the other results",
    ),
    "images": (of_first_set("images", 7), "evaluate.json: images of train_clean is 7"),
    "recall": (of_a_class, "evaluate.json: recall of class 'dog' in test_clean is 0.999"),
    "nearest neighbours": (neighbours, "evaluate.json: knn_accuracy of train_clean is 0.999"),
    "temperature": (
        lambda: change_result(CELL, "stress.json", temperature=1.25),
        "stress.json: temperature is 1.25, but the other results say ",
    ),
    "a temperature that makes the loss worse": (worse_after_scaling, "evaluate.json: loss_scaled of val_clean is "),
    "a natural set without its digest": (natural_set_without_digest, "evaluate.json: natural sets is [], but"),
    "other natural images": (other_natural_images, "differ in the natural sets"),
    "ladder": (ladder, "attack.json: ladder, number 1, is "),
    "no sets": (without_sets, "evaluate.json: sets is [], but the other results"),
    "a ladder of nothing": (ladder_of_nothing, "attack.json: ladder is [{}], but the other results"),
    "alarms": (alarms_emptied, "attack.json: alarms is [], but the other results say ['zero_gradients']"),
    "an alarm that nothing raises": (
        an_alarm_that_nothing_raises,
        "attack.json: alarms is ['more_steps'], but the other results say []",
    ),
    "other labels at epsilon 0": (
        other_labels_at_zero,
        "attack.json: alarms is [], but the other results say ['not_clean_at_zero'",
    ),
    "an image that is correct again at a larger epsilon": (
        predictions_changed("apgd", 8, all_correct("apgd")),
        "attack.json: images wrong at epsilon 4 and correct at 8 under apgd is ",
    ),
    "an image that is correct again in the attack that goes on": (
        predictions_changed("square", 4, all_correct("square")),
        "attack.json: images wrong under apgd and correct under square at epsilon 4 is ",
    ),
    "an alarm of training": (collapsed, "attack.json: alarms is [], but the other results say ['catastrophic_overfit"),
    "stress": (stressed, "stress.json: accuracy under mix_without_flip, number 5, is 0.999"),
    "transfer": (transferred, "transfer.json: accuracy of cross_entropy-clean-0 → cross_entropy-clean-0 is 0.999"),
    "curves": (a_missing_epoch, "curves.csv: the digest is "),
    "evaluate.json of another model": (
        of_another_model("evaluate.json"),
        "evaluate.json: model is 'cross_entropy-corrupted-5'",
    ),
    "attack.json of another model": (
        of_another_model("attack.json"),
        "attack.json: model is 'cross_entropy-corrupted-5'",
    ),
    "stress.json of another model": (
        of_another_model("stress.json"),
        "stress.json: model is 'cross_entropy-corrupted-5'",
    ),
    "curves of another model": (of_another_model("curves.csv"), "curves.csv: the digest is "),
    "a plane of other weights": (
        lambda: change_file(FIRST_SEED[0].plane("plane.json"), weights_sha256="of none"),
        "plane.json: weights_sha256 is 'of none'",
    ),
    "stability of other weights": (
        lambda: change_file(SHARED[1], weights_sha256="of none"),
        "stability.json: weights_sha256 is 'of none'",
    ),
    "attack on other weights": (
        lambda: change_result(CELL, "attack.json", weights_sha256="of none"),
        "attack.json: weights_sha256 is 'of none'",
    ),
    "attack on other images": (
        lambda: change_result(CELL, "attack.json", images_sha256="of none"),
        "attack.json: images_sha256 is 'of none'",
    ),
    "other corrupted copies": (
        lambda: change_result(CELL, "stress.json", images_sha256="of none"),
        "differ in the suite's images",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_value_that_contradicts_the_predictions_is_refused(name: str) -> None:
    """Even if the digest of the file was made to fit."""
    fault, message = CONTRADICTIONS[name]
    fault()
    with pytest.raises(StudyError) as caught:
        check()
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("stage", [compare, headline], ids=["compare", "headline"])
def test_the_stages_refuse_it_and_write_nothing(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of_first_set("accuracy", 0.999)()
    monkeypatch.setattr("sys.argv", ["stage", "--loss", CELL.loss])
    with pytest.raises(StudyError, match=r"accuracy of train_clean is 0\.999"):
        stage.main()
    assert not Path("reports/metrics.json").exists() and not Path("reports/report.md").exists()


def test_a_file_of_an_older_version_is_refused() -> None:
    written = read_record(CELL.published("stress.json"))
    CELL.published("stress.json").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(StudyError, match="has no value named 'content_sha256'"):
        check()
    write_record(CELL.published("stress.json"), written)
    check()
