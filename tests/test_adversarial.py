"""Adversarial training: the attack on a batch, the training with it, and the accuracy under PGD that watches it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE, Tiny
from small_training import CLASSES, CONFIGS, CPU, INDICES, SETS, SIDE, WIDTH, noise, quadrants, same_weights
from torch import Tensor, nn

from robustness_study import losses, training_sets
from robustness_study.attacks import alarms
from robustness_study.attacks.catalogue import ALARMS
from robustness_study.classifier.inference import accuracy, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core.errors import StudyError
from robustness_study.losses.head import Head
from robustness_study.schema.recipe import Recipe
from robustness_study.training import one_model, under_attack
from robustness_study.training.engine import Training
from robustness_study.training.live_curves import LOGGED
from robustness_study.training.progress import Progress
from robustness_study.training.under_attack import attacked_batch, pgd_accuracy
from robustness_study.training.watcher import Epoch, Images
from robustness_study.training_sets.adversarial import Config, n_fgsm

IMAGES, LABELS = quadrants(40)
CONFIG = Config(epsilon_255=8, noise=2, step=1)
EXACT = torch.autocast("cpu", enabled=False)  # in float32


def attack(config: Config = CONFIG) -> training_sets.BatchAttack:
    found = training_sets.batch_attack("adversarial", config)
    assert found is not None
    return found


def train_cell(
    name: str, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, config: Config | None = CONFIG, **changes: Any
) -> tuple[Classifier, list[Epoch]]:
    indices = changes.pop("indices", INDICES)
    loss, recipe = losses.make(name, CONFIGS[name]), Recipe.model_validate(RECIPE | changes)
    attacked = None if config is None else attack(config)
    return one_model.train_cell(
        images, labels, indices, CLASSES, loss, recipe, 0, CPU, Progress(recipe.epochs), attacked
    )


def small_model(head: Head | None = None, width: int = WIDTH) -> Classifier:
    torch.manual_seed(0)
    loss = losses.make("cross_entropy", CONFIGS["cross_entropy"])
    return Classifier(Tiny(), head or loss.make_head(width, CLASSES), [0.5] * 3, [0.25] * 3, width=width)


def batch(count: int = 8) -> tuple[Tensor, Tensor]:
    images, labels = noise(count)
    return to_float(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64))


def loss_of(model: Classifier, labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: model.head.training_loss(model.features(images), labels)


# --- the attack on a batch ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise_size", "step"), [(2.0, 1.0), (0.0, 1.25), (1.0, 0.5)])
def test_n_fgsm_equals_the_slow_version(noise_size: float, step: float) -> None:
    """Pixel by pixel: noise, clip, one step by the sign of the gradient there, clip; no projection to the ball."""
    images, epsilon = batch(2)[0], 16 / 255
    slope, seen = torch.randn_like(images), []

    def gradient(at: Tensor) -> Tensor:
        seen.append(at.clone())
        return slope

    config = Config(epsilon_255=16, noise=noise_size, step=step)
    found = n_fgsm(images, gradient, torch.Generator().manual_seed(3), config)
    largest = noise_size * epsilon
    drawn = torch.empty_like(images).uniform_(-largest, largest, generator=torch.Generator().manual_seed(3))
    for position in np.ndindex(*images.shape):
        noisy = min(max(images[position].item() + drawn[position].item(), 0), 1)
        expected = min(max(noisy + step * epsilon * np.sign(slope[position].item()), 0), 1)
        assert seen[0][position].item() == pytest.approx(noisy, abs=1e-6)
        assert found[position].item() == pytest.approx(expected, abs=1e-6)
    assert len(seen) == 1
    assert found.is_contiguous(memory_format=torch.channels_last)
    moved = (found - images).abs().max().item()
    assert (moved > 1.01 * epsilon) == (noise_size > 0 or step > 1)  # it leaves the ball


def test_noise_follows_from_the_generator_alone() -> None:
    images = batch()[0]
    one, again, other = (
        n_fgsm(images, torch.zeros_like, torch.Generator().manual_seed(seed), CONFIG) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("name", losses.names())
def test_attack_raises_the_loss_and_leaves_the_model_as_it_was(name: str) -> None:
    torch.manual_seed(0)
    model = small_model(losses.make(name, CONFIGS[name]).make_head(WIDTH, CLASSES)).train()
    images, labels = batch(16)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    loss = loss_of(model, labels)
    found = attacked_batch(attack(), model, loss, images, torch.Generator().manual_seed(0))
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert not found.requires_grad and model.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    with torch.no_grad():
        assert loss(found) > loss(images)
        assert model.state_dict()["backbone.1.num_batches_tracked"] == 2  # outside the attack, batches count again


def test_gradient_is_that_of_the_training_step() -> None:
    """Batch norm normalises by the batch, as in the step that follows."""
    model, (images, labels) = small_model().train(), batch()
    peer, seen = copy.deepcopy(model), []

    def attacked(at: Tensor, gradient: training_sets.Gradient, rng: torch.Generator) -> Tensor:
        seen.append(gradient(at))
        return at

    loss = loss_of(model, labels)
    attacked_batch(training_sets.BatchAttack(8, attacked), model, loss, images, torch.Generator())
    at = images.clone().requires_grad_()
    loss_of(peer, labels)(at).backward()
    assert at.grad is not None and at.grad.abs().sum() > 0
    torch.testing.assert_close(seen[0], at.grad, rtol=0, atol=0)
    peer.eval()
    other = torch.autograd.grad(loss_of(peer, labels)(at), at)[0]
    assert not torch.allclose(seen[0], other)


@pytest.mark.parametrize("wrong", [lambda images: images[1:], lambda images: images.double()], ids=["shape", "type"])
def test_images_that_are_not_a_batch_are_refused(wrong: Callable[[Tensor], Tensor]) -> None:
    images, labels = batch()
    model = small_model()
    made = training_sets.BatchAttack(8, lambda at, gradient, rng: wrong(at))
    with pytest.raises(
        StudyError, match=r"^train: batch_attack of the training set made torch\..*they must be torch\.f"
    ):
        attacked_batch(made, model, loss_of(model, labels), images, torch.Generator())
    assert all(weight.requires_grad for weight in model.parameters())


def test_running_statistics_hold_each_attacked_batch_once() -> None:
    model, peer = small_model(), small_model()
    images = Images(*(torch.from_numpy(array) for array in (IMAGES[:8], LABELS[:8].astype(np.int64))))
    recipe = Recipe.model_validate(RECIPE | {"crop_padding": 0, "flip": "off"})
    kept: list[Tensor] = []

    def attacked(at: Tensor, gradient: training_sets.Gradient, rng: torch.Generator) -> Tensor:
        kept.append(n_fgsm(at, gradient, rng, CONFIG))
        return kept[-1]

    made = training_sets.BatchAttack(8, attacked)
    run = Training(model, images, recipe, "shuffled", 0, made)
    for _ in run.epoch_from(1, 0):
        pass
    peer.train()
    with torch.no_grad():
        peer.features(kept[0])
    norm, other = (each.get_submodule("backbone.1") for each in (model, peer))
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(other, nn.BatchNorm2d)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    torch.testing.assert_close(norm.running_var, other.running_var)


def test_the_same_features_are_dropped_in_the_attack_and_in_the_step() -> None:
    dropped: list[Tensor] = []

    class Watched(nn.Dropout):
        def forward(self, features: Tensor) -> Tensor:
            found = super().forward(features)
            dropped.append(found == 0)
            return found

    model = small_model()
    model.backbone = nn.Sequential(nn.Flatten(), Watched(0.5), nn.Linear(3 * 16 * 16, WIDTH))
    images = Images(*(torch.from_numpy(array) for array in (IMAGES, LABELS.astype(np.int64))))
    for _ in Training(model, images, Recipe.model_validate(RECIPE), "shuffled", 0, attack()).epoch_from(1, 0):
        pass
    pairs = list(zip(dropped[::2], dropped[1::2], strict=True))
    assert len(pairs) == 5 and all(torch.equal(*pair) for pair in pairs)
    assert not torch.equal(pairs[0][0], pairs[1][0])


# --- the training ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize(
    "changes", [{"precision": "bfloat16"}, {"low_resolution_share": 0.5, "average_decay": 0.5}], ids=str
)
def test_every_loss_trains_and_is_watched(
    name: str, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model, epochs = train_cell(name, epochs=2, **changes)
    found = [epoch.val_pgd_accuracy for epoch in epochs]
    assert all(
        value is not None and 0 <= value <= epoch.val_accuracy for value, epoch in zip(found, epochs, strict=True)
    )
    assert all(weight.isfinite().all() and weight.grad is None for weight in model.parameters())
    assert f"val under PGD {found[1]:.3f}" in capsys.readouterr().out
    names, *rows = one_model.curves_csv(epochs).splitlines()
    assert names.split(",")[-1] == "val_pgd_accuracy" and [float(row.split(",")[-1]) for row in rows] == found


@pytest.mark.parametrize("change", [{"epsilon_255": 4.0}, {"noise": 0.5}, {"step": 2.0}], ids=str)
def test_every_setting_has_an_effect(change: dict[str, float]) -> None:
    model, _ = train_cell("cross_entropy")
    assert not same_weights(model, train_cell("cross_entropy", config=CONFIG.model_copy(update=change))[0])


def test_training_without_an_attack_is_not_watched_under_pgd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_attack, "accuracy", None)
    _, epochs = train_cell("cross_entropy", config=None)
    assert [epoch.val_pgd_accuracy for epoch in epochs] == [None]
    assert "val_pgd_accuracy" not in one_model.curves_csv(epochs) and "val_pgd_accuracy" in LOGGED


def test_images_that_are_watched_under_pgd_have_no_effect_on_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = train_cell("cross_entropy", epochs=2)
    monkeypatch.setattr(one_model, "PGD_IMAGES", 3)
    other, others = train_cell("cross_entropy", epochs=2)
    assert same_weights(model, other)
    thirds = [3 * (epoch.val_pgd_accuracy or 0) for epoch in others]
    assert thirds == pytest.approx(np.round(thirds))


def two_features(count: int) -> Images:
    """Images of two classes. A bright half tells them apart in 85 % of the images, and no small change hides it. A
    pattern of single pixels tells all of them apart, but changes of 6/255 hide it."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    signs = 2.0 * labels[:, None, None, None] - 1
    checkered = np.where(np.indices((SIDE, SIDE)).sum(0) % 2, 1, -1)[..., None]
    pixels = 128 + 6 * signs * checkered + rng.normal(0, 4, (count, SIDE, SIDE, 3))
    pixels[:, :, : SIDE // 2] += 40 * np.where(rng.random((count, 1, 1, 1)) < 0.85, signs, -signs)
    return Images(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels))


