"""What is attacked in place of a nearest-neighbour classifier, which has no gradient.

A soft one: the log of a class's summed similarity to its training images (Goldberger et al. 2004, "Neighbourhood
components analysis"). Its attacked images are then scored by the real classifier (Sitawarin & Wagner 2019, arXiv
1906.09525), and how often the two agree on clean images tells what it is worth as a stand-in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustness_study.classifier.model import Classifier


class SoftNeighbours:
    """Logits of images from the similarity of their features to those of known images."""

    def __init__(self, model: Classifier, reference: Tensor, labels: Tensor, temperature: float) -> None:
        """`reference` float32 M×512 and `labels` int64 M of known images, on the model's device, of every class."""
        self.model, self.temperature = model, temperature
        order = labels.argsort(stable=True)
        self.directions = normalize(reference[order], dim=1)
        self.sizes = torch.bincount(labels).tolist()

    def __call__(self, images: Tensor) -> Tensor:
        """Log of the summed similarity exp(cosine / temperature), N×classes, differentiable."""
        similarities = normalize(self.model.features(images), dim=1) @ self.directions.T / self.temperature
        return torch.stack([part.logsumexp(1) for part in similarities.split(self.sizes, dim=1)], dim=1)
