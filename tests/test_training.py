"""The stage `train`: its real function on a few tiny images, and the controls that a correct study passes."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE
from small_training import (
    CLASSES,
    CONFIGS,
    CPU,
    IMAGES,
    INDICES,
    LABELS,
    SETS,
    STUDIED,
    baseline,
    noise,
    quadrants,
    same_weights,
    train_cell,
    untimed,
)

from robustness_study import losses
from robustness_study.classifier import device
from robustness_study.classifier.inference import accuracy, all_features, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import precision_of
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_record
from robustness_study.training import one_model
from robustness_study.training.watcher import Epoch
from stages import train as stage

# --- the whole function ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_loss_trains(name: str, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, epochs = train_cell(name, precision=precision, epochs=2)
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert len(capsys.readouterr().out.splitlines()) == 3
    for epoch in epochs:
        assert np.isfinite([epoch.training_loss, epoch.val_loss]).all()
        assert 0 <= epoch.train_accuracy <= 1 and 0 <= epoch.val_accuracy <= 1
    with torch.no_grad():
        logits = model(to_float(torch.from_numpy(IMAGES)))
    assert logits.shape == (40, CLASSES) and logits.dtype == torch.float32 and logits.isfinite().all()
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_init_residual": True},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"warmup_share": 0.9},
        {"average_decay": 0.5},
        {"low_resolution_share": 0.9},
        {"crop_padding": 0},
        {"flip": "off"},
        {"flip": "alternating"},
        {"trivial_augment": True},
        {"cutout_pixels": 8},
    ],
    ids=str,
)
def test_every_setting_of_a_recipe_has_an_effect(changes: dict[str, Any]) -> None:
    model, _ = baseline("cross_entropy")
    other, others = train_cell("cross_entropy", **changes)
    assert not same_weights(model, other)
    assert all(np.isfinite(epoch.training_loss) for epoch in others)


@pytest.mark.parametrize("name", losses.names())
def test_same_seed_gives_the_same_bits_whatever_ran_before(name: str) -> None:
    model, epochs = baseline(name)
    torch.manual_seed(987)
    torch.rand(3)
    again, epochs_again = train_cell(name)
    assert same_weights(model, again)
    assert [untimed(epoch) for epoch in epochs] == [untimed(epoch) for epoch in epochs_again]
    other, _ = train_cell(name, seed=1)
    assert not same_weights(model, other)


@pytest.mark.parametrize("name", losses.names())
def test_watched_and_validation_images_have_no_effect_on_training(name: str) -> None:
    images = IMAGES.copy()
    images[INDICES["val"]] = 255 - images[INDICES["val"]]
    other, _ = train_cell(name, images=images, watched_images=5)
    assert same_weights(baseline(name)[0], other)


def test_classifier_of_centroids_is_fitted_on_every_training_image() -> None:
    model = copy.deepcopy(baseline("angular")[0])
    training_images = torch.from_numpy(IMAGES[INDICES["train"]])
    kept = dict(model.head.named_buffers())["centroids"].clone()
    model.head.fit(all_features(model, training_images, 5), torch.from_numpy(LABELS[INDICES["train"]].astype(np.int64)))
    torch.testing.assert_close(dict(model.head.named_buffers())["centroids"], kept, rtol=0, atol=1e-5)


def test_normalisation_uses_only_training_images() -> None:
    images = IMAGES.copy()
    images[INDICES["val"]] = 255
    model, _ = train_cell("cross_entropy", images=images)
    floats = images[INDICES["train"]].astype(np.float64) / 255
    np.testing.assert_allclose(model.mean.flatten().numpy(), floats.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(model.std.flatten().numpy(), floats.std((0, 1, 2)), rtol=1e-6)


def test_channel_statistics_equal_numpys() -> None:
    images = np.random.default_rng(2).integers(0, 256, (7, 8, 9, 3), dtype=np.uint8)
    images[..., 1] //= 3
    images[..., 2] = 77
    mean, std = one_model.channel_statistics(images)
    floats = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, floats.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], floats.std((0, 1, 2))[:2], rtol=1e-12)
    assert std[2] == 1 / 255  # a channel of one level can still be divided by


def test_curves_hold_no_time() -> None:
    epochs = [Epoch(1, 2.5, 0.25, 0.125, 1.75, 98.7, 300.0), Epoch(2, 1.5, 0.5, 0.375, 1.25, 65.4, 310.0)]
    text = one_model.curves_csv(epochs)
    assert text == (
        "epoch,training_loss,train_accuracy,val_accuracy,val_loss\n1,2.5,0.25,0.125,1.75\n2,1.5,0.5,0.375,1.25\n"
    )
    assert one_model.curves_csv([untimed(epoch) for epoch in epochs]) == text


# --- controls ----------------------------------------------------------------------------------------------

THOROUGH: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 16,
    "peak_learning_rate": 0.01,
    "crop_padding": 0,
    "flip": "off",
    "watched_images": 64,
}


def right(model: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        logits = model.head(all_features(model, torch.from_numpy(images), 100))
    return accuracy(logits, torch.from_numpy(labels.astype(np.int64)))


@pytest.mark.parametrize(
    "name",
    [name if name in STUDIED else pytest.param(name, marks=pytest.mark.slow) for name in losses.names()],
)
def test_sixty_four_images_are_memorised(name: str) -> None:
    images, labels = noise(80, seed=4)
    model, epochs = train_cell(
        name, images, labels, indices={"train": np.arange(64), "val": np.arange(64, 80)}, **THOROUGH
    )
    assert right(model, images[:64], labels[:64]) == 1
    assert epochs[-1].train_accuracy == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIED)
@pytest.mark.parametrize("shuffled", [True, False], ids=["shuffled labels", "true labels"])
def test_shuffled_labels_give_chance_accuracy(name: str, shuffled: bool) -> None:
    """Labels that do not depend on the images are predicted at chance, even if the training images are memorised."""
    images, labels = quadrants(464, seed=6)
    if shuffled:
        labels = np.random.default_rng(7).permutation(labels)
    indices = {"train": np.arange(64), "val": np.arange(64, 464)}
    model, _ = train_cell(name, images, labels, indices=indices, **THOROUGH | {"epochs": 40})
    assert right(model, images[:64], labels[:64]) > 0.9
    found = right(model, images[64:], labels[64:])
    if shuffled:
        chance = 1 / CLASSES
        assert abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / 400)
    else:
        assert found > 0.9


# --- the stage ---------------------------------------------------------------------------------------------


def write_inputs(top: Path) -> dict[str, np.ndarray]:
    """Writes only the stage's inputs: there are no test images."""
    sets = {"clean": IMAGES, "corrupted": 255 - IMAGES // 2, "adversarial": IMAGES}
    for folder in ("raw", "split", "training_sets"):
        (top / "data" / folder).mkdir(parents=True)
    for name, images in sets.items():
        np.savez(top / f"data/training_sets/{name}.npz", images=images)
    np.savez(top / "data/raw/train.npz", images=IMAGES, labels=LABELS)
    np.savez(top / "data/split/3.npz", train=INDICES["train"], val=INDICES["val"], test=np.arange(9))
    write_record(top / "data/raw/source.json", {"classes": ["a", "b", "c", "d"]})
    written = {"recipe": "tiny", "recipes": {"tiny": RECIPE}, "loss_config": CONFIGS, "train_set_config": SETS}
    (top / "params.yaml").write_text(json.dumps(written))
    return sets


def read_curves(text: str) -> dict[str, list[float]]:
    names, *rows = (line.split(",") for line in text.splitlines())
    return {name: [float(row[place]) for row in rows] for place, name in enumerate(names)}


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("train_set", ["clean", "corrupted", "adversarial"])
def test_stage_trains_on_its_own_images(
    name: str, train_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = write_inputs(tmp_path)
    given = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    monkeypatch.setattr(sys, "argv", ["train", "--loss", name, "--train-set", train_set, "--seed", "3"])
    stage.main()
    key = f"{name}-{train_set}-3"
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} - given == {
        f"models/{key}/model.json",
        f"models/{key}/weights.safetensors",
        f"data/cells/{name}-{train_set}-3/curves.csv",
    }
    notes = json.loads((tmp_path / f"models/{key}/model.json").read_text())
    mean, std = one_model.channel_statistics(sets[train_set][INDICES["train"]])
    np.testing.assert_allclose([notes["mean"], notes["std"]], [mean, std], rtol=1e-6)
    assert (notes["recipe"], notes["loss"], notes["classes"]) == ("tiny", name, ["a", "b", "c", "d"])
    curve = read_curves(Path(f"data/cells/{key}/curves.csv").read_text(encoding="utf-8"))
    assert notes.get("val_pgd_accuracy") == curve.get("val_pgd_accuracy")  # None, unless training attacks its batches
    assert ("val_pgd_accuracy" in curve) == (train_set == "adversarial")
    assert notes["environment"]["device"] == "cpu" and notes["environment"]["precision"] == "float32"
    assert str(tmp_path) not in json.dumps(notes)


# --- the device --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [(None, False, "cpu"), (None, True, "cuda"), ("auto", False, "cpu"), ("auto", True, "cuda"),
     ("cpu", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)  # fmt: skip
def test_device_is_the_requested_one(
    wanted: str | None, available: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.delenv(device.VARIABLE, raising=False)
    if wanted:
        monkeypatch.setenv(device.VARIABLE, wanted)
    assert device.choose().type == chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("gpu", "STUDY_DEVICE is 'gpu'; set it to auto, cpu or cuda"),
        ("", "STUDY_DEVICE is ''; set it to auto, cpu or cuda"),
        ("cuda", r"STUDY_DEVICE is cuda, but torch \S+ finds no CUDA device here; set it to cpu or auto"),
    ],
)
def test_missing_device_is_refused(wanted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(device.VARIABLE, wanted)
    with pytest.raises(StudyError, match=message) as caught:
        device.choose()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "network", "native", "expected"),
    [
        ("auto", "resnet18", True, torch.bfloat16),
        ("auto", "resnet18", False, torch.float32),
        ("bfloat16", "resnet18", False, torch.bfloat16),
        ("float32", "resnet18", True, torch.float32),
        ("auto", "timm/test_resnet", True, torch.float32),
        ("float32", "timm/test_resnet", True, torch.float32),
    ],
)
def test_precision_is_bfloat16_only_where_it_is_native_and_right(
    setting: str, network: str, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities: Callable[[], dict[str, bool]] = lambda: {"avx512_bf16": native}  # noqa: E731
    monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities)
    assert precision_of(setting, CPU, network) == expected


def test_bfloat16_is_refused_where_gradients_would_be_wrong() -> None:
    with pytest.raises(StudyError, match="timm/test_resnet computes wrong gradients in it on the CPU; set it to auto"):
        precision_of("bfloat16", CPU, "timm/test_resnet")
    assert precision_of("bfloat16", torch.device("cuda"), "timm/test_resnet") == torch.bfloat16
