"""The `augmix` section of params.yaml: the training set of that name, off unless `splits` names "train"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustness_study.core.section import Section


class AugMix(Section):
    """Each image is mixed with `chains` chains of up to `depth` operations, as strong as `severity` says, of 10."""

    splits: list[Literal["train"]] = Field(max_length=1)
    chains: int = Field(ge=1, le=10)
    depth: int = Field(ge=1, le=10)
    severity: float = Field(ge=0.1, le=10)
    seed: int = Field(ge=0)
