"""Wrong models are refused before any work, each with what is wrong and what to do; right ones are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustness_study.audit.loading import load, read_weights
from robustness_study.audit.preflight import CIFAR, IMAGENET, refuse_mistakes
from robustness_study.audit.wrapped import Audited
from robustness_study.core.errors import StudyError

CLASSES, COUNT = 3, 120
NAMES = ["red", "green", "blue"]
RNG = np.random.default_rng(0)
LABELS = torch.arange(COUNT) % CLASSES
# The class is the brightest colour channel.
IMAGES = torch.from_numpy(RNG.uniform(0.3, 0.5, (COUNT, 3, 4, 4)).astype(np.float32))
IMAGES[torch.arange(COUNT), LABELS] += 0.1


class Brightest(nn.Module):
    """A healthy model: the mean of each channel times a factor, as logits; with a linear layer at its end."""

    def __init__(self, factor: float = 20.0) -> None:
        super().__init__()
        self.last = nn.Linear(3, CLASSES, bias=False)
        self.last.weight.data = factor * torch.eye(3)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.last(images.mean((2, 3)))
        return found


HEALTHY = Brightest()


class Random(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return HEALTHY(nn.functional.dropout(images, 0.5, training=True))


class OfBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        self.norm.train()
        return HEALTHY(self.norm(images))


class Fails(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return HEALTHY(images.view(-1, 7))


def for_normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """A model trained on normalised images: it is right only where the mean of all channels is near zero."""

    def model(images: Tensor) -> Tensor:
        back = [torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std)]
        outside = (images.mean((1, 2, 3)).abs() > 0.9).float()[:, None] * torch.tensor([[1e3, 0.0, 0.0]])
        return HEALTHY(images * back[1] + back[0]) + outside

    return model


def of_bytes(images: Tensor) -> Tensor:
    """A model trained on 0…255: below one, everything looks like the first class."""
    return HEALTHY(images / 255) + (images.amax((1, 2, 3)) < 2).float()[:, None] * torch.tensor([[1e3, 0.0, 0.0]])


WRONG: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "probabilities": (
        lambda images: HEALTHY(images).softmax(1),
        "the model returns probabilities, but logits",
    ),
    "too few classes": (lambda images: HEALTHY(images)[:, :2], "the model has 2 outputs, but there are 3 classes"),
    "not a number": (lambda images: HEALTHY(images) * float("nan"), "the model returns NaN or infinity"),
    "dropout": (Random(), "the model returns other logits when it is called again; turn off what is random"),
    "batch norm in training mode": (
        OfBatch(),
        "the model's logits of an image depend on the other images",
    ),
    "no gradient": (lambda images: HEALTHY(images.detach()), "the model gives no gradient with respect to its images"),
    "rounding": (lambda images: HEALTHY((images * 255).round() / 255), "the model gives no gradient with respect to"),
    "fails": (Fails(), r"the model fails on 8×3×4×4 images in \[0, 1\] \(RuntimeError: "),
    "a tuple": (lambda images: (HEALTHY(images), 1), "the model returns a tuple; it must return a tensor of logits"),
    "one number": (lambda images: HEALTHY(images).sum(1), r"the model returns a tensor of \(8,\) for 8 images"),
    "wants CIFAR-10's normalisation": (
        for_normalised(*CIFAR),
        "normalised with CIFAR-10's mean .*: normalisation is",
    ),
    "wants bytes": (of_bytes, "images scaled to 0…255: normalisation is in the wrong place; divide by 255 inside"),
}


@pytest.mark.parametrize(("model", "message"), WRONG.values(), ids=WRONG)
def test_wrong_model_is_refused_with_the_reason(model: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        refuse_mistakes(model, IMAGES, LABELS, NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [0.01, 20.0, 1000.0])
def test_right_model_is_accepted(factor: float) -> None:
    refuse_mistakes(Brightest(factor), IMAGES, LABELS, NAMES)


def test_model_that_wants_normalised_images_is_accepted_with_mean_and_std() -> None:
    model = nn.Module()
    model.forward = for_normalised(*IMAGENET)
    refuse_mistakes(Audited(model, *IMAGENET), IMAGES, LABELS, NAMES)


def test_outputs_in_another_order_are_noticed() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.repeat(np.arange(3), 40))
    given = torch.nn.functional.one_hot(labels, 3)[:, :, None, None].float().expand(-1, 3, 4, 4) * 0.3 + 0.2
    given = given + torch.from_numpy(rng.uniform(0, 0.05, given.shape).astype(np.float32))

    def turned(pixels: Tensor) -> Tensor:
        return 20 * pixels.mean((2, 3))[:, [1, 2, 0]]

    with pytest.raises(StudyError, match="outputs seem to be in the order green, blue, red; name this order with"):
        refuse_mistakes(turned, given, labels, ["red", "green", "blue"])
    in_their_order = torch.tensor([2, 0, 1])[labels]
    refuse_mistakes(turned, given, in_their_order, ["green", "blue", "red"])


@pytest.mark.parametrize(("wrong", "refused"), [(2, False), (10, True)])
def test_few_images_that_another_scale_corrects_are_no_sign_of_a_mistake(wrong: int, refused: bool) -> None:
    """The class is the brightest channel. Some images are wrong as they are, and correct when they are scaled."""
    labels = torch.arange(30) % 3
    given = torch.nn.functional.one_hot(labels, 3)[:, :, None, None].float().expand(-1, 3, 4, 4) * 0.3 + 0.2
    marked = torch.arange(30) < wrong

    def model(pixels: Tensor) -> Tensor:
        found = pixels.mean((2, 3))
        plain = len(pixels) == 30 and pixels.min() >= 0 and pixels.max() <= 1
        return torch.where(marked[:, None], found.roll(1, 1), found) if plain else found

    if refused:
        with pytest.raises(StudyError, match="normalisation is in the wrong place"):
            refuse_mistakes(model, given, labels, ["a", "b", "c"])
    else:
        refuse_mistakes(model, given, labels, ["a", "b", "c"])


def test_nan_for_one_image_of_many_is_noticed() -> None:
    given = torch.rand(100, 3, 4, 4)

    def model(pixels: Tensor) -> Tensor:
        found = pixels.mean((2, 3))
        return torch.where((pixels == given[70]).flatten(1).all(1)[:, None], torch.nan, found)

    with pytest.raises(StudyError, match="the model returns NaN or infinity for some images"):
        refuse_mistakes(model, given, torch.zeros(100, dtype=torch.long), ["a", "b", "c"])


# --- files -------------------------------------------------------------------------------------------------

SOURCE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 3, bias=False)
    def forward(self, images):
        return self.last(images.mean((2, 3)))
def load(weights):
    net = Net()
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net
def nothing(weights):
    return 1
def fails(weights):
    raise ValueError("no such net")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")
    torch.save(HEALTHY.state_dict(), tmp_path / "mine.pth")
    save_file(HEALTHY.state_dict(), tmp_path / "mine.safetensors")
    torch.save(HEALTHY, tmp_path / "whole.pth")  # a pickle of a class
    with warnings.catch_warnings():  # torch would rather have torch.export; people have such files
        warnings.simplefilter("ignore")
        torch.jit.trace(HEALTHY, IMAGES[:2]).save(str(tmp_path / "script.pt"))
    torch.export.save(torch.export.export(HEALTHY, (IMAGES[:2],)), tmp_path / "exported.pt2")
    return tmp_path


def test_all_kinds_of_model_give_the_same_logits(folder: Path) -> None:
    for spec, weights in (("mine.py:load", "mine.pth"), ("script.pt", None)):
        model = load(str(folder / spec), None if weights is None else folder / weights, CLASSES).model
        torch.testing.assert_close(model(IMAGES), HEALTHY(IMAGES))
        assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    exported = load(str(folder / "exported.pt2"), None, CLASSES).model
    torch.testing.assert_close(exported(IMAGES[:2]), HEALTHY(IMAGES[:2]))


def test_a_network_of_timm_needs_weights_that_fit(tmp_path: Path) -> None:
    import timm

    made = timm.create_model("test_resnet", num_classes=CLASSES).eval()
    torch.save({"state_dict": {f"module.{name}": each for name, each in made.state_dict().items()}}, tmp_path / "w.pth")
    given = torch.rand(2, 3, 32, 32)
    found = load("timm/test_resnet", tmp_path / "w.pth", CLASSES).model
    torch.testing.assert_close(found(given), made(given))
    with pytest.raises(StudyError, match="does not fit timm/test_resnet with 4 classes"):
        load("timm/test_resnet", tmp_path / "w.pth", 4)
    with pytest.raises(StudyError, match="timm/test_resnet needs its weights, as none are fetched from a hub"):
        load("timm/test_resnet", None, CLASSES)


@pytest.mark.parametrize("name", ["mine.pth", "mine.safetensors"])
def test_weights_are_read(folder: Path, name: str) -> None:
    torch.testing.assert_close(read_weights(folder / name)["last.weight"], HEALTHY.last.weight.data)


@pytest.mark.parametrize(
    ("spec", "weights", "message"),
    [
        ("mine.py:load", "whole.pth", "whole.pth is not a file of tensors.*found = torch.load.*save_file"),
        ("mine.py:load", "absent.pth", "--weights .*absent.pth does not exist"),
        ("mine.py:other", "mine.pth", r"mine.py has no function other; define other\(weights\)"),
        ("mine.py:nothing", "mine.pth", "mine.py:nothing returned a int; it must return a torch.nn.Module"),
        ("mine.py:fails", "mine.pth", r"mine.py:fails failed \(ValueError, line 17: no such net\)"),
        ("absent.py:load", None, "absent.py does not exist; name the file with the function"),
        ("script.pt", "mine.pth", "script.pt holds its own weights; leave out --weights"),
        ("mine.pth", None, "model '.*mine.pth' is of no known kind; name FILE.py:FUNCTION"),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder: Path, spec: str, weights: str | None, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load(str(folder / spec), None if weights is None else folder / weights, CLASSES)
    assert "\n" not in str(caught.value)


def test_features_are_the_input_of_the_last_linear_layer_or_of_a_named_one() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3))
    hidden = model[2](model[1](model[0](IMAGES)))
    torch.testing.assert_close(Audited(model, None, None).features(IMAGES), hidden)
    torch.testing.assert_close(Audited(model, None, None, "1").features(IMAGES), IMAGES.flatten(1))
    with pytest.raises(StudyError, match="--features head: the model has no module of this name; its last ones are"):
        Audited(model, None, None, "head")
    assert Audited(nn.Conv2d(3, 3, 4), None, None).features(IMAGES).shape == (COUNT, 0)
    torch.testing.assert_close(Audited(Unused(), None, None).features(IMAGES), IMAGES.mean((2, 3)))
    with pytest.raises(StudyError, match="--features another: the model does not use this layer; name another one"):
        Audited(Unused(), None, None, "another").outputs(IMAGES)


class Unused(Brightest):
    def __init__(self) -> None:
        super().__init__()
        self.another = nn.Linear(3, 3)
