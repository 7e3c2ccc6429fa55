"""FGSM on the nearest-neighbour classifier, through a soft stand-in, because it has no gradient itself.

The stand-in's logits are the log of a class's summed similarity to its training images (Goldberger et al. 2004,
"Neighbourhood components analysis"). Its attacked images are then scored by the real classifier (Sitawarin & Wagner
2019, arXiv 1906.09525). How often the two agree on clean images shows how good a stand-in it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustness_study.attacks import alarms
from robustness_study.attacks.catalogue import MARGIN, NearestNeighbours
from robustness_study.attacks.scoring import ByEpsilon, Found, features_of, rescale
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.model import Classifier
from robustness_study.evaluation.neighbours import knn_predictions

SOFTER = 0.1  # factor of the stand-in's logits, for the gradient of a softer stand-in


class SoftNeighbours:
    """Logits of images from the similarity of their features to those of known images."""

    def __init__(self, model: Classifier, reference: Tensor, labels: Tensor, temperature: float) -> None:
        """`reference` float32 M×D and `labels` int64 M of known images, on the model's device, of every class."""
        self.model, self.temperature = model, temperature
        order = labels.argsort(stable=True)
        self.directions = normalize(reference[order], dim=1)
        self.sizes = torch.bincount(labels).tolist()

    def __call__(self, images: Tensor) -> Tensor:
        """Log of the summed similarity exp(cosine / temperature), N×classes, differentiable."""
        similarities = normalize(self.model.features(images), dim=1) @ self.directions.T / self.temperature
        return torch.stack([part.logsumexp(1) for part in similarities.split(self.sizes, dim=1)], dim=1)


def run(subject: ModelUnderAttack, settings: NearestNeighbours) -> dict[str, Found]:
    """`knn_fgsm`, on the control images: what the real neighbours say about images attacked through the stand-in.

    Two other gradients must not be clearly stronger: the classifier's own and that of a softer stand-in. Raises
    StudyError if a moved image is out of bounds.
    """
    real, positions = subject.neighbours, subject.control
    assert real is not None, "no nearest neighbours were given"
    target = subject.target.of(positions)
    features, labels = (torch.from_numpy(array).to(subject.device) for array in (real.features, real.labels))
    stand_in = SoftNeighbours(real.model, features, labels.long(), settings.temperature)

    def along(signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """What the real neighbours say about images moved along signs."""
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
    of = "of the neighbours' stand-in"
    subject.watch(alarms.zero_gradients(own.zero(), len(positions), "knn_masked", of))
    found = along(own.signs, subject.common.epsilons_255)
    others = {
        "the classifier's gradient": subject.gradient.signs[torch.from_numpy(positions).to(subject.device)],
        "the gradient of a softer stand-in": subject.gradient_of(rescale(stand_in, SOFTER), target).signs,
    }
    for name, signs in others.items():
        right = target.right(along(signs, settings.control_epsilons_255))
        called = (name, "that of the stand-in, against the neighbours")
        subject.watch(alarms.stronger("knn_masked", *called, right, target.right(found), MARGIN))
    agreement = float((own.predicted == found[0]).mean())
    return {"knn_fgsm": Found(positions, found, {"neighbours": real.count}, {"stand_in_agrees": agreement})}
