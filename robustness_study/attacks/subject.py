"""What every attack gets: the model, the images, the settings, and the results of earlier attacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.outcome import ByEpsilon, Found
from robustness_study.attacks.scoring import Logits, Target, predict
from robustness_study.attacks.signs import gradient_signs, step
from robustness_study.classifier.batches import each_batch
from robustness_study.classifier.model import Classifier
from robustness_study.core.subsets import stratified
from robustness_study.schema.attack import Attack


@dataclass(frozen=True)
class Neighbours:
    """The nearest-neighbour classifier of a model. `features`, float32 M×D, and `labels`, M, are of known images.

    The `count` nearest of them vote.
    """

    model: Classifier
    features: np.ndarray
    labels: np.ndarray
    count: int


@dataclass(frozen=True)
class Gradient:
    """The signs of a gradient, int8 N×3×H×W, and the labels, N, predicted in the same forward pass."""

    signs: Tensor
    predicted: np.ndarray

    def zero(self) -> int:
        """The number of images with a gradient that is zero everywhere."""
        return int((self.signs == 0).flatten(1).all(1).sum())


class ModelUnderAttack:
    """One model and the images to attack. Each attack that runs adds to `found` (results) and to `alarms`."""

    def __init__(
        self,
        logits: Logits,
        target: Target,
        common: Attack,
        clean: np.ndarray,
        neighbours: Neighbours | None = None,
        guide: Logits | None = None,
    ) -> None:
        """`clean` are the labels, N, that the stage `evaluate` predicted for the same images without an attack.

        `guide` gives logits for searches that need many gradients; it may be less exact than `logits`.
        """
        self.logits, self.target, self.common, self.clean = logits, target, common, clean
        self.neighbours, self.guide = neighbours, guide or logits
        self.found: dict[str, Found] = {}
        self.alarms: list[Alarm] = []
        self.labels = target.labels.cpu().numpy()
        self.sizes = common.sizes()
        self.device = target.images.device

    @cached_property
    def gradient(self) -> Gradient:
        """The gradient of the loss of the model's own logits, for all images."""
        return self.gradient_of(self.logits, self.target)

    @cached_property
    def control(self) -> np.ndarray:
        """Positions of the control images: a subset for the attacks that check others."""
        return self.chosen(self.common.control_images)

    def watch(self, alarm: Alarm | None) -> None:
        """Keep an alarm; None is ignored."""
        if alarm is not None:
            self.alarms.append(alarm)

    def chosen(self, count: int) -> np.ndarray:
        """Sorted positions of `count` images, classes in proportion. The smaller choice is part of the larger one."""
        return stratified(self.labels, count, self.common.seed, "attacked")

    def gradient_of(self, logits: Logits, target: Target) -> Gradient:
        """The gradient of the loss of any logits with respect to the target's images, in batches."""

        def of_batch(batch: slice) -> tuple[Tensor, Tensor]:
            predicted = []

            def watched(images: Tensor) -> Tensor:
                found = logits(images)
                predicted.append(found.detach().argmax(1))
                return found

            signs = gradient_signs(watched, target.images[batch], target.labels[batch])
            return signs, predicted[0]

        found = each_batch(of_batch, len(target.indices), self.common.batch_size, self.device)
        signs, predicted = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Gradient(signs, predicted.cpu().numpy())

    def predict(self, images: Tensor) -> np.ndarray:
        """The labels, N, that the model predicts for float32 images in [0, 1], N×3×H×W, in batches."""
        return predict(self.logits, images, self.common.batch_size)

    def along(self, target: Target, signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """The labels, N, predicted for images moved along signs, int8 N×3×H×W, at each epsilon."""
        return {epsilon: self.predict(step(target.images, signs, epsilon)) for epsilon in epsilons_255}
