"""Models that deceive a gradient raise the alarms that they should, and an ordinary one raises none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attacked import (
    CLASSES,
    COUNT,
    SIDE,
    WIDTH,
    Same,
    Tried,
    names_of,
    some_images,
    some_labels,
    subject_of,
    tiny_model,
)
from torch import Tensor, nn

from robustness_study.attacks import nearest_neighbours
from robustness_study.attacks.catalogue import ATTACKS
from robustness_study.attacks.scoring import Found, Logits
from robustness_study.attacks.signs import gradient_signs
from robustness_study.attacks.subject import Gradient, Neighbours
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier

PATTERNS = torch.randn(CLASSES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7)).sign()


def easy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a faint pattern, which is the label: whole grey levels, as float32 in [0, 1]."""
    noise = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    return (128 + 6 * PATTERNS[labels] + 15 * noise).round().clamp(0, 255) / 255, labels


@functools.cache
def trained() -> nn.Module:
    """A small network after a few dozen steps, which does well."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    images, labels = easy(300, 0)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images - 0.5), labels).backward()
        optimiser.step()
    return network.requires_grad_(False)


def plain(images: Tensor) -> Tensor:
    return trained()(images - 0.5)


def lying(images: Tensor) -> Tensor:
    """The plain model's logits to the last bit, with a gradient that leads away from mistakes."""
    logits = plain(images)
    return logits.detach() - (logits - logits.detach())


def lying_between_levels(images: Tensor) -> Tensor:
    """Its gradient is true on images of 8 bits, where one step begins, and lies where a random start leads."""
    off = ((images * 255 - (images * 255).round()).abs().amax((1, 2, 3)) > 0.1)[:, None]
    return torch.where(off, lying(images), plain(images))


def staircase(images: Tensor) -> Tensor:
    return torch.round(plain(images) * 20)


def dice(images: Tensor) -> Tensor:
    return plain(images) + 20 * torch.randn(len(images), CLASSES)


def under_every_attack(logits: Logits, mislabelled: int = 0) -> Tried:
    images, labels = easy(120, 1)
    labels[:mislabelled] = (labels[:mislabelled] + 1) % CLASSES
    searches: dict[str, Any] = {
        "pgd": {"images": 60, "epsilons_255": [4, 16], "steps": 8},
        "square": {"images": 60, "epsilon_255": 16, "queries": 60},
    }
    tried = subject_of(logits, images, labels, batch_size=120, control_images=60, **searches)
    tried.run("fast_gradient_sign")
    for entry in ATTACKS:
        if entry.name != "nearest_neighbours":
            tried.run(entry.name)
    return tried


def test_ordinary_model_raises_no_alarm() -> None:
    images, labels = easy(120, 1)
    assert (plain(images).argmax(1) == labels).float().mean() > 0.9
    assert not names_of(under_every_attack(plain))


@pytest.mark.parametrize(("factor", "rescaling_helps"), [(30, True), (100, True), (1024, False)])
def test_logits_so_large_that_their_gradient_vanishes_are_found_out(factor: int, rescaling_helps: bool) -> None:
    """The same predictions, and an attack that changes almost none of them."""
    masked: Logits = lambda images: factor * plain(images)  # noqa: E731
    images, labels = easy(120, 1)
    assert torch.equal(masked(images).argmax(1), plain(images).argmax(1))
    tried = under_every_attack(masked)
    assert (tried.found["fgsm"].predictions[16] == labels.numpy()).mean() > 0.9
    found = {"zero_gradients", "pgd_leaves_some", "square_stronger"}
    assert names_of(tried) == found | ({"rescaled_logits"} if rescaling_helps else set())


DECEIVERS: dict[str, tuple[Logits, int, set[str]]] = {
    "steps": (staircase, 0, {"zero_gradients", "pgd_leaves_some", "square_stronger"}),
    "a gradient that lies": (lying, 0, {"pgd_leaves_some", "square_stronger"}),
    "and puts mistakes right": (
        lying,
        30,
        {"rises_with_epsilon", "noise_stronger", "pgd_leaves_some", "square_stronger"},
    ),
    "one that lies between grey levels": (
        lying_between_levels,
        0,
        {"pgd_weaker", "pgd_leaves_some", "square_stronger"},
    ),
}


@pytest.mark.parametrize(("logits", "mislabelled", "found"), DECEIVERS.values(), ids=DECEIVERS)
def test_gradients_that_deceive_are_found_out(logits: Logits, mislabelled: int, found: set[str]) -> None:
    assert names_of(under_every_attack(logits, mislabelled)) == found


def test_model_that_answers_differently_each_time_is_found_out() -> None:
    torch.manual_seed(1)
    assert "not_clean_at_zero" in names_of(under_every_attack(dice))


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits * 0 + torch.tensor([3.0, 2.0, 1.0]),
        lambda logits: torch.round(logits * 100),
        lambda logits: logits * 1e6,
    ],
    ids=["constant logits", "steps", "saturated softmax"],
)
def test_model_without_gradients_is_found_out(change: Callable[[Tensor], Tensor]) -> None:
    tried = subject_of(tiny_model(change))
    found, _ = tried.fgsm()
    zero = int((tried.gradient.signs == 0).flatten(1).all(1).sum())
    assert zero > COUNT // 4 and found.measured == {"zero_gradients": zero}
    (alarm,) = (alarm for alarm in tried.alarms if alarm.name == "zero_gradients")
    assert f"of the model is zero for {zero} of {COUNT} images" in alarm.reason


