"""The `split` section of params.yaml: how much of the training images is trained on."""

from __future__ import annotations

from pydantic import Field

from stages.lib.schema.base import Section


class Split(Section):
    """The share of each class's training images that train; the rest validate."""

    train_share: float = Field(gt=0, lt=1)
