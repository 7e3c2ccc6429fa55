"""Commands of README and docs, run exactly as written there, on a small dataset.

tests/test_documentation.py checks that some test types every shown command. The three main commands, and those of
sharing and repair, are typed in tests/test_end_to_end.py; those of the package in tests/test_package.py.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from repositories import SMALL, Repository, ran

from tools import workspace

pytestmark = pytest.mark.slow

# As few steps as will do: these tests ask what commands do, not how well models are.
# A ResNet-18, because AutoAttack's environment has no timm.
QUICK = {
    "seeds": [1],
    "recipes.cpu.epochs": 1,
    "recipes.cpu.network": "resnet18",
    "recipes.cpu.stem": "imagenet",
}
SHORT = {"stem": "imagenet", "epochs": 1, "batch_size": 25, "watched_images": 50, "compile": False}
CELLS = [f"{loss}-{train_set}-1" for loss in ("angular", "cross_entropy") for train_set in ("clean", "corrupted")]


def trained(printed: str) -> list[str]:
    return sorted(name.removeprefix("train@") for name in ran(printed) if name.startswith("train@"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study made with two of the commands: first one loss, then the others with two models at a time."""
    path = tmp_path_factory.mktemp("commands") / "repository"
    workspace.create(path, SMALL | QUICK | {f"recipes.gpu.{key}": value for key, value in SHORT.items()})
    repository = Repository(path)
    printed = repository.typed("dvc exp run -S loss=angular headline")
    assert trained(printed) == CELLS[:2] and "compare" not in ran(printed)
    repository.run("git", "checkout", "-q", "params.yaml")
    printed = repository.typed("python -m tools.side_by_side --jobs 2")
    assert set(repository.json("reports/comparison.json")) == {"cross_entropy", "angular"}
    assert not ran(repository.dvc("repro"))
    repository.commit("The study")
    return repository


@pytest.fixture
def study(whole: Repository) -> Iterator[Repository]:
    yield whole
    whole.reset()


def test_setting_up_again_and_activating(tmp_path: Path) -> None:
    repository = Repository(workspace.ROOT)
    assert "Nothing to be done" in repository.run("make", "setup") or not repository.run("make", "-s", "setup")
    # After the page's previous line, the commands come from the environment.
    (tmp_path / "which.sh").write_text("source .venv/bin/activate\ncommand -v dvc\n", encoding="utf-8")
    repository.typed("source .venv/bin/activate")
    found = repository.run("env", "PATH=/usr/bin:/bin", "bash", str(tmp_path / "which.sh"))
    assert found.strip() == str(workspace.ROOT / ".venv/bin/dvc")


def test_repro_of_a_finished_study_runs_nothing(study: Repository) -> None:
    assert not ran(study.typed("STUDY_DEVICE=cpu dvc repro"))
    assert not ran(study.typed("dvc repro split"))
    study.typed("python -m tools.side_by_side --gpus 0 1 2 3")
    assert "up to date" in study.typed("dvc status")
    assert "0 problems" in study.typed("python -m tools.verify")
    assert not study.run("git", "status", "--porcelain")


def test_one_more_loss_trains_only_its_models(study: Repository) -> None:
    printed = study.typed("dvc exp run -S loss=arcface -S 'losses=[cross_entropy,angular,arcface]'")
    assert trained(printed) == ["arcface-clean-1", "arcface-corrupted-1"]
    assert study.json("reports/metrics.json") == study.json("reports/comparison.json")["arcface"]


def test_augmix_trains_only_its_models_and_is_compared(study: Repository) -> None:
    printed = study.typed("dvc exp run -S 'train_sets=[clean,corrupted,augmix]'")
    assert trained(printed) == ["angular-augmix-1", "cross_entropy-augmix-1"]
    assert "augmix" in study.typed("python -m bench.augmix")


def test_the_other_recipe(study: Repository) -> None:
    here = torch.cuda.is_available()
    printed = study.typed("STUDY_DEVICE=cuda dvc exp run -S recipe=gpu", fails=not here)
    if not here:
        assert "error: STUDY_DEVICE is cuda, but " in printed
        printed = study.typed("dvc exp run -S recipe=gpu")
    assert trained(printed) == CELLS
    assert "Recipe `gpu`" in (study.path / "reports/report.md").read_text(encoding="utf-8")


def test_another_corruption_before_the_studies(study: Repository) -> None:
    printed = study.typed("dvc exp run -S 'corrupt.before=[{corruption: fog, severity: 3, probability: 0.5}]'")
    assert trained(printed) == ["angular-corrupted-1", "cross_entropy-corrupted-1"]
    assert {"corrupt@train", "corrupt@test", "compare"} <= ran(printed)


def test_accepted_alarms_are_those_named(study: Repository) -> None:
    # Models of one epoch may raise any alarm, so `attack` may fail, but only because of an alarm.
    printed = study.typed("dvc exp run -S 'attack.accept=[rescaled_logits,zero_gradients]'", fails=None)
    assert {name for name in ran(printed) if name.startswith("attack@")}
    assert "failed" not in printed or "attack.accept" in printed
    study.reset()
    workspace.change_params(study.path / "params.yaml", {"transfer.accept": [], "transfer.images": 40})
    assert "transfer" in ran(study.typed("dvc exp run -S 'transfer.accept=[transfer_stronger]'"))


def test_trials_and_settings(study: Repository) -> None:
    printed = study.typed("""python -m bench.trials '{"epochs": 8, "flip": "off"}' --seed 1""")
    assert '{"epochs": 8, "flip": "off"}' in printed
    assert study.json("bench/results/trials.json")[-1]["changes"] == {"epochs": 8, "flip": "off"}
    study.typed("python -m bench.measuring --loss cross_entropy --train-set clean --seed 1")
    row = study.json("bench/results/measuring.json")["cross_entropy-clean-1"]
    assert row["attacked_images"] == 500 < row["images"] < 4000  # the digits have fewer validation images


def test_autoattack(study: Repository) -> None:
    (study.path / ".venv").symlink_to(workspace.ROOT / ".venv")
    study.typed("make autoattack")
    row = study.json("bench/results/autoattack.json")
    assert row["model"] == "cross_entropy-clean-1" and row["images"] == 10
    assert row["autoattack"] <= row["pgd"]


def test_corruptions_without_installing(study: Repository) -> None:
    assert "fog" in study.typed("python -m robustness_study.corruptions --list")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.savez(study.path / "IN.npz", images=images)
    study.typed("python -m robustness_study.corruptions IN.npz SHEET.png --sheet")
    assert (study.path / "SHEET.png").is_file()


def test_another_archive_is_unofficial(tmp_path: Path) -> None:
    """The archive has as many images as CIFAR-10, each of one colour."""
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {"download.dataset": "cifar10"})
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    with tarfile.open(repository.path / "my_archive.tar.gz", "w:gz", compresslevel=1) as archive:
        records = np.repeat(np.arange(10_000, dtype=np.uint16)[:, None] % 256, 3073, axis=1).astype(np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        classes = "".join(f"class{number}\n" for number in range(10)).encode()
        content = {"batches.meta.txt": classes} | dict.fromkeys(names, records.tobytes())
        for name, data in content.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    printed = repository.typed("CIFAR10_ARCHIVE=my_archive.tar.gz dvc repro -f download")
    assert ran(printed) == {"check", "download"}
    assert repository.json("data/raw/source.json")["official"] is False
