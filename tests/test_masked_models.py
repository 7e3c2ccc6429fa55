"""Models with misleading gradients raise the right alarms, and an ordinary model raises none."""

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
    ModelUnderTest,
    Same,
    alarm_names,
    some_images,
    some_labels,
    subject_of,
    tiny_model,
)
from torch import Tensor, nn

from robustness_study.attacks import nearest_neighbours
from robustness_study.attacks.catalogue import ATTACKS
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import Logits
from robustness_study.attacks.signs import gradient_signs
from robustness_study.attacks.subject import Gradient, Neighbours
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier

PATTERNS = torch.randn(CLASSES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7)).sign()


def easy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a faint pattern that gives the label: whole grey levels, as float32 in [0, 1]."""
    noise = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    return (128 + 6 * PATTERNS[labels] + 15 * noise).round().clamp(0, 255) / 255, labels


@functools.cache
def trained() -> nn.Module:
    """A small network after a few dozen training steps, with a high accuracy."""
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


def misleading_everywhere(images: Tensor) -> Tensor:
    """Exactly the plain model's logits, with a gradient that leads away from mistakes."""
    logits = plain(images)
    return logits.detach() - (logits - logits.detach())


def misleading_between_levels(images: Tensor) -> Tensor:
    """The gradient is correct on 8-bit images, where one step begins, and misleading at random starts."""
    off = ((images * 255 - (images * 255).round()).abs().amax((1, 2, 3)) > 0.1)[:, None]
    return torch.where(off, misleading_everywhere(images), plain(images))


def staircase(images: Tensor) -> Tensor:
    return torch.round(plain(images) * 20)


def random_logits(images: Tensor) -> Tensor:
    return plain(images) + 20 * torch.randn(len(images), CLASSES)


def under_every_attack(logits: Logits, mislabelled: int = 0) -> ModelUnderTest:
    images, labels = easy(120, 1)
    labels[:mislabelled] = (labels[:mislabelled] + 1) % CLASSES
    searches: dict[str, Any] = {
        "pgd": {"images": 60, "epsilons_255": [4, 16], "steps": 8},
        "square": {"images": 60, "epsilon_255": 16, "queries": 60},
    }
    subject = subject_of(logits, images, labels, batch_size=120, control_images=60, **searches)
    subject.run("fast_gradient_sign")
    for entry in ATTACKS:
        if entry.name != "nearest_neighbours":
            subject.run(entry.name)
    return subject


def test_ordinary_model_raises_no_alarm() -> None:
    images, labels = easy(120, 1)
    assert (plain(images).argmax(1) == labels).float().mean() > 0.9
    assert not alarm_names(under_every_attack(plain))


@pytest.mark.parametrize(("factor", "rescaling_helps"), [(30, True), (100, True), (1024, False)])
def test_logits_with_a_vanishing_gradient_raise_alarms(factor: int, rescaling_helps: bool) -> None:
    """Predictions do not change, and the attack changes almost none of them."""
    masked: Logits = lambda images: factor * plain(images)  # noqa: E731
    images, labels = easy(120, 1)
    assert torch.equal(masked(images).argmax(1), plain(images).argmax(1))
    subject = under_every_attack(masked)
    assert (subject.found["fgsm"].predictions[16] == labels.numpy()).mean() > 0.9
    found = {"zero_gradients", "pgd_leaves_some", "square_stronger"}
    assert alarm_names(subject) == found | ({"rescaled_logits"} if rescaling_helps else set())


DECEIVERS: dict[str, tuple[Logits, int, set[str]]] = {
    "steps": (staircase, 0, {"zero_gradients", "pgd_leaves_some", "square_stronger"}),
    "a gradient that lies": (misleading_everywhere, 0, {"pgd_leaves_some", "square_stronger"}),
    "and puts mistakes right": (
        misleading_everywhere,
        30,
        {"rises_with_epsilon", "noise_stronger", "pgd_leaves_some", "square_stronger"},
    ),
    "one that lies between grey levels": (
        misleading_between_levels,
        0,
        {"pgd_weaker", "pgd_leaves_some", "square_stronger"},
    ),
}


@pytest.mark.parametrize(("logits", "mislabelled", "found"), DECEIVERS.values(), ids=DECEIVERS)
def test_misleading_gradients_raise_alarms(logits: Logits, mislabelled: int, found: set[str]) -> None:
    assert alarm_names(under_every_attack(logits, mislabelled)) == found


def test_model_with_random_predictions_raises_an_alarm() -> None:
    torch.manual_seed(1)
    assert "not_clean_at_zero" in alarm_names(under_every_attack(random_logits))


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits * 0 + torch.tensor([3.0, 2.0, 1.0]),
        lambda logits: torch.round(logits * 100),
        lambda logits: logits * 1e6,
    ],
    ids=["constant logits", "steps", "saturated softmax"],
)
def test_model_without_gradients_raises_an_alarm(change: Callable[[Tensor], Tensor]) -> None:
    subject = subject_of(tiny_model(change))
    found, _ = subject.fgsm()
    zero = int((subject.gradient.signs == 0).flatten(1).all(1).sum())
    assert zero > COUNT // 4 and found.measured == {"zero_gradients": zero}
    (alarm,) = (alarm for alarm in subject.alarms if alarm.name == "zero_gradients")
    assert f"of the model is zero for {zero} of {COUNT} images" in alarm.reason


