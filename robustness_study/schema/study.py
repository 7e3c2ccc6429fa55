"""The top of params.yaml: which models the study has and which loss makes the headline."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field, field_validator

from robustness_study.core.section import Section

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Study(Section):
    """The matrix of models: losses × training sets × seeds, the headline's loss, the recipe's name."""

    loss: str
    losses: list[str] = Field(min_length=1)
    train_sets: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    recipe: str

    @field_validator("losses", "train_sets", "seeds")
    @classmethod
    def _no_repeats(cls, values: list[str] | list[int]) -> list[str] | list[int]:
        # DVC drops a repeated entry without a word.
        repeated = [str(value) for value, times in Counter(values).items() if times > 1]
        if repeated:
            raise ValueError(f"{', '.join(repeated)} stands in it more than once; name each once")
        return values

    @field_validator("losses", "train_sets")
    @classmethod
    def _plain_names(cls, values: list[str]) -> list[str]:
        # DVC joins names with hyphens, so `a-b` + `c` and `a` + `b-c` would be one stage.
        for value in values:
            if not NAME.fullmatch(value):
                raise ValueError(f"{value!r} must be lower-case letters, digits and _ (a hyphen joins names)")
        return values

    @field_validator("seeds")
    @classmethod
    def _no_negative_seed(cls, values: list[int]) -> list[int]:
        if min(values) < 0:
            raise ValueError(f"{min(values)} is negative; seeds are 0 or more")
        return values
