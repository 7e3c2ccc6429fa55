"""The `embed` section of params.yaml: UMAP of the features of test images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustness_study.core.section import Section, Seed


class Embed(Section):
    """Settings of UMAP (McInnes et al. 2018, arXiv 1802.03426). `images` is the number of test images, stratified."""

    images: int = Field(ge=10, le=1_000_000_000)
    neighbours: int = Field(ge=2, le=200)
    min_dist: float = Field(ge=0, le=1)
    metric: Literal["cosine", "euclidean"]
    seed: Seed
