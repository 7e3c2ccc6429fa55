"""Angular loss (Wang et al. 2017, arXiv 1708.01682), joined with an N-pair term as its paper joins it.

For an anchor a, the positives p of its class in the batch and the negatives n, all of length one:

    angular = mean over (a, p) of log(1 + Σₙ exp(4 tan²α · (a + p)·n − 2 (1 + tan²α) · a·p))
    n_pair  = mean over a, then over p, of −log(exp(a·p / temperature) / Σₖ exp(a·k / temperature)), k ≠ a
    loss    = n_pair + angular_weight · angular

The first is the paper's equation 8 and the sum its equation 10. Its N-pair term (Sohn 2016) has one
positive per anchor; here every positive of the batch counts, on normalised embeddings, which makes it
the supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362). The angular term bounds the
angle at the negative corner of each triangle by α; alone it is flat once that holds and does not train a
network from nothing. Embeddings are normalised here because pytorch-metric-learning's AngularLoss
normalises anchors and positives but not negatives.

The classifier is the cosine to the class centroids of the training embeddings, times `scale`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stages.lib.schema.base import Section

if TYPE_CHECKING:
    from stages.lib.model import Head

BATCHES = "class_balanced"


class Config(Section):
    """`loss_config.angular`."""

    alpha_degrees: float = Field(gt=0, lt=90)
    angular_weight: float = Field(ge=0)
    temperature: float = Field(gt=0)
    scale: float = Field(gt=0, le=64)


def make_head(config: Config, features: int, classes: int) -> Head:
    """Cosine to class centroids, trained by the joined loss on normalised features."""
    import torch
    from pytorch_metric_learning.losses import AngularLoss, SupConLoss
    from torch import Tensor
    from torch.nn.functional import normalize

    from stages.lib.model import Head

    class CentroidHead(Head):
        centroids: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centroids", torch.zeros(classes, features))
            self.angular = AngularLoss(alpha=config.alpha_degrees)
            self.n_pair = SupConLoss(temperature=config.temperature)

        def forward(self, features: Tensor) -> Tensor:
            return config.scale * normalize(features) @ self.centroids.T

        def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
            embeddings = normalize(features)
            return self.n_pair(embeddings, labels) + config.angular_weight * self.angular(embeddings, labels)

        @torch.no_grad()
        def fit(self, features: Tensor, labels: Tensor) -> None:
            embeddings = normalize(features)
            sums = torch.zeros_like(self.centroids).index_add_(0, labels, embeddings)
            self.centroids.copy_(normalize(sums))

    return CentroidHead()
