"""The `evaluate` section of params.yaml."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section


class Evaluate(Section):
    """`knn_neighbours` is the k of the nearest-neighbour classifier on the backbone's features.

    `probe_inverse_penalty` is how little the linear probe on them is regularised (scikit-learn's C).
    `flip_test_time_augmentation` also scores each image together with its mirror image, beside the rest.
    """

    batch_size: int = Field(ge=1)
    knn_neighbours: int = Field(ge=1)
    probe_inverse_penalty: float = Field(gt=0)
    flip_test_time_augmentation: bool