def test_zero_gradients_are_counted_image_by_image() -> None:
    images, labels = to_float(some_images()), some_labels()
    for vanish in (0, 4):
        factors = torch.tensor([[1.0]] * (COUNT - vanish) + [[0.0]] * vanish)
        tried = subject_of(tiny_model(factors.mul), images, labels, batch_size=COUNT)
        found, _ = tried.fgsm()
        reasons = [alarm.reason for alarm in tried.alarms if alarm.name == "zero_gradients"]
        assert len(reasons) == bool(vanish) and found.measured == {"zero_gradients": vanish}
        assert not vanish or f"of the model is zero for 4 of {COUNT} images" in reasons[0]


@pytest.mark.parametrize(("where", "raised"), [("beside", False), ("same", True)])
def test_square_is_compared_with_pgd_on_the_same_images(where: str, raised: bool) -> None:
    """Of a model that is wrong under any attack, and of made-up results of PGD, on more images than Square attacks."""
    always: Logits = lambda images: torch.tensor([[0.0, 1.0, 0.0]]).expand(len(images), -1)  # noqa: E731
    of_pgd = np.setdiff1d(np.arange(COUNT), [1, 6])
    tried = subject_of(always, labels=torch.zeros(COUNT, dtype=torch.int64), clean=np.zeros(COUNT, dtype=int))
    attacked = np.isin(of_pgd, tried.chosen(6, "square", of_pgd))
    right = attacked if where == "same" else ~attacked
    tried.found["pgd"] = Found(of_pgd, {2: np.ones(12, int), 4: np.where(right, 0, 1)})
    found = tried.run("square")["square"]
    assert found.positions.tolist() == of_pgd[attacked].tolist()
    assert names_of(tried) == ({"square_stronger"} if raised else set())


# --- the nearest neighbours' stand-in ----------------------------------------------------------------------


class Patterns(nn.Module):
    """Features: how much of each class's pattern an image holds, then something done to them; zeros fill up."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Tensor:
        held = (images - 0.5).flatten(1) @ PATTERNS.flatten(1).T
        return self.change(nn.functional.pad(held + 3, (0, WIDTH - CLASSES)))


def untrue(features: Tensor) -> Tensor:
    """The features to the last bit, with a gradient that leads away from mistakes."""
    return features.detach() - (features - features.detach())


def untrue_where_faint(features: Tensor) -> Tensor:
    """The features, with a gradient that leads away from mistakes where there is little of it."""
    if features.requires_grad:
        features.register_hook(lambda grad: torch.where(grad.norm(dim=1, keepdim=True) < 1e-7, -grad, grad))
    return features


def of_neighbours(change: Callable[[Tensor], Tensor], temperature: float, helps: bool) -> list[str]:
    """Reasons to disbelieve what neighbours on such features are said to withstand.

    The classifier's gradient is a true one where it `helps`, or else zero.
    """
    (images, labels), (others, known_labels) = easy(120, 1), easy(60, 2)
    model = Classifier(Patterns(change), Same(), [0.0] * 3, [1.0] * 3, width=WIDTH)
    known = Neighbours(model, model.features(others).detach().numpy(), known_labels.numpy(), 3)
    settings = {"temperature": temperature}
    tried = subject_of(
        model, images, labels, neighbours=known, batch_size=120, control_images=60, nearest_neighbours=settings
    )
    honest = Classifier(Patterns(lambda features: features), Same(), [0.0] * 3, [1.0] * 3, width=WIDTH)
    signs = gradient_signs(honest, images, labels) if helps else torch.zeros(images.shape, dtype=torch.int8)
    tried.gradient = Gradient(signs, tried.clean)
    found = tried.run("nearest_neighbours")["knn_fgsm"]
    assert (found.predictions[0] == labels[found.positions].numpy()).mean() > 0.9
    assert names_of(tried) <= {"knn_masked"}
    return [alarm.reason for alarm in tried.alarms]


@pytest.mark.parametrize("temperature", [0.02, 0.1])
def test_ordinary_features_raise_no_alarm(temperature: float) -> None:
    assert not of_neighbours(lambda features: features, temperature, helps=True)


def test_neighbours_whose_stand_in_has_no_gradient_are_found_out() -> None:
    (reason,) = of_neighbours(lambda features: features.round(decimals=2), 0.02, helps=False)
    assert reason.startswith("the input gradient of the nearest neighbours' stand-in is zero for 60 of 60 images")


def test_neighbours_that_a_softer_stand_in_serves_better_against_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = of_neighbours(untrue_where_faint, 0.004, helps=False)
    assert "under FGSM on the nearest neighbours with the gradient of a softer stand-in but 0." in reason
    monkeypatch.setattr(nearest_neighbours, "MARGIN", 0.99)
    assert not of_neighbours(untrue_where_faint, 0.004, helps=False)


def test_neighbours_that_the_classifier_serves_better_against_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = of_neighbours(untrue, 0.02, helps=True)
    assert "under FGSM on the nearest neighbours with the model's own gradient but " in reason
    assert "under the same attack with the stand-in's gradient (" in reason
    monkeypatch.setattr(nearest_neighbours, "MARGIN", 0.99)
    assert not of_neighbours(untrue, 0.02, helps=True)
