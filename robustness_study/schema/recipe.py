"""The `recipes.NAME` sections of params.yaml: how a model is trained, for any loss, and on how many images tested."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustness_study.core.section import Count, Section


class Recipe(Section):
    """One training recipe. All models of a study use the same recipe. The comments in params.yaml explain each key.

    `network` is the name of a file in `robustness_study/networks`, or timm/NAME. Only the network resnet18 reads
    `stem`.
    """

    network: str = Field(min_length=1)
    stem: Literal["imagenet", "half", "cifar"]
    zero_init_residual: bool
    epochs: int = Field(ge=1, le=2000)
    batch_size: int = Field(ge=2, le=8192)
    peak_learning_rate: float = Field(gt=0, le=10)
    warmup_share: float = Field(gt=0, lt=1)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, lt=1)
    average_decay: float = Field(ge=0, lt=1)
    low_resolution_share: float = Field(ge=0, lt=1)
    crop_padding: int = Field(ge=0, le=16)
    flip: Literal["off", "random", "alternating"]
    trivial_augment: bool
    cutout_pixels: int = Field(ge=0, le=256)
    precision: Literal["auto", "bfloat16", "float32"]
    compile: bool
    deterministic: bool
    watched_images: Count
    evidence_share: float = Field(gt=0, le=1)
