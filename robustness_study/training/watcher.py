"""What a training run tells while it runs: the figures of each epoch, and who wants to hear of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from robustness_study.classifier.inference import accuracy
from robustness_study.core.errors import StudyError
from robustness_study.losses.head import Head


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
    images_per_second: float  # of its training steps alone


class Watcher(Protocol):
    """What a run tells while it runs, and where it leaves its checkpoints."""

    def step(self, done: int, steps: int) -> None:
        """After each step of an epoch."""

    def epoch(self, epoch: Epoch) -> None:
        """After each epoch."""

    def went_before(self, epochs: list[Epoch]) -> None:
        """Once, if the run goes on from a checkpoint: its epochs so far."""

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The checkpoint to go on from."""

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Keep a checkpoint."""


def figures_of(head: Head, features: dict[str, Tensor], labels: dict[str, Tensor]) -> tuple[float, float, float]:
    """Training accuracy, validation accuracy and validation loss of features N×D and labels named train and val.

    The head is fitted to the training features. Raises StudyError if the validation loss is not finite.
    """
    head.fit(features["train"], labels["train"])
    with torch.no_grad():
        logits = {name: head(found) for name, found in features.items()}
    loss = cross_entropy(logits["val"], labels["val"]).item()
    if not math.isfinite(loss):
        raise StudyError(f"train: the validation loss is {loss}; lower the recipe's peak_learning_rate")
    return accuracy(logits["train"], labels["train"]), accuracy(logits["val"], labels["val"]), loss
