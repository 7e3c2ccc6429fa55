"""Checkpoints: what identifies one, the lock on its folder, and that a resumed run ends with the same bits."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import recipes
import torch
from torch import Tensor, nn

from robustness_study import losses, training_sets
from robustness_study.classifier import storage
from robustness_study.classifier.model import Classifier
from robustness_study.core import imports, params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_record
from robustness_study.networks import Network
from robustness_study.schema.recipe import Recipe
from robustness_study.training import engine, one_model
from robustness_study.training.checkpoints import Checkpoints, fingerprint
from robustness_study.training.engine import Training
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch, Images
from stages import train

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = params.read(REPOSITORY / "params.yaml")["loss_config"]
ARRAYS = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": np.array([0, 1, 2])}
TENSORS = {"weights": torch.rand(3, 4).T, "count": torch.tensor(7)}


class KilledError(Exception):
    """Stands for a kill in tests that run in one process."""


# --- the fingerprint -----------------------------------------------------------------------------------------


def test_fingerprint_depends_on_values_and_arrays() -> None:
    values: dict[str, Any] = {"epochs": 3, "loss": {"scale": 1.5}}
    first = fingerprint(values, ARRAYS)
    assert fingerprint({"loss": {"scale": 1.5}, "epochs": 3}, dict(reversed(ARRAYS.items()))) == first
    assert len(first) == 32 and set(first) <= set("0123456789abcdef")
    others = [
        fingerprint(values | {"epochs": 4}, ARRAYS),
        fingerprint(values, ARRAYS | {"labels": np.array([0, 1, 1])}),
        fingerprint(values, ARRAYS | {"labels": np.array([0, 1, 2], dtype=np.int32)}),
        fingerprint(values, ARRAYS | {"images": ARRAYS["images"].reshape(4, 3)}),
        fingerprint(values, {"images": ARRAYS["images"], "names": ARRAYS["labels"]}),
    ]
    assert len({first, *others}) == len(others) + 1


# Each with whether training with loss `angular`, network `resnet18` and training set `clean` runs it.
CODE = {
    "robustness_study/losses/angular.py": True,
    "robustness_study/losses/head.py": True,
    "robustness_study/losses/arcface.py": False,
    "robustness_study/networks/resnet18.py": True,
    "robustness_study/networks/_convolution.py": True,
    "robustness_study/networks/wide_resnet.py": False,
    "robustness_study/networks/_timm.py": False,
    "robustness_study/training/one_model.py": True,
    "robustness_study/training/engine.py": True,
    "robustness_study/training/under_attack.py": True,
    "robustness_study/training_sets/clean.py": True,
    "robustness_study/training_sets/adversarial.py": False,
    "robustness_study/augmentation/trivial_augment.py": True,
    "robustness_study/classifier/model.py": True,
    "robustness_study/schema/recipe.py": True,
    "robustness_study/schema/attack.py": False,
    "robustness_study/report/page.py": False,
    "robustness_study/results/differences.py": False,
    "robustness_study/evaluation/score.py": False,
}


def test_fingerprint_depends_on_the_code_that_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file after another gets one more line, in a copy of the library."""
    shutil.copytree(REPOSITORY / "robustness_study", tmp_path / "robustness_study")
    monkeypatch.setattr(imports, "ROOT", tmp_path)
    loss, recipe = losses.make("angular", CONFIGS["angular"]), Recipe.model_validate(recipes.RECIPE)

    cell, settings = Cell("angular", "clean", 0), training_sets.config_class("clean")()

    def found() -> str:
        return one_model.fingerprint_of(cell, loss, settings, recipe, torch.device("cpu"), ARRAYS)

    before = found()
    assert found() == before
    for name, runs in CODE.items():
        path = tmp_path / name
        text = path.read_bytes()
        path.write_bytes(text + b"# one more line\n")
        assert (found() != before) == runs, name
        path.write_bytes(text)
    assert found() == before


def test_code_is_followed_from_the_network_that_trains() -> None:
    def files(network: str) -> set[str]:
        return {
            path.rpartition("/")[2]
            for path in one_model.code_files("arcface", network, "clean")
            if "/networks/" in path
        }

    assert files("resnet18") == {"__init__.py", "resnet18.py", "_convolution.py", "_torchvision.py"}
    assert files("wide_resnet") == {"__init__.py", "wide_resnet.py", "_convolution.py"}
    assert "resnet18.py" not in files("timm/resnet10t")


