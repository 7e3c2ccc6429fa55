"""FGSM on the nearest-neighbour classifier, which has no gradient, by attacking a differentiable stand-in.

The stand-in's logit of a class is the log of the summed similarity of the image to the known images of that class
(Goldberger et al. 2004, "Neighbourhood components analysis"). The real classifier then classifies the images that were
attacked through the stand-in (Sitawarin & Wagner 2019, arXiv 1906.09525). How often the two agree on clean images shows
how good the stand-in is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustness_study.attacks import alarms
from robustness_study.attacks.catalogue import MARGIN
from robustness_study.attacks.outcome import ByEpsilon, Found
from robustness_study.attacks.scoring import features_of, rescale
from robustness_study.attacks.settings import NearestNeighbours
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.model import Classifier
from robustness_study.evaluation.neighbours import knn_predictions

SOFTER = 0.1  # the logits of the softer stand-in are the stand-in's times this factor


class SoftNeighbours:
    """The stand-in: logits of images, from the similarity of their features to the features of known images."""

    def __init__(self, model: Classifier, reference: Tensor, labels: Tensor, temperature: float) -> None:
        """`reference`, float32 M×D, and `labels`, int64 M, are of known images, on the model's device.

        Every class must have a known image. `temperature` divides the cosines.
        """
        self.model, self.temperature = model, temperature
        order = labels.argsort(stable=True)
        self.directions = normalize(reference[order], dim=1)
        self.sizes = torch.bincount(labels).tolist()

    def __call__(self, images: Tensor) -> Tensor:
        """Log of each class's summed similarity exp(cosine / temperature), N×classes; it is differentiable."""
        similarities = normalize(self.model.features(images), dim=1) @ self.directions.T / self.temperature
        return torch.stack([part.logsumexp(1) for part in similarities.split(self.sizes, dim=1)], dim=1)


def run(subject: ModelUnderAttack, settings: NearestNeighbours) -> dict[str, Found]:
    """Return the result `knn_fgsm`: what the real classifier predicts for control images attacked through the stand-in.

    Raises an alarm if another gradient gives a clearly stronger attack: that of the model's own classifier, or that of
    a softer stand-in. Raises StudyError if an attacked image is out of bounds.
    """
    real, positions = subject.neighbours, subject.control
    assert real is not None, "no nearest neighbours were given"
    target = subject.target.of(positions)
    features, labels = (torch.from_numpy(array).to(subject.device) for array in (real.features, real.labels))
    stand_in = SoftNeighbours(real.model, features, labels.long(), settings.temperature)

    def along(signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """Labels, N, that the real nearest neighbours predict for images moved along the signs, by epsilon."""
        moved = {epsilon: step(target.images, signs, epsilon) for epsilon in epsilons_255}
        return {
            epsilon: knn_predictions(
                real.features,
                real.labels,
                features_of(real.model, images, subject.common.batch_size),
                real.count,
            )
            for epsilon, images in moved.items()
        }

    own = subject.gradient_of(stand_in, target)
    of = "of the nearest neighbours' stand-in"
    subject.watch(alarms.zero_gradients(own.zero(), len(positions), "knn_masked", of))
    found = along(own.signs, subject.common.epsilons_255)
    others = {
        "the model's own gradient": subject.gradient.signs[torch.from_numpy(positions).to(subject.device)],
        "the gradient of a softer stand-in": subject.gradient_of(rescale(stand_in, SOFTER), target).signs,
    }
    tests = len(others) * len(settings.control_epsilons_255)  # chance alone has so many ways to raise this alarm
    for name, signs in others.items():
        correct = target.correct(along(signs, settings.control_epsilons_255))
        called = (f"FGSM on the nearest neighbours with {name}", "the same attack with the stand-in's gradient")
        subject.watch(alarms.stronger("knn_masked", *called, correct, target.correct(found), MARGIN, tests=tests))
    agreement = float((own.predicted == found[0]).mean())
    return {"knn_fgsm": Found(positions, found, {"neighbours": real.count}, {"stand_in_agrees": agreement})}
