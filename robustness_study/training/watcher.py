"""What a training run reports: the results of each epoch, and the interface of the objects that receive them."""

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
    """The results of one epoch. Accuracies, in [0, 1], are measured on unaugmented images in evaluation mode.

    `val_pgd_accuracy` is that of some validation images under PGD, for a training that attacks its batches.
    """

    epoch: int
    training_loss: float
    train_accuracy: float
    val_accuracy: float
    val_loss: float
    seconds: float  # for the whole epoch, including its accuracies
    images_per_second: float  # during the training steps only
    val_pgd_accuracy: float | None = None


class Watcher(Protocol):
    """Receives the reports of a training run, and stores its checkpoints."""

    def step(self, done: int, steps: int) -> None:
        """Called after each step of an epoch: `done` of its `steps` are finished."""

    def epoch(self, epoch: Epoch) -> None:
        """Called after each epoch."""

    def resumed(self, epochs: list[Epoch]) -> None:
        """Called once if the run resumes from a checkpoint, with the epochs before it."""

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The checkpoint to resume from, or None."""

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Save a checkpoint."""


def accuracies_and_loss(
    head: Head, features: dict[str, Tensor], labels: dict[str, Tensor]
) -> tuple[float, float, float]:
    """Training accuracy, validation accuracy and validation loss of the features N×D and labels N of "train" and "val".

    First fits the head to the training features. Raises StudyError if the validation loss is not finite.
    """
    head.fit(features["train"], labels["train"])
    with torch.no_grad():
        logits = {name: head(found) for name, found in features.items()}
    loss = cross_entropy(logits["val"], labels["val"]).item()
    if not math.isfinite(loss):
        raise StudyError(f"train: the validation loss is {loss}; lower the recipe's peak_learning_rate")
    return accuracy(logits["train"], labels["train"]), accuracy(logits["val"], labels["val"]), loss
