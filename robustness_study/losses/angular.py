"""Angular loss (Wang et al. 2017, arXiv 1708.01682), combined with an N-pair term as in that paper.

The embeddings are a linear map of the features, as in the paper, scaled to length one. Without the map, no two could
be more than 90° apart, because features come out of a ReLU and are never negative. For an anchor a (an embedding of
the batch), the positives p (other embeddings of its class) and the negatives n (embeddings of other classes):

    angular = mean over (a, p) of log(1 + Σₙ exp(4 tan²α · (a + p)·n − 2 (1 + tan²α) · a·p))
    n_pair  = mean over a of −log(exp(a·m_y / temperature) / Σₖ exp(a·mₖ / temperature)), y the class of a
    loss    = n_pair + angular_weight · angular

`angular` is equation 8 of the paper, and `loss` is its equation 10.

The angular term: each anchor, positive and negative form a triangle. The term pushes the angle at the negative below α.
Once this holds, the term is flat. Alone it does not train a network from random weights.

The N-pair term (Sohn 2016) compares an anchor with one example of each class k in the batch. Here the example is mₖ,
the mean direction of the class's embeddings in the batch, without the anchor itself. These are the prototypes of Snell
et al. 2017 (arXiv 1703.05175), but compared by cosine and computed from the batch. Labels are smoothed as for
cross-entropy.

This file normalises the embeddings, because the AngularLoss of pytorch-metric-learning normalises anchors and
positives but not negatives.

The classifier's logits are the cosines to the class centroids of the training embeddings, times `scale`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from robustness_study.losses.head import Head

BATCHES = "class_balanced"


class Config(Section):
    """The block `loss_config.angular` of params.yaml."""

    embedding_dimensions: int = Field(ge=2, le=4096)
    alpha_degrees: float = Field(gt=0, le=80)
    angular_weight: float = Field(ge=0, le=10)
    temperature: float = Field(ge=0.01, le=100)
    label_smoothing: float = Field(ge=0, lt=1)
    scale: float = Field(ge=0.01, le=64)


def n_pair(embeddings: Tensor, labels: Tensor, classes: int, temperature: float, label_smoothing: float) -> Tensor:
    """The N-pair term, a scalar, of embeddings N×D of length one and labels int64 N.

    It is the mean over images that have another image of their class in the batch; zero if there is none.
    """
    from torch.nn.functional import normalize, one_hot

    members = one_hot(labels, classes).to(embeddings)  # N×classes
    counts = members.sum(0)
    sums = members.T @ embeddings  # classes×D
    others = normalize(sums[labels] - embeddings)  # mean direction of the anchor's class, without the anchor
    cosines = embeddings @ normalize(sums).T
    cosines = cosines * (1 - members) + (embeddings * others).sum(1, keepdim=True) * members
    present = counts > 0
    log_shares = (cosines / temperature).masked_fill(~present, float("-inf")).log_softmax(1)
    log_shares = log_shares.masked_fill(~present, 0)
    own = (log_shares * members).sum(1)
    cross_entropy = -(1 - label_smoothing) * own - label_smoothing * log_shares.sum(1) / present.sum()
    has_positive = (members @ counts) > 1
    return (cross_entropy * has_positive).sum() / has_positive.sum().clamp(min=1)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head whose logits are scaled cosines to class centroids; the combined loss trains its embeddings."""
    import torch
    from pytorch_metric_learning.losses import AngularLoss
    from torch import nn
    from torch.nn.functional import normalize

    from robustness_study.losses.head import Head

    class CentroidHead(Head):
        centroids: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(features, config.embedding_dimensions, bias=False)
            self.register_buffer("centroids", torch.zeros(classes, config.embedding_dimensions))
            self.angular = AngularLoss(alpha=config.alpha_degrees)

        def embeddings(self, features: Tensor) -> Tensor:
            return normalize(self.linear(features))

        def forward(self, features: Tensor) -> Tensor:
            return config.scale * self.embeddings(features) @ self.centroids.T

        def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
            embeddings = self.embeddings(features)
            pairs = n_pair(embeddings, labels, classes, config.temperature, config.label_smoothing)
            return pairs + config.angular_weight * self.angular(embeddings, labels)

        @torch.no_grad()
        def fit(self, features: Tensor, labels: Tensor) -> None:
            sums = torch.zeros_like(self.centroids).index_add_(0, labels, self.embeddings(features))
            self.centroids.copy_(normalize(sums))

    return CentroidHead()
