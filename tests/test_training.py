"""The stage `train`: its real function on a few tiny images, and the controls that a correct study passes."""

from __future__ import annotations

import copy
import functools
import importlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE, Tiny
from torch import Tensor, nn

from robustness_study import losses
from robustness_study.classifier import device
from robustness_study.classifier.inference import accuracy, all_features, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import is_of_compiler, precision_of, repeatable
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_record
from robustness_study.losses.head import Head
from robustness_study.schema.recipe import Recipe
from robustness_study.training import engine, one_model
from robustness_study.training.engine import Training, image_width
from robustness_study.training.optimiser import Average, Optimiser, contiguous_view, one_cycle
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch, Images
from stages import train as stage

ROOT = Path(__file__).resolve().parents[1]
PARAMS = params.read(ROOT / "params.yaml")
CONFIGS, SETS = PARAMS["loss_config"], PARAMS["train_set_config"]
CPU = torch.device("cpu")
STUDIED = ("cross_entropy", "angular")  # a loss for each way to draw batches
SIDE, CLASSES = 16, 4
WIDTH = 512  # of the features of `Tiny`


def noise(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, uint8, and labels that do not depend on them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return images, rng.permutation(np.arange(count) % CLASSES).astype(np.uint8)


def quadrants(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with one brighter quadrant. Its number is the label."""
    images, labels = noise(count, seed)
    images //= 2
    half = SIDE // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return images, labels


IMAGES, LABELS = quadrants(40)
INDICES = {"train": np.arange(0, 26), "val": np.arange(26, 40)}


def train_cell(
    name: str, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, seed: int = 0, **changes: Any
) -> tuple[Classifier, list[Epoch]]:
    """The stage's own function on the CPU, with `changes` to the recipe."""
    indices = changes.pop("indices", INDICES)
    loss, recipe = losses.make(name, CONFIGS[name]), Recipe.model_validate(RECIPE | changes)
    return one_model.train_cell(images, labels, indices, CLASSES, loss, recipe, seed, CPU, Progress(recipe.epochs))


@functools.cache
def baseline(name: str) -> tuple[Classifier, list[Epoch]]:
    return train_cell(name)


def untimed(epoch: Epoch) -> Epoch:
    return replace(epoch, seconds=0, images_per_second=0)


def same_weights(one: Classifier, other: Classifier) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


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


# --- the engine --------------------------------------------------------------------------------------------


def tiny_model(head: Head) -> Classifier:
    return Classifier(Tiny(), head, [0.5] * 3, [0.25] * 3, width=WIDTH)


def as_tensors(images: np.ndarray, labels: np.ndarray) -> Images:
    return Images(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def test_weight_decay_applies_only_to_weights() -> None:
    model = baseline("cross_entropy")[0]
    optimiser = Optimiser(model, Recipe.model_validate(RECIPE | {"weight_decay": 0.01}))
    decay = {id(weight): decay for weight, decay in zip(optimiser.weights, optimiser.decays, strict=True)}
    assert len(decay) == len(optimiser.weights) == len(list(model.parameters()))  # each once
    for name, weight in model.named_parameters():
        assert decay[id(weight)] == (0.01 if weight.ndim >= 2 else 0.0), name
    norms = [f"{name}.{kind}" for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)
             for kind in ("weight", "bias")]  # fmt: skip
    undecayed = {name for name, weight in model.named_parameters() if decay[id(weight)] == 0}
    assert undecayed == {*norms, "head.linear.bias"}


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_steps_equal_those_of_sgd_on_separate_weights(memory_format: torch.memory_format, momentum: float) -> None:
    settings = Recipe.model_validate(RECIPE | {"weight_decay": 0.01, "momentum": momentum})
    torch.manual_seed(0)
    ours, peer = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3)) for _ in range(2))
    peer.load_state_dict(ours.state_dict())
    for model in (ours, peer):
        model.to(memory_format=memory_format)
    weights = list(peer.parameters())
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": 0.01},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    sgd = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0, fused=False)
    optimiser = Optimiser(ours, settings)
    for rate in (0.1, 0.2, 0.05):
        images = torch.rand(8, 3, 8, 8)
        for model in (ours, peer):
            model(images).square().sum().backward()
        for group in sgd.param_groups:
            group["lr"] = rate
        sgd.step()
        sgd.zero_grad()
        optimiser.step(rate)
        assert all(weight.grad is None for weight in ours.parameters())
        for (name, one), other in zip(ours.named_parameters(), peer.parameters(), strict=True):
            torch.testing.assert_close(one, other, msg=name)


def test_weight_without_a_gradient_stays() -> None:
    used, unused = nn.Linear(2, 2), nn.Linear(2, 2)
    optimiser, before = Optimiser(nn.Sequential(used, unused), Recipe.model_validate(RECIPE)), unused.weight.clone()
    used(torch.ones(1, 2)).sum().backward()
    optimiser.step(0.1)
    assert torch.equal(unused.weight, before) and len(optimiser.state()) == 2  # of the other's weight and bias


