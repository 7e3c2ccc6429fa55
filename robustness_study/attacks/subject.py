"""What every attack is given: the model, the images, the settings, and what earlier attacks found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.scoring import ByEpsilon, Found, Logits, Target, in_batches, predict
from robustness_study.attacks.signs import gradient_signs, step
from robustness_study.classifier.model import Classifier
from robustness_study.core.subsets import stratified
from robustness_study.schema.attack import Attack


@dataclass(frozen=True)
class Neighbours:
    """The nearest-neighbour classifier of a model: `features` float32 M×D and `labels` M of known images.

    `count` neighbours vote.
    """

    model: Classifier
    features: np.ndarray
    labels: np.ndarray
    count: int


@dataclass(frozen=True)
class Gradient:
    """The signs of a gradient, int8 N×3×H×W, and the labels, N, predicted in the same pass."""

    signs: Tensor
    predicted: np.ndarray

    def zero(self) -> int:
        """How many images have a gradient that is zero everywhere."""
        return int((self.signs == 0).flatten(1).all(1).sum())


class ModelUnderAttack:
    """One model and the images it is attacked with. `found` and `alarms` grow with each attack that has run."""

    def __init__(
        self,
        logits: Logits,
        target: Target,
        common: Attack,
        clean: np.ndarray,
        neighbours: Neighbours | None = None,
    ) -> None:
        """`clean` are the labels, N, that `evaluate` saw predicted for the images without an attack."""
        self.logits, self.target, self.common, self.clean = logits, target, common, clean
        self.neighbours = neighbours
        self.found: dict[str, Found] = {}
        self.alarms: list[Alarm] = []
        self.labels = target.labels.cpu().numpy()
        self.sizes = common.sizes()
        self.device = target.images.device

    @cached_property
    def gradient(self) -> Gradient:
        """Of the loss of the model's own logits, for all images."""
        return self.gradient_of(self.logits, self.target)

    @cached_property
    def control(self) -> np.ndarray:
        """Positions of the images that controls are run on."""
        return self.chosen(self.common.control_images, "control")

    def watch(self, alarm: Alarm | None) -> None:
        """Keep an alarm, if there is one."""
        if alarm is not None:
            self.alarms.append(alarm)

    def chosen(self, count: int, name: str, among: np.ndarray | None = None) -> np.ndarray:
        """Positions of `count` of the images, stratified and sorted; of those at the positions `among`, if given."""
        among = np.arange(len(self.labels)) if among is None else among
        return among[stratified(self.labels[among], count, self.common.seed, name)]

    def gradient_of(self, logits: Logits, target: Target) -> Gradient:
        """Of the loss of any logits, in batches."""
        predicted = []

        def watched(images: Tensor) -> Tensor:
            found = logits(images)
            predicted.append(found.detach().argmax(1))
            return found

        signs = in_batches(partial(gradient_signs, watched), self.common.batch_size, target.images, target.labels)
        return Gradient(signs, torch.cat(predicted).cpu().numpy())

    def predict(self, images: Tensor) -> np.ndarray:
        """The labels, N, that the model predicts for float32 images in [0, 1], N×3×H×W, in batches."""
        return predict(self.logits, images, self.common.batch_size)

    def along(self, target: Target, signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """The labels predicted for images moved along signs, int8 N×3×H×W."""
        return {epsilon: self.predict(step(target.images, signs, epsilon)) for epsilon in epsilons_255}