# Each with a change to the inputs of a train stage that `surroundings` returns.
DECIDES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the loss's parameters": lambda at: at["params"]["loss_config"]["arcface"].update(scale=1.5),
    "the training set's parameters": lambda at: at["params"]["train_set_config"]["adversarial"].update(step=1.25),
    "the recipe": lambda at: at["params"]["recipes"][at["params"]["recipe"]].update(epochs=2),
    "images": lambda at: at["images"].fill(1),
    "labels": lambda at: at["labels"].fill(1),
    "the split": lambda at: at.update(train=at["train"][:-1], val=np.arange(3, 8)),
    "the loss": lambda at: at.update(loss="cosface"),
    "a library": lambda at: at.update(version="2"),
    "threads": lambda at: at.update(threads=at["threads"] + 1),
    "instructions": lambda at: at.update(instructions="another"),
}
DOES_NOT: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda at: None,
    "another loss's parameters": lambda at: at["params"]["loss_config"]["cosface"].update(scale=1.5),
    "another training set's parameters": lambda at: at["params"]["train_set_config"]["augmix"].update(depth=2),
    "another recipe": lambda at: at["params"]["recipes"]["gpu"].update(epochs=2),
    "how models are attacked": lambda at: at["params"]["attack"].update(images=7),
}


@pytest.mark.parametrize("change", [*DECIDES, *DOES_NOT])
def test_stage_keeps_a_checkpoint_for_what_decides_its_result(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of the checkpoints of two runs that differ in one thing."""
    monkeypatch.chdir(tmp_path)
    before, after = surroundings(), surroundings()
    (DECIDES | DOES_NOT)[change](after)
    assert (checkpoint_of(before, monkeypatch) == checkpoint_of(after, monkeypatch)) == (change in DOES_NOT)


def surroundings() -> dict[str, Any]:
    """All inputs of a train stage."""
    return {
        "params": params.read(REPOSITORY / "params.yaml"),
        "images": np.zeros((8, 16, 16, 3), dtype=np.uint8),
        "labels": np.arange(8) % 2,
        "train": np.arange(4),
        "val": np.arange(4, 8),
        "loss": "arcface",
        "train_set": "adversarial",
        "version": "1",
        "threads": 1,
        "instructions": "some",
    }


def checkpoint_of(at: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the checkpoint that the train stage would keep with these inputs."""
    for folder in ("raw", "split", "training_sets"):
        Path("data", folder).mkdir(parents=True, exist_ok=True)
    np.savez(f"data/training_sets/{at['train_set']}.npz", images=at["images"])
    np.savez("data/raw/train.npz", images=at["images"], labels=at["labels"].astype(np.uint8))
    np.savez("data/split/0.npz", train=at["train"], val=at["val"])
    write_record("data/raw/source.json", {"classes": ["a", "b"]})
    Path("params.yaml").write_text(json.dumps(at["params"]))
    monkeypatch.setattr(sys, "argv", ["train", "--loss", at["loss"], "--train-set", at["train_set"], "--seed", "0"])
    monkeypatch.setattr(one_model, "version", lambda library: at["version"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: at["threads"])
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: at["instructions"])
    monkeypatch.setattr(train, "train_cell", stop)
    with pytest.raises(KilledError) as told:
        train.main()
    return str(told.value)


def stop(*arguments: Any) -> NoReturn:
    """Stands in for training: raises an error with the checkpoint's name."""
    kept = next(each.checkpoints for each in arguments if isinstance(each, Progress))
    assert kept is not None
    raise KilledError(kept.path.name)


# --- the files -----------------------------------------------------------------------------------------------


def test_checkpoint_is_read_back_and_removed_with_its_folder(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "cell", "f" * 32)
    assert kept.load() is None
    kept.save({"weights": torch.zeros(1)}, {})
    kept.save(TENSORS, {"done": 3, "loss": 0.1 + 0.2})
    found = kept.load()
    assert found is not None and found[1] == {"done": 3, "loss": 0.1 + 0.2}
    assert found[0].keys() == TENSORS.keys() and all(torch.equal(found[0][name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in (tmp_path / "cell").iterdir()] == ["f" * 32 + ".safetensors"]
    kept.remove()
    assert not (tmp_path / "cell").exists()


def test_partial_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "cell", "a" * 32)
    kept.save({"weight": torch.ones(2)}, {})
    half_written = tmp_path / "cell" / f".{'a' * 32}.123.safetensors"
    half_written.write_bytes(b"half")
    assert kept.load() is not None
    assert not half_written.exists()
    half_written.write_bytes(b"half")
    other = Checkpoints(tmp_path / "cell", "b" * 32)
    assert other.load() is None
    assert [path.name for path in (tmp_path / "cell").iterdir()] == [kept.path.name]


def test_checkpoint_that_does_not_match_is_not_used_and_not_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, kept = Checkpoints(tmp_path, "a" * 32), Checkpoints(tmp_path, "b" * 32)
    other.save(TENSORS, {"done": 1})
    before = other.path.read_bytes()
    assert kept.load() is None
    (line,) = capsys.readouterr().out.splitlines()
    assert str(other.path) in line and "of other parameters, data, code or versions: it is kept, but not used" in line
    kept.save(TENSORS, {"done": 2})
    kept.remove()
    assert [path.name for path in tmp_path.iterdir()] == [other.path.name] and other.path.read_bytes() == before


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, -1])
def test_message_for_broken_checkpoint_is_one_line(tmp_path: Path, kept_bytes: int) -> None:
    kept = Checkpoints(tmp_path, "f" * 32)
    kept.save(TENSORS, {})
    kept.path.write_bytes(kept.path.read_bytes()[:kept_bytes])
    with pytest.raises(StudyError, match=r"\.safetensors is broken; delete it to train from the beginning"):
        kept.load()


