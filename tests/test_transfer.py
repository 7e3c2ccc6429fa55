"""The stage `transfer`: images attacked through one model and given to another, for two attacked models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacked import SHORT, changed, study_of

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.attacks.signs import step
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, read_npz, write_json, write_npz
from stages import attack, evaluate, transfer

SEED = 3
CELLS = [Cell("cross_entropy", "clean", SEED), Cell("normface", "clean", SEED)]
SECTION: dict[str, Any] = {"epsilon_255": 4, "images": 7, "seed": 0, "accept": []}
STUDY: dict[str, Any] = {
    "losses": ["cross_entropy", "normface"],
    "train_sets": ["clean"],
    "attack": changed(SHORT, images=10, accept=list(ALARMS)),
    "transfer": SECTION,
}


@pytest.fixture(scope="module")
def attacked_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, evaluated and attacked."""
    folder = tmp_path_factory.mktemp("study")
    study_of(folder, CELLS, **STUDY)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv(device.VARIABLE, "cpu")
        for cell in CELLS:
            asked = ["--loss", cell.loss, "--train-set", cell.train_set, "--seed", str(cell.seed)]
            monkeypatch.setattr(sys, "argv", ["stage", *asked])
            evaluate.main()
            attack.main()
    return folder


@pytest.fixture(autouse=True)
def _in_the_study(attacked_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(attacked_study)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    monkeypatch.setattr(sys, "argv", ["stage", "--seed", str(SEED)])
    write_json("params.yaml", read_json("params.yaml") | STUDY)
    Path("data/shared/transfer.json").unlink(missing_ok=True)


def transferred(**sections: Any) -> dict[str, Any]:
    """What the stage writes."""
    write_json("params.yaml", read_json("params.yaml") | sections)
    transfer.main()
    return read_json("data/shared/transfer.json")


def test_every_pair_has_a_row_and_the_diagonal_equals_the_attack() -> None:
    found = transferred()
    keys = [cell.key for cell in CELLS]
    pairs = [(row["source"], row["target"]) for row in found["rows"]]
    assert sorted(pairs) == sorted((source, target) for source in keys for target in keys) and len(set(pairs)) == 4
    assert found["images"] == 7 and found["epsilon_255"] == 4
    indices, labels = from_text(found["test_indices"]), from_text(found["labels"])
    assert len(set(indices)) == 7
    of_test = read_npz("data/raw/test.npz", "labels")[0]
    np.testing.assert_array_equal(labels, of_test[indices])
    accuracy = {(row["source"], row["target"]): row["accuracy"] for row in found["rows"]}
    for cell in CELLS:
        own = read_json(cell.result("attack.json"))
        positions = np.searchsorted(from_text(own["test_indices"]), indices)
        predictions = from_text(own["attacks"]["fgsm"]["predictions"]["4"])[positions]
        np.testing.assert_array_equal(from_text(found["predictions"][f"{cell.key} → {cell.key}"]), predictions)
        assert accuracy[cell.key, cell.key] == (predictions == labels).mean()
    for source, target in pairs:
        predictions = from_text(found["predictions"][f"{source} → {target}"])
        assert accuracy[source, target] == (predictions == labels).mean()


def test_a_target_gets_the_images_attacked_through_the_source() -> None:
    """Source and target are not swapped, which accuracies would not show."""
    found = transferred(transfer=SECTION | {"epsilon_255": 16})
    indices = from_text(found["test_indices"])
    images = to_float(torch.from_numpy(read_npz("data/raw/test.npz", "images")[0][indices]))
    answers = {}
    for source in CELLS:
        test_indices, signs = read_npz(source.attacked, "test_indices", "signs")
        attacked = step(images, torch.from_numpy(signs[np.searchsorted(test_indices, indices)]), 16)
        for target in CELLS:
            model, _ = storage.load(target.model, torch.device("cpu"))
            predicted = model(attacked).argmax(1).tolist()
            answers[source.key, target.key] = predicted
            assert from_text(found["predictions"][f"{source.key} → {target.key}"]).tolist() == predicted
    one, other = (cell.key for cell in CELLS)
    assert answers[one, other] != answers[other, one]


@contextmanager
def altered(cell: Cell, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Iterator[Path]:
    """The path of a model's attacked images, with some arrays changed for the duration of the context."""
    path, names = cell.attacked, ("test_indices", "signs", "features", "epsilon_255", "weights_sha256")
    kept = dict(zip(names, read_npz(path, *names), strict=True))
    write_npz(path, **kept | change(kept))
    try:
        yield path
    finally:
        write_npz(path, **kept)


def another_last(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One of the 12 test images in the place of another one."""
    indices = arrays["test_indices"]
    new = np.setdiff1d(np.arange(12, dtype=indices.dtype), indices)[:1]
    return {"test_indices": np.sort(np.concatenate([indices[1:], new]))}


@pytest.mark.parametrize(
    "other", [another_last, lambda arrays: {name: arrays[name][:-1] for name in ("test_indices", "signs", "features")}]
)
def test_attacked_files_of_other_test_images_are_refused(
    other: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
) -> None:
    with altered(CELLS[1], other):
        message = f"^{CELLS[1].key} was attacked on other test images than the first model; run `dvc repro attack@"
        with pytest.raises(StudyError, match=message):
            transfer.main()
    assert not Path("data/shared/transfer.json").exists()


def test_stage_stops_where_other_images_fool_a_model_more_unless_accepted() -> None:
    """The first model's own signs are reversed, so that the other model's images fool it more."""
    section = SECTION | {"epsilon_255": 32, "images": 10}
    assert transferred(transfer=section)["alarms"] == {}
    Path("data/shared/transfer.json").unlink()
    with altered(CELLS[0], lambda arrays: {"signs": -arrays["signs"]}):
        message = r"^transfer: .*transfer_stronger: .* transfer.accept: \[transfer_stronger\]$"
        with pytest.raises(StudyError, match=message):
            transferred(transfer=section)
        assert not Path("data/shared/transfer.json").exists()
        accepting = section | {"accept": ["transfer_stronger"]}
        reason = transferred(transfer=accepting)["alarms"]["transfer_stronger"]
    assert f"FGSM on {CELLS[0].key} with the gradient of {CELLS[1].key} but " in reason
