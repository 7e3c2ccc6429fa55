"""The training engine: SGD with Nesterov momentum under a one-cycle schedule, data on the device.

In: a model, training images with labels, a recipe, a seed. Out: the trained model (in place) and one
`Epoch` per epoch. Everything random is drawn from (seed, purpose, epoch), so an epoch's draws do not
depend on what ran before it. Sources: one-cycle, Smith & Topin 2017 (arXiv 1708.07120); no weight
decay on norms and biases, Goyal et al. 2017 (arXiv 1706.02677), section 5.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

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
    seconds: float


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
    return torch.optim.SGD(groups, lr=recipe.peak_learning_rate, momentum=recipe.momentum, nesterov=True)


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
    nothing. Raises StudyError at the first step whose loss is not finite.
    """
    device = training.images.device
    labels = training.labels.cpu().numpy()
    optimiser = make_optimiser(model, recipe)
    steps = recipe.epochs * (len(labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.peak_learning_rate, max(steps, 1), pct_start=recipe.warmup_share, cycle_momentum=False
    )
    dtype = precision_of(recipe.precision, device)
    epochs = []
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        augment = CropAndFlip.draw(len(labels), recipe.crop_padding, recipe.flip, seed, epoch, device)
        positions = epoch_batches(batches, labels, recipe.batch_size, seed, epoch)
        loss = _one_epoch(model, training, positions, augment, optimiser, schedule, dtype)
        seconds = time.perf_counter() - started
        if not np.isfinite(loss):
            raise StudyError(f"train: the loss is {loss} in epoch {epoch}; lower recipe's peak_learning_rate")
        fit_head(model, watched["train"], recipe.batch_size, dtype)
        figures = {name: score(model, images, recipe.batch_size, dtype) for name, images in watched.items()}
        epochs.append(Epoch(epoch, loss, figures["train"][0], *figures["val"], seconds))
        report(epochs[-1])
    fit_head(model, training, recipe.batch_size, torch.float32)
    return epochs


def _one_epoch(
    model: Classifier,
    training: Images,
    positions: np.ndarray,
    augment: CropAndFlip,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    dtype: torch.dtype,
) -> float:
    """The mean training loss; losses are gathered on the device and read once."""
    device = training.images.device
    model.train()
    losses = []
    for batch in torch.from_numpy(positions).to(device):
        images = augment(to_float(training.images[batch]), batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            features = model.features(images).float()
        loss = model.head.training_loss(features, training.labels[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


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