# --- resuming --------------------------------------------------------------------------------------------------

RECIPE = recipes.RECIPE | {"stem": "half", "epochs": 3, "precision": "auto", "watched_images": 8}
STEPS = 3  # of an epoch, 26 images in batches of 8


class Stopping(Progress):
    """Keeps a checkpoint of every step, copies some to another folder, and is killed after the last of those."""

    def __init__(self, checkpoints: Checkpoints, aside: dict[int, Path]) -> None:
        super().__init__(RECIPE["epochs"], checkpoints)
        self.kept, self.aside, self.seen = checkpoints, aside, 0

    def step(self, done: int, steps: int) -> None:
        self.seen += 1

    def save(self, tensors: dict[str, torch.Tensor], notes: Any) -> None:
        super().save(tensors, notes)
        if self.seen in self.aside:
            shutil.copytree(self.kept.folder, self.aside[self.seen])
        if self.seen == max(self.aside):
            raise KilledError


class Dropping(nn.Module):
    """A backbone that drops half of its features at random."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.dropout = backbone, nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.backbone(images))


def a_run(name: str, **changes: Any) -> tuple[Training, dict[str, Images]]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (26, 24, 24, 3), dtype=np.uint8))
    both = Images(images, torch.arange(26) % 4)
    dropout, whole = changes.pop("dropout", False), changes.pop("resnet18", False)
    settings = params.read(REPOSITORY / "params.yaml")["train_set_config"]["adversarial"]
    config = training_sets.config_class("adversarial").model_validate(settings)
    attack = training_sets.batch_attack("adversarial", config) if changes.pop("adversarial", False) else None
    loss = losses.make(name, CONFIGS[name])
    torch.manual_seed(0)
    model = storage.build(Network("resnet18", "half", 24), loss, 4, [0.5] * 3, [0.25] * 3)
    if not whole:
        model.backbone = recipes.Tiny()
    if dropout:
        model.backbone = Dropping(model.backbone)
    recipe, watched = Recipe.model_validate(RECIPE | changes), {"train": both, "val": both, "val_pgd": both}
    return Training(model, both, recipe, loss.batches, 0, attack), watched


def final(run: Training, watched: dict[str, Images], watcher: Progress) -> tuple[Classifier, list[Epoch]]:
    epochs = run.run(watched, watcher)
    return run.model, epochs


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in losses.names()),
        ("cross_entropy", {"average_decay": 0.7, "cutout_pixels": 3, "flip": "alternating", "trivial_augment": True}),
        ("cross_entropy", {"low_resolution_share": 0.7, "momentum": 0.0}),
        ("cross_entropy", {"dropout": True}),
        ("cross_entropy", {"adversarial": True, "dropout": True, "average_decay": 0.7}),
        ("angular", {"adversarial": True, "low_resolution_share": 0.7}),
        pytest.param("angular", {"resnet18": True}, marks=pytest.mark.slow),
    ],
)
def test_resumed_run_ends_with_the_same_bits(
    name: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first step, at and within an epoch, and before the last step."""
    monkeypatch.setattr(engine, "CHECKPOINT_INTERVAL_S", -1.0)
    whole, epochs = final(*a_run(name, **changes), Progress(3))
    stops = {after: tmp_path / str(after) for after in (1, STEPS, STEPS + 2, 3 * STEPS - 1)}
    with pytest.raises(KilledError):
        final(*a_run(name, **changes), Stopping(Checkpoints(tmp_path / "run", "f" * 32), stops))
    for after, folder in stops.items():
        run, watched = a_run(name, **changes)
        checkpoint = Checkpoints(folder, "f" * 32).load()
        assert checkpoint is not None
        run.restore(*checkpoint)
        assert run.done == after
        again, epochs_again = final(run, watched, Progress(3))
        for (key, tensor), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
            assert torch.equal(tensor, other), (after, key)
        for epoch, other_epoch in zip(epochs, epochs_again, strict=True):
            assert epoch.training_loss == other_epoch.training_loss and epoch.val_loss == other_epoch.val_loss
