"""The `evaluate` section of params.yaml."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Count, Section


class Evaluate(Section):
    """`knn_neighbours` is k of the nearest-neighbour classifier on the features of the backbone.

    `probe_inverse_penalty` is scikit-learn's C of the linear probe on the same features; a small C is a strong penalty.
    With `flip_test_time_augmentation`, an extra result scores each image together with its mirror image.
    """

    batch_size: Count
    knn_neighbours: Count
    probe_inverse_penalty: float = Field(ge=1e-6, le=1e6)
    flip_test_time_augmentation: bool
