"""The stage `attack`: what it writes, that it agrees with `evaluate`, and that it ends where an alarm says so."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from attacked import SHORT, battery_of, changed, names_of, saved_model, some_images, some_labels, study_of

from stages import attack as stage
from stages import evaluate
from stages.lib import device, losses, model_files
from stages.lib.attacks.battery import Battery, ByEpsilon, Target
from stages.lib.attacks.signs import step
from stages.lib.cells import Cell, from_text
from stages.lib.errors import StudyError
from stages.lib.files import read_json, read_npz, write_json
from stages.lib.inference import to_float
from stages.lib.schema.attack import ALARMS, Attack

CPU = torch.device("cpu")


ACCEPTING = changed(SHORT, accept=list(ALARMS))


def run_stage(module: ModuleType, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a stage of the folder that we are in writes of a cell."""
    monkeypatch.setenv(device.VARIABLE, "cpu")
    asked = ["--loss", cell.loss, "--train-set", cell.train_set, "--seed", str(cell.seed)]
    monkeypatch.setattr(sys, "argv", ["stage", *asked])
    module.main()
    return json.loads(cell.result(f"{module.__name__.rpartition('.')[2]}.json").read_text())


def predicted(found: dict[str, Any]) -> ByEpsilon:
    """By epsilon, from attack.json or one of its attacks."""
    return {int(epsilon): from_text(text) for epsilon, text in found["predictions"].items()}


@pytest.mark.parametrize("name", losses.names())
def test_attacks_leave_the_model_as_it_was(name: str, tmp_path: Path) -> None:
    saved_model(name, tmp_path)
    model, _ = model_files.load(tmp_path, CPU)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    short = {name: SHORT[name] for name in ("batch_size", "pgd", "square")}
    tried = battery_of(model, to_float(some_images(6, 16)), some_labels(6), **short)
    every = np.arange(6)
    _, exact, _ = tried.fast_gradient_sign(chance=1.0)
    tried.noise(exact)
    tried.rescaled(exact, every)
    tried.square(tried.pgd(exact, every), every, every)
    known = (stage.features_of(model, tried.target.images, 4), some_labels(6).numpy())
    stage.attack_neighbours(model, tried, every, known, 1)
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module.training for module in model.modules())
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("name", losses.names())
def test_stages_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon 0 is the clean accuracy, and a corruption that changes nothing costs nothing."""
    cell = Cell(name, "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=ACCEPTING)
    evaluated, attacked = (run_stage(module, cell, monkeypatch) for module in (evaluate, stage))
    rows = {row["set"]: row for row in evaluated["sets"]}
    assert list(rows) == ["train_clean", "val_clean", "val_corrupted", "test_clean", "test_corrupted"]
    for split in ("val", "test"):
        assert rows[f"{split}_clean"] == {**rows[f"{split}_corrupted"], "set": f"{split}_clean"}
    clean, said = rows["test_clean"]["accuracy"], evaluated["details"]["test_clean"]
    assert 0 < clean < 1
    assert attacked["images"] == 12 and attacked["ladder"][0]["accuracy"] == clean
    np.testing.assert_array_equal(predicted(attacked)[0], from_text(said["predictions"]))
    np.testing.assert_array_equal(from_text(attacked["test_indices"]), np.arange(12))
    neighbours = attacked["beside"]["knn_fgsm"]
    positions = from_text(neighbours["positions"])
    np.testing.assert_array_equal(predicted(neighbours)[0], from_text(said["knn_predictions"])[positions])
    assert neighbours["neighbours"] == evaluated["knn_neighbours"] and len(positions) == SHORT["control_images"]
    assert (tmp_path / f"reports/examples/{cell.key}.png").stat().st_size > 0


def test_stage_writes_what_the_battery_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, every = Cell("cross_entropy", "clean", 0), np.arange(12)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell], attack=ACCEPTING)
    _, attacked = (run_stage(module, cell, monkeypatch) for module in (evaluate, stage))
    model, notes = model_files.load(cell.model, CPU)
    images, labels = read_npz("data/raw/test.npz", "images", "labels")
    target = Target(to_float(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64)), every)
    tried = Battery(model, target, Attack.model_validate(SHORT))
    signs, exact, rounded = tried.fast_gradient_sign(chance=1 / len(notes["classes"]))
    noise, control, of_pgd = tried.noise(exact), tried.chosen(8, "control"), tried.chosen(10, "pgd")
    rescaled, pgd = tried.rescaled(exact, control), tried.pgd(exact, of_pgd)
    of_square = tried.chosen(6, "square", of_pgd)
    expected = {
        "noise": (every, noise),
        "pgd": (of_pgd, pgd),
        "square": (of_square, tried.square(pgd, of_pgd, of_square)),
        "fgsm_of_logits_x0.1": (control, rescaled["0.1"]),
        "fgsm_of_logits_x10": (control, rescaled["10"]),
    }
    assert set(attacked["beside"]) == {*expected, "knn_fgsm"}
    assert attacked["ladder"] == stage.summarise(exact, rounded, labels)
    assert {epsilon: said.tolist() for epsilon, said in predicted(attacked).items()} == {
        epsilon: said.tolist() for epsilon, said in exact.items()
    }
    for name, (positions, predictions) in expected.items():
        found = attacked["beside"][name]
        assert from_text(found["positions"]).tolist() == positions.tolist() and found["images"] == len(positions)
        assert list(predicted(found)) == list(predictions)
        for epsilon, said in predictions.items():
            np.testing.assert_array_equal(predicted(found)[epsilon], said, err_msg=name)
    assert set(attacked["alarms"]) == names_of(tried)
    # What transfer and embed read.
    names = ("test_indices", "signs", "features", "epsilon_255")
    arrays = dict(zip(names, read_npz(f"data/attacked/{cell.key}.npz", *names), strict=True))
    np.testing.assert_array_equal(arrays["signs"], signs.numpy())
    np.testing.assert_array_equal(arrays["test_indices"], every)
    seen = stage.features_of(model, step(target.images, signs, SHORT["example_epsilon_255"]), 5)
    np.testing.assert_allclose(arrays["features"], seen, rtol=1e-3, atol=1e-5)
    assert arrays["epsilon_255"] == SHORT["example_epsilon_255"]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    assert read_json(f"reports/attacked/{cell.key}.json") == {"model": cell.key, "sha256": digest}


def test_stage_ends_at_an_alarm_and_writes_nothing_unless_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, [cell])
    saved_model("cross_entropy", cell.model, factor=1e7)
    run_stage(evaluate, cell, monkeypatch)
    with pytest.raises(StudyError, match=r"^attack: the figures would not be sound \(.*zero_gradients: .*accept: \["):
        run_stage(stage, cell, monkeypatch)
    assert not cell.result("attack.json").exists()
    assert not [path for name in ("data", "reports") for path in tmp_path.glob(f"{name}/attacked/*")]
    write_json("params.yaml", read_json("params.yaml") | {"attack": ACCEPTING})
    assert "of 12 images is zero" in run_stage(stage, cell, monkeypatch)["alarms"]["zero_gradients"]
