"""Cross-entropy of the softmax of a linear layer, with label smoothing (Szegedy et al. 2015, arXiv 1512.00567)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """The block `loss_config.cross_entropy` of params.yaml."""

    label_smoothing: float = Field(ge=0, lt=1)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head with a linear classifier on the features, trained with cross-entropy."""
    from torch import Tensor, nn
    from torch.nn.functional import cross_entropy

    from robustness_study.losses.head import Head

    class LinearHead(Head):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(features, classes)

        def forward(self, features: Tensor) -> Tensor:
            return self.linear(features)

        def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(self(features), labels, label_smoothing=config.label_smoothing)

    return LinearHead()
