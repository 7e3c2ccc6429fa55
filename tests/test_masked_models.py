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

from robustness_study.attacks import alarms, nearest_neighbours
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
    with torch.enable_grad():  # the first call may come from a function that computes none
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


def quantised_input(images: Tensor) -> Tensor:
    return plain((images * 32).round() / 32)


def rugged(images: Tensor) -> Tensor:
    """Ripples of less than a grey level, so that the gradient changes its sign from point to point."""
    return plain(images + 0.02 * torch.sin(images * 255 * 2.1))


def over_confident(images: Tensor) -> Tensor:
    """The logits are multiplied by their own spread, so that the softmax is saturated."""
    logits = plain(images)
    return logits * (1 + 50 * (logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True)).clamp(0, 5))


def smoothed(images: Tensor) -> Tensor:
    """Logits that are kept small, as label smoothing does, but not small enough to matter."""
    return 12 * torch.tanh(plain(images) / 1.5)


def random_logits(images: Tensor) -> Tensor:
    return plain(images) + 20 * torch.randn(len(images), CLASSES)


def random_input(images: Tensor) -> Tensor:
    """A layer of noise that changes almost no prediction without an attack."""
    return plain(images + 0.03 * torch.randn_like(images))


def under_every_attack(logits: Logits, mislabelled: int = 0, **apgd: Any) -> ModelUnderTest:
    images, labels = easy(120, 1)
    labels[:mislabelled] = (labels[:mislabelled] + 1) % CLASSES
    searches: dict[str, Any] = {
        "pgd": {"images": 60, "epsilons_255": [4, 16], "steps": 8},
        "apgd": {"images": 80, "epsilons_255": [2, 4, 16], "control_epsilon_255": 4, "steps": 8} | apgd,
        "square": {"images": 60, "epsilon_255": 16, "queries": 60},
    }
    subject = subject_of(logits, images, labels, batch_size=120, control_images=60, **searches)
    subject.run("fast_gradient_sign")
    for entry in ATTACKS:
        if entry.name != "nearest_neighbours":
            subject.run(entry.name)
    subject.worst_case()
    return subject


HEALTHY: dict[str, Logits] = {
    "an ordinary model": plain,
    "larger logits": lambda images: 3 * plain(images),
    "a smoothed head": smoothed,
}


@pytest.mark.parametrize("logits", HEALTHY.values(), ids=HEALTHY)
def test_healthy_model_raises_no_alarm(logits: Logits) -> None:
    images, labels = easy(120, 1)
    assert (logits(images).argmax(1) == labels).float().mean() > 0.9
    assert not alarm_names(under_every_attack(logits))


@pytest.mark.parametrize(("factor", "rescaling_helps"), [(30, True), (100, True), (1024, False)])
def test_logits_with_a_vanishing_gradient_raise_alarms(factor: int, rescaling_helps: bool) -> None:
    """Predictions do not change, and FGSM and PGD change almost none of them. APGD's second loss has no scale."""
    masked: Logits = lambda images: factor * plain(images)  # noqa: E731
    images, labels = easy(120, 1)
    assert torch.equal(masked(images).argmax(1), plain(images).argmax(1))
    subject, honest = under_every_attack(masked), under_every_attack(plain)
    assert (subject.found["fgsm"].predictions[16] == labels.numpy()).mean() > 0.9
    found = {"zero_gradients", "pgd_leaves_some"}
    assert alarm_names(subject) == found | ({"rescaled_logits", "rescaled_logits_apgd"} if rescaling_helps else set())
    for epsilon, predicted in subject.found["worst_case"].predictions.items():
        true = subject.labels[subject.found["worst_case"].positions]
        share, other = ((each == true).mean() for each in (predicted, honest.found["worst_case"].predictions[epsilon]))
        assert abs(share - other) < 0.03


DECEIVERS: dict[str, tuple[Logits, int, set[str]]] = {
    "steps": (staircase, 0, {"zero_gradients", "pgd_leaves_some", "square_stronger", "worst_case_stronger"}),
    "a quantised input": (
        quantised_input,
        0,
        {"zero_gradients", "pgd_leaves_some", "square_stronger", "worst_case_stronger"},
    ),
    "an over-confident head": (
        over_confident,
        0,
        {"zero_gradients", "pgd_leaves_some", "rescaled_logits", "rescaled_logits_apgd"},
    ),
    "a gradient that lies": (
        misleading_everywhere,
        0,
        {"pgd_leaves_some", "square_stronger", "worst_case_stronger"},
    ),
    "and puts mistakes right": (
        misleading_everywhere,
        30,
        {"rises_with_epsilon", "noise_stronger", "pgd_leaves_some", "square_stronger", "worst_case_stronger"},
    ),
    "one that lies between grey levels": (
        misleading_between_levels,
        0,
        {"more_steps", "pgd_weaker", "pgd_leaves_some", "square_stronger", "worst_case_stronger"},
    ),
    "ripples": (
        rugged,
        0,
        {
            "more_steps",
            "pgd_leaves_some",
            "pgd_weaker",
            "rises_with_epsilon",
            "starts_disagree",
            "worst_case_stronger",
        },
    ),
}


