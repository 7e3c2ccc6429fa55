"""The training engine: batches, optimiser, schedule, averages and what it reports."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE, Tiny
from small_training import CLASSES, CONFIGS, CPU, INDICES, ROOT, WIDTH, baseline, noise, quadrants, train_cell
from torch import Tensor, nn

from robustness_study import losses
from robustness_study.classifier.inference import all_features
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import is_of_compiler, repeatable
from robustness_study.core.errors import StudyError
from robustness_study.losses.head import Head
from robustness_study.schema.recipe import Recipe
from robustness_study.training import engine
from robustness_study.training.engine import Training, image_width
from robustness_study.training.optimiser import Average, Optimiser, contiguous_view, one_cycle
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch, Images


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
