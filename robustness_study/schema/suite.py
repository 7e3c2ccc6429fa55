"""The `suite` section of params.yaml: the corruptions of test images on which models are scored."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Count, Names, Section, Seed


class Suite(Section):
    """Each of `corruptions` is applied at five severities to the same `images` test images, stratified.

    A recipe may use a share of them (`evidence_share`).
    """

    corruptions: Names = Field(min_length=1)
    images: Count
    seed: Seed
