"""The stage `attack`: its output, its agreement with `evaluate`, and that it stops where an alarm is raised."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from attacked import (
    SHORT,
    ModelUnderTest,
    alarm_names,
    changed,
    saved_model,
    some_images,
    some_labels,
    study_of,
    subject_of,
    without,
)

from robustness_study import losses
from robustness_study.attacks import catalogue, one_model, outcome
from robustness_study.attacks.catalogue import ALARMS, ATTACKS
from robustness_study.attacks.outcome import ByEpsilon
from robustness_study.attacks.scoring import Target, features_of
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import Neighbours
from robustness_study.classifier import device, reduced, storage
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.reduced import Reduced
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, read_npz, read_record, write_json, write_record
from robustness_study.schema.attack import Attack
from stages import attack as stage
from stages import evaluate

CPU = torch.device("cpu")


ACCEPTING = changed(SHORT, accept=list(ALARMS))


def run_stage(module: ModuleType, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs a stage for a cell in the working folder; returns the results it writes."""
    monkeypatch.setenv(device.VARIABLE, "cpu")
    asked = ["--loss", cell.loss, "--train-set", cell.train_set, "--seed", str(cell.seed)]
    monkeypatch.setattr(sys, "argv", ["stage", *asked])
    module.main()
    return json.loads(cell.result(f"{module.__name__.rpartition('.')[2]}.json").read_text())


def predicted(found: dict[str, Any]) -> ByEpsilon:
    """Predictions by epsilon, from attack.json or one of its attacks."""
    return {int(epsilon): from_text(text) for epsilon, text in found["predictions"].items()}


@pytest.mark.parametrize("name", losses.names())
def test_attacks_do_not_change_the_model(name: str, tmp_path: Path) -> None:
    saved_model(name, tmp_path)
    model, _ = storage.load(tmp_path, CPU)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    images = to_float(some_images(6, 16))
    real = Neighbours(model, features_of(model, images, 4), some_labels(6).numpy(), 1)
    subject = subject_of(model, images, some_labels(6), neighbours=real, batch_size=12, attacks=SHORT["attacks"])
    one_model.attack(subject, subject.blocks, ALARMS)
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module.training for module in model.modules())
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("name", losses.names())
def test_attack_evaluate_and_stress_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon 0 gives the clean accuracy, and so does a corruption that changes nothing."""
    cell = Cell(name, "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=ACCEPTING)
    evaluated, attacked = (run_stage(module, cell, monkeypatch) for module in (evaluate, stage))
    rows = {row["set"]: row for row in evaluated["sets"]}
    assert list(rows) == ["train_clean", "val_clean", "val_corrupted", "test_clean", "test_corrupted"]
    for split in ("val", "test"):
        assert rows[f"{split}_clean"] == {**rows[f"{split}_corrupted"], "set": f"{split}_clean"}
    clean, details = rows["test_clean"]["accuracy"], evaluated["details"]["test_clean"]
    assert 0 < clean < 1
    assert attacked["images"] == 12 and attacked["ladder"][0]["accuracy"] == clean
    fgsm, neighbours = (attacked["attacks"][attack] for attack in ("fgsm", "knn_fgsm"))
    np.testing.assert_array_equal(predicted(fgsm)[0], from_text(details["predictions"]))
    assert "not_clean_at_zero" not in attacked["alarms"]
    np.testing.assert_array_equal(from_text(attacked["test_indices"]), np.arange(12))
    positions = from_text(neighbours["positions"])
    np.testing.assert_array_equal(predicted(neighbours)[0], from_text(details["knn_predictions"])[positions])
    assert neighbours["neighbours"] == evaluated["knn_neighbours"] and len(positions) == SHORT["control_images"]
    assert (tmp_path / f"reports/examples/{cell.key}.png").stat().st_size > 0


def test_stages_record_the_precision_and_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor: bfloat16 changes the logits of validation images, and not those of test images."""
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=ACCEPTING)
    logits, recorded = [], []
    for kind in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(reduced, "precision_of", lambda *_, kind=kind: kind)
        evaluated, attacked = (run_stage(module, cell, monkeypatch) for module in (evaluate, stage))
        logits.append(read_npz(cell.evaluated, "val_clean_logits", "test_clean_logits"))
        found = [run["computed_with"] for run in (evaluated, attacked)]
        recorded.append([found[0]["precision_of_train_and_val"], found[1]["precision_of_searches"]])
    assert recorded == [["float32"] * 2, ["bfloat16"] * 2]
    assert not np.array_equal(logits[0][0], logits[1][0])
    np.testing.assert_array_equal(logits[0][1], logits[1][1])


