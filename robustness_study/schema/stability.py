"""The `stability` section of params.yaml."""

from __future__ import annotations

from pydantic import Field, field_validator

from robustness_study.core.section import Section


class Stability(Section):
    """`seeds` of the planes that are compared, `embed.seed` or not."""

    seeds: list[int] = Field(min_length=2)

    @field_validator("seeds")
    @classmethod
    def _no_repeats(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values):
            raise ValueError("each seed once: a plane is the same as itself")
        return values