def test_adversarial_training_withstands_what_defeats_clean_training() -> None:
    """With cross-entropy only: with the angular loss, 0.0 to 0.6 of these few images withstand, by the seed."""
    images = two_features(256)
    training, watched = (Images(images.images[half], images.labels[half]) for half in (slice(128), slice(128, 256)))
    recipe = Recipe.model_validate(RECIPE | {"epochs": 12, "batch_size": 16, "crop_padding": 0, "flip": "off"})
    found = {}
    for kind, batch_attack in (("clean", None), ("adversarial", attack())):
        loss = losses.make("cross_entropy", CONFIGS["cross_entropy"])
        torch.manual_seed(0)
        run = Training(small_model(loss.make_head(WIDTH, 2)), training, recipe, loss.batches, 0, batch_attack)
        run.run({"train": training, "val": watched, "val_pgd": watched}, Progress(12))
        rng = torch.Generator().manual_seed(0)
        found[kind] = pgd_accuracy(run.model, watched, CONFIG.epsilon_255, rng, EXACT)
    assert found["clean"] < 0.3 and found["adversarial"] > 0.7, found


# --- what watches it ---------------------------------------------------------------------------------------


def slow_pgd(model: Classifier, images: Tensor, labels: Tensor, epsilon: float, rng: torch.Generator) -> Tensor:
    """One image after another."""
    starts = torch.empty(images.shape).uniform_(-epsilon, epsilon, generator=rng)
    found = []
    for image, start, label in zip(images, starts, labels, strict=True):
        at = (image + start).clamp(0, 1)
        for _ in range(10):
            at = at.detach().requires_grad_()
            nn.functional.cross_entropy(model(at[None]), label[None]).backward()
            assert at.grad is not None
            at = at.detach() + epsilon / 4 * at.grad.sign()
            at = torch.minimum(torch.maximum(at, image - epsilon), image + epsilon).clamp(0, 1)
        found.append(at.detach())
    return torch.stack(found)


