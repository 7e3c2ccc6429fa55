"""The checks of params against the numbers and sizes of images: what would fail hours later is refused at the start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE
from repositories import SMALL
from whole_study import made_dataset, write_raw

from robustness_study import losses
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.counts import check_batches, check_planes
from robustness_study.schema.attack import Attack
from robustness_study.schema.embed import Embed
from robustness_study.schema.recipe import Recipe
from robustness_study.training.trial import try_to_train
from stages import check_sizes

VALUES = params.read(ROOT / "params.yaml")
CPU = torch.device("cpu")


def labels(*images: int) -> np.ndarray:
    """Labels of this many images of each class."""
    return np.repeat(np.arange(len(images)), images).astype(np.uint8)


def embed(images: int) -> Embed:
    return Embed.model_validate(VALUES["embed"] | {"images": images})


def attack(images: int) -> Attack:
    return Attack.model_validate(VALUES["attack"] | {"images": images})


PLANES: dict[str, tuple[np.ndarray, int, int, str]] = {  # test labels, images embedded, images attacked, the line
    "one image of each class": (
        labels(*[1] * 12), 10000, 100, "embed.images is 10000, and no two of these test images are of one class, .*add"
    ),
    "one chosen of each class": (
        labels(*[5] * 12), 12, 100, "embed.images is 12, and no two of these test images are .*; set it to at least 13"
    ),
    "fewer chosen than classes": (
        labels(*[2] * 256), 200, 600, "embed.images is 200, and no two of these .*; set it to at least 257"
    ),
    "one class chosen": (labels(990, 1), 10, 1000, "embed.images is 10, and all these test images are of one class"),
    "nine images": (labels(5, 4), 10000, 2000, "embed.images is 10000, but the dataset has only 9 test images; add"),
}  # fmt: skip


@pytest.mark.parametrize(("of_test", "embedded", "attacked", "message"), PLANES.values(), ids=PLANES)
def test_planes_that_could_not_be_measured_are_refused(
    of_test: np.ndarray, embedded: int, attacked: int, message: str
) -> None:
    with pytest.raises(StudyError, match=f"^params.yaml: {message}") as caught:
        check_planes(of_test, embed(embedded), attack(attacked))
    assert "\n" not in str(caught.value)


def test_a_plane_without_an_attacked_image_is_refused() -> None:
    """It can only be where the two have different seeds; with one seed, the smaller choice is part of the larger."""
    message = "^params.yaml: embed.images is 10 and attack.images is 1, but no test image is chosen for both"
    of_test, refused = labels(50, 50, 50), 0
    for seed in range(1, 6):
        try:
            check_planes(of_test, embed(10), attack(1).model_copy(update={"seed": seed}))
        except StudyError as error:
            assert re.search(message, str(error)) and "\n" not in str(error)
            refused += 1
    assert refused >= 3
    check_planes(of_test, embed(10), attack(1))


@pytest.mark.parametrize(
    ("of_test", "embedded", "attacked"),
    [(labels(*[5] * 12), 13, 100), (labels(5, 5), 10, 1), (labels(9, 1), 10, 10), (labels(*[2] * 256), 257, 600)],
)
def test_the_smallest_planes_that_can_be_measured_pass(of_test: np.ndarray, embedded: int, attacked: int) -> None:
    check_planes(of_test, embed(embedded), attack(attacked))


BATCHES: dict[str, tuple[np.ndarray, float, str, int, str]] = {  # labels, share, kind, batch size, the line
    "larger than the training images": (
        labels(20, 20), 0.5, "shuffled", 21,
        "batch_size is 21, but there are only 20 training images; set it to at most 20, or raise split.train_share",
    ),
    "a share of one image of each class": (
        labels(20, 20, 20), 5e-324, "shuffled", 4, "batch_size is 4, but there are only 3 training images",
    ),
    "too small for pairs": (labels(20, 20, 20), 0.5, "class_balanced", 5, "batch_size is 5, which is too small: .* 6"),
    "too small for pairs of many classes": (
        labels(*[9] * 256), 0.5, "class_balanced", 511, "batch_size is 511, which is too small: .*at least 512",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("of_train", "share", "kind", "size", "message"), BATCHES.values(), ids=BATCHES)
def test_batches_that_could_not_be_drawn_are_refused(
    of_train: np.ndarray, share: float, kind: str, size: int, message: str
) -> None:
    with pytest.raises(StudyError, match=rf"^params.yaml: recipes.mine.{message}.*\(loss normface\)$"):
        check_batches(of_train, share, [0, 1], {"normface": kind}, "mine", size)


def test_the_largest_batch_that_can_be_drawn_passes() -> None:
    check_batches(labels(20, 20), 0.5, [0, 1], {"normface": "shuffled", "angular": "class_balanced"}, "mine", 20)


# --- the training step -------------------------------------------------------------------------------------


def tried(size: int = 16, loss: str = "cross_entropy", **changes: Any) -> None:
    made = losses.make(loss, VALUES["loss_config"][loss])
    try_to_train("mine", Recipe.model_validate(RECIPE | changes), made, size, 3, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "timm/vgg11"}, "network timm/vgg11 cannot take images of 16×16 pixels"),
        ({"network": "timm/vit_tiny_patch16_224", "low_resolution_share": 0.1}, "cannot take images of 8×8 pixels"),
        ({"network": "timm/vit_tiny_patch16_224", "zero_init_residual": True}, "timm cannot start the blocks of this"),
        ({"network": "timm/test_resnet", "precision": "bfloat16"}, "precision is bfloat16, but timm/test_resnet com"),
    ],
)
def test_a_network_that_cannot_train_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=f"^params.yaml: recipes.mine, tried with loss cross_entropy: .*{message}"):
        tried(**changes)


def test_a_network_that_fails_only_in_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoGradient(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)).detach()

    monkeypatch.setattr("robustness_study.networks.resnet18.make", lambda network: NoGradient())
    tried()  # a linear head has its own weights to train
    with pytest.raises(StudyError, match=r"recipes\.mine\.network is resnet18, which cannot be trained with loss fro"):
        frozen = losses.make("cross_entropy", {"label_smoothing": 0.0})
        object.__setattr__(frozen, "name", "frozen")
        monkeypatch.setattr(losses.Loss, "make_head", lambda self, features, classes: Frozen())
        try_to_train("mine", Recipe.model_validate(RECIPE), frozen, 16, 3, CPU)


class Frozen(torch.nn.Module):
    """A head without weights."""

    def training_loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return features.sum()


@pytest.mark.parametrize("loss", losses.names())
@pytest.mark.parametrize("size", [8, 33])
def test_every_loss_trains_on_small_and_odd_images(loss: str, size: int) -> None:
    tried(size, loss, network="timm/test_resnet", low_resolution_share=0.9, peak_learning_rate=10.0, crop_padding=2)


# --- the stage ---------------------------------------------------------------------------------------------


def study(folder: Path, train: list[int], test: list[int], **changes: Any) -> None:
    """The files that `check_sizes` reads, for a small study."""
    values: dict[str, Any] = json.loads(json.dumps(VALUES))
    for key, value in (SMALL | changes).items():
        *sections, name = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[name] = value
    (folder / "params.yaml").write_text(json.dumps(values))
    write_raw(folder, made_dataset(train, test, 16), 16)


def test_stage_leaves_the_same_marker_for_every_study_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = set()
    for changes in ({}, {"embed.images": 10, "seeds": [3, 4]}):
        study(tmp_path, [60, 60], [8, 8], **changes)
        check_sizes.main()
        written.add(Path(check_sizes.MARKER).read_bytes())
    assert written == {b"params.yaml fits the dataset\n"}


def test_stage_refuses_numbers_before_it_imports_torch(tmp_path: Path) -> None:
    study(tmp_path, [60] * 12, [1] * 12)
    code = (
        "import sys; from stages import check_sizes\ntry: check_sizes.main()\nexcept Exception as error: print(error)\n"
        "print(sorted({'torch', 'PIL', 'sklearn', 'matplotlib', 'umap'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said, imported = done.stdout.splitlines()
    assert said.startswith("params.yaml: embed.images is 60, and no two of these test images") and imported == "[]"
    assert not (tmp_path / check_sizes.MARKER).exists()
