"""The top-level keys of params.yaml: the models of the study and the headline loss."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field, field_validator

from robustness_study.core.section import Section, Seed

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Study(Section):
    """The models are losses × training sets × seeds. `loss` is the headline loss, `recipe` the name of the recipe."""

    loss: str
    losses: list[str] = Field(min_length=1)
    train_sets: list[str] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    recipe: str

    @field_validator("losses", "train_sets", "seeds")
    @classmethod
    def _no_repeats(cls, values: list[str] | list[int]) -> list[str] | list[int]:
        # DVC would drop a repeated entry silently.
        repeated = [str(value) for value, times in Counter(values).items() if times > 1]
        if repeated:
            raise ValueError(f"{', '.join(repeated)} is listed more than once; list each only once")
        return values

    @field_validator("losses", "train_sets")
    @classmethod
    def _plain_names(cls, values: list[str]) -> list[str]:
        # DVC joins names with hyphens, so `a-b` + `c` and `a` + `b-c` would be the same stage.
        for value in values:
            if not NAME.fullmatch(value):
                raise ValueError(
                    f"{value!r} must start with a lower-case letter, then only a to z, 0 to 9 and _; rename it"
                )
        return values