def test_stage_writes_the_results_of_the_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 of the 12 test images are attacked."""
    cell, section = Cell("cross_entropy", "clean", 0), changed(ACCEPTING, images=10, control_images=7)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=section)
    evaluated, attacked = (run_stage(module, cell, monkeypatch) for module in (evaluate, stage))
    model, _ = storage.load(cell.model, CPU)
    images, labels = read_npz("data/raw/test.npz", "images", "labels")
    chosen = from_text(attacked["test_indices"])
    assert len(set(chosen)) == 10 and chosen.tolist() != list(range(10))
    images, labels = images[chosen], labels[chosen]
    np.testing.assert_array_equal(from_text(attacked["labels"]), labels)
    target = Target(to_float(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64)), chosen)
    clean = from_text(evaluated["details"]["test_clean"]["predictions"])[chosen]
    features, known_labels = read_npz(cell.evaluated, "reference_features", "reference_labels")
    checked = Attack.model_validate(section)
    known = Neighbours(model, features, known_labels, 3)
    subject = ModelUnderTest(model, target, checked, clean, known, Reduced(model, "bfloat16", "resnet18"))
    subject.blocks = catalogue.settings_of(checked)
    fgsm, rounded = subject.fgsm()
    signs = subject.gradient.signs
    for name in subject.blocks:
        subject.run(name)
    subject.worst_case()
    assert list(attacked["attacks"]) == list(subject.found)
    for name, found in subject.found.items():
        written, others = attacked["attacks"][name], found.settings | found.measured
        assert list(written) == [*others, "images", "positions", "predictions"]
        assert {key: written[key] for key in others} == others
        assert written["images"] == len(found.positions)
        assert from_text(written["positions"]).tolist() == found.positions.tolist()
        assert list(predicted(written)) == list(found.predictions)
        for epsilon, predictions in found.predictions.items():
            np.testing.assert_array_equal(predicted(written)[epsilon], predictions, err_msg=name)
    every = SHORT["epsilons_255"]
    rungs = {"pgd": [4, 64], "pgd_8_bit": [4, 64], "square": [4]}
    for name in ("apgd_ce_second_start", "apgd_longer", "apgd_ce_of_logits_x0.1", "apgd_ce_of_logits_x10"):
        rungs[name] = [4]
    for name in ("apgd", "apgd_ce", "worst_case"):
        rungs[name] = [2, 4]
    rungs |= dict.fromkeys(("noise", "fgsm_of_logits_x0.1", "fgsm_of_logits_x10"), every[1:])
    for name, written in attacked["attacks"].items():
        assert list(predicted(written)) == rungs.get(name, every)
    assert attacked["attacks"]["fgsm"]["zero_gradients"] == 0
    assert attacked["attacks"]["knn_fgsm"]["neighbours"] == 3
    assert attacked["ladder"] == outcome.summarise(fgsm.predictions, rounded.predictions, labels)
    assert set(attacked["alarms"]) == alarm_names(subject)
    # The files that transfer and embed read.
    names = ("test_indices", "signs", "features", "epsilon_255")
    arrays = dict(zip(names, read_npz(cell.attacked, *names), strict=True))
    np.testing.assert_array_equal(arrays["signs"], signs.numpy())
    np.testing.assert_array_equal(arrays["test_indices"], chosen)
    seen = features_of(model, step(target.images, signs, SHORT["example_epsilon_255"]), 5)
    np.testing.assert_allclose(arrays["features"], seen, rtol=1e-3, atol=1e-5)
    assert arrays["epsilon_255"] == SHORT["example_epsilon_255"]
    for epsilon, confidences in zip(*read_npz(cell.attacked, "confidence_epsilons_255", "confidences"), strict=True):
        with torch.no_grad():
            expected = model(step(target.images, signs, int(epsilon))).softmax(1).amax(1)
        np.testing.assert_allclose(confidences, expected, atol=6e-4)
    assert list(attacked)[-2] == "moved_degrees" and attacked["moved_epsilon_255"] == SHORT["example_epsilon_255"]
    assert list(attacked["moved_degrees"]) == ["5", "25", "50", "75", "95"]
    angles = list(attacked["moved_degrees"].values())
    (clean_features,) = read_npz(cell.evaluated, "test_clean_features")
    pairs = zip(clean_features[chosen].astype(np.float64), arrays["features"].astype(np.float64), strict=True)
    cosines = [before @ after / np.sqrt(before @ before * (after @ after)) for before, after in pairs]
    assert angles[2] == pytest.approx(np.median(np.degrees(np.arccos(cosines))), abs=0.1)
    assert angles == sorted(angles) and angles[0] > 0


def test_stage_stops_where_evaluate_had_other_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One prediction differs. The stage does not stop if that image is not attacked."""
    cell = Cell("cross_entropy", "clean", 1)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=changed(ACCEPTING, images=10))
    run_stage(evaluate, cell, monkeypatch)
    path = cell.evaluated
    with np.load(path) as kept:
        arrays = dict(kept)
    indices = from_text(run_stage(stage, cell, monkeypatch)["test_indices"])
    (left_out, *_) = set(range(12)) - set(indices.tolist())
    for index, raised in ((left_out, False), (int(indices[3]), True)):
        logits = arrays["test_clean_logits"].copy()
        logits[index] = -logits[index]
        np.savez(path, **arrays | {"test_clean_logits": logits})
        found = run_stage(stage, cell, monkeypatch)["alarms"]
        assert ("not_clean_at_zero" in found) == raised
    assert found["not_clean_at_zero"].startswith("1 of 10 predictions at epsilon 0 differ from those of the stage")


