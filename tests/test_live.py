"""Live curves: what DVC can read while a model trains, that they start again, and that they are removed."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustness_study.training.live_curves import LOGGED, LiveCurves
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch


def epoch(number: int) -> Epoch:
    return Epoch(number, 2 / number, 0.1 * number, 0.09 * number, 1.5, 3.0, 250.0)


def accuracy(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "plots/metrics/val_accuracy.tsv", sep="\t")


def test_each_epoch_is_a_row_as_soon_as_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("live/angular-clean-0")
    curves = LiveCurves(folder)
    for number in (1, 2, 3):
        curves.add([epoch(number)])
        found = accuracy(folder)
        assert found["step"].tolist() == list(range(1, number + 1))
        assert found["val_accuracy"].iloc[-1] == pytest.approx(0.09 * number)
    logged = {path.stem for path in (folder / "plots/metrics").iterdir()}
    assert logged == set(LOGGED) - {"val_pgd_accuracy"}  # no attack on the batches of this training
    curves.add([replace(epoch(4), val_pgd_accuracy=0.25)])
    assert {path.stem for path in (folder / "plots/metrics").iterdir()} == set(LOGGED)
    assert not list(tmp_path.rglob("dvc.yaml"))


def test_a_resumed_run_starts_the_live_curves_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("live/angular-clean-0")
    LiveCurves(folder).add([epoch(1), epoch(2), epoch(3)])
    again = LiveCurves(folder)
    again.add([epoch(1), epoch(2)])  # the run resumed from an older checkpoint
    again.add([epoch(3)])
    assert accuracy(folder)["step"].tolist() == [1, 2, 3]


def test_live_curves_are_removed_and_those_of_other_models_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = LiveCurves(Path("live/one")), LiveCurves(Path("live/other"))
    one.add([epoch(1)])
    other.add([epoch(1)])
    one.remove()
    assert not one.folder.exists() and accuracy(other.folder)["step"].tolist() == [1]
    LiveCurves(Path("live/never")).remove()
    assert [path.name for path in Path("live").iterdir()] == ["other"]


class Full:
    """A disk without space, in place of checkpoints and of live curves."""

    def __init__(self) -> None:
        self.tried = 0

    def save(self, tensors: object, notes: object) -> None:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device", "some/file")


def test_a_full_disk_does_not_end_the_training_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    full: Any = Full()
    progress = Progress(3, full, full)
    full.add = lambda epochs: full.save({}, None)
    for number in (1, 2, 3):
        progress.save({}, {})
        progress.epoch(epoch(number))
    told = [line for line in capsys.readouterr().out.splitlines() if "cannot be written" in line]
    assert told == [
        "checkpoints cannot be written: No space left on device (some/file); training goes on, but a stop would lose "
        "the steps since the last one",
        "live curves cannot be written: No space left on device (some/file); training goes on, but curves.csv will "
        "have all epochs",
    ]
    assert full.tried == 6