def test_zero_gradients_are_counted_image_by_image() -> None:
    images, labels = to_float(some_images()), some_labels()
    for vanish in (0, 4):
        factors = torch.tensor([[1.0]] * (COUNT - vanish) + [[0.0]] * vanish)
        subject = subject_of(tiny_model(factors.mul), images, labels, batch_size=COUNT)
        found, _ = subject.fgsm()
        reasons = [alarm.reason for alarm in subject.alarms if alarm.name == "zero_gradients"]
        assert len(reasons) == bool(vanish) and found.measured == {"zero_gradients": vanish}
        assert not vanish or f"of the model is zero for 4 of {COUNT} images" in reasons[0]


@pytest.mark.parametrize(("where", "raised"), [("beside", False), ("same", True)])
def test_square_is_compared_with_pgd_on_the_same_images(where: str, raised: bool) -> None:
    """The model is wrong under any attack; PGD's results are made up, on more images than Square attacks."""
    always: Logits = lambda images: torch.tensor([[0.0, 1.0, 0.0]]).expand(len(images), -1)  # noqa: E731
    of_pgd = np.setdiff1d(np.arange(COUNT), [1, 6])
    subject = subject_of(always, labels=torch.zeros(COUNT, dtype=torch.int64), clean=np.zeros(COUNT, dtype=int))
    attacked = np.isin(of_pgd, subject.chosen(6, "square", of_pgd))
    right = attacked if where == "same" else ~attacked
    subject.found["pgd"] = Found(of_pgd, {2: np.ones(12, int), 4: np.where(right, 0, 1)})
    found = subject.run("square")["square"]
    assert found.positions.tolist() == of_pgd[attacked].tolist()
    assert alarm_names(subject) == ({"square_stronger"} if raised else set())


# --- the nearest neighbours' stand-in ----------------------------------------------------------------------


class Patterns(nn.Module):
    """Features: how much of each class's pattern an image holds, changed by a function and padded with zeros."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Tensor:
        held = (images - 0.5).flatten(1) @ PATTERNS.flatten(1).T
        return self.change(nn.functional.pad(held + 3, (0, WIDTH - CLASSES)))


def misleading_features(features: Tensor) -> Tensor:
    """Exactly the features, with a gradient that leads away from mistakes."""
    return features.detach() - (features - features.detach())


def misleading_where_small(features: Tensor) -> Tensor:
    """The features, with a gradient that leads away from mistakes where it is small."""
    if features.requires_grad:
        features.register_hook(lambda grad: torch.where(grad.norm(dim=1, keepdim=True) < 1e-7, -grad, grad))
    return features


def neighbour_alarm_reasons(change: Callable[[Tensor], Tensor], temperature: float, helps: bool) -> list[str]:
    """The reasons of the alarms about nearest neighbours on such features.

    If it `helps`, the classifier's gradient is correct, otherwise zero.
    """
    (images, labels), (others, known_labels) = easy(120, 1), easy(60, 2)
    model = Classifier(Patterns(change), Same(), [0.0] * 3, [1.0] * 3, width=WIDTH)
    known = Neighbours(model, model.features(others).detach().numpy(), known_labels.numpy(), 3)
    settings = {"temperature": temperature}
    subject = subject_of(
        model, images, labels, neighbours=known, batch_size=120, control_images=60, nearest_neighbours=settings
    )
    honest = Classifier(Patterns(lambda features: features), Same(), [0.0] * 3, [1.0] * 3, width=WIDTH)
    signs = gradient_signs(honest, images, labels) if helps else torch.zeros(images.shape, dtype=torch.int8)
    subject.gradient = Gradient(signs, subject.clean)
    found = subject.run("nearest_neighbours")["knn_fgsm"]
    assert (found.predictions[0] == labels[found.positions].numpy()).mean() > 0.9
    assert alarm_names(subject) <= {"knn_masked"}
    return [alarm.reason for alarm in subject.alarms]


@pytest.mark.parametrize("temperature", [0.02, 0.1])
def test_ordinary_features_raise_no_alarm(temperature: float) -> None:
    assert not neighbour_alarm_reasons(lambda features: features, temperature, helps=True)


def test_stand_in_without_a_gradient_raises_an_alarm() -> None:
    (reason,) = neighbour_alarm_reasons(lambda features: features.round(decimals=2), 0.02, helps=False)
    assert reason.startswith("the input gradient of the nearest neighbours' stand-in is zero for 60 of 60 images")


def test_alarm_where_a_softer_stand_in_is_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = neighbour_alarm_reasons(misleading_where_small, 0.004, helps=False)
    assert "under FGSM on the nearest neighbours with the gradient of a softer stand-in but 0." in reason
    monkeypatch.setattr(nearest_neighbours, "MARGIN", 0.99)
    assert not neighbour_alarm_reasons(misleading_where_small, 0.004, helps=False)


def test_alarm_where_the_classifier_is_a_stronger_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = neighbour_alarm_reasons(misleading_features, 0.02, helps=True)
    assert "under FGSM on the nearest neighbours with the model's own gradient but " in reason
    assert "under the same attack with the stand-in's gradient (" in reason
    monkeypatch.setattr(nearest_neighbours, "MARGIN", 0.99)
    assert not neighbour_alarm_reasons(misleading_features, 0.02, helps=True)