def test_stage_stops_at_an_alarm_and_writes_nothing_unless_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell])
    saved_model("cross_entropy", cell.model, factor=1e7)
    run_stage(evaluate, cell, monkeypatch)
    with pytest.raises(StudyError, match=r"^attack: the results cannot be trusted \(.*zero_gradients: .*accept: \["):
        run_stage(stage, cell, monkeypatch)
    assert not cell.result("attack.json").exists()
    assert not [path for name in ("data", "reports") for path in tmp_path.glob(f"{name}/attacked/*")]
    write_json("params.yaml", read_json("params.yaml") | {"attack": ACCEPTING})
    written = run_stage(stage, cell, monkeypatch)
    zero = written["attacks"]["fgsm"]["zero_gradients"]
    assert 0 < zero <= 12
    assert f"of the model is zero for {zero} of 12 images" in written["alarms"]["zero_gradients"]


def test_a_collapse_in_training_is_an_alarm_as_those_of_attacks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, others = Cell("cross_entropy", "clean", 0), [name for name in ALARMS if name != "catastrophic_overfitting"]
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=changed(SHORT, accept=others))
    notes = cell.model / "model.json"
    write_record(notes, read_record(notes) | {"val_pgd_accuracy": [0.2, 0.4, 0.0]})
    run_stage(evaluate, cell, monkeypatch)
    with pytest.raises(
        StudyError, match=r"catastrophic_overfitting: .* 0\.400 after epoch 2 of training but 0\.000 at"
    ):
        run_stage(stage, cell, monkeypatch)
    write_json("params.yaml", read_json("params.yaml") | {"attack": ACCEPTING})
    assert "0.000 at its end" in run_stage(stage, cell, monkeypatch)["alarms"]["catastrophic_overfitting"]
    write_record(notes, read_record(notes) | {"val_pgd_accuracy": [0.2, 0.4, 0.39]})
    assert "catastrophic_overfitting" not in run_stage(stage, cell, monkeypatch)["alarms"]


@pytest.mark.parametrize("left_out", [entry.name for entry in ATTACKS])
def test_an_attack_without_a_block_does_not_run(left_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other attacks' results are there, and the files that `transfer` and `embed` read."""
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=without(ACCEPTING, left_out))
    run_stage(evaluate, cell, monkeypatch)
    written = run_stage(stage, cell, monkeypatch)
    ran = {catalogue.entry_of(name).name for name in written["attacks"]}
    gone = {left_out, "worst_case"} if left_out == "apgd" else {left_out}
    assert ran == {entry.name for entry in catalogue.EVERY} - gone
    (entry,) = (entry for entry in ATTACKS if entry.name == left_out)
    assert not set(written["alarms"]) & {*entry.alarms, *(each.alarm for each in entry.comparisons)}
    signs, features = read_npz(cell.attacked, "signs", "features")
    assert signs.any() and features.any()


def test_fgsm_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=ACCEPTING | {"attacks": {}})
    run_stage(evaluate, cell, monkeypatch)
    assert list(run_stage(stage, cell, monkeypatch)["attacks"]) == ["fgsm", "fgsm_8_bit"]