def test_accuracy_under_pgd_equals_the_slow_version() -> None:
    images = two_features(64)
    run = Training(small_model(), images, Recipe.model_validate(RECIPE | {"epochs": 3}), "shuffled", 0)
    run.run({"train": images, "val": images}, Progress(3))
    model, state = run.model, {key: tensor.clone() for key, tensor in run.model.state_dict().items()}
    found = [pgd_accuracy(model, images, size, torch.Generator().manual_seed(5), EXACT) for size in (1e-4, 4, 16)]
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    floats = to_float(images.images)
    slow = slow_pgd(model, floats, images.labels, 4 / 255, torch.Generator().manual_seed(5))
    with torch.no_grad():
        clean, attacked = (accuracy(model(each), images.labels) for each in (floats, slow))
    assert found[0] == clean > found[1] == attacked > found[2], (found, clean, attacked)


def test_images_change_by_at_most_epsilon() -> None:
    seen: list[Tensor] = []

    class Watched(Classifier):
        def features(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return super().features(images)

    model = small_model()
    model.__class__ = Watched
    watched = Images(torch.from_numpy(IMAGES), torch.from_numpy(LABELS.astype(np.int64)))
    pgd_accuracy(model, watched, 4, torch.Generator().manual_seed(0), EXACT)
    moved = [(each - to_float(watched.images)).abs().max().item() * 255 for each in seen]
    assert len(moved) == 11 and max(moved) <= 4 + 1e-3 and moved[-1] > 3.99
    assert all(each.min() >= 0 and each.max() <= 1 for each in seen)


@pytest.mark.parametrize(
    ("watched", "rings"),
    [
        ([0.2, 0.42, 0.44, 0.03], True),
        ([0.2, 0.42, 0.0, 0.02, 0.2], True),
        ([0.42, 0.0, 0.41], False),  # it recovered
        ([0.2, 0.3, 0.4, 0.35, 0.21], False),  # above half of the best
        ([0.1, 0.15, 0.06], False),  # below half, but by no more than chance
        ([0.0, 0.0], False),
        ([0.4], False),
        ([], False),
    ],
)
def test_collapse_is_an_alarm(watched: list[float], rings: bool) -> None:
    alarm = alarms.catastrophic_overfitting(watched)
    assert (alarm is not None) == rings
    if alarm is not None:
        assert alarm.name == "catastrophic_overfitting" in ALARMS
        assert f"{max(watched):.3f} after epoch {watched.index(max(watched)) + 1} of training but" in alarm.reason


def test_defaults_are_those_of_the_paper() -> None:
    assert SETS["adversarial"] == {"epsilon_255": 4.0, "noise": 2.0, "step": 1.0}
    assert np.array_equal(training_sets.make("adversarial", IMAGES, 255 - IMAGES, CONFIG), IMAGES)
    assert [name for name in training_sets.names() if training_sets.control(name)] == ["adversarial"]
    assert training_sets.batch_attack("clean", training_sets.config_class("clean")()) is None
    assert isinstance(attack().attacked, partial)
