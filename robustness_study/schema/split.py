"""The `split` section of params.yaml: which share of the training images is for training."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section


class Split(Section):
    """`train_share` of the training images of each class are for training, the others for validation.

    With `accept_duplicates`, the stage continues if identical images are in two of training, validation and test.
    """

    train_share: float = Field(gt=0, lt=1)
    accept_duplicates: bool