def test_weights_are_updated_in_place() -> None:
    """A gradient that is not contiguous would be copied at every step. A copied weight would not change."""
    model = baseline("cross_entropy")[0]
    optimiser = Optimiser(model, Recipe.model_validate(RECIPE))
    assert any(
        weight.is_contiguous(memory_format=torch.channels_last) for weight in model.parameters() if weight.ndim == 4
    )
    for weight, view in zip(optimiser.weights, optimiser.views, strict=True):
        assert view.is_contiguous() and view.data_ptr() == weight.data_ptr()
        assert contiguous_view(torch.empty_like(weight)).is_contiguous()


def counted(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[int]]:
    """Optimiser steps, and the sizes of the batches that were trained on, over three epochs of uneven classes."""
    images, _ = noise(count)
    labels = np.repeat(np.arange(CLASSES), [count - 17, 10, 5, 2]).astype(np.uint8)
    loss, steps, sizes = losses.make(name, CONFIGS[name]), [], []
    torch.manual_seed(0)
    model = tiny_model(loss.make_head(WIDTH, CLASSES))
    model.backbone.register_forward_pre_hook(
        lambda module, inputs: sizes.append(len(inputs[0])) if module.training else None
    )

    class Counted(Optimiser):
        def step(self, learning_rate: float) -> None:
            super().step(learning_rate)
            steps.append(1)

    monkeypatch.setattr(engine, "Optimiser", Counted)
    training_images = as_tensors(images, labels)
    watched = {"train": training_images, "val": training_images}
    recipe = Recipe.model_validate(RECIPE | {"epochs": 3})
    Training(model, training_images, recipe, loss.batches, 0).run(watched, Progress(3))
    return len(steps), sizes


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize(("count", "steps"), [(37, 4), (40, 5)])  # an epoch's full batches of eight
def test_every_loss_has_the_same_budget(name: str, count: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(name, count, monkeypatch) == (3 * steps, [8] * 3 * steps)


class Broken(Head):
    """A loss that is not finite at the fourth step, the last of the second epoch."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.linear = value, nn.Linear(WIDTH, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        self.steps = getattr(self, "steps", 0) + 1
        return nn.functional.cross_entropy(self(features), labels) * (self.value if self.steps == 4 else 1)


@pytest.mark.parametrize("largest", [1.1e15, 1e18])
def test_features_that_later_stages_cannot_square_end_training(largest: float) -> None:
    class Huge(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
            return features if self.training else features * 0 + largest

    images = as_tensors(*noise(16))
    model = tiny_model(losses.make("normface", CONFIGS["normface"]).make_head(WIDTH, CLASSES))
    model.backbone = Huge()
    run = Training(model, images, Recipe.model_validate(RECIPE | {"epochs": 3}), "shuffled", 0)
    said = rf"^train: the largest feature is {largest:.2g}; lower the recipe's peak_learning_rate$".replace("+", r"\+")
    with pytest.raises(StudyError, match=said):
        run.run({"train": images, "val": images}, Progress(3))
    assert len(run.epochs) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training(value: float) -> None:
    torch.manual_seed(0)
    images = as_tensors(*noise(16))
    recipe = Recipe.model_validate(RECIPE | {"epochs": 3})
    run = Training(tiny_model(Broken(value)), images, recipe, "shuffled", 0)
    with pytest.raises(StudyError, match=rf"the loss is {value} at step 4 of 6 \(learning rate 0\.02885\); lower"):
        run.run({"train": images, "val": images}, Progress(3))
    assert len(run.epochs) == 1 and run.done == 3
    assert all(weight.isfinite().all() for weight in run.model.parameters())


def test_batch_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(StudyError, match="batch_size is 27, but there are only 26 training images"):
        train_cell("cross_entropy", batch_size=27)


@pytest.mark.parametrize(("epochs", "warmup_share"), [(1, 0.25), (4, 0.9), (5, 0.01), (4, 0.25), (2, 0.5)])
def test_schedule_takes_any_number_of_steps(epochs: int, warmup_share: float) -> None:
    torch.manual_seed(0)
    images = as_tensors(*noise(8))
    recipe = Recipe.model_validate(RECIPE | {"epochs": epochs, "warmup_share": warmup_share})
    head = losses.make("cross_entropy", CONFIGS["cross_entropy"]).make_head(WIDTH, CLASSES)
    run = Training(tiny_model(head), images, recipe, "shuffled", 0)
    found = run.run({"train": images, "val": images}, Progress(epochs))
    assert len(found) == epochs


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("warmup_share", [0.01, 0.25, 0.5, 0.99])
def test_learning_rate_rises_straight_to_its_peak_and_falls_straight_to_zero(steps: int, warmup_share: float) -> None:
    rates = np.array([one_cycle(step, steps, 0.4, warmup_share) for step in range(steps)])
    assert ((rates > 0) & (rates <= 0.4)).all()
    warm = np.arange(1, steps + 1) <= warmup_share * steps
    np.testing.assert_allclose(rates[warm], 0.4 * np.arange(1, warm.sum() + 1) / (warmup_share * steps))
    left = np.arange(steps, 0, -1)[~warm]  # steps left, including this one
    np.testing.assert_allclose(rates[~warm], 0.4 * left / (steps + 1 - warmup_share * steps))


@pytest.mark.parametrize("name", losses.names())
def test_gradients_are_the_same_bits_each_time_on_several_threads(name: str) -> None:
    """Without `repeatable`, gradients of the angular loss differed in 36 of 40 repetitions on two threads."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    head, labels = losses.make(name, CONFIGS[name]).make_head(WIDTH, CLASSES), torch.arange(64) % CLASSES
    features = torch.rand(64, WIDTH, requires_grad=True)
    try:
        torch.set_num_threads(2)
        with repeatable(CPU, deterministic=False):
            found = [torch.autograd.grad(head.training_loss(features, labels), features)[0] for _ in range(20)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], each) for each in found)
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_training_on_a_gpu_gives_cublas_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with repeatable(CPU, deterministic=True), repeatable(torch.device("cuda"), deterministic=False):
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with repeatable(torch.device("cuda"), deterministic=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_an_error_of_the_network_is_not_reported_as_the_compilers() -> None:
    def network(images: Tensor) -> Tensor:
        return images @ images

    with pytest.raises(RuntimeError) as caught:
        torch.compile(network, fullgraph=True)(torch.ones(2, 3))
    assert not is_of_compiler(caught.value)


def test_training_step_imports_no_compiler_and_tells_one_that_is_there() -> None:
    """The compiler's import takes as long as torch's. It must know that its kernels have to give the same bits."""
    code = """
import sys, torch
from robustness_study.classifier.precision import repeatable
from robustness_study.schema.recipe import Recipe
from robustness_study.training.optimiser import Average, Optimiser
model = torch.nn.Linear(2, 2)
optimiser, average = Optimiser(model, Recipe.model_validate(RECIPE)), Average(model, 0.9)
with repeatable(torch.device("cpu"), deterministic=False):
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step(0.1)
    average.update(model, first=False)
    print(torch.are_deterministic_algorithms_enabled(), "torch._dynamo" in sys.modules)
compiled = torch.compile(model)
with repeatable(torch.device("cpu"), deterministic=False):
    print(torch.are_deterministic_algorithms_enabled(), torch._inductor.config.deterministic)
print(torch.are_deterministic_algorithms_enabled(), torch._inductor.config.deterministic)
"""
    code = code.replace("RECIPE", repr(RECIPE))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["True", "False", "True", "True", "False", "False"])


