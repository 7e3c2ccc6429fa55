"""The contract of every training set, and the stage that makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from natural_images import natural_images

from robustness_study import training_sets
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.results.seen_corruptions import STUDIES, TRIVIAL_AUGMENT, similar_corruptions
from stages import training_set as stage

CONFIGS = params.read(ROOT / "params.yaml")["train_set_config"]
CLEAN = natural_images(12)
CORRUPTED = 255 - CLEAN


def test_every_training_set_has_its_block_in_params() -> None:
    assert sorted(CONFIGS) == training_sets.names()
    assert {"clean", "corrupted", "augmix"} <= set(training_sets.names())


@pytest.mark.parametrize("name", training_sets.names())
def test_contract_of_a_training_set(name: str) -> None:
    config = params.validated(name, CONFIGS[name], training_sets.config_class(name))
    clean, corrupted = CLEAN.copy(), CORRUPTED.copy()
    made = training_sets.make(name, clean, corrupted, config)
    assert made.shape == CLEAN.shape and made.dtype == np.uint8
    assert np.array_equal(clean, CLEAN) and np.array_equal(corrupted, CORRUPTED)  # its inputs do not change
    assert np.array_equal(made, training_sets.make(name, clean, corrupted, config))
    assert set(training_sets.changes(name)) <= set(training_sets.KINDS)


def test_kinds_of_change_are_those_of_corruptions() -> None:
    assert tuple(similar_corruptions()) == training_sets.KINDS
    assert {*TRIVIAL_AUGMENT, *(kind for kinds in STUDIES.values() for kind in kinds)} <= set(training_sets.KINDS)


def test_reading_their_declarations_imports_no_torch() -> None:
    code = (
        "import sys; from robustness_study import training_sets as t\n"
        "print([t.config_class(n).__name__ for n in t.names()], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_the_studies_training_sets_are_the_images_and_their_corrupted_copies() -> None:
    for name, images in (("clean", CLEAN), ("corrupted", CORRUPTED)):
        config = training_sets.config_class(name)()
        assert np.array_equal(training_sets.make(name, CLEAN, CORRUPTED, config), images)


@pytest.mark.parametrize("made", [CLEAN[:5], CLEAN.astype(np.float32), CLEAN[:, :16]])
def test_images_that_are_not_aligned_are_refused(made: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ModuleType("broken")
    vars(broken)["make"] = lambda clean, corrupted, config: made
    monkeypatch.setattr(training_sets, "_module", lambda name: broken)
    config = training_sets.config_class
    with pytest.raises(StudyError, match=r"mine\.py: make returned .* they must be uint8 of shape .*one for each raw"):
        training_sets.make("mine", CLEAN, CORRUPTED, config)  # type: ignore[arg-type]


def test_stage_writes_only_images_and_refuses_an_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, images in (("raw", CLEAN), ("corrupted", CORRUPTED)):
        (tmp_path / "data" / name).mkdir(parents=True)
        np.savez(tmp_path / f"data/{name}/train.npz", images=images)
    (tmp_path / "params.yaml").write_text(json.dumps({"train_set_config": CONFIGS}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training_set", "--train-set", "corrupted"])
    stage.main()
    with np.load(tmp_path / "data/training_sets/corrupted.npz") as archive:
        assert archive.files == ["images"] and np.array_equal(archive["images"], CORRUPTED)
    monkeypatch.setattr(sys, "argv", ["training_set", "--train-set", "noisy"])
    with pytest.raises(
        StudyError, match="'noisy' does not exist in training_sets; choose one of adversarial, augmix, clean, "
    ):
        stage.main()