@pytest.mark.parametrize(("logits", "mislabelled", "found"), DECEIVERS.values(), ids=DECEIVERS)
def test_misleading_gradients_raise_alarms(logits: Logits, mislabelled: int, found: set[str]) -> None:
    assert alarm_names(under_every_attack(logits, mislabelled)) == found


def test_model_with_random_predictions_raises_alarms() -> None:
    torch.manual_seed(1)
    assert alarm_names(under_every_attack(random_logits)) >= {"random_logits", "not_clean_at_zero"}


def test_layer_of_noise_raises_alarms() -> None:
    """It changes almost no prediction without an attack, so that `not_clean_at_zero` depends on chance."""
    torch.manual_seed(1)
    assert alarm_names(under_every_attack(random_input)) >= {"random_logits", "more_steps"}


def test_search_that_is_guided_wrongly_raises_an_alarm() -> None:
    """As where half the precision costs the search its strength: PGD, which is exact, finds more."""
    images, labels = easy(120, 1)
    blocks: dict[str, Any] = {"pgd": {"images": 60, "epsilons_255": [4, 16], "steps": 8}}
    blocks["apgd"] = {"images": 80, "epsilons_255": [2, 4, 16], "steps": 8}
    subject = subject_of(plain, images, labels, batch_size=120, control_images=60, **blocks)
    subject.guide = misleading_everywhere
    for name in ("fast_gradient_sign", "pgd", "apgd"):
        subject.run(name)
    subject.worst_case()
    assert alarm_names(subject) == {"apgd_weaker", "worst_case_stronger"}


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
    assert zero > COUNT // 4 and found.measured == {"zero_gradients": zero, "random_logits": 0}
    (alarm,) = (alarm for alarm in subject.alarms if alarm.name == "zero_gradients")
    assert f"of the model is zero for {zero} of {COUNT} images" in alarm.reason


def test_zero_gradients_are_counted_image_by_image() -> None:
    images, labels = to_float(some_images()), some_labels()
    for vanish in (0, 4):
        factors = torch.tensor([[1.0]] * (COUNT - vanish) + [[0.0]] * vanish)
        subject = subject_of(tiny_model(factors.mul), images, labels, batch_size=COUNT, control_images=COUNT)
        found, _ = subject.fgsm()
        reasons = [alarm.reason for alarm in subject.alarms if alarm.name == "zero_gradients"]
        assert len(reasons) == bool(vanish) and found.measured["zero_gradients"] == vanish
        assert not vanish or f"of the model is zero for 4 of {COUNT} images" in reasons[0]


def test_square_adds_to_apgd_on_the_same_images() -> None:
    """The model is wrong under any attack; APGD's results are made up. What APGD found is not attacked again."""
    always: Logits = lambda images: torch.tensor([[0.0, 1.0, 0.0]]).expand(len(images), -1)  # noqa: E731
    subject = subject_of(always, labels=torch.zeros(COUNT, dtype=torch.int64), clean=np.zeros(COUNT, dtype=int))
    positions = subject.chosen(12)
    of_apgd = np.where(np.arange(12) < 4, 2, 0)
    subject.found["apgd"] = Found(positions, {4: of_apgd})
    found = subject.run("square")["square"]
    assert found.positions.tolist() == subject.chosen(6).tolist()
    of_both = subject.found["apgd"].of(found.positions)[4]
    assert found.predictions[4].tolist() == np.where(of_both == 0, 1, of_both).tolist()
    assert alarm_names(subject) == {"square_stronger"}


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


def test_the_level_is_shared_by_all_tests_of_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def stronger(*called: Any, tests: int) -> None:
        told.append((len(called[3]), tests))  # the accuracies that are compared, by epsilon

    monkeypatch.setattr(alarms, "stronger", stronger)
    neighbour_alarm_reasons(lambda features: features, 0.02, helps=True)
    assert len(told) == 2 and {tests for _, tests in told} == {sum(epsilons for epsilons, _ in told)}


def test_alarm_where_the_classifier_is_a_stronger_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = neighbour_alarm_reasons(misleading_features, 0.02, helps=True)
    assert "under FGSM on the nearest neighbours with the model's own gradient but " in reason
    assert "under the same attack with the stand-in's gradient (" in reason
    monkeypatch.setattr(nearest_neighbours, "MARGIN", 0.99)
    assert not neighbour_alarm_reasons(misleading_features, 0.02, helps=True)