@pytest.mark.parametrize(
    ("share", "epochs", "side", "expected"),
    [
        (0.0, 3, 32, [32, 32, 32]),
        (0.5, 4, 32, [16, 16, 32, 32]),
        (0.7, 4, 17, [8, 8, 8, 17]),
        (0.1, 5, 32, [32] * 5),
    ],
)
def test_resolution_is_half_then_full(share: float, epochs: int, side: int, expected: list[int]) -> None:
    recipe = Recipe.model_validate(RECIPE | {"epochs": epochs, "low_resolution_share": share})
    assert [image_width(epoch, recipe, side) for epoch in range(1, epochs + 1)] == expected


def test_low_resolution_trains_on_smaller_images() -> None:
    torch.manual_seed(0)
    images, seen = as_tensors(*noise(16)), []
    head = losses.make("cross_entropy", CONFIGS["cross_entropy"]).make_head(WIDTH, CLASSES)
    model = tiny_model(head)
    model.backbone.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].shape[2]) if module.training else None
    )
    recipe = Recipe.model_validate(RECIPE | {"epochs": 5, "low_resolution_share": 0.8})
    Training(model, images, recipe, "shuffled", 0).run({"train": images, "val": images}, Progress(5))
    assert seen == [8] * 8 + [16] * 2


def test_average_equals_its_recursion() -> None:
    torch.manual_seed(0)
    model, history = tiny_model(Broken(1)), []
    average = Average(model, 0.75)
    counter = "backbone.1.num_batches_tracked"
    for number in range(5):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(torch.rand_like(tensor) if tensor.is_floating_point() else 1)
        average.update(model, first=number == 0)
        history.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    expected = history[0]
    for now in history[1:]:
        expected = {name: 0.75 * old + 0.25 * now[name] for name, old in expected.items()}
    found = average.model.state_dict()
    assert found[counter] == history[-1][counter] == 5
    for name in found.keys() - {counter}:
        torch.testing.assert_close(found[name], expected[name], msg=name)
    assert not any(weight.requires_grad for weight in average.model.parameters())


