"""The training engine: SGD with Nesterov momentum under a one-cycle schedule, data on the device.

In: a model, training images with labels, a recipe, a seed. Out: the trained model (in place) and one
`Epoch` per epoch. Everything random is drawn from (seed, purpose, epoch), so an epoch's draws do not
depend on what ran before it; on the CPU the same call gives the same bits. Sources: one-cycle, Smith &
Topin 2017 (arXiv 1708.07120); no weight decay on norms and biases, Goyal et al. 2017 (arXiv 1706.02677),
section 5.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.augmentation import CropAndFlip
from stages.lib.batches import epoch_batches
from stages.lib.errors import StudyError
from stages.lib.inference import accuracy, all_features, to_float
from stages.lib.model import Classifier
from stages.lib.schema.recipe import Recipe


@dataclass(frozen=True)
class Images:
    """uint8 images N×H×W×3 and their int64 labels, on the device that trains."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures; accuracies are of unaugmented images in evaluation mode."""

    epoch: int
    training_loss: float
    train_accuracy: float
    val_accuracy: float
    val_loss: float
    seconds: float  # of the whole epoch, its accuracies included


def precision_of(setting: str, device: torch.device) -> torch.dtype:
    """The arithmetic of the forward pass: "auto" is bfloat16 where the processor computes in it."""
    if setting != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[setting]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on weights of two or more dimensions only."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.peak_learning_rate, momentum=recipe.momentum, nesterov=True, fused=True)


def one_cycle(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """The learning rate of a step, counted from 0: straight up to `peak`, then straight down; never zero."""
    return float(np.interp(step + 1, [0, warmup_share * steps, steps + 1], [0, peak, 0]))


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On the CPU, let torch compute in ways that give the same bits each time.

    With two threads, the gradient of an indexed tensor is otherwise added up in whatever order they
    get there; the losses on pairs index a lot.
    """
    memory: Any = torch.utils.deterministic  # its one setting is invisible to type checkers
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before[0] or device.type == "cpu")
    memory.fill_uninitialized_memory = False  # it costs time, and nothing here reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]


def train(
    model: Classifier,
    training: Images,
    watched: dict[str, Images],
    recipe: Recipe,
    batches: str,
    seed: int,
    report: Callable[[Epoch], None],
) -> list[Epoch]:
    """Train `model` in place and return its epochs.

    `watched` holds "train" and "val": the fixed images whose accuracy each epoch reports. They steer
    nothing. Raises StudyError, naming the step, if a loss is not finite; losses are read once an epoch.
    """
    device = training.images.device
    labels = training.labels.cpu().numpy()
    optimiser = make_optimiser(model, recipe)
    dtype = precision_of(recipe.precision, device)
    epochs = []
    with repeatable(device):
        for epoch in range(1, recipe.epochs + 1):
            started = time.perf_counter()
            augment = CropAndFlip.draw(len(labels), recipe.crop_padding, recipe.flip, seed, epoch, device)
            positions = epoch_batches(batches, labels, recipe.batch_size, seed, epoch)
            first, steps = (epoch - 1) * len(positions), recipe.epochs * len(positions)
            rates = [
                one_cycle(step, steps, recipe.peak_learning_rate, recipe.warmup_share)
                for step in range(first, first + len(positions))
            ]
            found = _one_epoch(model, training, positions, augment, optimiser, rates, dtype)
            refuse_not_finite(found, first, rates)
            fit_head(model, watched["train"], recipe.batch_size, dtype)
            figures = {name: score(model, images, recipe.batch_size, dtype) for name, images in watched.items()}
            seconds = time.perf_counter() - started
            epochs.append(Epoch(epoch, float(found.mean()), figures["train"][0], *figures["val"], seconds))
            report(epochs[-1])
        fit_head(model, training, recipe.batch_size, torch.float32)
    return epochs


def refuse_not_finite(losses: np.ndarray, first: int, rates: list[float]) -> None:
    """StudyError if a loss is not finite, with its step (counted from 1, `first` came before) and learning rate."""
    for index in np.flatnonzero(~np.isfinite(losses))[:1]:
        raise StudyError(
            f"train: the loss is {losses[index]} at step {first + index + 1} (learning rate {rates[index]:.4g}); "
            "lower the recipe's peak_learning_rate"
        )


def _one_epoch(
    model: Classifier,
    training: Images,
    positions: np.ndarray,
    augment: CropAndFlip,
    optimiser: torch.optim.Optimizer,
    rates: list[float],
    dtype: torch.dtype,
) -> np.ndarray:
    """Each step's training loss; they are gathered on the device and read once."""
    device = training.images.device
    model.train()
    losses = []
    for batch, rate in zip(torch.from_numpy(positions).to(device), rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        images = augment(to_float(training.images[batch]), batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            features = model.features(images).float()
        loss = model.head.training_loss(features, training.labels[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses).cpu().numpy()


def fit_head(model: Classifier, images: Images, batch_size: int, dtype: torch.dtype) -> None:
    """Let the head derive its classifier from the features of these training images."""
    with torch.autocast(images.images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        features = all_features(model, images.images, batch_size)
    model.head.fit(features, images.labels)


def score(model: Classifier, images: Images, batch_size: int, dtype: torch.dtype) -> tuple[float, float]:
    """Accuracy in [0, 1] and mean cross-entropy of the logits, in evaluation mode."""
    with torch.autocast(images.images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        features = all_features(model, images.images, batch_size)
    with torch.no_grad():
        logits = model.head(features)
    return accuracy(logits, images.labels), nn.functional.cross_entropy(logits, images.labels).item()
