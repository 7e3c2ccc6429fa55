"""The fast gradient sign method: against its equation written out, and everything that would make it lie."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages import attack as stage
from stages import evaluate
from stages.lib import device, losses, model_files, params
from stages.lib.attacks import assert_within, fast_gradient_sign, refuse_masked_gradients, zero_gradients
from stages.lib.cells import Cell, from_text
from stages.lib.errors import StudyError
from stages.lib.inference import to_float
from stages.lib.model import FEATURES, Classifier, Head
from stages.lib.schema.attack import Attack

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]
CPU = torch.device("cpu")
SIDE, CLASSES, COUNT = 8, 3, 14
SECTION = {
    "epsilons_255": [0, 1, 2, 4, 8, 16],
    "images": 100,
    "batch_size": 5,
    "seed": 0,
    "examples": 2,
    "example_epsilon_255": 8,
}


def some_images(count: int = COUNT, side: int = SIDE) -> Tensor:
    """Random uint8 images, N×S×S×3, a tenth of their values black and a tenth white, where clipping bites."""
    generator = torch.Generator().manual_seed(11)
    return torch.randint(-32, 288, (count, side, side, 3), generator=generator).clamp(0, 255).to(torch.uint8)


def some_labels(count: int = COUNT) -> Tensor:
    return torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(12))


class Changed(Head):
    """A linear head, and something done to its logits."""

    def __init__(self, change: Callable[[Tensor], Tensor], width: int = FEATURES, classes: int = CLASSES) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(width, classes), change

    def forward(self, features: Tensor) -> Tensor:
        return self.change(self.linear(features))


class Same(Head):
    """The features, as logits."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def tiny_model(change: Callable[[Tensor], Tensor] = lambda logits: logits) -> Classifier:
    """A frozen network of one convolution with batch norm, whose buffers are not their first values."""
    torch.manual_seed(0)
    flat = nn.Linear(8 * SIDE * SIDE, FEATURES)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), flat)
    model = Classifier(backbone, Changed(change), [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    model(to_float(some_images()))
    return model.eval().requires_grad_(False)


def by_loop(model: Classifier, images: Tensor, labels: Tensor, epsilon: float) -> np.ndarray:
    """x + ε · sign(∇), clipped, image by image, of the cross-entropy written out."""
    attacked = []
    for image, label in zip(images, labels, strict=True):
        x = image.clone().requires_grad_(True)
        logits = model(x[None])[0]
        (torch.log(torch.exp(logits - logits.max().detach()).sum()) + logits.max().detach() - logits[label]).backward()
        assert x.grad is not None
        moved = x.detach().double() + epsilon * torch.sign(x.grad).double()
        attacked.append(moved.clamp(0, 1).numpy())
    return np.stack(attacked)


# --- the attack --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon_255", [0, 1, 8, 64, 255])
def test_attack_is_its_equation_written_out(epsilon_255: int) -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    found = fast_gradient_sign(model, images, labels, epsilon_255)
    np.testing.assert_allclose(found.numpy(), by_loop(model, images, labels, epsilon_255 / 255), atol=2e-7)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    moved = (found.double() - images.double()).abs()
    assert moved.max() <= epsilon_255 / 255 + 1e-7
    assert epsilon_255 == 0 or moved.max() > 0.99 * epsilon_255 / 255
    assert torch.equal(found, images) == (epsilon_255 == 0)


def test_true_labels_are_attacked_and_not_predictions() -> None:
    model, images = tiny_model(), to_float(some_images())
    predictions = model(images).argmax(1)
    labels = (predictions + 1) % CLASSES  # every image is wrong already
    found = fast_gradient_sign(model, images, labels, 8)
    np.testing.assert_allclose(found.numpy(), by_loop(model, images, labels, 8 / 255), atol=2e-7)
    assert (found - fast_gradient_sign(model, images, predictions, 8)).abs().amax((1, 2, 3)).min() > 8 / 255


def test_attack_on_a_linear_model_takes_the_whole_bound() -> None:
    """Between two linear logits one step is the worst case: the margin falls by ε times the weights' 1-norm."""
    torch.manual_seed(4)
    head = Changed(lambda logits: logits, SIDE * SIDE * 3, 2)
    model = Classifier(nn.Flatten(), head, [0.0] * 3, [1.0] * 3).requires_grad_(False)
    images = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.1  # nothing is clipped
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    each = torch.arange(6)

    def margins(given: Tensor) -> Tensor:
        logits = model(given)
        return logits[each, labels] - logits[each, 1 - labels]

    norm = (head.linear.weight[0] - head.linear.weight[1]).abs().sum()
    fallen = margins(images) - margins(fast_gradient_sign(model, images, labels, 16))
    torch.testing.assert_close(fallen, (16 / 255 * norm).expand(6), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("range_of", [lambda x: x * 2 - 1, lambda x: x * 255], ids=["[-1, 1]", "[0, 255]"])
def test_images_of_another_range_are_refused(range_of: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(StudyError, match=r"images must be in \[0, 1\] with normalisation inside the model"):
        fast_gradient_sign(tiny_model(), range_of(to_float(some_images())), some_labels(), 4)


@pytest.mark.parametrize(
    ("value", "attacked", "within"),
    [
        (0.5, 0.5 + 4 / 255, True),
        (0.5, 0.5 - 4 / 255, True),
        (0.0, 0.0, True),
        (1.0, 1.0, True),
        (0.5, 0.5 + 4.01 / 255, False),
        (0.5, 0.5 - 4.01 / 255, False),
        (0.0, -0.001, False),
        (1.0, 1.001, False),
        (0.5, float("nan"), False),
    ],
)
def test_ball_and_range_are_checked_value_by_value(value: float, attacked: float, within: bool) -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    images[1, 2, 3, 1] = value
    moved = images.clone()
    moved[1, 2, 3, 1] = attacked
    if within:
        assert_within(images, moved, 4)
    else:
        with pytest.raises(StudyError, match="attack: epsilon 4/255 moved a value by ") as caught:
            assert_within(images, moved, 4)
        assert "\n" not in str(caught.value)


# --- masked gradients --------------------------------------------------------------------------------------


def attacked_stage(model: Classifier, **changes: object) -> dict[int, dict[str, np.ndarray]]:
    section = Attack.model_validate(SECTION | changes)
    return stage.attack(model, some_images(), some_labels(), section)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits * 0 + torch.tensor([3.0, 2.0, 1.0]),
        lambda logits: torch.round(logits * 100),
        lambda logits: logits * 1e6,
    ],
    ids=["constant logits", "steps", "saturated softmax"],
)
def test_model_without_gradients_is_refused(change: Callable[[Tensor], Tensor]) -> None:
    model = tiny_model(change)
    images, labels = to_float(some_images()), some_labels()
    assert zero_gradients(model, images, labels) > COUNT // 4
    with pytest.raises(StudyError, match="images is zero, so the attack would look weak for no good reason"):
        attacked_stage(model)


def test_zero_gradients_are_counted_image_by_image() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    assert zero_gradients(model, images, labels) == 0
    saturated = tiny_model(lambda logits: logits * torch.tensor([[1.0]] * (COUNT - 4) + [[0.0]] * 4))
    assert zero_gradients(saturated, images, labels) == 4


@pytest.mark.parametrize(
    ("zero", "images", "refused"), [(0, 1, False), (20, 2000, False), (21, 2000, True), (1, 99, True)]
)
def test_one_image_in_a_hundred_may_have_no_gradient(zero: int, images: int, refused: bool) -> None:
    if refused:
        with pytest.raises(StudyError, match=f"gradient of {zero} of {images} images"):
            refuse_masked_gradients(zero, images)
    else:
        refuse_masked_gradients(zero, images)


def test_model_that_answers_differently_each_time_is_refused() -> None:
    torch.manual_seed(1)
    with pytest.raises(StudyError, match="the model is not deterministic"):
        attacked_stage(tiny_model(lambda logits: logits + torch.randn(logits.shape)))


# --- the ladder --------------------------------------------------------------------------------------------


def test_ladder_is_the_predictions_on_attacked_images() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    ladder = attacked_stage(model)
    assert list(ladder) == SECTION["epsilons_255"]
    for epsilon_255, predictions in ladder.items():
        attacked = by_loop(model, images, labels, epsilon_255 / 255)
        for name, seen in (("exact", attacked), ("rounded", np.rint(attacked * 255) / 255)):
            expected = model(torch.from_numpy(seen).float()).argmax(1).numpy()
            np.testing.assert_array_equal(predictions[name], expected)
    assert not np.array_equal(ladder[0]["exact"], ladder[16]["exact"])


def test_model_that_always_says_the_same_has_a_flat_ladder() -> None:
    favourite = torch.tensor([8.0, 0.0, 0.0])
    model = tiny_model(lambda logits: 0.01 * logits + favourite)
    labels = some_labels()
    ladder = stage.attack(model, some_images(), labels, Attack.model_validate(SECTION))
    found = {row["accuracy"] for row in stage.summarise(ladder, labels.numpy())}
    assert found == {(labels == 0).double().mean().item()}


@pytest.mark.parametrize("batch_size", [1, 3, 14, 100])
def test_ladder_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    one, other = attacked_stage(tiny_model()), attacked_stage(tiny_model(), batch_size=batch_size)
    for epsilon_255 in one:
        np.testing.assert_array_equal(one[epsilon_255]["exact"], other[epsilon_255]["exact"])


class BetweenLevels(nn.Module):
    """Three logits: how bright an image is, whether it has values that no 8-bit file can hold, and nothing."""

    def forward(self, images: Tensor) -> Tensor:
        levels = images * 255
        off = (levels - levels.round()).abs().amax((1, 2, 3)) > 0.1
        brightness = images.mean((1, 2, 3))
        return torch.stack([brightness, 2.0 * off, brightness * 0], 1)


def test_rounding_to_eight_bits_is_scored_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "fast_gradient_sign", lambda _, images, __, epsilon: images + 0.4 * epsilon / 255)
    model = Classifier(BetweenLevels(), Same(), [0.0] * 3, [1.0] * 3)
    ladder = attacked_stage(model)
    assert ladder[1]["exact"].tolist() == [1] * COUNT
    assert ladder[1]["rounded"].tolist() == ladder[0]["exact"].tolist() == [0] * COUNT


def test_summary_of_a_ladder() -> None:
    labels = np.array([0, 1, 2, 1, 0])
    ladder = {
        0: {"exact": np.array([0, 1, 2, 0, 1]), "rounded": np.array([0, 1, 2, 1, 1])},
        4: {"exact": np.array([0, 2, 2, 1, 1]), "rounded": np.array([2, 2, 2, 2, 1])},
        8: {"exact": np.array([1, 2, 0, 1, 0]), "rounded": np.array([1, 2, 0, 1, 0])},
    }
    names = ("epsilon_255", "accuracy", "accuracy_of_clean_correct", "accuracy_8_bit")
    expected = [(0, 3 / 5, 1.0, 4 / 5), (4, 3 / 5, 2 / 3, 1 / 5), (8, 2 / 5, 0.0, 2 / 5)]
    assert stage.summarise(ladder, labels) == [dict(zip(names, row, strict=True)) for row in expected]


def test_summary_where_nothing_was_right() -> None:
    (row,) = stage.summarise({0: {"exact": np.array([1, 1]), "rounded": np.array([1, 0])}}, np.array([0, 0]))
    assert (row["accuracy"], row["accuracy_of_clean_correct"], row["accuracy_8_bit"]) == (0, None, 0.5)


# --- the stages --------------------------------------------------------------------------------------------


def saved_model(name: str, folder: Path) -> None:
    """A ResNet-18 that was never trained, but whose classifier is fitted."""
    torch.manual_seed(2)
    loss = losses.make(name, CONFIGS[name])
    model = model_files.build("imagenet", loss, CLASSES, [0.5] * 3, [0.25] * 3)
    images = to_float(some_images(30, 16))
    with torch.no_grad():
        model.train().features(images)
        model.head.fit(model.eval().features(images), some_labels(30))
    notes = {"recipe": "tiny", "environment": {"device": "cpu"}}
    model_files.save(folder, model, "imagenet", loss, ["a", "b", "c"], notes)


@pytest.mark.parametrize("name", losses.names())
def test_attack_leaves_the_model_as_it_was(name: str, tmp_path: Path) -> None:
    saved_model(name, tmp_path)
    model, _ = model_files.load(tmp_path, CPU)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    stage.attack(model, some_images(6, 16), some_labels(6), Attack.model_validate(SECTION))
    assert all(weight.grad is None for weight in model.parameters())
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("name", losses.names())
def test_stages_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon 0 is the clean accuracy, and a corruption that changes nothing costs nothing."""
    cell = Cell(name, "clean", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    monkeypatch.setattr(sys, "argv", ["stage", "--loss", name, "--train-set", "clean", "--seed", "0"])
    saved_model(name, cell.model)
    images, labels = some_images(30, 16).numpy(), some_labels(30).numpy().astype(np.uint8)
    for folder in ("raw", "clean", "corrupted", "split"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for split, chosen in (("train", slice(0, 18)), ("test", slice(18, 30))):
        np.savez(tmp_path / f"data/raw/{split}.npz", images=images[chosen], labels=labels[chosen])
        for folder in ("clean", "corrupted"):
            np.savez(tmp_path / f"data/{folder}/{split}.npz", images=images[chosen])
    np.savez(tmp_path / "data/split/0.npz", train=np.arange(0, 18, 2), val=np.arange(1, 18, 2), test=np.arange(12))
    source = {"name": "made", "origin": "a test", "checksum": "none", "official": False, "classes": ["a", "b", "c"]}
    (tmp_path / "data/raw/source.json").write_text(json.dumps(source))
    settings = {"batch_size": 7, "knn_neighbours": 3, "flip_test_time_augmentation": False}
    sections = {"evaluate": settings, "attack": SECTION}
    (tmp_path / "params.yaml").write_text(json.dumps(sections))
    evaluate.main()
    stage.main()
    evaluated, attacked = (
        json.loads(cell.result(f"{stage_name}.json").read_text()) for stage_name in ("evaluate", "attack")
    )
    rows = {row["set"]: row for row in evaluated["sets"]}
    assert list(rows) == ["train_clean", "val_clean", "val_corrupted", "test_clean", "test_corrupted"]
    for split in ("val", "test"):
        assert rows[f"{split}_clean"] == {**rows[f"{split}_corrupted"], "set": f"{split}_clean"}
    assert 0 < rows["test_clean"]["accuracy"] < 1
    assert attacked["images"] == 12 and attacked["ladder"][0]["accuracy"] == rows["test_clean"]["accuracy"]
    at_zero, clean = attacked["predictions"]["0"], evaluated["details"]["test_clean"]["predictions"]
    np.testing.assert_array_equal(from_text(at_zero), from_text(clean))
    np.testing.assert_array_equal(from_text(attacked["test_indices"]), np.arange(12))
    assert (tmp_path / f"reports/examples/{cell.key}.png").stat().st_size > 0