def test_averaged_weights_are_scored_and_saved() -> None:
    torch.manual_seed(0)
    images = as_tensors(*quadrants(32))
    head = losses.make("cross_entropy", CONFIGS["cross_entropy"]).make_head(WIDTH, CLASSES)
    run = Training(
        tiny_model(head), images, Recipe.model_validate(RECIPE | {"average_decay": 0.9, "epochs": 2}), "shuffled", 0
    )
    epochs = run.run({"train": images, "val": images}, Progress(2))
    assert run.average is not None
    for one, other in zip(run.model.parameters(), run.average.model.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        logits = run.model.head(all_features(run.model, images.images, 100))
    assert nn.functional.cross_entropy(logits, images.labels).item() == pytest.approx(epochs[-1].val_loss, rel=1e-5)


@pytest.mark.parametrize("on", ["gpu", "cpu"])
def test_out_of_memory_says_which_batch_would_fit(on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, alive = Classifier.features, weakref.WeakSet[Tensor]()

    def features(self: Classifier, images: Tensor) -> Tensor:
        if not self.training:
            return whole(self, images)
        assert not alive  # results of a failed step are freed before a smaller batch is tried
        found = whole(self, images)
        if len(images) > 3:
            alive.add(found)
            if on == "gpu":
                raise torch.OutOfMemoryError("CUDA out of memory")
            torch.empty(10**15)  # the CPU's own error
        return found

    monkeypatch.setattr(Classifier, "features", features)
    with pytest.raises(StudyError, match=r"out of memory on cpu with batch_size 8; 2 would fit") as caught:
        train_cell("cross_entropy")
    assert "\n" not in str(caught.value)


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    cxx = importlib.import_module("torch._inductor.config").cpp
    monkeypatch.setattr(cxx, "cxx", (None, "/no/such/compiler"))
    with pytest.raises(
        StudyError, match=r"torch\.compile failed: .*No working C\+\+ compiler.*compile to false$"
    ) as caught:
        train_cell("cross_entropy", compile=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_another_error_is_not_reported_as_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def features(self: Classifier, images: Tensor) -> Tensor:
        raise RuntimeError("shapes")

    monkeypatch.setattr(Classifier, "features", features)
    with pytest.raises(RuntimeError, match="shapes"):
        train_cell("cross_entropy")


class Exploding(Head):
    """A loss that is finite at the third step, with a gradient that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.steps = nn.Linear(WIDTH, CLASSES), 0

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        self.steps += 1
        loss = nn.functional.cross_entropy(self(features), labels)
        return loss + (features.sum() * 0).sqrt() if self.steps == 3 else loss


class Keeping(Progress):
    """Keeps checkpoints in memory."""

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self.kept: list[tuple[dict[str, Tensor], int]] = []

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        self.kept.append(({name: tensor.clone() for name, tensor in tensors.items()}, notes["done"]))


def test_last_good_checkpoint_is_kept_when_weights_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_INTERVAL_S", -1.0)
    torch.manual_seed(0)
    images, keeping = as_tensors(*noise(32)), Keeping(2)
    run = Training(tiny_model(Exploding()), images, Recipe.model_validate(RECIPE | {"epochs": 2}), "shuffled", 0)
    with pytest.raises(StudyError, match="the loss is nan at step 4 of 8"):
        run.run({"train": images, "val": images}, keeping)
    assert [done for _, done in keeping.kept] == [1, 2]
    assert all(tensor.isfinite().all() for tensors, _ in keeping.kept for tensor in tensors.values())


@pytest.mark.parametrize(("name", "passes"), [("cross_entropy", 0), ("angular", 1)])
def test_features_of_training_images_are_computed_only_for_heads_that_need_fitting(
    name: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(model: Classifier, images: Tensor, batch_size: int) -> Tensor:
        calls.append(len(images))
        return all_features(model, images, batch_size)

    monkeypatch.setattr(engine, "all_features", counting)
    train_cell(name, watched_images=5)
    assert calls == [5, 5] + [len(INDICES["train"])] * passes


def test_progress_bar_appears_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = Epoch(1, 2.5, 0.25, 0.125, 1.75, 10.0, 300.0)
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        progress = Progress(4)
        for done in range(1, 6):
            progress.step(done, 5)
        progress.epoch(epoch)
        printed = capsys.readouterr()
        assert printed.out.count("\n") == 1 and "300 images/s" in printed.out and "0:30 left" in printed.out
        assert ("/5" in printed.err) == terminal
        assert bool(printed.err) == terminal


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
