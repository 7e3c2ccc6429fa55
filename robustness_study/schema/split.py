"""The `split` section of params.yaml: how much of the training images is trained on."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section


class Split(Section):
    """The share of each class's training images that train; the rest validate.

    `accept_duplicates`: go on where an image is on two sides under two indices.
    """

    train_share: float = Field(gt=0, lt=1)
    accept_duplicates: bool
